//! Whether a session is alive, what it is doing, and how it can be reached.

use std::time::Duration;

use penpal_protocol::ids::SessionId;
use penpal_protocol::sealed::{Reach, SessionState};
use penpal_protocol::time::Now;

use crate::command::Command;
use crate::error::UnknownSession;
use crate::input::{DeliveryMode, ProcessModel, Sign};
use crate::lease::ENDED_NAME_LIFE_MS;
use crate::machine::Sessions;
use crate::record::SessionRecord;

/// How long a session without a process of its own counts as live after a sign: 10 minutes. Then it is `unknown`.
pub const SHARED_SILENCE: Duration = Duration::from_secs(10 * 60);

/// How long a session without a process of its own may be silent before it counts as ended: 24 hours.
///
/// Until then a person may simply be away, and its name is not given to another.
pub const ENDED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an agent without hooks counts as busy after a call: it calls within turns, and nothing says when they end.
const CALL_TURN: Duration = Duration::from_secs(30);

/// Whether a turn runs, as hooks told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Busy,
    Idle,
}

/// A local session: its record, and what is not stored.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) record: SessionRecord,
    turn: Option<Turn>,
    /// A hook reported turns, so calls need not stand in for them.
    hooked: bool,
    last_call: Option<Duration>,
    last_sign: Option<Duration>,
    pub(crate) reach: Option<Reach>,
    pub(crate) state: SessionState,
    pub(crate) since_ms: u64,
    /// When the last sign came, Unix milliseconds; 0 for none since the start.
    pub(crate) seen_ms: u64,
    /// Since when it is without signs, for those that end by silence.
    silent_since: Option<Duration>,
}

impl Local {
    pub(crate) fn new(record: SessionRecord) -> Self {
        let (state, since_ms) = match record.ended_ms {
            Some(ended_ms) => (SessionState::Ended, ended_ms),
            None => (SessionState::Unknown, record.created_ms),
        };
        Self {
            record,
            turn: None,
            hooked: false,
            last_call: None,
            last_sign: None,
            reach: None,
            state,
            since_ms,
            seen_ms: 0,
            silent_since: None,
        }
    }

    pub(crate) fn ended(&self) -> bool {
        self.record.ended_ms.is_some()
    }

    /// No agent's id yet.
    pub(crate) fn provisional(&self) -> bool {
        self.record.conversation.is_none() && self.record.model != ProcessModel::ByHand
    }

    fn lives_by_process(&self) -> bool {
        self.record.model == ProcessModel::OnePerConversation && !self.record.processes.is_empty()
    }

    /// Live by signs alone.
    fn lives_by_signs(&self) -> bool {
        match self.record.model {
            ProcessModel::ByHand => false,
            ProcessModel::OnePerConversation | ProcessModel::Shared => !self.lives_by_process(),
        }
    }

    fn state_at(&self, mono: Duration) -> SessionState {
        if self.ended() {
            return SessionState::Ended;
        }
        if self.record.model == ProcessModel::ByHand {
            return SessionState::Idle;
        }
        let heard = self.last_sign.is_some_and(|at| mono < at.saturating_add(SHARED_SILENCE));
        if !self.lives_by_process() && !heard {
            return SessionState::Unknown;
        }
        let calling = self.last_call.is_some_and(|at| mono < at.saturating_add(CALL_TURN));
        match self.turn {
            Some(Turn::Busy) => SessionState::Busy,
            Some(Turn::Idle) if calling && !self.hooked => SessionState::Busy,
            Some(Turn::Idle) => SessionState::Idle,
            None => SessionState::Unknown,
        }
    }

    pub(crate) fn in_turn(&self) -> bool {
        !self.ended() && self.turn == Some(Turn::Busy)
    }

    pub(crate) fn refresh_state(&mut self, now: Now) {
        if self.silent_since.is_none() {
            self.silent_since = Some(now.mono);
        }
        let state = self.state_at(now.mono);
        if state != self.state {
            self.state = state;
            self.since_ms = self.record.ended_ms.unwrap_or(now.wall_ms);
        }
    }

    /// How it can be reached, never better than what is true.
    pub(crate) fn reach(&self) -> Reach {
        if self.provisional() || self.ended() {
            return Reach::Manual;
        }
        let probed = self.reach.unwrap_or(Reach::Manual);
        match self.record.mode {
            DeliveryMode::Wake => probed,
            DeliveryMode::Quiet => probed.max(Reach::NextPrompt),
            DeliveryMode::Off => Reach::Manual,
        }
    }

    /// Whether contacts are told of it.
    pub(crate) fn announced(&self) -> bool {
        let unwatched = self.record.headless && self.record.origin == crate::record::NameOrigin::Place;
        !self.record.hidden && !self.provisional() && !unwatched
    }

