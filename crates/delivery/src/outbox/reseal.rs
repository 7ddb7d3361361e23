//! Sealing again for a recipient that lost a key, or everything since its backup.

use penpal_protocol::ids::{Fingerprint, ShortHash};
use penpal_protocol::sealed::NeedReseal;

use super::{Attempt, KEEP_RECEIPTED_MS};
use crate::address::Peer;
use crate::event::Event;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{CopyRecord, SealedRecord, UnreadableRecord};
use crate::step::Step;

/// Most envelopes of one contact that are kept to ask for; beyond it its own repetitions must do.
const MAX_UNREADABLE: usize = 4096;

impl Delivery {
    /// A peer could not open these envelopes. Each hash is answered once; unknown ones are ignored.
    pub(crate) fn reseal(&mut self, from: Peer, need: &NeedReseal, step: &mut Step<'_>) {
        for hash in need.envelopes.iter() {
            let Some(sealed) = self.ledger.get::<SealedRecord>(step.records, Table::Sealed, hash.as_bytes())
            else {
                continue;
            };
            if sealed.peer.account != from.account {
                continue;
            }
            self.ledger.delete(Table::Sealed, hash.as_bytes());
            self.send_again(sealed, Some(*hash), step);
        }
    }

    fn send_again(&mut self, sealed: SealedRecord, hash: Option<ShortHash>, step: &mut Step<'_>) {
        let SealedRecord { peer, msg_id } = sealed;
        let record = match self.copy(peer, msg_id, step.records) {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(error) => return self.ledger.blame(error),
        };
        let mut record = record;
        record.sealed.retain(|sealed| Some(*sealed) != hash);
        let ended = record.stage.is_failure() || record.expires_ms <= step.now.wall_ms;
        if ended {
            return self.save_copy(&record);
        }
        record.again = true;
        if let Some(mail) = self.own_mail(msg_id, step.records) {
            self.enliven(record.clone(), &mail, Attempt::Ready(step.now.mono));
        }
        self.save_copy(&record);
    }

    /// The peer's database fell back: what it receipted in the last 48 hours may be missing there.
    pub(crate) fn resend_receipted(&mut self, peer: Peer, step: &mut Step<'_>) {
        let mut copies: Vec<CopyRecord> = Vec::new();
        let listed =
            self.ledger.for_each::<CopyRecord>(step.records, Table::Outbox, &peer.to_key(), |_, copy| {
                copies.push(copy)
            });
        if let Err(error) = listed {
            return self.ledger.blame(error);
        }
        let now_ms = step.now.wall_ms;
        for copy in copies {
            let kept = copy.receipted_ms.is_some_and(|at| at.saturating_add(KEEP_RECEIPTED_MS) > now_ms);
            if kept && !copy.again {
                self.send_again(SealedRecord { peer, msg_id: copy.msg_id }, None, step);
            }
        }
    }

    /// Remembers an envelope to ask for.
    pub(crate) fn want_reseal(&mut self, account: Fingerprint, envelope: ShortHash, step: &mut Step<'_>) {
        let wanted = self.outbox.unreadable.entry(account).or_default();
        if wanted.len() >= MAX_UNREADABLE || !wanted.insert(envelope) {
            return;
        }
        let record = UnreadableRecord { envelope, at_ms: step.now.wall_ms };
        self.ledger.put(Table::Unreadable, &unreadable_key(&account, &envelope), &record);
        self.events.push_back(Event::Unreadable { account });
        let devices =
            self.contacts.get(&account).map(|contact| contact.info.devices.clone()).unwrap_or_default();
        for device in devices {
            let peer = Peer::new(account, device);
            self.lane(peer);
            self.touch(peer);
        }
    }

    pub(super) fn forget_unreadable(&mut self, account: &Fingerprint, hashes: &[ShortHash]) {
        for hash in hashes {
            self.ledger.delete(Table::Unreadable, &unreadable_key(account, hash));
        }
        if let Some(wanted) = self.outbox.unreadable.get_mut(account) {
            wanted.retain(|hash| !hashes.contains(hash));
            if wanted.is_empty() {
                self.outbox.unreadable.remove(account);
            }
        }
    }
}

fn unreadable_key(account: &Fingerprint, envelope: &ShortHash) -> [u8; 32] {
    let mut key = [0; 32];
    for (to, from) in key.iter_mut().zip(account.as_bytes().iter().chain(envelope.as_bytes())) {
        *to = *from;
    }
    key
}
