//! Spools: what waits for a device, and the form of a row.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use minicbor::Encoder;
use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{InviteId, SlotId, SpoolEpoch};
use penpal_protocol::wire::{Delivery, Event, FrameKind, Redeemed};

use crate::error::Fault;
use crate::rows::{Change, Queue, Rows, Usage};

/// First byte of a row that is an envelope; the rest is the envelope.
const ROW_ENVELOPE: u8 = 1;
/// First byte of a row that says an invite was redeemed; then invite 16, and the sealed request.
const ROW_REDEEMED: u8 = 2;

/// The queue of a slot.
pub(crate) fn queue(slot: &SlotId) -> Queue {
    Queue(*slot.as_bytes())
}

/// Builds a row of an envelope.
pub(crate) fn envelope_row(envelope: &[u8]) -> Bytes {
    let mut row = Vec::with_capacity(1 + envelope.len());
    row.push(ROW_ENVELOPE);
    row.extend_from_slice(envelope);
    Bytes::from(row)
}

/// Builds a row that tells of a redeemed invite.
pub(crate) fn redeemed_row(invite: &InviteId, request: &[u8]) -> Bytes {
    Bytes::from([&[ROW_REDEEMED], invite.as_bytes().as_slice(), request].concat())
}

/// The event that a row is for its device, or `None` for a row that nobody wrote.
pub(crate) fn event(epoch: SpoolEpoch, seq: u64, row: &[u8]) -> Option<Event> {
    match row.split_first()? {
        (&ROW_ENVELOPE, envelope) => {
            Some(Event::Delivery(Delivery { epoch, seq, envelope: Blob::new(envelope.to_vec()).ok()? }))
        }
        (&ROW_REDEEMED, rest) => {
            let (invite, request) = rest.split_first_chunk::<16>()?;
            let invite = InviteId::from_bytes(*invite);
            Some(Event::Redeemed(Redeemed { epoch, seq, invite, request: Blob::new(request.to_vec()).ok()? }))
        }
        _ => None,
    }
}

/// The frame that a row is for its device: the payload of [`event`], with one copy less.
pub(crate) fn frame(epoch: SpoolEpoch, seq: u64, row: &[u8]) -> Option<(FrameKind, Bytes)> {
    let Some((&ROW_ENVELOPE, envelope)) = row.split_first() else {
        let event = event(epoch, seq, row)?;
        return Some((event.kind(), Bytes::from(event.encode())));
    };
    let mut out = Vec::with_capacity(envelope.len() + 32);
    let mut encoder = Encoder::new(&mut out);
    let written = encoder
        .map(3)
        .and_then(|e| e.u8(0)?.bytes(epoch.as_bytes())?.u8(1)?.u64(seq)?.u8(2)?.bytes(envelope))
        .map(|_| ());
    // The writer is a `Vec`, whose error type is uninhabited.
    debug_assert!(written.is_ok(), "encoding into memory failed");
    Some((FrameKind::Delivery, Bytes::from(out)))
}

/// How full the spools are, for slots in recent use, with the present step's additions.
#[derive(Debug)]
pub(crate) struct Spools {
    young: HashMap<SlotId, Usage>,
    old: HashMap<SlotId, Usage>,
    half: usize,
    /// Slots that this step adds to or takes from; read anew after it.
    touched: BTreeMap<SlotId, Touched>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touched {
    /// Only added to: what is remembered holds if the step happens.
    Added,
    /// Taken from: how much is known only to storage.
    Taken,
}

impl Spools {
    /// Remembers at most about `capacity` slots.
    pub(crate) fn new(capacity: usize) -> Self {
        let half = (capacity / 2).max(1);
        Self { young: HashMap::new(), old: HashMap::new(), half, touched: BTreeMap::new() }
    }

    /// What waits for a slot. Rows taken away in this step still count.
    pub(crate) fn usage(&mut self, slot: &SlotId, rows: &dyn Rows) -> Result<Usage, Fault> {
        self.entry(slot, rows).copied()
    }

