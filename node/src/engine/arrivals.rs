//! Opens what arrives, in the order of checks that `docs/protocol.md` §3 gives.

use std::{collections::BTreeMap, sync::Arc};

use penpal_contact::{Heard, Opener, Via};
use penpal_delivery::{Arrival, HeldReason, Mailbox, Opened, Outcome, Peer, Placement, SpoolRow, Verdict};
use penpal_protocol::hash::labelled16;
use penpal_protocol::ids::{Fingerprint, KeyId, ShortHash};
use penpal_protocol::sealed::{Body, Content, Letter};
use penpal_seal::Arrived;
use penpal_sessions::Inbound;

use super::machines::{Engine, contact_step, delivery_step};
use super::rooms::WaitsForEntry;

/// Most envelopes that wait for a contact's newer list of devices; each stays in the relay's spool meanwhile.
const MAX_UNPROVED: usize = 64;
/// Most of them of one contact, so that none can take the place of all.
const MAX_UNPROVED_OF_ONE: usize = 8;

/// A message whose sender is proved.
struct Proved {
    opener: Opener,
    key: KeyId,
    body: Body,
    content: Content,
}

/// Why an envelope gave no message.
enum Unopened {
    /// No contact's hint fits, or it is no envelope.
    Foreign,
    /// From this contact, but the key is unknown or opening failed.
    Unreadable { account: Fingerprint },
    /// It opened, and is of a device that a newer list of the contact's devices may name.
    Stranger { account: Fingerprint },
    /// It opened and is not taken.
    Refused { from: Option<Peer>, body: Option<Box<Body>>, reason: &'static str },
}

impl Engine {
    /// Takes an envelope from the spool.
    pub(super) fn envelope(&mut self, row: SpoolRow, bytes: &[u8]) {
        self.take_envelope(row, bytes, false);
    }

    /// Looks again at what came of devices that were not known, now that the contact's list was asked for.
    pub(super) fn envelopes_again(&mut self, account: Fingerprint) {
        for (row, bytes) in self.unproved.remove(&account).unwrap_or_default() {
            self.take_envelope(row, &bytes, true);
        }
    }

    fn take_envelope(&mut self, row: SpoolRow, bytes: &[u8], again: bool) {
        let arrived = match Arrived::parse(bytes) {
            Ok(arrived) => arrived,
            Err(error) => {
                // The relay made it up, or it is of a later version. It is known again by its bytes.
                tracing::debug!(%error, "no envelope");
                let mark = ShortHash::from_bytes(labelled16("no-envelope", &[bytes]));
                let arrival =
                    Arrival { row: Some(row), enc: mark, envelope: mark, verdict: Verdict::Foreign };
                self.delivery.handle_arrival(arrival, &mut delivery_step!(self));
                return;
            }
        };
        let (enc, envelope) = (arrived.duplicate_mark(), arrived.reseal_hash());
        match self.delivery.is_seen(&enc, &self.storage) {
            Ok(false) => {}
            Ok(true) => {
                self.delivery.handle_seen(Some(row), &enc, &mut delivery_step!(self));
                return;
            }
            // The step fails with the same error when it ends.
            Err(error) => tracing::error!(%error, "marks cannot be read"),
        }
        let mut waits = None;
        let verdict = match self.prove(arrived) {
            Ok(proved) => self.judge(proved, &mut waits),
            Err(Unopened::Foreign) => Verdict::Foreign,
            Err(Unopened::Unreadable { account }) => {
                self.unreadable_ms = Some(self.now.wall_ms);
                Verdict::Unreadable { account }
            }
            Err(Unopened::Stranger { account }) => {
                if !again && keep_unproved(&mut self.unproved, account, row, bytes) {
                    self.delivery.defer_row(row, &mut delivery_step!(self));
                    self.contacts.fetch(&account, &mut contact_step!(self));
                    return;
                }
                // Unmarked: the list may come later, and the sender leaves the same bytes again until it has a receipt.
                Verdict::Foreign
            }
            Err(Unopened::Refused { from, body, reason }) => {
                refused(from, body.as_deref(), reason, self.now.wall_ms)
            }
        };
        let arrival = Arrival { row: Some(row), enc, envelope, verdict };
        let outcome = self.delivery.handle_arrival(arrival, &mut delivery_step!(self));
        tracing::debug!(?outcome, "an envelope was taken");
        // In the step that stores it: mail that waits for an earlier one is shown without another word after a restart.
        if let Outcome::Stored { key } = outcome {
            self.note_stored(key);
        }
        if let (Some(waits), Outcome::Stored { .. }) = (waits, outcome) {
            self.wait_for_entry(&waits);
        }
    }

