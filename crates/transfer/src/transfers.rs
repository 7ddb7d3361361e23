//! All blobs on their way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use penpal_protocol::blob::PartSet;
use penpal_protocol::ids::BlobId;

use crate::job::{Direction, Job, Progress, Step, Trouble, Verdict};

/// Parts under way at once, over all transfers: a bound on memory, each part being 1 MiB.
pub const MAX_IN_FLIGHT: usize = 20;

/// Of these, how many may be under way as long as all goes well: enough to keep a connection busy while parts are sealed, stored and
/// acknowledged. The rest is for transfers that have none under way: none stands still because the relay of another is slow.
pub const MAX_PACED: usize = 16;

/// Parts under way at first. Over a slow link many at once would all take long, and all be lost when it ends.
pub const FIRST_IN_FLIGHT: usize = 4;

/// A part that took no longer says that one more may be under way; one that took as long as the second, that fewer should.
const PACE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));

/// What is to be done. Each command is answered by one report, unless the transfer is [cancelled](Transfers::cancel).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask what is there already: [`Transfers::handle_opened`].
    Open {
        /// Which transfer.
        blob: BlobId,
    },
    /// Move a part: [`Transfers::handle_moved`].
    Move {
        /// Which transfer.
        blob: BlobId,
        /// Which part, from 0.
        part: u32,
    },
    /// Look at the whole, all parts being there: [`Transfers::handle_finished`].
    Finish {
        /// Which transfer.
        blob: BlobId,
    },
}

/// How a transfer ended; the machine has forgotten it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is where it was to go.
    Done {
        /// Which.
        blob: BlobId,
    },
    /// It will not get there.
    Failed {
        /// Which.
        blob: BlobId,
        /// Why.
        trouble: Trouble,
    },
}

/// All transfers of a node, side by side, taking turns at parts.
///
/// Contract: after any `add` or `handle_*`, drain [`Self::poll_command`] and [`Self::poll_outcome`]; call
/// [`Self::handle_timeout`] when [`Self::poll_timeout`] is due. Reports about what is not under way are ignored.
#[derive(Debug)]
pub struct Transfers {
    jobs: BTreeMap<BlobId, (Direction, Job)>,
    /// Parts that may be under way now; a transfer that has none may have one beyond that.
    room: usize,
    /// When each part that is under way was begun.
    begun: BTreeMap<(BlobId, u32), Duration>,
    /// Whose turn it was last.
    turn: Option<BlobId>,
    outcomes: VecDeque<Outcome>,
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            jobs: BTreeMap::new(),
            room: FIRST_IN_FLIGHT,
            begun: BTreeMap::new(),
            turn: None,
            outcomes: VecDeque::new(),
        }
    }
}

impl Transfers {
    /// Begins a transfer of a blob with so many parts. One that is under way goes on.
    pub fn add(&mut self, blob: BlobId, direction: Direction, parts: u32, now: Duration) {
        let (_, job) = self.jobs.entry(blob).or_insert_with(|| (direction, Job::new(parts)));
        // Somebody waits for it: as good a reason to try as any.
        let _ = now;
        job.try_again();
    }

    /// Ends a transfer without an outcome.
    pub fn cancel(&mut self, blob: &BlobId) {
        self.jobs.remove(blob);
        self.begun.retain(|(of, _), _| of != blob);
    }

    /// How far a transfer is; `None` when there is none.
    #[must_use]
    pub fn progress(&self, blob: &BlobId) -> Option<Progress> {
        self.jobs.get(blob).map(|(_, job)| job.progress())
    }

    /// Transfers that are under way.
    pub fn active(&self) -> impl Iterator<Item = (BlobId, Direction)> {
        self.jobs.iter().map(|(blob, (direction, _))| (*blob, *direction))
    }

    /// What is there already, or why that cannot be known.
    pub fn handle_opened(&mut self, blob: BlobId, there: Result<PartSet, Trouble>, now: Duration) {
        self.report(blob, |job| job.opened(there, now));
    }

    /// What became of a part.
    pub fn handle_moved(&mut self, blob: BlobId, part: u32, outcome: Result<(), Trouble>, now: Duration) {
        if let Some(begun) = self.begun.remove(&(blob, part)) {
            self.keep_pace(outcome, now.saturating_sub(begun));
        }
        self.report(blob, |job| job.moved(part, outcome, now));
    }

    /// How many parts may be under way, by how the last one did.
    fn keep_pace(&mut self, outcome: Result<(), Trouble>, took: Duration) {
        self.room = match outcome {
            Ok(()) if took <= PACE.0 => self.room.saturating_add(1).min(MAX_PACED),
            Ok(()) if took >= PACE.1 => self.room.saturating_sub(1).max(1),
            Err(Trouble::Away) => (self.room / 2).max(1),
            Ok(()) | Err(_) => self.room,
        };
    }

    /// What became of the whole. After [`Trouble::Damaged`] nothing of it is left where it was put together.
    pub fn handle_finished(&mut self, blob: BlobId, outcome: Result<(), Trouble>, now: Duration) {
        self.report(blob, |job| job.finished(outcome, now));
    }

    /// There is reason to believe that relays can be reached: what waits is tried now.
    pub fn handle_online(&mut self) {
        for (_, job) in self.jobs.values_mut() {
            job.try_again();
        }
    }

    /// The time given by [`Self::poll_timeout`] has come; calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Duration) {
        for (_, job) in self.jobs.values_mut() {
            if job.timeout().is_some_and(|due| due <= now) {
                job.try_again();
            }
        }
    }

    /// When [`Self::handle_timeout`] is due, on the monotonic clock.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.jobs.values().filter_map(|(_, job)| job.timeout()).min()
    }

    /// The next thing to do, which counts as begun.
    pub fn poll_command(&mut self, now: Duration) -> Option<Command> {
        let flying: usize = self.jobs.values().map(|(_, job)| job.flying()).sum();
        let after: Vec<BlobId> = match self.turn {
            Some(last) => {
                let later = self.jobs.range(last..).map(|(blob, _)| *blob).filter(|blob| *blob != last);
                later.chain(self.jobs.range(..=last).map(|(blob, _)| *blob)).collect()
            }
            None => self.jobs.keys().copied().collect(),
        };
        for blob in after {
            let Some((_, job)) = self.jobs.get_mut(&blob) else { continue };
            let limit = if job.flying() == 0 { MAX_IN_FLIGHT } else { self.room };
            if let Some(step) = job.step(flying < limit) {
                self.turn = Some(blob);
                return Some(match step {
                    Step::Open => Command::Open { blob },
                    Step::Move(part) => {
                        self.begun.insert((blob, part), now);
                        Command::Move { blob, part }
                    }
                    Step::Finish => Command::Finish { blob },
                });
            }
        }
        None
    }

    /// The next transfer that ended.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    fn report(&mut self, blob: BlobId, with: impl FnOnce(&mut Job) -> Verdict) {
        let Some((_, job)) = self.jobs.get_mut(&blob) else { return };
        let outcome = match with(job) {
            Verdict::GoesOn => return,
            Verdict::Done => Outcome::Done { blob },
            Verdict::Failed(trouble) => Outcome::Failed { blob, trouble },
        };
        self.cancel(&blob);
        self.outcomes.push_back(outcome);
    }
}
