//! When to dial again: a pure state machine, without clock, randomness or sockets of its own.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::client::DialError;
use crate::clock::BootInstant;
use crate::close::{CloseCode, Lost};

/// Pauses and thresholds of [`Reconnect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconnectConfig {
    /// Least time between the starts of two dials, whatever happens. Default 250 ms.
    pub floor: Duration,
    /// Upper end of the first pause; it doubles with each failure. Default 1 s.
    pub first: Duration,
    /// Longest pause. Default 60 s.
    pub cap: Duration,
    /// A connection that lived this long ends the series of failures. Default 30 s.
    pub settled: Duration,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            floor: Duration::from_millis(250),
            first: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            settled: Duration::from_secs(30),
        }
    }
}

/// What a failure or loss means for the next pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossKind {
    /// Network or relay trouble: exponential backoff.
    Transient,
    /// The relay said no (wrong pin, refused, incompatible, another process has our identity): waiting will hardly
    /// help, so each pause is drawn up to the cap at once.
    Refused,
}

impl From<&Lost> for LossKind {
    fn from(lost: &Lost) -> Self {
        match lost {
            Lost::ClosedByPeer { code, .. } => (*code).into(),
            Lost::Violation { .. }
            | Lost::Restarted
            | Lost::TimedOut
            | Lost::ClosedHere
            | Lost::Environment => Self::Transient,
        }
    }
}

impl From<CloseCode> for LossKind {
    fn from(code: CloseCode) -> Self {
        match code {
            // Replaced and Clone: dialling at once would take the place back, and so on for ever.
            CloseCode::Refused | CloseCode::Violation | CloseCode::Replaced | CloseCode::Clone => {
                Self::Refused
            }
            CloseCode::Done
            | CloseCode::GoingAway
            | CloseCode::Busy
            | CloseCode::Internal
            | CloseCode::Other(_) => Self::Transient,
        }
    }
}

impl From<&DialError> for LossKind {
    fn from(error: &DialError) -> Self {
        match error {
            DialError::WrongKey { .. } | DialError::Incompatible { .. } => Self::Refused,
            DialError::Closed { code, .. } => (*code).into(),
            DialError::Refused { .. }
            | DialError::Broken { .. }
            | DialError::Stalled { .. }
            | DialError::NoAnswer { .. }
            | DialError::NoRoute { .. }
            | DialError::Socket { .. }
            | DialError::Tls
            | DialError::NoAddress
            | DialError::NotDialable { .. } => Self::Transient,
        }
    }
}

/// What the shell has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconnectCommand {
    /// Start a dial, dropping any dial still under way. A connection that exists stays until the new one is up or it
    /// is lost: then the shell closes the old one.
    Dial {
        /// Number of failures in a row before this dial, for the log.
        failures: u32,
    },
}

/// Where the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconnectState {
    /// Not started, or stopped.
    Stopped,
    /// Waiting for `until` before the next dial.
    Waiting {
        /// When it begins.
        until: BootInstant,
    },
    /// A dial is under way, without a connection.
    Dialing,
    /// Connected.
    Connected {
        /// Since when.
        since: BootInstant,
        /// Whether a dial for a replacement is under way or due.
        replacing: bool,
    },
}

/// Decides when to dial.
///
/// Contract: after every `handle_*` call, drain [`Self::poll_command`], then call [`Self::handle_timeout`] no later than
/// [`Self::poll_timeout`] says. `now` never goes back. `random` is a fresh uniform number for each call that takes one.
/// Report each dial's end exactly once, with [`Self::handle_connected`] or [`Self::handle_dial_failed`], except for a
/// dial dropped for a newer `Dial` command, whose end is not reported.
///
/// Whatever comes in, dials begin at least [`ReconnectConfig::floor`] apart, and while started and unconnected there is
/// always a dial under way or a timeout set.
#[derive(Debug)]
pub struct Reconnect {
    config: ReconnectConfig,
    state: ReconnectState,
    failures: u32,
    last_dial: Option<BootInstant>,
    /// When a replacement for a living connection is to be dialled.
    replace_at: Option<BootInstant>,
    command: Option<ReconnectCommand>,
}

impl Reconnect {
    /// Makes a stopped machine.
    pub fn new(config: ReconnectConfig) -> Self {
        Self {
            config,
            state: ReconnectState::Stopped,
            failures: 0,
            last_dial: None,
            replace_at: None,
            command: None,
        }
    }

    /// Where the machine stands.
    pub fn state(&self) -> ReconnectState {
        self.state
    }

    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Begins, with a dial as soon as the floor allows.
    pub fn start(&mut self, now: BootInstant) {
        if self.state == ReconnectState::Stopped {
            self.dial_soon(now);
        }
    }

    /// Ends; no command follows until [`Self::start`].
    pub fn stop(&mut self) {
        self.state = ReconnectState::Stopped;
        self.command = None;
        self.replace_at = None;
    }

