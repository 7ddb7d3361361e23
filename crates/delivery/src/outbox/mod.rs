//! The outbox: copies that are owed, their stages, retry and expiry.
//!
//! A *copy* is one message for one device. Copies without a receipt are in memory; those receipted less than 48 hours ago
//! are rows of [`Table::Outbox`], older and failed ones rows of [`Table::Copy`].

mod accept;
mod connection;
mod deposit;
mod dismiss;
mod elsewhere;
mod expiry;
mod files;
mod pump;
mod report;
mod reseal;
mod seal;
mod stages;
mod withdraw;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::{DepositId, Fingerprint, MsgId, ShortHash};
use penpal_protocol::limits::{DUPLICATE_MARK_GRACE_MS, HOUR_MS};
use penpal_protocol::time::Now;

use crate::address::Peer;
use crate::lane::Place;
use crate::machine::Delivery;
use crate::record::{CopyRecord, MailRecord};
use crate::stage::Stage;
use crate::step::Step;

pub use accept::{Accepted, Destination, NewMessage, SendError};
pub use dismiss::{DismissError, RetryError};
pub use elsewhere::SentElsewhere;
pub use report::{CopyReport, OutboxEntry, StageReport};
pub(crate) use stages::copy_key;

/// First wait for a receipt after a deposit; doubles with each.
const FIRST_RETRY_MS: u64 = HOUR_MS;

/// Longest wait for a receipt after a deposit.
const MAX_RETRY_MS: u64 = 6 * HOUR_MS;

/// Wait for a receipt after a device of the recipient came up.
const EDGE_UP_RETRY: Duration = Duration::from_secs(120);

/// Why a copy waits, and in the end was refused, for a contact whose relay takes nothing.
const GONE: &str = "gone";

/// How long a receipted copy can still be sealed again, for a recipient that was restored from a backup.
pub(crate) const KEEP_RECEIPTED_MS: u64 = DUPLICATE_MARK_GRACE_MS;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    live: BTreeMap<(Peer, MsgId), LiveCopy>,
    /// Ends of live copies, soonest first.
    expiries: BTreeSet<(u64, Peer, MsgId)>,
    /// Lane of every deposit without answer.
    flights: BTreeMap<DepositId, Peer>,
    /// Messages that wait for their files to be at the relay.
    held: BTreeSet<MsgId>,
    /// Own messages that failed and were not dismissed.
    pub dead: BTreeSet<MsgId>,
    /// Envelopes to ask for, per contact.
    pub unreadable: BTreeMap<Fingerprint, BTreeSet<ShortHash>>,
    /// When the next request to seal again may be due.
    ask_at: Option<Duration>,
}

/// A copy that is owed.
#[derive(Debug)]
struct LiveCopy {
    record: CopyRecord,
    boot: bool,
    attempt: Attempt,
}

/// Where the next try of a copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// To be sealed; since when.
    Ready(Duration),
    Flying(DepositId),
    Waiting(Duration),
}

impl LiveCopy {
    fn place(&self) -> Place {
        (self.record.ordinal, self.record.msg_id)
    }
}

/// How long after deposit number `deposits` the next try is made.
fn retry_after(deposits: u32) -> Duration {
    let doublings = deposits.saturating_sub(1).min(8);
    Duration::from_millis(FIRST_RETRY_MS.saturating_mul(1 << doublings).min(MAX_RETRY_MS))
}

impl Outbox {
    pub(crate) fn next_expiry_ms(&self) -> Option<u64> {
        self.expiries.first().map(|(at, _, _)| *at)
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.ask_at
    }

    /// The time of a waiting copy came.
    pub(crate) fn ready(&mut self, peer: Peer, msg_id: MsgId, now: Duration) {
        if let Some(copy) = self.live.get_mut(&(peer, msg_id)) {
            copy.attempt = Attempt::Ready(now);
        }
    }

    /// Copies that are owed, by message.
    pub(crate) fn live_messages(&self) -> BTreeSet<MsgId> {
        self.live.keys().map(|(_, msg_id)| *msg_id).collect()
    }
}

impl Delivery {
    /// Puts a copy into its lane, unless it needs nothing any more.
    pub(crate) fn restore_copy(&mut self, record: CopyRecord, mail: &MailRecord, now: Now) {
        if record.peer == Peer::HERE
            || (record.stage.is_receipted() || record.stage.is_failure()) && !record.again
        {
            return;
        }
        let attempt = if record.deposits == 0 || record.again {
            Attempt::Ready(now.mono)
        } else {
            let since = Duration::from_millis(now.wall_ms.saturating_sub(record.last_deposit_ms));
            Attempt::Waiting(now.mono.saturating_add(retry_after(record.deposits).saturating_sub(since)))
        };
        self.enliven(record, mail, attempt);
    }

    fn enliven(&mut self, record: CopyRecord, mail: &MailRecord, attempt: Attempt) {
        let (peer, msg_id) = (record.peer, record.msg_id);
        self.deaden(peer, msg_id);
        self.outbox.expiries.insert((record.expires_ms, peer, msg_id));
        let boot = mail.sent.as_ref().is_some_and(|sent| sent.boot);
        let copy = LiveCopy { record, boot, attempt };
        let place = copy.place();
        self.outbox.live.insert((peer, msg_id), copy);
        let lane = self.lane(peer);
        match attempt {
            Attempt::Waiting(at) => {
                lane.waiting.insert((at, place));
            }
            Attempt::Ready(_) | Attempt::Flying(_) => {
                lane.ready.insert(place);
            }
        }
        self.touch(peer);
    }

    /// Takes a copy out of its lane; nothing more is sent of it.
    fn deaden(&mut self, peer: Peer, msg_id: MsgId) -> Option<CopyRecord> {
        let copy = self.outbox.live.remove(&(peer, msg_id))?;
        self.outbox.expiries.remove(&(copy.record.expires_ms, peer, msg_id));
        let place = copy.place();
        let lane = self.lane(peer);
        lane.ready.remove(&place);
        if let Attempt::Waiting(at) = copy.attempt {
            lane.waiting.remove(&(at, place));
        }
        self.touch(peer);
        Some(copy.record)
    }

    /// Tries every copy that waits for a receipt of this device at once.
    pub(crate) fn retry_waiting(&mut self, peer: Peer, step: &Step<'_>) {
        let Some(lane) = self.lanes.get_mut(&peer) else { return };
        for (_, place) in std::mem::take(&mut lane.waiting) {
            lane.ready.insert(place);
            self.outbox.ready(peer, place.1, step.now.mono);
        }
        self.touch(peer);
    }

    pub(crate) fn is_live(&self, peer: Peer, msg_id: MsgId) -> bool {
        self.outbox.live.contains_key(&(peer, msg_id))
    }

    /// Whether a copy still has something to send.
    fn is_owed(stage: Stage) -> bool {
        matches!(stage, Stage::Queued | Stage::Relayed)
    }
}
