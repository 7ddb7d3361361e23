//! `hook` and `glance`: what happens in an agent, and what its hooks and status line show.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use penpal_agents::agent::{self, Sight};
use penpal_agents::caller::{Decision, Occasion, decide};
use penpal_agents::hook::{HookEvent as Event, StartKind};
use penpal_agents::kind::AgentKind;
use penpal_agents::quote::Shown;
use penpal_delivery::{MailKey, MailView, Mailbox, Selection};
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ApiError;
use penpal_local_api::hook::{Glance, GlanceRequest, HookAnswer, HookEvent, HookRequest, HookShows};
use penpal_local_api::mail::CommitRequest;
use penpal_protocol::ids::SessionId;
use penpal_protocol::sealed::{Kind, Reach};
use penpal_protocol::text::Label;
use penpal_sessions::{DeliveryMode, Sign};
use penpal_wake::{Outcome as WakeOutcome, Rung};

use super::{Outcome, now};
use crate::engine::machines::{Engine, delivery_step};

/// Most text that a hook shows at once, in bytes of the messages' content; the rest is left to `inbox`.
const MAX_DIGEST_BYTES: u32 = 4 * 1024;

/// Most messages that a hook shows at once.
const MAX_DIGEST: usize = 20;

/// How long a quote that was handed out is recognised when it comes back as a prompt: as long as its lease can be committed.
const QUOTE_LIFE: Duration = Duration::from_secs(5 * 60);

/// Most quotes that are remembered; the oldest is forgotten.
const MAX_QUOTES: usize = 256;

/// What hooks left behind. All of it is short-lived and lost with the process: at worst mail is shown once more.
#[derive(Debug, Default)]
pub(in crate::engine) struct HookMemory {
    /// Sessions whose turn was held since their last prompt.
    held: BTreeSet<SessionId>,
    /// What a digest left to `inbox`.
    left: BTreeMap<Mailbox, Left>,
    /// Quotes that were handed out, oldest first.
    quotes: VecDeque<LiveQuote>,
}

/// What a digest did not show, which hooks do not show again.
#[derive(Debug)]
struct Left {
    /// Newest message that was there then: it and older ones are left out, but for those below.
    newest: u64,
    /// What the digest showed: it is shown once more when the agent never took it.
    shown: Vec<MailKey>,
}

impl Left {
    fn leaves(&self, view: &MailView) -> bool {
        view.ordinal <= self.newest && !self.shown.contains(&view.key)
    }
}

/// What of ours a prompt gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WokenBy {
    /// The mail itself.
    Quote,
    /// A word that mail waits.
    Nudge,
}

#[derive(Debug)]
struct LiveQuote {
    nonce: String,
    session: SessionId,
    /// Empty for a word that mail waits.
    lease: String,
    until: Duration,
}

impl Engine {
    pub(super) fn hook(&mut self, request: &HookRequest) -> Outcome {
        let event = event(request.event);
        let placed = self.place_caller(&request.caller, Occasion::Hook(event), sign(event))?;
        let Some(session) = placed else {
            return now(&HookAnswer { v: SHAPE_VERSION, ..HookAnswer::default() });
        };
        if event == Event::End {
            if let Err(error) = self.sessions.handle_end(session, self.now) {
                tracing::debug!(%error, "the end of a session that is gone");
            }
            self.hooks.held.remove(&session);
            return self.nothing_to_show(session);
        }
        self.note_reach(session, &request.caller, event);
        let woken = self.is_wake(session, &request.nonces);
        if woken == Some(WokenBy::Quote) {
            return self.nothing_to_show(session);
        }
        if event == Event::Prompt && woken.is_none() {
            // A person was faster than a wake.
            self.wake_ended(session, None, WakeOutcome::Nothing);
        }
        if event == Event::Prompt {
            self.hooks.held.remove(&session);
        }
        if matches!(event, Event::Start(_)) {
            // Another conversation has not read what the one before was told of.
            for mailbox in self.mailboxes_of(session) {
                self.hooks.left.remove(&mailbox);
            }
        }
        let off = self.sessions.session(session).is_none_or(|view| view.mode == DeliveryMode::Off);
        if off || request.shows == HookShows::Nothing {
            return self.nothing_to_show(session);
        }
        let holds = request.shows == HookShows::Hold;
        if holds && (request.held_before || self.hooks.held.contains(&session)) {
            return self.nothing_to_show(session);
        }
        let Some(mailbox) = self.mailbox_to_show(session, holds)? else {
            return self.nothing_to_show(session);
        };
        if holds {
            self.hooks.held.insert(session);
        }
        let mechanism = if woken.is_some() { Rung::Queue.name() } else { mechanism(event) };
        let handed = self.hand_out(session, mailbox, mechanism)?;
        let (lease, quote) = handed.map_or_else(Default::default, |(lease, quote)| (Some(lease), quote));
        now(&HookAnswer { v: SHAPE_VERSION, session: self.name_of(session), lease, quote })
    }

