//! What was accepted and what came, of each pair; and the edge on which a pair writes now.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use penpal_protocol::ids::{Capability, EdgeId, SlotId};

use super::watch::PARTS;
use crate::figures::Samples;

/// Latencies kept of each part of the time.
const MAX_SAMPLES: usize = 200_000;

/// What is needed to write to somebody.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) edge: EdgeId,
    pub(super) cap: Capability,
    pub(super) slot: SlotId,
    /// Which edge of this pair it is.
    pub(super) version: u64,
}

/// One who writes and one who reads.
#[derive(Debug, Default)]
struct Pair {
    /// The newest edge.
    way: Option<Way>,
    /// Version of the edge that the writer uses, with nothing under way on an earlier one.
    used: u64,
    /// Envelopes accepted by the relay.
    accepted: u64,
    /// Envelopes that came, and the number of the next.
    arrived: u64,
}

/// Everything that happened so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) arrived: u64,
    pub(super) repeats: u64,
    pub(super) after_ack: u64,
    pub(super) refused: u64,
    pub(super) connections: u64,
    pub(super) failed: u64,
    pub(super) edges: u64,
    pub(super) invites: u64,
}

#[derive(Debug, Default)]
struct State {
    pairs: BTreeMap<(usize, usize), Pair>,
    counts: Counts,
    latency: Vec<Samples>,
    broken: bool,
}

/// Shared by everybody.
#[derive(Debug)]
pub(super) struct Ledger {
    people: usize,
    state: Mutex<State>,
}

impl Ledger {
    pub(super) fn new(people: usize) -> Self {
        let state = State { latency: vec![Samples::default(); PARTS], ..State::default() };
        Self { people, state: Mutex::new(state) }
    }

    /// A panic elsewhere ends the bench anyway.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who reads publishes an edge for who writes.
    pub(super) fn publish(&self, writer: usize, reader: usize, way: Way) {
        self.state().pairs.entry((writer, reader)).or_default().way = Some(way);
    }

    /// The newest edge of a pair.
    pub(super) fn way(&self, writer: usize, reader: usize) -> anyhow::Result<Way> {
        let state = self.state();
        state.pairs.get(&(writer, reader)).and_then(|pair| pair.way.clone()).context("an edge")
    }

    /// Who writes uses this edge from now on.
    pub(super) fn uses(&self, writer: usize, reader: usize, version: u64) {
        self.state().pairs.entry((writer, reader)).or_default().used = version;
    }

    /// The edge that who writes uses.
    pub(super) fn used(&self, writer: usize, reader: usize) -> u64 {
        self.state().pairs.get(&(writer, reader)).map_or(0, |pair| pair.used)
    }

    /// The relay accepted the next envelope of a pair.
    pub(super) fn accepted(&self, writer: usize, reader: usize, took: Duration, part: usize) {
        let mut state = self.state();
        state.pairs.entry((writer, reader)).or_default().accepted += 1;
        state.counts.accepted += 1;
        if let Some(samples) = state.latency.get_mut(part)
            && samples.len() < MAX_SAMPLES
        {
            samples.push(took);
        }
    }

    /// An envelope came that was not seen before: it must be the next of its pair.
    ///
    /// It may be there before its writer was told that it is accepted.
    pub(super) fn arrived(&self, writer: usize, reader: usize, number: u64) -> anyhow::Result<()> {
        anyhow::ensure!(writer < self.people, "an envelope of {writer}");
        let mut state = self.state();
        let Some(pair) = state.pairs.get_mut(&(writer, reader)) else {
            bail!("{reader} got an envelope of {writer}, who does not write to them");
        };
        anyhow::ensure!(
            number == pair.arrived,
            "{reader} got envelope {number} of {writer}, {} was next",
            pair.arrived
        );
        pair.arrived += 1;
        state.counts.arrived += 1;
        Ok(())
    }

    /// Something came that must not come.
    pub(super) fn break_off(&self) {
        self.state().broken = true;
    }

    /// Whether it did.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Counts something.
    pub(super) fn count(&self, what: impl FnOnce(&mut Counts)) {
        what(&mut self.state().counts);
    }

    /// Whether everything that was accepted for somebody came.
    pub(super) fn has_all(&self, reader: usize) -> bool {
        let state = self.state();
        state.pairs.iter().filter(|((_, to), _)| *to == reader).all(|(_, pair)| pair.accepted == pair.arrived)
    }

    /// All counts.
    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// From a deposit to its answer, for each part of the time.
    pub(super) fn latency(&self) -> Vec<Samples> {
        self.state().latency.clone()
    }
}
