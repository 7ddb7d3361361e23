//! One blob on its way.

use std::collections::BTreeSet;
use std::time::Duration;

use penpal_protocol::blob::PartSet;

/// Shortest and longest pause after a try that failed.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Tries at a part, or at the whole, that may turn out damaged: a part may have met a bad moment of a disk, a relay that alters parts will
/// do so again.
const DAMAGED_TRIES: u32 = 3;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To a relay.
    Up,
    /// From a relay.
    Down,
}

/// Why something did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// The relay cannot be reached, or is busy or full: tried again.
    Away,
    /// What came is not what was sealed: tried again a few times.
    Damaged,
    /// The relay does not take it, and will not: the reason was told to whoever reported it.
    Refused,
    /// The relay has no such blob, or shows it to nobody who asks like this.
    Gone,
    /// The content is not here any more.
    SourceGone,
    /// The disk here is full.
    DiskFull,
}

impl Trouble {
    fn passes(self) -> bool {
        self == Self::Away
    }
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Parts that are moved.
    pub done: u32,
    /// Parts that there are.
    pub parts: u32,
    /// Whether it waits for the relay.
    pub waits: bool,
}

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is asked what is there already.
    Opening,
    /// Parts move.
    Moving,
    /// All parts are there; the whole is looked at.
    Finishing,
    /// A try failed; the next one begins then, on the monotonic clock, once nothing of this one is under way.
    Waiting(Duration),
}

/// What is to be done for a transfer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Open,
    Move(u32),
    Finish,
}

/// What a report makes of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoesOn,
    Done,
    Failed(Trouble),
}

#[derive(Debug)]
pub(crate) struct Job {
    parts: u32,
    state: State,
    there: PartSet,
    /// Parts below this one are there or under way, or come back into `again`.
    next: u32,
    again: BTreeSet<u32>,
    flying: BTreeSet<u32>,
    failures: u32,
    damaged: u32,
    /// The step of `state` was handed out.
    asked: bool,
}

impl Job {
    pub(crate) fn new(parts: u32) -> Self {
        Self {
            parts,
            state: State::Opening,
            there: PartSet::default(),
            next: 0,
            again: BTreeSet::new(),
            flying: BTreeSet::new(),
            failures: 0,
            damaged: 0,
            asked: false,
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        let waits = matches!(self.state, State::Waiting(_));
        Progress { done: self.there.len(), parts: self.parts, waits }
    }

    pub(crate) fn flying(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        match self.state {
            State::Waiting(until) if self.flying.is_empty() => Some(until),
            State::Waiting(_) | State::Opening | State::Moving | State::Finishing => None,
        }
    }

    /// The next step, which counts as begun. `may_fly` says whether another part may be under way.
    pub(crate) fn step(&mut self, may_fly: bool) -> Option<Step> {
        match self.state {
            State::Opening if !self.asked => {
                self.asked = true;
                Some(Step::Open)
            }
            State::Finishing if !self.asked => {
                self.asked = true;
                Some(Step::Finish)
            }
            State::Moving if may_fly => {
                let part = self.next_part()?;
                self.flying.insert(part);
                Some(Step::Move(part))
            }
            State::Opening | State::Finishing | State::Moving | State::Waiting(_) => None,
        }
    }

    fn next_part(&mut self) -> Option<u32> {
        if let Some(part) = self.again.pop_first() {
            return Some(part);
        }
        while self.next < self.parts {
            let part = self.next;
            self.next += 1;
            if !self.there.contains(part) {
                return Some(part);
            }
        }
        None
    }

    pub(crate) fn opened(&mut self, there: Result<PartSet, Trouble>, now: Duration) -> Verdict {
        if self.state != State::Opening || !self.asked {
            return Verdict::GoesOn;
        }
        match there {
            Ok(there) => {
                self.there = there;
                self.next = 0;
                self.again.clear();
                self.enter(State::Moving);
                self.finish_when_whole();
                Verdict::GoesOn
            }
            Err(trouble) => self.failed(trouble, now),
        }
    }

    pub(crate) fn moved(&mut self, part: u32, outcome: Result<(), Trouble>, now: Duration) -> Verdict {
        if !self.flying.remove(&part) {
            return Verdict::GoesOn;
        }
        match outcome {
            Ok(()) => {
                self.there.insert(part);
                self.failures = 0;
                self.finish_when_whole();
                Verdict::GoesOn
            }
            Err(Trouble::Damaged) => {
                self.damaged += 1;
                if self.damaged >= DAMAGED_TRIES {
                    return Verdict::Failed(Trouble::Damaged);
                }
                self.again.insert(part);
                Verdict::GoesOn
            }
            // Others of the same try failed before: it is one failure.
            Err(trouble) if trouble.passes() && matches!(self.state, State::Waiting(_)) => Verdict::GoesOn,
            Err(trouble) => self.failed(trouble, now),
        }
    }

    pub(crate) fn finished(&mut self, outcome: Result<(), Trouble>, now: Duration) -> Verdict {
        if self.state != State::Finishing || !self.asked {
            return Verdict::GoesOn;
        }
        match outcome {
            Ok(()) => Verdict::Done,
            Err(Trouble::Damaged) => {
                self.damaged += 1;
                if self.damaged >= DAMAGED_TRIES {
                    return Verdict::Failed(Trouble::Damaged);
                }
                // Nothing of it can be trusted; whoever reports has forgotten it.
                self.there = PartSet::default();
                self.enter(State::Opening);
                Verdict::GoesOn
            }
            Err(trouble) => self.failed(trouble, now),
        }
    }

    /// The pause is over, or there is reason to believe that the relay is there.
    pub(crate) fn try_again(&mut self) {
        if matches!(self.state, State::Waiting(_)) && self.flying.is_empty() {
            self.enter(State::Opening);
        }
    }

    fn failed(&mut self, trouble: Trouble, now: Duration) -> Verdict {
        if !trouble.passes() {
            return Verdict::Failed(trouble);
        }
        let pause = RETRY.0.saturating_mul(1 << self.failures.min(16)).min(RETRY.1);
        self.failures = self.failures.saturating_add(1);
        self.enter(State::Waiting(now.saturating_add(pause)));
        Verdict::GoesOn
    }

    fn finish_when_whole(&mut self) {
        if self.state == State::Moving && self.there.len() == self.parts {
            self.enter(State::Finishing);
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.asked = false;
    }
}