    /// Takes an envelope that was never stored: presence, or nothing.
    pub(super) fn ephemeral(&mut self, bytes: &[u8]) {
        let Some(proved) = Arrived::parse(bytes).ok().and_then(|arrived| self.prove(arrived).ok()) else {
            tracing::debug!("unspooled envelope that does not open");
            return;
        };
        let Proved { opener, body, content, .. } = proved;
        let shut = self.contacts.peer(&opener).is_none_or(|peer| peer.shut);
        // The first list of a new contact may overtake the receipt that completes the invite: it proves the same.
        let is_contact = matches!(opener.via, Via::Link | Via::Rekeyed | Via::Accepting);
        if !is_contact || shut {
            tracing::debug!(via = ?opener.via, shut, "an unspooled envelope is dropped");
            return;
        }
        let (theirs, ours) = (&body.manifest, body.peer_manifest.as_ref());
        self.contacts.handle_message(opener, &body.from_device, theirs, ours, &mut contact_step!(self));
        if let Content::Presence(presence) = content {
            let Body { from, from_device, incarnation, .. } = body;
            // A further device of an account that was up already: the relay says nothing of it.
            let seen = self.sessions.device_seen(from, from_device, self.now);
            if seen.is_none_or(|(fresh, _)| !fresh) {
                self.sessions.handle_contact_up(from, self.now);
                if self.contacts.bundle(&from, &from_device, self.now.wall_ms).is_none() {
                    self.contacts.fetch(&from, &mut contact_step!(self));
                }
            }
            let outcome = self.sessions.handle_presence(from, from_device, incarnation, presence, self.now);
            tracing::debug!(?outcome, "presence");
        }
    }

    /// Finds the contact, opens, parses and verifies.
    fn prove(&mut self, arrived: Arrived) -> Result<Proved, Unopened> {
        let (me, device) = match self.contacts.account() {
            Some(me) => (me.account, me.device),
            None => return Err(Unopened::Foreign),
        };
        let found = arrived.find_contact(self.contacts.openers()).ok_or(Unopened::Foreign)?;
        let opener = *found.contact();
        let unreadable = Unopened::Unreadable { account: opener.contact };
        let Some(key) = self.vault.receive.key(&found.key_id()) else { return Err(unreadable) };
        let Ok(opened) = found.open(&Arc::clone(&key), &device) else { return Err(unreadable) };
        let nothing = |reason| Unopened::Refused { from: None, body: None, reason };
        let parsed = opened.parse().map_err(|error| {
            tracing::debug!(%error, "a body cannot be read");
            nothing("malformed")
        })?;
        let peer = self.contacts.peer(&opener).ok_or(Unopened::Foreign)?;
        let newer = parsed.claims().manifest.version > peer.manifest.version();
        let verified = parsed.verify(&me, peer.manifest, self.now.wall_ms).map_err(|error| {
            if newer && matches!(error, penpal_seal::VerifyError::UnknownDevice { .. }) {
                return Unopened::Stranger { account: opener.contact };
            }
            tracing::warn!(%error, "a message does not verify");
            tracing::debug!(contact = ?opener.contact, "it came from here");
            nothing("not-verified")
        })?;
        let (key, body) = (verified.key_id, verified.body);
        match body.parse_content() {
            Ok(content) => Ok(Proved { opener, key, body, content }),
            Err(error) => {
                tracing::debug!(%error, "content cannot be read");
                let from = Some(Peer::new(body.from, body.from_device));
                Err(Unopened::Refused { from, body: Some(Box::new(body)), reason: "malformed" })
            }
        }
    }

