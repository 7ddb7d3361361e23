//! Which session is woken when, and by which rung.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use penpal_protocol::ids::{Fingerprint, SessionId};

/// Least time between two wakes of one session.
pub const SPACING: Duration = Duration::from_secs(60);

/// Wakes that one source may cause within [`HOUR`].
pub const WAKES_AN_HOUR: usize = 6;

/// The window of [`WAKES_AN_HOUR`].
pub const HOUR: Duration = Duration::from_secs(3600);

/// How long a rung may take until the session shows that it was woken; longer means that it failed. The terminal may take as long as
/// its person writes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Least time between a wake of which nothing came, such as one that a person's key interrupted, and the next.
const AFTER_NOTHING: Duration = Duration::from_secs(5);

/// How long a rung that failed is not tried again.
pub const REST: Duration = Duration::from_secs(600);

/// Sources whose wakes are counted, at most; the one that was quiet longest is forgotten first.
const MAX_SOURCES: usize = 4096;

/// Who may cause a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The person of this machine: not counted.
    Desk,
    /// Another session on this machine.
    Session(SessionId),
    /// A contact.
    Contact(Fingerprint),
}

/// A way to start a turn in an idle session, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// The agent's own local inbox.
    NativeInbox,
    /// The agent's own queue command.
    Queue,
    /// A plugin inside the agent.
    Plugin,
    /// A hook that waits in the background.
    RewakeHook,
    /// The terminal supervisor types.
    Terminal,
}

impl Rung {
    /// All of them, best first.
    pub const ALL: [Self; 5] =
        [Self::NativeInbox, Self::Queue, Self::Plugin, Self::RewakeHook, Self::Terminal];

    /// Its name in trails and lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NativeInbox => "native-inbox",
            Self::Queue => "queue",
            Self::Plugin => "plugin",
            Self::RewakeHook => "rewake-hook",
            Self::Terminal => "terminal",
        }
    }

    /// The rung of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.name() == name)
    }
}

/// What is known of a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It announced itself and was not used yet.
    Untried,
    /// The last wake by it worked.
    Proved,
    /// The last wake by it did not show.
    Failed {
        /// When it is tried again, on the monotonic clock.
        until: Duration,
    },
}

/// Names one wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WakeId(pub u64);

/// What became of a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A turn began with it.
    Woken,
    /// It did not.
    Failed,
    /// There was nothing to show any more, or it was given up for a good reason: no turn began and nothing is proved.
    Nothing,
}

/// What the shell has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Wake this session by this rung with all that waits for it; answered by [`Wakes::handle_outcome`].
    Wake {
        /// The session.
        session: SessionId,
        /// Names it in the outcome.
        wake: WakeId,
        /// How.
        rung: Rung,
    },
    /// Mail of this source waits although it calls for a wake: its wakes of this hour are used up. Said once until that changes.
    Hold {
        /// The session.
        session: SessionId,
        /// Whose mail.
        source: Source,
    },
}

/// A wake that is under way.
#[derive(Debug)]
struct UnderWay {
    wake: WakeId,
    rung: Rung,
    /// When it counts as failed.
    until: Option<Duration>,
    /// Who pays for it.
    charged: Vec<Source>,
    /// When the next attempt might have begun without it.
    before: Duration,
}

/// What is true of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// It may be woken: it is idle, and not muted by its person.
    pub ready: bool,
    /// The rungs that are there.
    pub rungs: BTreeSet<Rung>,
    /// Whose mail waits and calls for a wake.
    pub waiting: BTreeSet<Source>,
}

#[derive(Debug, Default)]
struct Session {
    facts: Facts,
    /// What is known of each, also of one that comes and goes with every turn.
    health: BTreeMap<Rung, Health>,
    held: BTreeSet<Source>,
    under_way: Option<UnderWay>,
    /// Rungs that the present attempt went through already.
    tried: BTreeSet<Rung>,
    /// When the next attempt may begin.
    next: Duration,
}

impl Session {
    fn health(&self, rung: Rung) -> Health {
        self.health.get(&rung).copied().unwrap_or(Health::Untried)
    }
}

