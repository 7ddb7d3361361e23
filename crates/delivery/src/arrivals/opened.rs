//! An envelope that opened: keys, receipts and its message.

use penpal_protocol::ids::MsgId;
use penpal_protocol::limits::MAX_CLOCK_AHEAD_MS;
use penpal_protocol::sealed::{Body, Content, Kind, Letter, Stage as StatedStage};

use super::{HeldReason, Opened, Outcome, Placement};
use crate::address::{MailKey, Mailbox, Peer};
use crate::contacts::Standing;
use crate::event::Event;
use crate::ledger::Table;
use crate::machine::Delivery;
use crate::receipts::Statement;
use crate::record::{MailRecord, MailState, Marks, ReceivedPart};
use crate::stage::{Stage, TrailEvent, Witness};
use crate::step::Step;

impl Delivery {
    /// `declined`: why its letter does not count here.
    pub(super) fn opened(
        &mut self,
        opened: Opened,
        declined: Option<String>,
        step: &mut Step<'_>,
    ) -> Outcome {
        let Opened { key, body, content, placement } = opened;
        let peer = Peer::new(body.from, body.from_device);
        let Some(standing) = self.contacts.standing(&peer.account) else {
            // The contact was removed while the envelope was being opened.
            self.events.push_back(Event::Foreign);
            return Outcome::Dropped;
        };
        self.keyring.used(key, peer, step.now, &mut self.ledger);
        let present = self.meet_incarnation(peer, &body, step);
        if present && let Some(offered) = &body.next_key {
            self.lane(peer);
            if let Some(lane) = self.lanes.get_mut(&peer) {
                lane.take_offer(peer, offered.clone(), &mut self.ledger);
            }
        }
        if let Some(seen) = body.receipts_seen.filter(|_| present) {
            self.confirm_receipts(peer, seen);
        }
        if let Some(batch) = &body.receipts {
            self.merge_receipts(peer, batch, present, step);
        }
        self.touch(peer);
        if standing == Standing::Blocked {
            return Outcome::Dropped;
        }
        match content {
            Content::Letter(letter) => {
                self.message(peer, present, &body, Some(&letter), placement, standing, declined, step)
            }
            Content::Control(_) => {
                let nowhere = Placement { mailbox: Mailbox::Desk, held: None, quiet: false };
                self.message(peer, present, &body, None, nowhere, Standing::Active, None, step)
            }
            Content::NeedReseal(need) => {
                self.reseal(peer, &need, step);
                Outcome::Taken
            }
            Content::Receipts => Outcome::Taken,
            Content::Presence(_) | Content::Sync(_) => Outcome::Dropped,
        }
    }

