//! The connections there are, and how far each has been sent its spool.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use penpal_protocol::ids::{AccountId, RunId, SlotId, SpoolEpoch, TransportPublicKey};

use crate::command::{AddressPrefix, ConnId};
use crate::limiter::Bucket;

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) peer: TransportPublicKey,
    pub(crate) prefix: AddressPrefix,
    /// Counted among the strangers.
    pub(crate) stranger: bool,
    pub(crate) requests: Bucket,
    /// Slot and run of its last `Hello`, unless that was an old or second copy of the device.
    pub(crate) hello: Option<(SlotId, RunId)>,
    pub(crate) receiving: Option<Receiving>,
}

/// Progress of a delivery stream.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) account: AccountId,
    pub(crate) slot: SlotId,
    pub(crate) epoch: SpoolEpoch,
    /// Last row sent.
    pub(crate) cursor: u64,
    /// Whether storage has no row beyond the cursor, so that a new one can be sent from memory.
    pub(crate) caught_up: bool,
    /// Rows sent and not acknowledged: number and bytes, ascending.
    pub(crate) in_flight: VecDeque<(u64, usize)>,
    pub(crate) in_flight_bytes: usize,
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: HashMap<ConnId, Conn>,
    /// Connections of each key, oldest first.
    by_peer: HashMap<TransportPublicKey, Vec<ConnId>>,
    by_prefix: HashMap<AddressPrefix, usize>,
    strangers: usize,
    /// Connections that said `Hello` for a slot and were not refused.
    by_slot: BTreeMap<SlotId, Vec<ConnId>>,
    /// The one of them that receives.
    receivers: HashMap<SlotId, ConnId>,
    /// Bytes sent and not acknowledged, on all connections.
    pub(crate) in_flight_bytes: usize,
}

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Entries in memory: what is known of connections, and rows under way on them.
    pub(crate) fn entries(&self) -> usize {
        let flying = self.all.values().filter_map(|conn| conn.receiving.as_ref());
        self.all.len()
            + self.by_peer.len()
            + self.by_prefix.len()
            + self.by_slot.len()
            + self.receivers.len()
            + flying.map(|receiving| receiving.in_flight.len()).sum::<usize>()
    }

    pub(crate) fn strangers(&self) -> usize {
        self.strangers
    }

    pub(crate) fn of_prefix(&self, prefix: &AddressPrefix) -> usize {
        self.by_prefix.get(prefix).copied().unwrap_or(0)
    }

    /// Connections of a key, oldest first.
    pub(crate) fn of_peer(&self, peer: &TransportPublicKey) -> &[ConnId] {
        self.by_peer.get(peer).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.all.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.all.get_mut(&id)
    }

    pub(crate) fn insert(&mut self, id: ConnId, conn: Conn) {
        self.by_peer.entry(conn.peer).or_default().push(id);
        *self.by_prefix.entry(conn.prefix).or_default() += 1;
        self.strangers += usize::from(conn.stranger);
        self.all.insert(id, conn);
    }

    /// Forgets a connection; the caller deals with what it was receiving.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.set_hello(id, None);
        self.stop_receiving(id);
        let conn = self.all.remove(&id)?;
        if let Some(of_peer) = self.by_peer.get_mut(&conn.peer) {
            of_peer.retain(|other| *other != id);
            if of_peer.is_empty() {
                self.by_peer.remove(&conn.peer);
            }
        }
        if let Some(count) = self.by_prefix.get_mut(&conn.prefix) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_prefix.remove(&conn.prefix);
            }
        }
        self.strangers -= usize::from(conn.stranger);
        Some(conn)
    }

    /// The key of this connection has an account now.
    pub(crate) fn no_stranger(&mut self, id: ConnId) {
        if let Some(conn) = self.all.get_mut(&id) {
            self.strangers -= usize::from(std::mem::take(&mut conn.stranger));
        }
    }

    /// Notes for which slot and run a connection speaks; gives what was noted before.
    pub(crate) fn set_hello(
        &mut self,
        id: ConnId,
        hello: Option<(SlotId, RunId)>,
    ) -> Option<(SlotId, RunId)> {
        let conn = self.all.get_mut(&id)?;
        let before = std::mem::replace(&mut conn.hello, hello);
        if let Some((slot, _)) = before
            && let Some(of_slot) = self.by_slot.get_mut(&slot)
        {
            of_slot.retain(|other| *other != id);
            if of_slot.is_empty() {
                self.by_slot.remove(&slot);
            }
        }
        if let Some((slot, _)) = hello {
            self.by_slot.entry(slot).or_default().push(id);
        }
        before
    }

    /// Connections that speak for a slot.
    pub(crate) fn of_slot(&self, slot: &SlotId) -> &[ConnId] {
        self.by_slot.get(slot).map_or(&[], Vec::as_slice)
    }

    /// Starts sending a slot's spool on a connection.
    pub(crate) fn start_receiving(&mut self, id: ConnId, receiving: Receiving) {
        self.stop_receiving(id);
        if let Some(conn) = self.all.get_mut(&id) {
            self.receivers.insert(receiving.slot, id);
            conn.receiving = Some(receiving);
        }
    }

    /// Stops sending; gives the account that received.
    pub(crate) fn stop_receiving(&mut self, id: ConnId) -> Option<AccountId> {
        let receiving = self.all.get_mut(&id)?.receiving.take()?;
        self.in_flight_bytes -= receiving.in_flight_bytes;
        if self.receivers.get(&receiving.slot) == Some(&id) {
            self.receivers.remove(&receiving.slot);
        }
        Some(receiving.account)
    }

    /// The connection that receives a slot's spool.
    pub(crate) fn receiver(&self, slot: &SlotId) -> Option<ConnId> {
        self.receivers.get(slot).copied()
    }

    /// Its progress.
    pub(crate) fn receiving_mut(&mut self, id: ConnId) -> Option<&mut Receiving> {
        self.all.get_mut(&id)?.receiving.as_mut()
    }

    /// Notes that a row was sent.
    pub(crate) fn sent(&mut self, id: ConnId, seq: u64, bytes: usize) {
        let Some(receiving) = self.all.get_mut(&id).and_then(|conn| conn.receiving.as_mut()) else { return };
        receiving.cursor = seq;
        receiving.in_flight.push_back((seq, bytes));
        receiving.in_flight_bytes += bytes;
        self.in_flight_bytes += bytes;
    }

    /// Notes that rows up to a number, but for `gaps` (ascending), were acknowledged.
    pub(crate) fn acknowledged(&mut self, id: ConnId, up_to: u64, gaps: &[u64]) {
        let Some(receiving) = self.all.get_mut(&id).and_then(|conn| conn.receiving.as_mut()) else { return };
        let before = receiving.in_flight_bytes;
        let mut kept = VecDeque::new();
        while let Some((seq, bytes)) = receiving.in_flight.pop_front() {
            if seq > up_to {
                receiving.in_flight.push_front((seq, bytes));
                break;
            }
            if gaps.binary_search(&seq).is_ok() {
                kept.push_back((seq, bytes));
            } else {
                receiving.in_flight_bytes -= bytes;
            }
        }
        while let Some(row) = kept.pop_back() {
            receiving.in_flight.push_front(row);
        }
        // Storage may hold them for a moment; on this connection they are not sent any more.
        let whole = gaps.first().map_or(up_to, |gap| up_to.min(gap.saturating_sub(1)));
        receiving.cursor = receiving.cursor.max(whole);
        self.in_flight_bytes -= before - receiving.in_flight_bytes;
    }
}

impl Conn {
    pub(crate) fn take_request(&mut self, rate: crate::config::Rate, now: Duration) -> bool {
        self.requests.take(rate, 1, now)
    }
}