/// All sessions that can be woken.
///
/// # How it is driven
///
/// One `handle_*`, then [`Wakes::poll_command`] until it returns `None`; [`Wakes::handle_timeout`] when [`Wakes::poll_timeout`] has
/// passed, harmless when early. Inputs are levels, not edges: the shell says what is true now as often as it likes.
///
/// # What always holds
///
/// At most one wake of a session is under way. An attempt begins at least [`SPACING`] after the last use of a rung, and may go down several rungs. A
/// source other than the desk causes at most [`WAKES_AN_HOUR`] attempts in [`HOUR`]. A session that is not ready is not woken. Nothing
/// is stored: after a start all counts begin anew.
#[derive(Debug, Default)]
pub struct Wakes {
    sessions: BTreeMap<SessionId, Session>,
    /// When each source caused wakes, oldest first.
    spent: BTreeMap<Source, VecDeque<Duration>>,
    commands: VecDeque<Command>,
    next: u64,
}

impl Wakes {
    /// A machine that knows no session.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is true of a session now. A wake under way by a rung that is gone failed; what is known of a rung is kept when it goes.
    pub fn handle_facts(&mut self, session: SessionId, facts: &Facts, now: Duration) {
        if *facts == Facts::default() && !self.sessions.contains_key(&session) {
            return;
        }
        let known = self.sessions.entry(session).or_default();
        known.held.retain(|source| facts.waiting.contains(source));
        known.facts.clone_from(facts);
        let gone =
            known.under_way.as_ref().filter(|wake| !facts.rungs.contains(&wake.rung)).map(|wake| wake.wake);
        if let Some(wake) = gone {
            self.handle_outcome(wake, Outcome::Failed, now);
        }
        self.decide(session, now);
    }

    /// What became of a wake; one that is not under way any more is nothing new. What follows from it is decided with the next facts, or
    /// when time passes.
    pub fn handle_outcome(&mut self, wake: WakeId, outcome: Outcome, now: Duration) {
        let found = self.sessions.values_mut().find_map(|known| {
            let under_way = known.under_way.take_if(|under_way| under_way.wake == wake)?;
            Some((known, under_way))
        });
        let Some((known, under_way)) = found else { return };
        match outcome {
            Outcome::Woken => {
                known.tried.clear();
                known.health.insert(under_way.rung, Health::Proved);
            }
            Outcome::Failed => {
                // A session that is at work by itself is not asked again; else the next rung is tried within the same attempt.
                known.tried.insert(under_way.rung);
                known.health.insert(under_way.rung, Health::Failed { until: now.saturating_add(REST) });
            }
            Outcome::Nothing => {
                known.tried.clear();
                known.next = under_way.before.max(now.saturating_add(AFTER_NOTHING));
                for source in under_way.charged {
                    if let Some(times) = self.spent.get_mut(&source) {
                        times.pop_back();
                    }
                }
            }
        }
    }

