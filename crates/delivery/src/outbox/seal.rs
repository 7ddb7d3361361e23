//! Building what goes into one envelope.

use penpal_protocol::cbor::List;
use penpal_protocol::envelope::{LADDER, MAX_ENVELOPE_BYTES, capacity, ladder_step};
use penpal_protocol::ids::{ConversationId, DepositId, MsgId, ShortHash, TraceId};
use penpal_protocol::limits::{DEFAULT_MESSAGE_LIFE_MS, MAX_NEED_RESEAL};
use penpal_protocol::sealed::{Content, Kind, NeedReseal, Order};

use super::Attempt;
use crate::address::{MailKey, Peer};
use crate::command::{Command, KeyOffer, SealJob, SealKey, Sealed, batch};
use crate::lane::{Flight, Place};
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::record::{FixedOrder, MailRecord, SealedRecord};
use crate::stage::{Stage, TrailEvent};
use crate::step::Step;

/// What an envelope has beside the encoded body, in bytes, at most.
const ENVELOPE_BYTES: usize = MAX_ENVELOPE_BYTES - capacity(MAX_ENVELOPE_BYTES);

/// Encoded length of a body without content, key and receipts, in bytes, at most.
const BODY_BYTES: usize = 288;

/// Encoded length of an offered key in a body, in bytes, at most.
const OFFER_BYTES: usize = 1248;

/// Envelope size up to which receipts alone are gathered.
const RECEIPTS_STEP: usize = 8 * 1024;

/// Newest sealings of a copy that a request to seal again can name.
const MAX_SEALED: usize = 8;

/// What fits beside a content of some length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    offer: bool,
    receipts: usize,
}

/// Shares out an envelope: content first, then a key when it costs no larger envelope, then receipts.
fn room(content: usize, offer: bool, least: usize) -> Room {
    let fixed = ENVELOPE_BYTES + BODY_BYTES + content;
    let largest = LADDER.iter().copied().max().unwrap_or_default();
    let step = ladder_step(fixed.max(least)).unwrap_or(largest);
    let rest = step.saturating_sub(fixed);
    let offer = offer && rest >= OFFER_BYTES;
    let receipts = if offer { rest.saturating_sub(OFFER_BYTES) } else { rest };
    Room { offer, receipts }
}

impl Delivery {
    fn offer_for(&mut self, peer: Peer, step: &Step<'_>) -> Option<KeyOffer> {
        self.keyring.offer(peer, step.now, &mut self.ledger)
    }

    pub(super) fn seal_copy(&mut self, peer: Peer, place: Place, key: SealKey, step: &mut Step<'_>) {
        let msg_id = place.1;
        let mail_key = MailKey::own(msg_id).to_key();
        let mail: Option<MailRecord> = self.ledger.get(step.records, Table::Mail, &mail_key);
        let content = self.ledger.get_bytes(step.records, Table::Content, &mail_key);
        let (Some(mail), Some(content)) = (mail, content) else {
            tracing::error!("an owed message has no content");
            self.lane(peer).ready.remove(&place);
            let event = TrailEvent {
                reason: Some("content-lost".to_owned()),
                ..TrailEvent::here(Stage::Refused, step.now.wall_ms)
            };
            self.state_copy(peer, msg_id, event, step);
            return;
        };
        let offer = mail.kind.may_offer_key().then(|| self.offer_for(peer, step)).flatten();
        let room = room(content.len(), offer.is_some(), 0);
        let order = mail.kind.is_ordered().then(|| self.fix_order(peer, &mail)).flatten();
        let deposit = DepositId::from_bytes(step.random());
        let way = self.contacts.way(&peer.account);
        let lane = self.lane(peer);
        let chosen = lane.receipts.choose(lane.pair.receipts_floor, room.receipts);
        let flight_receipts = chosen.as_ref().map(|chosen| (chosen.first, chosen.receipts.len()));
        if let Some((first, count)) = flight_receipts {
            lane.receipts.sending(lane.pair.receipts_floor, first, count);
        }
        let receipts_seen = lane.pair.receipts_seen;
        lane.ready.remove(&place);
        let flight = Flight {
            message: Some(place),
            receipts: flight_receipts,
            announce: false,
            ask: Vec::new(),
            way,
            envelope: None,
        };
        lane.flights.insert(deposit, flight);
        self.outbox.flights.insert(deposit, peer);
        if let Some(copy) = self.outbox.live.get_mut(&(peer, msg_id)) {
            copy.attempt = Attempt::Flying(deposit);
        }
        let job = SealJob {
            deposit,
            peer,
            key,
            offer: offer.filter(|_| room.offer),
            incarnation: order.map_or(self.node.incarnation, |order| order.incarnation),
            msg_id,
            conversation: mail.conversation,
            order: order.map(|order| order.order),
            sent_ms: mail.sent_ms,
            expires_ms: mail.expires_ms,
            kind: mail.kind,
            trace_id: mail.trace_id,
            hops: mail.hops,
            wake_budget: mail.wake_budget,
            receipts: chosen.and_then(|chosen| batch(chosen.first, chosen.receipts)),
            receipts_seen,
            content,
            boot: mail.sent.is_some_and(|sent| sent.boot),
        };
        self.commands.push_back(Command::Seal(Box::new(job)));
    }