    /// When something about it changes by itself.
    pub(crate) fn deadline(&self, now: Now) -> Option<Duration> {
        if let Some(ended_ms) = self.record.ended_ms {
            let left = ended_ms.saturating_add(ENDED_NAME_LIFE_MS).saturating_sub(now.wall_ms);
            return Some(now.mono.saturating_add(Duration::from_millis(left)));
        }
        let mut deadlines = Vec::new();
        if self.lives_by_signs() {
            deadlines.extend(self.last_sign.map(|at| at.saturating_add(SHARED_SILENCE)));
            deadlines.extend(self.silent_since.map(|at| at.saturating_add(ENDED_AFTER)));
        }
        if !self.hooked {
            deadlines.extend(self.last_call.map(|at| at.saturating_add(CALL_TURN)));
        }
        deadlines.into_iter().filter(|at| *at > now.mono).min()
    }

    fn silent_too_long(&self, mono: Duration) -> bool {
        let silent = self.silent_since.is_some_and(|at| mono >= at.saturating_add(ENDED_AFTER));
        !self.ended() && self.lives_by_signs() && silent
    }

    fn kept_long_enough(&self, wall_ms: u64) -> bool {
        self.record.ended_ms.is_some_and(|at| wall_ms >= at.saturating_add(ENDED_NAME_LIFE_MS))
    }

    pub(crate) fn heard(&mut self, now: Now) {
        self.last_sign = Some(now.mono);
        self.silent_since = Some(now.mono);
        self.seen_ms = now.wall_ms;
        self.turn = self.turn.or(Some(Turn::Idle));
    }
}

fn revives(sign: Sign) -> bool {
    match sign {
        Sign::Start | Sign::Prompt | Sign::Tool | Sign::Call => true,
        Sign::Stop | Sign::Seen => false,
    }
}

impl Sessions {
    pub(crate) fn sign(&mut self, session: SessionId, sign: Sign, now: Now) -> Result<(), UnknownSession> {
        let session = self.canonical(session).ok_or(UnknownSession)?;
        let local = self.local.get_mut(&session).ok_or(UnknownSession)?;
        if local.ended() && !revives(sign) {
            return Ok(());
        }
        local.heard(now);
        match sign {
            Sign::Start => local.hooked = true,
            Sign::Prompt | Sign::Tool => {
                local.hooked = true;
                local.turn = Some(Turn::Busy);
            }
            Sign::Stop => {
                local.hooked = true;
                local.turn = Some(Turn::Idle);
            }
            Sign::Call => local.last_call = Some(now.mono),
            Sign::Seen => {}
        }
        self.edit(session, |record| {
            record.ended_ms = None;
            record.kept |= matches!(sign, Sign::Prompt | Sign::Tool | Sign::Call);
        });
        if sign == Sign::Call {
            // An agent without hooks confirms by working that it is the new conversation.
            self.mark_earlier(session);
        }
        Ok(())
    }

    /// Tells that mail from before a take-over was sent to an earlier conversation, once.
    pub(crate) fn mark_earlier(&mut self, session: SessionId) {
        let before_ms = self.local.get(&session).and_then(|local| local.record.mark_before_ms);
        if let Some(before_ms) = before_ms {
            self.edit(session, |record| record.mark_before_ms = None);
            self.command(Command::MarkEarlier { session, before_ms });
        }
    }

    /// Ends a session. One in which nothing ever happened leaves nothing behind: agents start MCP servers just to see
    /// whether they answer.
    pub(crate) fn end(&mut self, session: SessionId, now: Now) {
        if let Some(local) = self.local.get_mut(&session) {
            local.turn = None;
            local.last_call = None;
        }
        self.edit(session, |record| record.ended_ms = record.ended_ms.or(Some(now.wall_ms)));
        if self.local.get(&session).is_some_and(|local| !local.record.kept) {
            self.let_go(session);
        }
    }

    /// Ends what was silent too long and lets go of what ended too long ago.
    pub(crate) fn lapse(&mut self, now: Now) {
        let silent: Vec<SessionId> = self
            .local
            .iter()
            .filter(|(_, local)| local.silent_too_long(now.mono))
            .map(|(sid, _)| *sid)
            .collect();
        for sid in silent {
            self.end(sid, now);
        }
        let over: Vec<SessionId> = self
            .local
            .iter()
            .filter(|(_, local)| local.kept_long_enough(now.wall_ms))
            .map(|(sid, _)| *sid)
            .collect();
        for sid in over {
            self.let_go(sid);
        }
    }
}