    /// The dial succeeded.
    pub fn handle_connected(&mut self, now: BootInstant) {
        if self.state != ReconnectState::Stopped {
            self.state = ReconnectState::Connected { since: now, replacing: false };
            self.replace_at = None;
        }
    }

    /// The dial failed.
    pub fn handle_dial_failed(&mut self, kind: LossKind, now: BootInstant, random: u64) {
        match self.state {
            ReconnectState::Dialing => {
                self.failures = self.failures.saturating_add(1);
                self.wait(kind, now, random);
            }
            // The old connection still serves; if it does not, its own loss is reported.
            ReconnectState::Connected { since, .. } => {
                self.state = ReconnectState::Connected { since, replacing: self.replace_at.is_some() };
            }
            ReconnectState::Waiting { .. } | ReconnectState::Stopped => {}
        }
    }

    /// The connection is gone.
    pub fn handle_lost(&mut self, kind: LossKind, now: BootInstant, random: u64) {
        let ReconnectState::Connected { since, replacing } = self.state else { return };
        self.failures = if now - since >= self.config.settled { 0 } else { self.failures.saturating_add(1) };
        if replacing && self.replace_at.is_none() {
            // A dial for its successor is already under way.
            self.state = ReconnectState::Dialing;
        } else {
            self.replace_at = None;
            self.wait(kind, now, random);
        }
    }

    /// Addresses or routes changed: what was waited for may work now, what worked may be dead.
    pub fn handle_network_changed(&mut self, now: BootInstant) {
        self.redial(now);
    }

    /// The machine woke from suspend: the relay has very likely forgotten us.
    pub fn handle_resumed(&mut self, now: BootInstant) {
        self.redial(now);
    }

    /// When [`Self::handle_timeout`] is wanted, if at all.
    pub fn poll_timeout(&self) -> Option<BootInstant> {
        match self.state {
            ReconnectState::Waiting { until } => Some(until),
            ReconnectState::Connected { .. } => self.replace_at,
            ReconnectState::Dialing | ReconnectState::Stopped => None,
        }
    }

    /// Time has passed. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: BootInstant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match self.state {
            ReconnectState::Waiting { .. } => self.begin_dial(now),
            ReconnectState::Connected { .. } => {
                self.replace_at = None;
                self.command_dial(now);
            }
            ReconnectState::Dialing | ReconnectState::Stopped => {}
        }
    }

    /// Takes the next command.
    pub fn poll_command(&mut self) -> Option<ReconnectCommand> {
        self.command.take()
    }

    fn redial(&mut self, now: BootInstant) {
        match self.state {
            ReconnectState::Stopped => {}
            ReconnectState::Waiting { .. } | ReconnectState::Dialing => {
                // A new network deserves a new series.
                self.failures = 0;
                self.dial_soon(now);
            }
            ReconnectState::Connected { since, .. } => {
                self.state = ReconnectState::Connected { since, replacing: true };
                let earliest = self.earliest(now);
                if earliest <= now {
                    self.replace_at = None;
                    self.command_dial(now);
                } else {
                    self.replace_at = Some(earliest);
                }
            }
        }
    }

    fn earliest(&self, now: BootInstant) -> BootInstant {
        self.last_dial.map_or(now, |last| last + self.config.floor).max(now)
    }

    fn dial_soon(&mut self, now: BootInstant) {
        let earliest = self.earliest(now);
        if earliest <= now {
            self.begin_dial(now);
        } else {
            self.state = ReconnectState::Waiting { until: earliest };
            // A dial under way would be for the old network.
            self.command = None;
        }
    }

    fn begin_dial(&mut self, now: BootInstant) {
        self.state = ReconnectState::Dialing;
        self.command_dial(now);
    }

    fn command_dial(&mut self, now: BootInstant) {
        self.last_dial = Some(now);
        self.command = Some(ReconnectCommand::Dial { failures: self.failures });
    }

    /// Full jitter: uniform between the floor and a ceiling that doubles with each failure.
    fn wait(&mut self, kind: LossKind, now: BootInstant, random: u64) {
        let ceiling = match kind {
            LossKind::Refused => self.config.cap,
            LossKind::Transient => {
                let doublings = self.failures.saturating_sub(1).min(20);
                self.config.first.saturating_mul(1 << doublings).min(self.config.cap)
            }
        };
        let floor = self.config.floor;
        let span = u64::try_from(ceiling.saturating_sub(floor).as_nanos()).unwrap_or(u64::MAX);
        // Multiply and shift: uniform over the span, without the bias of a remainder.
        let part = (u128::from(random) * u128::from(span)) >> 64;
        let pause = floor + Duration::from_nanos(u64::try_from(part).unwrap_or(span));
        self.state = ReconnectState::Waiting { until: now + pause };
    }
}