    /// The mailbox of which a hook shows something now: the session's own, and the desk where its person allowed that and the own one
    /// has nothing to show.
    fn mailbox_to_show(&self, session: SessionId, holds: bool) -> Result<Option<Mailbox>, ApiError> {
        // A turn is held for what its session is to answer or asked for. What else there is can wait, and so can what was written to its person.
        for mailbox in self.mailboxes_of(session) {
            if self.delivery.unread(mailbox).unread == 0 || (holds && mailbox == Mailbox::Desk) {
                continue;
            }
            let waiting = self.to_show(mailbox)?;
            if !waiting.is_empty() && (!holds || waiting.iter().any(|view| self.calls(view))) {
                return Ok(Some(mailbox));
            }
        }
        Ok(None)
    }

    /// Takes what a session is to be shown of a mailbox: lease and quote, or nothing when nothing waits.
    pub(in crate::engine) fn hand_out(
        &mut self,
        session: SessionId,
        mailbox: Mailbox,
        mechanism: &str,
    ) -> Result<Option<(String, String)>, ApiError> {
        let waiting = self.to_show(mailbox)?;
        if waiting.is_empty() {
            return Ok(None);
        }
        let (keys, left) = digest(&waiting);
        if left > 0
            && let Some(newest) = waiting.iter().map(|view| view.ordinal).max()
        {
            self.hooks.left.insert(mailbox, Left { newest, shown: keys.clone() });
        }
        let lease = self.delivery.take(mailbox, Some(&keys), MAX_DIGEST, &mut delivery_step!(self));
        let messages: Result<Vec<_>, ApiError> =
            lease.messages.iter().map(|view| self.message(view)).collect();
        let mut quote = self.quote(&messages?, Shown::Head);
        let text = self.lease_text(lease.id, mailbox, Some(mechanism));
        self.remember_quote(&quote, session, &text);
        // Whatever an earlier one left is said again: its reader may never have had it.
        let left = self.delivery.unread(mailbox).unread.saturating_sub(lease.messages.len());
        if left > 0 {
            quote.push_str(&format!("\n{left} more unread: read them with inbox()."));
        }
        Ok(Some((text, quote)))
    }

    /// What waits for the caller's session; changes nothing and makes no session.
    pub(super) fn glance(&mut self, request: &GlanceRequest) -> Outcome {
        let session = match decide(&request.caller, Occasion::Command, &self.known()) {
            Decision::Known { session } | Decision::Bind { session, .. } => Some(session),
            Decision::New { .. } | Decision::NeedsId { .. } | Decision::Outside | Decision::Nothing => None,
        };
        let Some(session) = session else { return now(&Glance { v: SHAPE_VERSION, ..Glance::default() }) };
        let (mut unread, mut asker) = (0, None);
        for mailbox in self.mailboxes_of(session) {
            let waiting = self.delivery.unread(mailbox);
            unread += waiting.unread;
            if waiting.asks > 0 && asker.is_none() {
                let views = self.unread_views(mailbox)?;
                let ask = views.iter().find(|view| view.kind == Kind::Ask);
                asker = ask.map(|view| self.message(view)).transpose()?.map(|message| message.from);
            }
        }
        let unread = super::super::views::count(unread);
        now(&Glance { v: SHAPE_VERSION, session: self.name_of(session), unread, waiting: asker })
    }

    /// Remembers a quote that is handed out, so that it is recognised when an agent gives it back as a prompt.
    pub(in crate::engine) fn remember_quote(&mut self, quote: &str, session: SessionId, lease: &str) {
        let until = self.now.mono.saturating_add(QUOTE_LIFE);
        for nonce in penpal_agents::quote::nonces(quote).into_iter().take(1) {
            let live = LiveQuote { nonce, session, lease: lease.to_owned(), until };
            self.hooks.quotes.push_back(live);
        }
        let now = self.now.mono;
        self.hooks.quotes.retain(|quote| quote.until > now);
        while self.hooks.quotes.len() > MAX_QUOTES {
            self.hooks.quotes.pop_front();
        }
    }

    /// Whether a prompt gives back a quote of ours; its mail reached the agent then, and a wake that brought it worked.
    fn is_wake(&mut self, session: SessionId, nonces: &[String]) -> Option<WokenBy> {
        let now = self.now.mono;
        let is_back = |quote: &LiveQuote| {
            quote.session == session && quote.until > now && nonces.contains(&quote.nonce)
        };
        let leases: Vec<String> = self
            .hooks
            .quotes
            .iter()
            .filter(|quote| is_back(quote))
            .map(|quote| quote.lease.clone())
            .collect();
        let mut woken = None;
        for lease in leases {
            if lease.is_empty() {
                self.wake_ended(session, Some(Rung::Queue), WakeOutcome::Woken);
                woken = woken.or(Some(WokenBy::Nudge));
            } else {
                self.commit_quietly(&CommitRequest { lease });
                woken = Some(WokenBy::Quote);
            }
        }
        woken
    }

