//! Mail on the other devices of this account: what is read on one is read on all, and what one sends all keep.

use penpal_delivery::{MailKey, Mailbox, Peer, SentElsewhere};
use penpal_protocol::cbor::{Blob, List, Text};
use penpal_protocol::ids::{Fingerprint, MsgId};
use penpal_protocol::limits::MAX_STATE_ENTRIES;
use penpal_protocol::sealed::{Content, Letter, OwnState, ReadMark, SentCopy};

use super::machines::{Engine, contact_step, delivery_step};

impl Engine {
    /// Mail was read or answered here. Only a desk is on every device.
    pub(super) fn note_read(&mut self, key: MailKey, mailbox: Mailbox, answered: bool) {
        let Some(from) = key.from else { return };
        if mailbox != Mailbox::Desk || self.contacts.is_me(&from) || self.contacts.devices().len() < 2 {
            return;
        }
        self.unsaid_reads.push(ReadMark { from, msg_id: key.msg_id, answered });
    }

    /// Tells the other devices what was read in this step; tells whether there was something.
    pub(super) fn say_reads(&mut self) -> bool {
        let marks = std::mem::take(&mut self.unsaid_reads);
        for part in marks.chunks(MAX_STATE_ENTRIES) {
            let state = OwnState { read: Some(List::truncated(part.to_vec())), ..OwnState::default() };
            self.contacts.say_to_devices(&state, &mut contact_step!(self));
        }
        !marks.is_empty()
    }

    /// Tells the other devices what was sent from here.
    pub(super) fn say_sent(&mut self, msg_id: MsgId, letter: &Letter, to: &str, accounts: &[Fingerprint]) {
        let ours = accounts.iter().all(|account| self.contacts.is_me(account));
        if ours || self.contacts.devices().len() < 2 {
            return;
        }
        let Ok(view) = self.view_of(MailKey::own(msg_id)) else { return };
        let content = Content::Letter(Box::new(letter.clone())).encode();
        let Ok(content) = Blob::new(content) else { return };
        let sent = SentCopy {
            msg_id,
            conversation: view.conversation,
            kind: view.kind,
            content,
            to: Text::truncated(to),
            accounts: List::truncated(accounts.to_vec()),
            sent_ms: view.sent_ms,
            expires_ms: view.expires_ms,
        };
        let state = OwnState { sent: Some(sent), ..OwnState::default() };
        self.contacts.say_to_devices(&state, &mut contact_step!(self));
    }

    /// Takes what another device of ours says of mail.
    pub(super) fn hear_of_mail(&mut self, by: Peer, own: &[u8]) {
        // The contact machine has read it already, and refuses what is malformed.
        let Ok(state) = OwnState::decode(own) else { return };
        for mark in state.read.iter().flat_map(|marks| marks.iter()) {
            let key = MailKey::from_contact(mark.msg_id, mark.from);
            self.delivery.read_elsewhere(key, mark.answered, &mut delivery_step!(self));
        }
        let Some(sent) = state.sent else { return };
        let Ok(Content::Letter(letter)) = Content::decode(sent.kind, &sent.content) else { return };
        let sent = SentElsewhere {
            by,
            msg_id: sent.msg_id,
            conversation: sent.conversation,
            kind: sent.kind,
            letter: *letter,
            content: sent.content.into_vec(),
            to: sent.to.into_string(),
            accounts: sent.accounts.into_vec(),
            sent_ms: sent.sent_ms,
            expires_ms: sent.expires_ms,
        };
        self.delivery.sent_elsewhere(sent, &mut delivery_step!(self));
    }
}
