//! Stages of a message, and the forward-only merge of what is said about them.

use minicbor::{Decode, Encode};
use penpal_protocol::ids::MsgId;
use penpal_protocol::sealed::Stage as StatedStage;

use crate::address::Peer;

/// How far a message got. `docs/protocol.md` §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Stage {
    /// Did not get there before its end: this node's own conclusion, or stated by the recipient.
    #[n(1)]
    Expired,
    /// Not taken by the recipient or its relay; final.
    #[n(2)]
    Refused,
    /// Durable here.
    #[n(3)]
    Queued,
    /// Durable at the relay.
    #[n(4)]
    Relayed,
    /// Durable on the recipient's machine.
    #[n(5)]
    Delivered,
    /// Durable there and waiting for what the reason names.
    #[n(6)]
    Held,
    /// Handed to the agent's program or shown to a person.
    #[n(7)]
    Surfaced,
    /// Answered.
    #[n(8)]
    Answered,
}

impl Stage {
    /// The word for it in JSON and on the terminal.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
            Self::Held => "held",
            Self::Surfaced => "surfaced",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }

    /// Whether the message failed.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Refused | Self::Expired)
    }

    /// Whether the recipient's device has said what became of it.
    #[must_use]
    pub fn is_receipted(self) -> bool {
        matches!(self, Self::Delivered | Self::Held | Self::Surfaced | Self::Answered | Self::Refused)
    }

    /// Whether a statement of `next` moves a copy on that is at `self`.
    ///
    /// `refused` is final. `expired` gives way to every later statement of the recipient. Neither failure undoes that
    /// a message was surfaced, and `expired` does not undo that it was delivered.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Refused, _) => false,
            (Self::Expired, next) => next != Self::Expired && next != Self::Queued && next != Self::Relayed,
            (current, Self::Refused) => current < Self::Surfaced,
            (current, Self::Expired) => current < Self::Delivered,
            (current, next) => next > current,
        }
    }
}

impl From<StatedStage> for Stage {
    fn from(stated: StatedStage) -> Self {
        match stated {
            StatedStage::Delivered => Self::Delivered,
            StatedStage::Held => Self::Held,
            StatedStage::Surfaced => Self::Surfaced,
            StatedStage::Answered => Self::Answered,
            StatedStage::Refused => Self::Refused,
            StatedStage::Expired => Self::Expired,
        }
    }
}

/// One line of a message's trail.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TrailEvent {
    /// What was reached.
    #[n(0)]
    pub stage: Stage,
    /// When, Unix milliseconds, by the clock of whoever says so.
    #[n(1)]
    pub at_ms: u64,
    /// Who says so.
    #[n(2)]
    pub by: Witness,
    /// Device that says so; present for [`Witness::Device`] and for signed answers.
    #[n(3)]
    pub device: Option<Peer>,
    /// Session that it reached, by name.
    #[n(4)]
    pub session: Option<String>,
    /// How it was surfaced.
    #[n(5)]
    pub mechanism: Option<String>,
    /// Why it is held, refused or expired.
    #[n(6)]
    pub reason: Option<String>,
    /// The answer, where `stage` is answered.
    #[n(7)]
    pub reply: Option<MsgId>,
    /// Whether a device of the recipient signed it.
    #[n(8)]
    pub signed: bool,
}

/// Who states a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Witness {
    /// This node.
    #[n(1)]
    Here,
    /// The relay, by its answer to a deposit.
    #[n(2)]
    Relay,
    /// A device of the recipient.
    #[n(3)]
    Device,
}

impl TrailEvent {
    pub(crate) fn here(stage: Stage, at_ms: u64) -> Self {
        Self {
            stage,
            at_ms,
            by: Witness::Here,
            device: None,
            session: None,
            mechanism: None,
            reason: None,
            reply: None,
            signed: false,
        }
    }

    /// Whether both say the same about the same stage, at whatever time.
    fn same_statement(&self, other: &Self) -> bool {
        (self.stage, self.by, self.device, &self.session, &self.reason, self.reply)
            == (other.stage, other.by, other.device, &other.session, &other.reason, other.reply)
    }
}

