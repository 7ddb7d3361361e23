//! What people and agents of a world were told, against which its end is held.

use std::collections::{BTreeMap, BTreeSet};

/// What whoever wrote a message was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is durable.
    Accepted,
    /// It was refused, and nothing of it exists.
    Denied,
    /// Nothing: the node died.
    Nothing,
}

/// One message that somebody tried to send.
#[derive(Debug, Clone)]
pub struct Written {
    /// Who.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// Its place among all of the world, in the order in which writing began.
    pub number: usize,
    /// What the writer was told.
    pub told: Told,
    /// Its id, when it was told.
    pub id: Option<String>,
    /// Whether its life is short, or clocks were wrong: it may expire.
    pub may_expire: bool,
    /// Its writer's node was put back to a time before it: that it was written may be forgotten.
    pub forgotten: bool,
    /// Its reader's node was put back to a time before it was there: it may be gone with what was lost.
    pub lost_by_reader: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Messages by the mark in their text.
    pub written: BTreeMap<String, Written>,
    /// Hashes of the files that went with messages, by mark.
    pub files: BTreeMap<String, String>,
    /// Marks that agents of each node were shown and that the node was told of, in order.
    pub shown: BTreeMap<usize, Vec<String>>,
    /// Pairs, smaller first, of which one removed or blocked the other: mail between them may be refused.
    pub parted: BTreeSet<(usize, usize)>,
    /// Nodes that were put back to an earlier state, or cloned, at some time.
    pub unsteady: BTreeSet<usize>,
    /// Nodes whose clock was wrong at some time.
    pub wrong_clock: BTreeSet<usize>,
    /// Whether a relay was put back to an earlier state.
    pub relay_restored: bool,
    /// What was found wrong.
    pub wrong: Vec<String>,
}

impl Ledger {
    /// Notes something wrong.
    pub fn blame(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    /// Whether the two of a pair were parted.
    #[must_use]
    pub fn are_parted(&self, a: usize, b: usize) -> bool {
        self.parted.contains(&(a.min(b), a.max(b)))
    }
}