    /// The place of a copy in the pair's order: given at the first sealing, kept for every later one.
    fn fix_order(&mut self, peer: Peer, mail: &MailRecord) -> Option<FixedOrder> {
        let incarnation = self.node.incarnation;
        let copy = self.outbox.live.get_mut(&(peer, mail.msg_id))?;
        if let Some(fixed) = copy.record.order {
            return Some(fixed);
        }
        let lane = self.lanes.entry(peer).or_default();
        let pair = &mut lane.pair;
        if pair.own_incarnation != Some(incarnation) {
            pair.own_incarnation = Some(incarnation);
            pair.next_seq = 1;
            pair.chain = crate::arrivals::NO_CHAIN;
        }
        let fixed = FixedOrder { incarnation, order: Order { seq: pair.next_seq, prev_hash: pair.chain } };
        pair.next_seq = pair.next_seq.saturating_add(1);
        pair.chain = mail.chain;
        copy.record.order = Some(fixed);
        let record = copy.record.clone();
        lane.save(peer, &mut self.ledger);
        self.save_copy(&record);
        Some(fixed)
    }

    pub(super) fn seal_receipts(&mut self, peer: Peer, key: SealKey, step: &mut Step<'_>) {
        let offer = self.offer_for(peer, step);
        let lane = self.lane(peer);
        // Few leave most of it empty, and go in a smaller one.
        let room = room(0, offer.is_some(), RECEIPTS_STEP);
        let chosen = lane.receipts.choose(lane.pair.receipts_floor, room.receipts);
        self.seal_bare(peer, key, offer, (Kind::Receipts, Vec::new(), Vec::new()), chosen, step);
    }

    pub(super) fn seal_ask(&mut self, peer: Peer, key: SealKey, step: &mut Step<'_>) {
        let lane = self.lane(peer);
        let ask: Vec<ShortHash> = lane.ask.iter().copied().take(MAX_NEED_RESEAL).collect();
        lane.ask.retain(|hash| !ask.contains(hash));
        let envelopes = List::truncated(ask.clone());
        let content = Content::NeedReseal(NeedReseal { envelopes }).encode();
        // Kind 6 carries no key: its sender has just lost one, and the answers go to prekeys.
        let room = room(content.len(), false, 0);
        let chosen = lane.receipts.choose(lane.pair.receipts_floor, room.receipts);
        self.seal_bare(peer, key, None, (Kind::NeedReseal, content, ask), chosen, step);
    }

    /// An envelope that is no message: it is neither ordered, receipted nor sealed again.
    fn seal_bare(
        &mut self,
        peer: Peer,
        key: SealKey,
        offer: Option<KeyOffer>,
        (kind, content, ask): (Kind, Vec<u8>, Vec<ShortHash>),
        chosen: Option<crate::receipts::Chosen>,
        step: &mut Step<'_>,
    ) {
        let deposit = DepositId::from_bytes(step.random());
        let msg_id = MsgId::from_bytes(step.random());
        let conversation = ConversationId::from_bytes(step.random());
        let trace_id = TraceId::from_bytes(step.random());
        let incarnation = self.node.incarnation;
        let way = self.contacts.way(&peer.account);
        let lane = self.lane(peer);
        let receipts = chosen.as_ref().map(|chosen| (chosen.first, chosen.receipts.len()));
        if let Some((first, count)) = receipts {
            lane.receipts.sending(lane.pair.receipts_floor, first, count);
        }
        let announce = kind == Kind::Receipts && std::mem::take(&mut lane.announce);
        let receipts_seen = lane.pair.receipts_seen;
        lane.flights.insert(deposit, Flight { message: None, receipts, announce, ask, way, envelope: None });
        self.outbox.flights.insert(deposit, peer);
        let job = SealJob {
            deposit,
            peer,
            key,
            offer,
            incarnation,
            msg_id,
            conversation,
            order: None,
            sent_ms: step.now.wall_ms,
            expires_ms: step.now.wall_ms.saturating_add(DEFAULT_MESSAGE_LIFE_MS),
            kind,
            trace_id,
            hops: 0,
            wake_budget: 0,
            receipts: chosen.and_then(|chosen| batch(chosen.first, chosen.receipts)),
            receipts_seen,
            content,
            boot: false,
        };
        self.commands.push_back(Command::Seal(Box::new(job)));
    }