/// Most lines kept for one copy; the later ones of a peer that states more are dropped.
const MAX_TRAIL_EVENTS: usize = 32;

/// Adds a line unless it says nothing new; returns whether it was added.
pub(crate) fn note(trail: &mut Vec<TrailEvent>, event: TrailEvent) -> bool {
    // A retried message may be queued or expire again; other lines are said once.
    let repeats = matches!(event.by, Witness::Here) && matches!(event.stage, Stage::Queued | Stage::Expired);
    let known = !repeats && trail.iter().any(|earlier| earlier.same_statement(&event));
    let add = !known && trail.len() < MAX_TRAIL_EVENTS;
    if add {
        // A receipt can overtake the relay's answer.
        let relay = matches!(event.by, Witness::Relay);
        let overtaken = |earlier: &TrailEvent| relay && matches!(earlier.by, Witness::Device);
        let at = trail.iter().position(overtaken).unwrap_or(trail.len());
        trail.insert(at, event);
    }
    add
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Stage; 8] = [
        Stage::Queued,
        Stage::Relayed,
        Stage::Delivered,
        Stage::Held,
        Stage::Surfaced,
        Stage::Answered,
        Stage::Refused,
        Stage::Expired,
    ];

    /// Rows are the present stage, columns the stated one, both in the order of `ALL`.
    const MOVES: [&str; 8] = [
        ".xxxxxxx", // queued
        "..xxxxxx", // relayed
        "...xxxx.", // delivered
        "....xxx.", // held
        ".....x..", // surfaced
        "........", // answered
        "........", // refused: final
        "..xxxxx.", // expired: gives way to the recipient
    ];

    #[test]
    fn stages_move_forward_only() {
        for (from, row) in ALL.into_iter().zip(MOVES) {
            for (to, moves) in ALL.into_iter().zip(row.chars()) {
                assert_eq!(from.may_become(to), moves == 'x', "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_trail_says_each_thing_once_and_has_an_end() {
        let mut trail = Vec::new();
        let held = |reason: &str| TrailEvent {
            by: Witness::Device,
            reason: Some(reason.to_owned()),
            ..TrailEvent::here(Stage::Held, 1)
        };
        assert!(note(&mut trail, held("a")));
        assert!(!note(&mut trail, TrailEvent { at_ms: 2, ..held("a") }));
        for number in 0..100 {
            note(&mut trail, held(&number.to_string()));
        }
        assert_eq!(trail.len(), MAX_TRAIL_EVENTS);
    }

    #[test]
    fn every_stage_has_a_word() {
        let words = ALL.map(Stage::as_str).join(" ");
        assert_eq!(words, "queued relayed delivered held surfaced answered refused expired");
    }

    #[test]
    fn only_what_a_retry_repeats_is_said_again() {
        let lines = |event: &TrailEvent| {
            let mut trail = Vec::new();
            note(&mut trail, event.clone());
            note(&mut trail, event.clone());
            trail.len()
        };
        for stage in ALL {
            let repeats = matches!(stage, Stage::Queued | Stage::Expired);
            assert_eq!(lines(&TrailEvent::here(stage, 1)), if repeats { 2 } else { 1 }, "{stage:?}");
            assert_eq!(
                lines(&TrailEvent { by: Witness::Device, ..TrailEvent::here(stage, 1) }),
                1,
                "{stage:?}"
            );
        }
    }

    #[test]
    fn a_receipt_that_overtook_the_relay_stands_behind_it() {
        let mut trail = vec![TrailEvent::here(Stage::Queued, 1)];
        note(&mut trail, TrailEvent { by: Witness::Device, ..TrailEvent::here(Stage::Delivered, 3) });
        note(&mut trail, TrailEvent { by: Witness::Relay, ..TrailEvent::here(Stage::Relayed, 4) });
        let stages: Vec<Stage> = trail.iter().map(|event| event.stage).collect();
        assert_eq!(stages, [Stage::Queued, Stage::Relayed, Stage::Delivered]);
    }
}