    /// Compares the peer's incarnation with the one known; returns whether the body is of the present one.
    fn meet_incarnation(&mut self, peer: Peer, body: &Body, step: &mut Step<'_>) -> bool {
        const MAX_EARLIER: usize = 4;
        let lane = self.lanes.entry(peer).or_default();
        let pair = &mut lane.pair;
        let known = pair.incarnation;
        if known == Some(body.incarnation) {
            return true;
        }
        if pair.earlier.contains(&body.incarnation) {
            return false;
        }
        // Places begin anew: what waits was sent before all that comes now, and is shown before it.
        self.give_up_gap(peer, step);
        let lane = self.lanes.entry(peer).or_default();
        let pair = &mut lane.pair;
        if let Some(earlier) = known {
            pair.earlier.push(earlier);
            if pair.earlier.len() > MAX_EARLIER {
                pair.earlier.remove(0);
            }
        }
        pair.incarnation = Some(body.incarnation);
        pair.seen_seq = 0;
        pair.seen_chain = super::NO_CHAIN;
        pair.holes.clear();
        if known.is_some() {
            lane.drop_offer(peer, &mut self.ledger);
            lane.save(peer, &mut self.ledger);
            self.events.push_back(Event::IncarnationChanged { peer });
            self.resend_receipted(peer, step);
            self.retry_waiting(peer, step);
        } else {
            lane.save(peer, &mut self.ledger);
        }
        true
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of it comes from one opened envelope, taken apart by its caller"
    )]
    fn message(
        &mut self,
        peer: Peer,
        present: bool,
        body: &Body,
        letter: Option<&Letter>,
        placement: Placement,
        standing: Standing,
        declined: Option<String>,
        step: &mut Step<'_>,
    ) -> Outcome {
        let now_ms = step.now.wall_ms;
        let key = MailKey::from_contact(body.msg_id, peer.account);
        let known: Option<MailRecord> = self.ledger.get(step.records, Table::Mail, &key.to_key());
        if let Some(known) = &known {
            if known.identity != body.identity_hash() {
                self.events.push_back(Event::IdReused { peer, msg_id: body.msg_id });
                return self.refuse(peer, body, "id-reused", now_ms);
            }
            if !revives(known, body.expires_ms) {
                self.owe_present_stage(peer, known);
                return Outcome::Duplicate;
            }
        }
        let expired = now_ms > body.expires_ms;
        let mut mail = record_of(peer, body, letter, now_ms);
        mail.short_len =
            known.map_or_else(|| self.short_len(&body.msg_id, step.records), |known| known.short_len);
        mail.ordinal = self.take_ordinal();
        let turn = self.turn(peer, present, body, step.now.mono);
        let mut received = ReceivedPart {
            mailbox: placement.mailbox,
            state: MailState::Unread,
            reason: None,
            mechanism: None,
            surfaced_ms: None,
            marks: Marks { gap: turn.gap, late: turn.late, ..Marks::default() },
            to_name: letter.and_then(|letter| letter.to.as_ref()).map(|to| to.name.as_str().to_owned()),
            hidden: false,
            quiet: placement.quiet.then_some(true),
            ends: None,
        };
        if expired {
            received.state = MailState::Expired;
            mail.received = Some(received);
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            self.owe_present_stage(peer, &mail);
            self.skip_turn(peer, &turn, step);
            return Outcome::Refused { reason: "expired".to_owned() };
        }
        let full = letter.is_some() && !placement.quiet && self.inbox.is_full_of(&peer.account, standing);
        if let Some(reason) = declined.or_else(|| full.then(|| "inbox-full".to_owned())) {
            (received.state, received.reason) = (MailState::Refused, Some(reason.clone()));
            mail.received = Some(received);
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            self.owe_present_stage(peer, &mail);
            self.skip_turn(peer, &turn, step);
            return Outcome::Refused { reason };
        }
        if letter.is_none() {
            received.state = MailState::Control;
            mail.received = Some(received);
            self.ledger.put(Table::Mail, &key.to_key(), &mail);
            self.owe_present_stage(peer, &mail);
            self.skip_turn(peer, &turn, step);
            return Outcome::Control { key };
        }
        let waits = placement.held == Some(HeldReason::RoomEpoch);
        let hold = if waits {
            placement.held
        } else if body.sent_ms > now_ms.saturating_add(MAX_CLOCK_AHEAD_MS) {
            Some(HeldReason::ClockAhead)
        } else if standing == Standing::OnProbation {
            Some(HeldReason::AwaitingPerson)
        } else {
            None
        };
        received.hidden = hold.is_some();
        received.reason = hold.or(placement.held).map(|held| held.as_str().to_owned());
        if placement.quiet && !received.hidden {
            received.state = MailState::History;
        }
        mail.received = Some(received);
        self.ledger.put_bytes(Table::Content, &key.to_key(), body.content.to_vec());
        self.ledger.put(Table::Mail, &key.to_key(), &mail);
        self.index_thread(&mail);
        self.place(&mail);
        self.owe_present_stage(peer, &mail);
        if hold.is_none() {
            self.heed_answer(&mail, step);
        }
        self.take_turn(peer, turn, &mail, step);
        self.heed_read_elsewhere(key, step);
        Outcome::Stored { key }
    }

    fn refuse(&mut self, peer: Peer, body: &Body, reason: &str, now_ms: u64) -> Outcome {
        let mut statement = Statement::new(body.msg_id, StatedStage::Refused, now_ms, body.expires_ms);
        statement.reason = Some(reason.to_owned());
        self.owe(peer, statement);
        Outcome::Refused { reason: reason.to_owned() }
    }

    /// What a reply that is shown here says of the message that it answers. One that is held back says nothing yet.
    pub(crate) fn heed_answer(&mut self, mail: &MailRecord, step: &mut Step<'_>) {
        let peer = mail.from.zip(mail.from_device).map(|(account, device)| Peer::new(account, device));
        if let Some((peer, answered)) = peer.zip(mail.reply_to).filter(|_| mail.kind == Kind::Reply) {
            self.answered(peer, answered, mail, step);
        }
    }

    /// A signed answer proves that the own message was answered.
    fn answered(&mut self, peer: Peer, answered: MsgId, reply: &MailRecord, step: &mut Step<'_>) {
        // Nothing where it did not go to that account.
        let Some(copy) = self.copy_stated_by(peer, answered, step) else { return };
        let event = TrailEvent {
            stage: Stage::Answered,
            at_ms: reply.stored_ms,
            by: Witness::Device,
            device: Some(peer),
            session: reply.from_session.as_ref().map(|session| session.name.as_str().to_owned()),
            mechanism: None,
            reason: None,
            reply: Some(reply.msg_id),
            signed: true,
        };
        self.state_copy(copy, answered, event, step);
        let stage = Stage::Answered;
        self.events.push_back(Event::Stage { msg_id: answered, stage, reply: Some(reply.key()) });
    }
}

/// Whether a message that was not taken is to be looked at again: its sender gave it a new life.
pub(crate) fn revives(known: &MailRecord, expires_ms: u64) -> bool {
    let failed = known
        .received
        .as_ref()
        .is_some_and(|received| matches!(received.state, MailState::Refused | MailState::Expired));
    failed && expires_ms > known.expires_ms
}

fn record_of(peer: Peer, body: &Body, letter: Option<&Letter>, now_ms: u64) -> MailRecord {
    MailRecord {
        msg_id: body.msg_id,
        from: Some(peer.account),
        from_device: Some(peer.device),
        conversation: body.conversation,
        kind: body.kind,
        sent_ms: body.sent_ms,
        expires_ms: body.expires_ms,
        trace_id: body.trace_id,
        hops: body.hops,
        wake_budget: body.wake_budget,
        short_len: 0,
        identity: body.identity_hash(),
        content_bytes: u32::try_from(body.content.len()).unwrap_or(u32::MAX),
        ordinal: 0,
        reply_to: letter.and_then(|letter| letter.reply_to),
        sent: None,
        received: None,
        subject: letter.and_then(|letter| letter.subject.as_ref()).map(|subject| subject.as_str().to_owned()),
        from_session: letter.and_then(|letter| letter.from.clone()),
        stored_ms: now_ms,
        chain: body.chain_hash(),
        room: letter.and_then(|letter| letter.room.as_ref()).map(|room| room.id),
    }
}