    /// What came of a [`Command::Seal`], in the same step.
    pub fn handle_sealed(&mut self, deposit: DepositId, sealed: Sealed, step: &mut Step<'_>) {
        self.begin(step);
        let Some(peer) = self.outbox.flights.get(&deposit).copied() else { return };
        let message = self
            .lanes
            .get(&peer)
            .and_then(|lane| lane.flights.get(&deposit))
            .and_then(|flight| flight.message);
        match sealed {
            Sealed::Done { envelope } => {
                let Some((_, msg_id)) = message else { return };
                let lane = self.lane(peer);
                if let Some(flight) = lane.flights.get_mut(&deposit) {
                    flight.envelope = Some(envelope);
                }
                let Some(copy) = self.outbox.live.get_mut(&(peer, msg_id)) else { return };
                copy.record.sealed.push(envelope);
                let oldest = (copy.record.sealed.len() > MAX_SEALED).then(|| copy.record.sealed.remove(0));
                let record = copy.record.clone();
                if let Some(oldest) = oldest {
                    self.ledger.delete(Table::Sealed, oldest.as_bytes());
                }
                self.ledger.put(Table::Sealed, envelope.as_bytes(), &SealedRecord { peer, msg_id });
                self.save_copy(&record);
            }
            Sealed::NoPrekey => {
                self.return_flight(deposit, step.now.mono);
                // The bundles at hand are no use for this device: fetch again, later.
                self.handle_prekeys(peer.account, false, step);
            }
            Sealed::NoDevice | Sealed::TooLong => {
                self.return_flight(deposit, step.now.mono);
                let reason = if sealed == Sealed::NoDevice { "device-removed" } else { "too-long" };
                if let Some((_, msg_id)) = message {
                    let event = TrailEvent {
                        reason: Some(reason.to_owned()),
                        ..TrailEvent::here(Stage::Refused, step.now.wall_ms)
                    };
                    self.state_copy(peer, msg_id, event, step);
                } else {
                    self.drop_bare(peer);
                }
            }
        }
    }

    /// Nothing but messages can be owed to a device that is gone.
    fn drop_bare(&mut self, peer: Peer) {
        if let Some(lane) = self.lanes.get_mut(&peer) {
            lane.announce = false;
            lane.ask.clear();
            lane.receipts.clear(peer, &mut lane.pair.receipts_floor, &mut self.ledger);
            lane.save(peer, &mut self.ledger);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penpal_protocol::envelope::{ENCAPSULATION_BYTES, HEADER_BYTES, TAG_BYTES};
    use penpal_protocol::ids::{
        DeviceId, Fingerprint, Incarnation, KeyId, ShortHash, Signature, XWingPublicKey,
    };
    use penpal_protocol::sealed::{ManifestRef, OfferedKey, Signed};

    fn widest_job(content: usize, kind: Kind) -> SealJob {
        let order = Order { seq: u64::MAX, prev_hash: ShortHash::from_bytes([9; 16]) };
        SealJob {
            deposit: DepositId::from_bytes([1; 16]),
            peer: Peer::new(Fingerprint::from_bytes([2; 16]), DeviceId::from_bytes([3; 16])),
            key: SealKey::Prekey,
            offer: None,
            incarnation: Incarnation::from_bytes([4; 8]),
            msg_id: MsgId::from_bytes([5; 16]),
            conversation: ConversationId::from_bytes([6; 16]),
            order: Some(order),
            sent_ms: u64::MAX,
            expires_ms: u64::MAX,
            kind,
            trace_id: TraceId::from_bytes([7; 16]),
            hops: u8::MAX,
            wake_budget: u8::MAX,
            receipts: None,
            receipts_seen: u64::MAX,
            content: vec![0; content],
            boot: false,
        }
    }

    fn parts(key: bool) -> crate::command::BodyParts {
        let manifest = ManifestRef { version: u64::MAX, hash: ShortHash::from_bytes([1; 16]) };
        crate::command::BodyParts {
            from: Fingerprint::from_bytes([8; 16]),
            from_device: DeviceId::from_bytes([9; 16]),
            manifest,
            peer_manifest: Some(manifest),
            next_key: key.then(|| OfferedKey {
                id: KeyId::from_bytes([1; 8]),
                key: XWingPublicKey::from_slice(&[1; 1216]).unwrap(),
                use_until_ms: u64::MAX,
            }),
        }
    }

    #[test]
    fn sizes_are_upper_bounds() {
        let bare = widest_job(70_000, Kind::Control).into_body(parts(false)).encode().len();
        assert!(bare <= BODY_BYTES + 70_000, "{bare}");
        let with_key = widest_job(70_000, Kind::Control).into_body(parts(true)).encode().len();
        assert!(with_key - bare <= OFFER_BYTES, "{}", with_key - bare);
        let pair = Signed { body: vec![0; 70_000], sig: Signature::from_bytes([0; 64]) }.encode().len();
        assert!(HEADER_BYTES + ENCAPSULATION_BYTES + TAG_BYTES + pair < ENVELOPE_BYTES + 70_000);
    }

    #[test]
    fn a_kilobyte_with_a_key_stays_in_the_smallest_envelope() {
        let shared = room(1100, true, 0);
        assert!(shared.offer && shared.receipts >= 100, "{shared:?}");
    }

    #[test]
    fn a_key_never_costs_a_larger_envelope() {
        for content in (0..70_000).step_by(13) {
            let with = room(content, true, 0);
            let fixed = ENVELOPE_BYTES + BODY_BYTES + content;
            let used = fixed + with.receipts + if with.offer { OFFER_BYTES } else { 0 };
            assert_eq!(ladder_step(used), ladder_step(fixed), "content {content}");
        }
    }
}