    /// Decides what a proved message is for.
    fn judge(&mut self, proved: Proved, waits: &mut Option<WaitsForEntry>) -> Verdict {
        let Proved { opener, key, body, content } = proved;
        let boot = matches!(opener.via, Via::Boot(_) | Via::BootAgain);
        if boot && !matches!(&content, Content::Control(control) if control.accept.is_some()) {
            return Verdict::Foreign;
        }
        if !boot {
            let (mine, theirs) = (&body.manifest, body.peer_manifest.as_ref());
            self.contacts.handle_message(opener, &body.from_device, mine, theirs, &mut contact_step!(self));
        }
        let mut placement = Placement { mailbox: Mailbox::Desk, held: None, quiet: false };
        let mut declined = None;
        match &content {
            Content::Control(control) => {
                let heard = self.contacts.handle_control(
                    opener,
                    &body.from_device,
                    control,
                    &mut contact_step!(self),
                );
                match heard {
                    // From here on the account is a contact, whose receipt delivery owes.
                    Ok(Heard::Applied | Heard::Accepted | Heard::Repeated) => {
                        self.mirror_contact(opener.contact);
                        let shut = self.contacts.peer(&opener).is_none_or(|peer| peer.shut);
                        if let Some(own) =
                            control.own.as_ref().filter(|_| self.contacts.is_me(&opener.contact))
                        {
                            self.hear_of_mail(Peer::new(body.from, body.from_device), own);
                        }
                        if let Some(news) = control.room.as_ref().filter(|_| !shut)
                            && !self.room_news(&body, news)
                        {
                            let from = Some(Peer::new(body.from, body.from_device));
                            return refused(from, Some(&body), "control-refused", self.now.wall_ms);
                        }
                    }
                    Ok(Heard::Ignored) => return Verdict::Ignored,
                    Err(error) => {
                        tracing::warn!(%error, "a control message is refused");
                        tracing::debug!(contact = ?opener.contact, "it came from here");
                        let from = Some(Peer::new(body.from, body.from_device)).filter(|_| !boot);
                        return refused(from, Some(&body), "control-refused", self.now.wall_ms);
                    }
                }
            }
            Content::Letter(letter) => match &letter.room {
                None => placement = self.place(letter),
                Some(said_in) => match self.place_from_room(&body, letter, said_in) {
                    Ok((place, entry)) => (placement, *waits) = (place, entry),
                    // Unmarked: what makes the room known here is on its way, and the sender leaves it again.
                    Err("no-such-room") if self.may_be_told_of_rooms() => return Verdict::Foreign,
                    Err(reason) => declined = Some(reason.to_owned()),
                },
            },
            Content::Receipts | Content::Presence(_) | Content::NeedReseal(_) | Content::Sync(_) => {}
        }
        let opened = Box::new(Opened { key, body, content, placement });
        match declined {
            Some(reason) => Verdict::Declined { opened, reason },
            None => Verdict::Opened(opened),
        }
    }

    pub(super) fn place(&self, letter: &Letter) -> Placement {
        match self.sessions.inbound(letter.to.as_ref()) {
            Inbound::Session { session, .. } => {
                Placement { mailbox: Mailbox::Session(session), held: None, quiet: false }
            }
            Inbound::Desk => Placement { mailbox: Mailbox::Desk, held: None, quiet: false },
            Inbound::NoSuchSession => {
                Placement { mailbox: Mailbox::Desk, held: Some(HeldReason::NoSuchSession), quiet: false }
            }
        }
    }
}

/// Keeps an envelope until the list of its contact's devices was asked for. Tells whether there was room.
fn keep_unproved(
    unproved: &mut BTreeMap<Fingerprint, Vec<(SpoolRow, Vec<u8>)>>,
    account: Fingerprint,
    row: SpoolRow,
    bytes: &[u8],
) -> bool {
    let waiting: usize = unproved.values().map(Vec::len).sum();
    let of_this = unproved.get(&account).map_or(0, Vec::len);
    let room = waiting < MAX_UNPROVED && of_this < MAX_UNPROVED_OF_ONE;
    if room {
        unproved.entry(account).or_default().push((row, bytes.to_vec()));
    }
    room
}

fn refused(from: Option<Peer>, body: Option<&Body>, reason: &str, now_ms: u64) -> Verdict {
    let msg_id = body.map_or(penpal_protocol::ids::MsgId::from_bytes([0; 16]), |body| body.msg_id);
    let expires_ms = body
        .map_or(now_ms.saturating_add(penpal_protocol::limits::MAX_MESSAGE_LIFE_MS), |body| body.expires_ms);
    Verdict::Refused { from: from.filter(|_| body.is_some()), msg_id, expires_ms, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use penpal_protocol::ids::SpoolEpoch;

    use super::*;

    #[test]
    fn no_contact_takes_the_place_of_all_who_have_a_new_device() {
        let mut unproved = BTreeMap::new();
        let row = SpoolRow { epoch: SpoolEpoch::from_bytes([1; 8]), seq: 1 };
        let mut kept =
            |contact: u8| keep_unproved(&mut unproved, Fingerprint::from_bytes([contact; 16]), row, &[1]);
        let of_one = (0..100).filter(|_| kept(1)).count();
        assert_eq!(of_one, MAX_UNPROVED_OF_ONE);
        assert!(kept(2), "another one has room");
        let of_all = (3..=100).filter(|contact| kept(*contact)).count();
        assert_eq!(of_all, MAX_UNPROVED - MAX_UNPROVED_OF_ONE - 1);
    }
}