    /// A session is gone, or was merged into another.
    pub fn handle_gone(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Duration) {
        let late: Vec<WakeId> = self
            .sessions
            .values()
            .filter_map(|known| known.under_way.as_ref())
            .filter(|under_way| under_way.until.is_some_and(|until| until <= now))
            .map(|under_way| under_way.wake)
            .collect();
        for wake in late {
            self.handle_outcome(wake, Outcome::Failed, now);
        }
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.decide(session, now);
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Wakes::handle_timeout`] is due, on the monotonic clock.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.sessions.values().filter_map(|known| self.due(known)).min()
    }

    /// Whether a rung is there that is not known to fail.
    #[must_use]
    pub fn can_wake(&self, session: SessionId) -> bool {
        self.rungs(session).any(|(_, health)| usable(health))
    }

    /// The rungs of a session that are there, best first.
    pub fn rungs(&self, session: SessionId) -> impl Iterator<Item = (Rung, Health)> {
        let known = self.sessions.get(&session).into_iter();
        known.flat_map(|known| known.facts.rungs.iter().map(|rung| (*rung, known.health(*rung))))
    }

    /// The wake of a session that is under way.
    #[must_use]
    pub fn under_way(&self, session: SessionId) -> Option<(WakeId, Rung)> {
        let under_way = self.sessions.get(&session)?.under_way.as_ref()?;
        Some((under_way.wake, under_way.rung))
    }

    /// Sessions that are known here.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    fn has_budget(&self, source: Source, now: Duration) -> bool {
        self.free_at(source).is_none_or(|at| at <= now)
    }

    /// When a source may cause a wake again; `None` for now.
    fn free_at(&self, source: Source) -> Option<Duration> {
        let times = self.spent.get(&source)?;
        let full = times.len().checked_sub(WAKES_AN_HOUR)?;
        times.get(full).map(|at| at.saturating_add(HOUR))
    }

    fn due(&self, known: &Session) -> Option<Duration> {
        if let Some(under_way) = &known.under_way {
            return under_way.until;
        }
        if !known.facts.ready || known.facts.waiting.is_empty() || known.facts.rungs.is_empty() {
            return None;
        }
        let spaced = if known.tried.is_empty() { known.next } else { Duration::ZERO };
        let paid =
            known.facts.waiting.iter().map(|source| self.free_at(*source).unwrap_or_default()).min()?;
        let rested = known.facts.rungs.iter().map(|rung| match known.health(*rung) {
            Health::Untried | Health::Proved => Duration::ZERO,
            Health::Failed { until } => until,
        });
        Some(spaced.max(paid).max(rested.min()?))
    }

    fn decide(&mut self, session: SessionId, now: Duration) {
        let Some(known) = self.sessions.get(&session) else { return };
        if known.under_way.is_some() {
            return;
        }
        if !known.facts.ready || known.facts.waiting.is_empty() {
            self.rest(session, now);
            return;
        }
        // Going on down the ladder is part of an attempt that was paid for.
        let goes_on = !known.tried.is_empty();
        if now < known.next && !goes_on {
            return;
        }
        let (able, spent): (Vec<Source>, Vec<Source>) =
            known.facts.waiting.iter().partition(|source| goes_on || self.has_budget(**source, now));
        let told: Vec<Source> = spent.into_iter().filter(|source| !known.held.contains(source)).collect();
        let choice = known.facts.rungs.iter().copied().find(|rung| {
            let health = known.health(*rung);
            let rested = matches!(health, Health::Failed { until } if until <= now);
            (usable(health) || rested) && !known.tried.contains(rung)
        });
        let reachable = !known.facts.rungs.is_empty();
        if let Some(known) = self.sessions.get_mut(&session).filter(|_| reachable) {
            known.held.extend(told.iter().copied());
            self.commands.extend(told.into_iter().map(|source| Command::Hold { session, source }));
        }
        let Some(rung) = choice.filter(|_| !able.is_empty()) else {
            self.rest(session, now);
            return;
        };
        let charged: Vec<Source> =
            able.into_iter().filter(|source| *source != Source::Desk && !goes_on).collect();
        for source in &charged {
            self.charge(*source, now);
        }
        self.next += 1;
        let wake = WakeId(self.next);
        let until = (rung != Rung::Terminal).then(|| now.saturating_add(PATIENCE));
        if let Some(known) = self.sessions.get_mut(&session) {
            let before = std::mem::replace(&mut known.next, now.saturating_add(SPACING));
            known.held.retain(|source| !charged.contains(source));
            known.under_way = Some(UnderWay { wake, rung, until, charged, before });
        }
        self.commands.push_back(Command::Wake { session, wake, rung });
    }

    /// The attempt is over; a session of which nothing is left is forgotten.
    fn rest(&mut self, session: SessionId, now: Duration) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.tried.clear();
            let empty = known.facts.rungs.is_empty() && known.facts.waiting.is_empty() && known.next <= now;
            if empty {
                self.sessions.remove(&session);
            }
        }
    }

    fn charge(&mut self, source: Source, now: Duration) {
        let times = self.spent.entry(source).or_default();
        times.retain(|at| at.saturating_add(HOUR) > now);
        times.push_back(now);
        if self.spent.len() > MAX_SOURCES {
            let quiet = self.spent.iter().min_by_key(|(_, times)| times.back().copied().unwrap_or_default());
            if let Some(source) = quiet.map(|(source, _)| *source) {
                self.spent.remove(&source);
            }
        }
    }
}

fn usable(health: Health) -> bool {
    match health {
        Health::Untried | Health::Proved => true,
        Health::Failed { .. } => false,
    }
}