    /// Unread mail that is not handed out and that no digest left to `inbox`, oldest first.
    pub(in crate::engine) fn to_show(&self, mailbox: Mailbox) -> Result<Vec<MailView>, ApiError> {
        let left = self.hooks.left.get(&mailbox);
        let mut views = self.unread_views(mailbox)?;
        let is_left = |view: &MailView| left.is_some_and(|left| left.leaves(view));
        views.retain(|view| !self.delivery.is_leased(&view.key) && !is_left(view));
        Ok(views)
    }

    fn unread_views(&self, mailbox: Mailbox) -> Result<Vec<MailView>, ApiError> {
        self.page_through(Selection::Unread(mailbox), None)
    }

    fn nothing_to_show(&self, session: SessionId) -> Outcome {
        now(&HookAnswer { v: SHAPE_VERSION, session: self.name_of(session), ..HookAnswer::default() })
    }

    fn name_of(&self, session: SessionId) -> Option<String> {
        self.sessions.session(session).map(|view| view.name.to_string())
    }

    /// A hook that ran proves what it can show. What wakes is proved elsewhere and is not taken back here.
    fn note_reach(&mut self, session: SessionId, caller: &Caller, event: Event) {
        let label = caller.agent.as_deref().and_then(|agent| Label::new(agent).ok());
        let Some(agent) = label.and_then(|label| agent::of(&AgentKind::from_label(&label))) else { return };
        let reach = match agent::sight(agent, event) {
            Sight::MidTurn => Reach::MidTurn,
            Sight::NextPrompt => Reach::NextPrompt,
            Sight::Manual => Reach::Manual,
        };
        self.note_sight(session, reach);
    }
}

/// What of the mail that waits is shown now, and how much is left out: the newest of each sender while there is room.
fn digest(waiting: &[MailView]) -> (Vec<MailKey>, usize) {
    let bytes = |view: &MailView| view.content_bytes.min(MAX_DIGEST_BYTES);
    let total = waiting.iter().fold(0_u32, |sum, view| sum.saturating_add(bytes(view)));
    if total <= MAX_DIGEST_BYTES && waiting.len() <= MAX_DIGEST {
        return (waiting.iter().map(|view| view.key).collect(), 0);
    }
    let mut chosen: BTreeMap<u64, MailKey> = BTreeMap::new();
    let mut room = MAX_DIGEST_BYTES;
    let mut senders = BTreeSet::new();
    // Asks come first: somebody waits for them.
    let newest_first = || waiting.iter().rev();
    let asks = newest_first().filter(|view| view.kind == Kind::Ask);
    let others = newest_first().filter(|view| view.kind != Kind::Ask);
    for view in asks.chain(others) {
        let sender = (view.key.from, view.from_session.as_ref().map(|session| session.sid), view.sent_from);
        let fits = chosen.is_empty() || (bytes(view) <= room && chosen.len() < MAX_DIGEST);
        if fits && senders.insert(sender) {
            room = room.saturating_sub(bytes(view));
            chosen.insert(view.ordinal, view.key);
        }
    }
    let left = waiting.len() - chosen.len();
    (chosen.into_values().collect(), left)
}

fn event(event: HookEvent) -> Event {
    match event {
        HookEvent::Startup => Event::Start(StartKind::Startup),
        HookEvent::Resume => Event::Start(StartKind::Resume),
        HookEvent::Clear => Event::Start(StartKind::Clear),
        HookEvent::Compact => Event::Start(StartKind::Compact),
        HookEvent::Fork => Event::Start(StartKind::Fork),
        HookEvent::Prompt => Event::Prompt,
        HookEvent::Tool => Event::Tool,
        HookEvent::Stop => Event::Stop,
        HookEvent::End => Event::End,
        HookEvent::Replaced => Event::Replaced,
        HookEvent::Other => Event::Other,
    }
}

fn sign(event: Event) -> Option<Sign> {
    match event {
        Event::Start(_) => Some(Sign::Start),
        Event::Prompt => Some(Sign::Prompt),
        Event::Tool => Some(Sign::Tool),
        Event::Stop => Some(Sign::Stop),
        Event::Other => Some(Sign::Seen),
        Event::End | Event::Replaced => None,
    }
}

/// How what a hook shows is called in a trail.
fn mechanism(event: Event) -> &'static str {
    match event {
        Event::Start(_) => "start-hook",
        Event::Tool => "tool-hook",
        Event::Stop => "stop-hook",
        Event::Prompt | Event::End | Event::Replaced | Event::Other => "prompt-hook",
    }
}