    fn entry(&mut self, slot: &SlotId, rows: &dyn Rows) -> Result<&mut Usage, Fault> {
        if !self.young.contains_key(slot) {
            let usage = match self.old.remove(slot) {
                Some(usage) => usage,
                None => rows.usage(queue(slot))?,
            };
            // What this step has touched must not be forgotten before its end.
            if self.young.len() >= self.half && self.touched.is_empty() {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(*slot, usage);
        }
        Ok(self.young.entry(*slot).or_default())
    }

    /// Adds a row in this step and gives its number.
    pub(crate) fn append(
        &mut self,
        slot: &SlotId,
        row: Bytes,
        minute: u32,
        rows: &dyn Rows,
        changes: &mut Vec<Change>,
    ) -> Result<u64, Fault> {
        let usage = self.entry(slot, rows)?;
        usage.rows += 1;
        usage.bytes += row.len() as u64;
        usage.last_seq += 1;
        usage.oldest_minute.get_or_insert(minute);
        let seq = usage.last_seq;
        self.touched.entry(*slot).or_insert(Touched::Added);
        changes.push(Change::Append { queue: queue(slot), seq, minute, bytes: row });
        Ok(seq)
    }

    /// Notes that this step takes rows from a slot.
    pub(crate) fn taken(&mut self, slot: &SlotId) {
        self.touched.insert(*slot, Touched::Taken);
    }

    /// Forgets slots that were not used since the time before the last.
    pub(crate) fn age(&mut self) {
        if self.touched.is_empty() {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Slots in memory.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// The step happened.
    pub(crate) fn commit(&mut self) {
        self.settle(Touched::Taken);
    }

    /// The step did not happen.
    pub(crate) fn abort(&mut self) {
        self.settle(Touched::Added);
        self.touched.clear();
    }

    fn settle(&mut self, forget: Touched) {
        for (slot, touched) in std::mem::take(&mut self.touched) {
            if touched == forget || touched == Touched::Taken {
                self.young.remove(&slot);
                self.old.remove(&slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::MemRows;

    proptest! {
        #[test]
        fn frames_are_what_the_protocol_encodes(epoch in any::<[u8; 8]>(), seq in any::<u64>(), bytes in proptest::collection::vec(any::<u8>(), 0..5_000), redeemed in any::<bool>()) {
            let epoch = SpoolEpoch::from_bytes(epoch);
            let row = if redeemed { redeemed_row(&InviteId::from_bytes([3; 16]), &bytes) } else { envelope_row(&bytes) };
            let event = event(epoch, seq, &row).unwrap();
            let (kind, payload) = frame(epoch, seq, &row).unwrap();
            prop_assert_eq!(kind, event.kind());
            prop_assert_eq!(payload.to_vec(), event.encode());
            prop_assert_eq!(Event::decode(kind.number(), &payload).unwrap(), event);
        }
    }

    #[test]
    fn usage_follows_steps_that_happen_and_forgets_those_that_do_not() {
        let slot = SlotId::from_bytes([1; 16]);
        let mut rows = MemRows::new();
        let mut spools = Spools::new(4);
        let mut changes = Vec::new();
        for expected in 1..=3 {
            let seq = spools.append(&slot, envelope_row(&[0; 9]), 0, &rows, &mut changes).unwrap();
            assert_eq!(seq, expected);
        }
        rows.commit(std::mem::take(&mut changes));
        spools.commit();
        assert_eq!(
            spools.usage(&slot, &rows).unwrap(),
            Usage { rows: 3, bytes: 30, last_seq: 3, oldest_minute: Some(0) }
        );
        spools.append(&slot, envelope_row(&[0; 9]), 0, &rows, &mut changes).unwrap();
        spools.abort();
        assert_eq!(
            spools.usage(&slot, &rows).unwrap(),
            Usage { rows: 3, bytes: 30, last_seq: 3, oldest_minute: Some(0) }
        );
        rows.commit(vec![Change::Ack { queue: queue(&slot), up_to: 2 }]);
        spools.taken(&slot);
        spools.commit();
        assert_eq!(
            spools.usage(&slot, &rows).unwrap(),
            Usage { rows: 1, bytes: 10, last_seq: 3, oldest_minute: Some(0) }
        );
    }
}
