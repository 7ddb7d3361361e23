//! Wakes: tells the ladder what is true, and does what it decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use penpal_delivery::{HeldReason, LeaseId, MailKey, MailView, Mailbox};
use penpal_local_api::wake::{WakeOffer, WakeState, WakeWaited, WakeWay};
use penpal_protocol::ids::SessionId;
use penpal_protocol::sealed::{Kind, Reach, SessionState};
use penpal_sessions::DeliveryMode;
use penpal_wake::{Command, Facts, Health, Outcome, Rung, Source, WakeId, Wakes};

use super::calls::json;
use super::machines::{Engine, delivery_step};
use super::waiting::{Parked, Wait};
use super::{Output, Push};

/// Most ways to wake one session that its agent may offer.
const MAX_OFFERS: usize = 4;

/// Most supervised terminals that are remembered.
const MAX_RUNS: usize = 256;

/// First line of what a session is woken with: some agents show it as if their person had typed it.
const NOT_TYPED: &str = "penpal brings mail; your user typed nothing.";

/// What the engine remembers of waking; all of it is lost with the process and comes again with the next hook.
#[derive(Debug, Default)]
pub(super) struct Waking {
    pub(super) ladder: Wakes,
    /// Ways that agents offered.
    offers: BTreeMap<SessionId, Vec<WakeOffer>>,
    /// Sessions of supervised terminals, the one heard of last at the end.
    runs: VecDeque<(String, SessionId)>,
    /// Sessions whose prompt hook runs: it shows when a wake arrived.
    hooked: BTreeSet<SessionId>,
    /// Where hooks show mail next, apart from wakes.
    sight: BTreeMap<SessionId, Reach>,
    /// Leases of what was pushed and has not shown yet.
    pushed: BTreeMap<WakeId, (SessionId, String)>,
    /// Wakes whose mail a waiter took.
    handed: BTreeMap<SessionId, WakeId>,
    /// Something that matters changed in this step.
    changed: bool,
}

impl Waking {
    /// Something may have changed that decides about wakes.
    pub(super) fn look_again(&mut self) {
        self.changed = true;
    }

    /// The session of a supervised terminal.
    pub(super) fn session_of_run(&self, run: &str) -> Option<SessionId> {
        self.runs.iter().find(|(known, _)| known == run).map(|(_, session)| *session)
    }

    /// A session runs in this terminal now.
    fn note_run(&mut self, run: &str, session: SessionId) {
        self.runs.retain(|(known, _)| known != run);
        if self.runs.len() == MAX_RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back((run.to_owned(), session));
    }
}

impl Engine {
    /// Takes what a caller says of how its session can be woken.
    pub(super) fn note_offers(&mut self, session: SessionId, offers: &[WakeOffer]) {
        if offers.is_empty() {
            return;
        }
        let offers: Vec<WakeOffer> = offers.iter().take(MAX_OFFERS).cloned().collect();
        for offer in &offers {
            if let WakeOffer::Terminal { run } = offer {
                self.waking.note_run(run, session);
            }
        }
        self.waking.offers.insert(session, offers);
        self.waking.look_again();
    }

    /// A hook of the session ran, and so shows where mail is seen next.
    pub(super) fn note_sight(&mut self, session: SessionId, sight: Reach) {
        self.waking.hooked.insert(session);
        self.waking.sight.insert(session, sight);
        self.show_reach(session);
    }

    /// The ways in which a session can be woken, best first.
    pub(super) fn wake_ways(&self, session: SessionId) -> Vec<WakeWay> {
        let state = |health| match health {
            Health::Untried => WakeState::Untried,
            Health::Proved => WakeState::Proved,
            Health::Failed { .. } => WakeState::Failed,
        };
        let rungs = self.waking.ladder.rungs(session);
        rungs.map(|(rung, health)| WakeWay { by: rung.name().to_owned(), state: state(health) }).collect()
    }

    /// Ends a wake that is under way by this rung.
    pub(super) fn wake_ended(&mut self, session: SessionId, by: Option<Rung>, outcome: Outcome) {
        let Some((wake, rung)) = self.waking.ladder.under_way(session) else { return };
        if by.is_none_or(|by| by == rung) {
            self.waking.pushed.remove(&wake);
            self.waking.handed.remove(&session);
            self.waking.ladder.handle_outcome(wake, outcome, self.now.mono);
            self.waking.look_again();
        }
    }

    /// Somebody waits again to wake a session, and so is not at work on a wake any more.
    pub(super) fn waits_again(&mut self, session: SessionId, rung: Rung) {
        let under_way = self.waking.ladder.under_way(session).map(|(wake, _)| wake);
        // Who took the mail and began no turn with it will not do better in a moment. A terminal may be in use by its person.
        let failed = rung != Rung::Terminal
            && under_way.is_some()
            && self.waking.handed.get(&session).copied() == under_way;
        self.wake_ended(session, Some(rung), if failed { Outcome::Failed } else { Outcome::Nothing });
    }

    /// What became of a push that the shell made.
    pub(super) fn wake_tried(&mut self, wake: WakeId, ok: bool) {
        let Some((session, lease)) = self.waking.pushed.get(&wake).cloned() else { return };
        if !ok {
            tracing::info!("a wake failed");
            tracing::debug!(session = %session.to_text(), "it was of this session");
            if let Some(id) = lease.split('.').next().and_then(|id| id.parse().ok()) {
                self.delivery.give_back(LeaseId(id), &mut delivery_step!(self));
            }
            self.wake_ended(session, None, Outcome::Failed);
        } else if !self.waking.hooked.contains(&session) {
            // Nothing will show it; what the agent took is handed over.
            if !lease.is_empty() {
                let commit = penpal_local_api::mail::CommitRequest { lease };
                self.commit_quietly(&commit);
            }
            self.wake_ended(session, None, Outcome::Woken);
        }
    }

    /// Lets the ladder see what changed and does what it wants; tells whether it did anything.
    pub(super) fn settle_wakes(&mut self) -> bool {
        if !std::mem::take(&mut self.waking.changed) {
            return false;
        }
        let mut waiting: BTreeMap<SessionId, BTreeSet<Rung>> = BTreeMap::new();
        for parked in &self.waiting.parked {
            if let Some((session, rung)) = self.waits_for(&parked.wait) {
                waiting.entry(session).or_default().insert(rung);
            }
        }
        let known: BTreeSet<SessionId> = self
            .waking
            .ladder
            .sessions()
            .chain(self.waking.offers.keys().copied())
            .chain(waiting.keys().copied())
            .collect();
        for session in known {
            self.tell_ladder(session, waiting.remove(&session).unwrap_or_default());
        }
        let mut busy = false;
        while let Some(command) = self.waking.ladder.poll_command() {
            busy = true;
            match command {
                Command::Wake { session, wake, rung } => self.wake(session, wake, rung),
                Command::Hold { session, source } => self.hold_for_budget(session, source),
            }
        }
        busy
    }

    fn tell_ladder(&mut self, session: SessionId, mut rungs: BTreeSet<Rung>) {
        let now = self.now.mono;
        let Some(view) = self.sessions.session(session).filter(|view| view.session == session) else {
            self.waking.ladder.handle_gone(session);
            self.waking.offers.remove(&session);
            self.waking.hooked.remove(&session);
            self.waking.sight.remove(&session);
            self.waking.handed.remove(&session);
            self.waking.runs.retain(|(_, of)| *of != session);
            return;
        };
        if view.state == SessionState::Ended {
            self.waking.offers.remove(&session);
            self.waking.runs.retain(|(_, of)| *of != session);
        }
        let live = view.state != SessionState::Ended && !view.provisional;
        for offer in self.waking.offers.get(&session).into_iter().flatten() {
            match offer {
                WakeOffer::NativeInbox { .. } => drop(rungs.insert(Rung::NativeInbox)),
                WakeOffer::Queue { .. } => drop(rungs.insert(Rung::Queue)),
                // It is there while its supervisor waits.
                WakeOffer::Terminal { .. } => {}
            }
        }
        // A waiter that was told to wake is at work and does not wait meanwhile.
        if let Some((_, rung)) = self.waking.ladder.under_way(session) {
            rungs.insert(rung);
        }
        if !live || !self.config.wakes {
            rungs.clear();
        }
        let sources = if rungs.is_empty() { BTreeSet::new() } else { self.callers_for_wake(session) };
        // A turn may be silent for long, and what is queued into it wakes nobody.
        let idle = matches!(view.state, SessionState::Idle | SessionState::Unknown) && !view.in_turn;
        let ready = idle && live && view.mode == DeliveryMode::Wake;
        self.waking.ladder.handle_facts(session, &Facts { ready, rungs, waiting: sources }, now);
        self.show_reach(session);
    }

    /// How a session can be reached, from what is known now.
    fn show_reach(&mut self, session: SessionId) {
        let sight = self.waking.sight.get(&session).copied().unwrap_or(Reach::Manual);
        let reach = if self.waking.ladder.can_wake(session) { Reach::Wakes } else { sight };
        if self.sessions.session(session).is_some_and(|view| view.reach != reach)
            && let Err(error) = self.sessions.handle_reach(session, reach, self.now)
        {
            tracing::debug!(%error, "reach of a session that is gone");
        }
    }

    /// Session and rung of a call that waits for a wake.
    fn waits_for(&self, wait: &Wait) -> Option<(SessionId, Rung)> {
        let Wait::Wake { session, run, rung } = wait else { return None };
        let of_run = run.as_deref().and_then(|run| self.waking.session_of_run(run));
        Some((session.or(of_run)?, *rung))
    }

    /// Mail that calls for a wake.
    fn calling(&self, session: SessionId) -> Vec<(MailView, Source)> {
        let mailbox = Mailbox::Session(session);
        if self.delivery.unread(mailbox).unread == 0 {
            return Vec::new();
        }
        let Ok(mut views) = self.to_show(mailbox) else { return Vec::new() };
        views.retain(|view| self.calls(view));
        let source = |view: &MailView| match (view.key.from, view.sent_from) {
            (Some(contact), _) => Source::Contact(contact),
            (None, Some(Mailbox::Session(sender))) => Source::Session(sender),
            (None, Some(Mailbox::Desk) | None) => Source::Desk,
        };
        views.into_iter().map(|view| (source(&view), view)).map(|(source, view)| (view, source)).collect()
    }

    /// Whether a message may wake its session or hold its turn: an ask, or an answer to an own ask.
    pub(super) fn calls(&self, view: &MailView) -> bool {
        match view.kind {
            Kind::Ask => true,
            Kind::Reply => view.reply_to.is_some_and(|asked| {
                let own = self.delivery.view(MailKey::own(asked), &self.storage);
                own.is_ok_and(|own| own.is_some_and(|own| own.kind == Kind::Ask))
            }),
            _ => false,
        }
    }

    fn callers_for_wake(&self, session: SessionId) -> BTreeSet<Source> {
        self.calling(session).into_iter().map(|(_, source)| source).collect()
    }

    fn hold_for_budget(&mut self, session: SessionId, source: Source) {
        for (view, of) in self.calling(session) {
            if of == source {
                self.delivery.hold(view.key, HeldReason::WakeBudget, &mut delivery_step!(self));
            }
        }
    }

    fn wake(&mut self, session: SessionId, wake: WakeId, rung: Rung) {
        tracing::debug!(session = %session.to_text(), rung = rung.name(), "a wake");
        let offer = self.waking.offers.get(&session).into_iter().flatten().find(|offer| {
            matches!(
                (offer, rung),
                (WakeOffer::NativeInbox { .. }, Rung::NativeInbox) | (WakeOffer::Queue { .. }, Rung::Queue)
            )
        });
        let conversation = self.sessions.session(session).and_then(|view| view.conversation);
        match (offer.cloned(), conversation) {
            (Some(WakeOffer::NativeInbox { socket }), Some((conversation, _))) => {
                let Some((lease, text)) = self.take_for_wake(session, rung) else {
                    self.wake_ended(session, Some(rung), Outcome::Nothing);
                    return;
                };
                self.waking.pushed.insert(wake, (session, lease));
                let push = Push::Inbox { socket, conversation: conversation.as_str().to_owned(), text };
                self.outputs.push(Output::Wake { wake, push });
            }
            (Some(WakeOffer::Queue { program, folder }), Some((thread, _))) => {
                // What it is given stands in the list of processes for everybody here: no text of the mail, only that some waits.
                let waits = self.delivery.unread(Mailbox::Session(session)).unread;
                let text = self.nudge(session, waits);
                self.waking.pushed.insert(wake, (session, String::new()));
                let push = Push::Queue { program, folder, thread: thread.as_str().to_owned(), text };
                self.outputs.push(Output::Wake { wake, push });
            }
            _ => self.tell_waiter(session, rung),
        }
    }

    fn tell_waiter(&mut self, session: SessionId, rung: Rung) {
        let at =
            self.waiting.parked.iter().position(|one| self.waits_for(&one.wait) == Some((session, rung)));
        let Some(Parked { call, .. }) = at.map(|at| self.waiting.parked.remove(at)) else {
            self.wake_ended(session, Some(rung), Outcome::Failed);
            return;
        };
        let told = WakeWaited {
            v: penpal_local_api::SHAPE_VERSION,
            session: self.sessions.session(session).map(|view| view.name.to_string()),
            wake: true,
            over: false,
        };
        self.answers.push((call, json(&told)));
    }

    /// Takes what a session is woken with: lease and text.
    pub(super) fn take_for_wake(&mut self, session: SessionId, rung: Rung) -> Option<(String, String)> {
        let handed = self.hand_out(session, Mailbox::Session(session), rung.name());
        let (lease, quote) =
            handed.inspect_err(|error| tracing::warn!(%error, "mail cannot be read")).ok()??;
        if let Some((wake, _)) = self.waking.ladder.under_way(session) {
            self.waking.handed.insert(session, wake);
        }
        Some((lease, format!("{NOT_TYPED}\n{quote}")))
    }

    fn nudge(&mut self, session: SessionId, waits: usize) -> String {
        use std::fmt::Write;
        let nonce = penpal_agents::quote::Nonce::from_bytes(super::machines::random(&mut self.rng));
        let mut text = format!("<penpal n=\"{nonce}\">\n{NOT_TYPED}\n");
        let many = if waits == 1 { "1 message waits".to_owned() } else { format!("{waits} messages wait") };
        // Writing to a text does not fail.
        let _ = write!(
            text,
            "{many} for this session. Where it is not shown beside this, read it with penpal's tool inbox().\n</penpal n=\"{nonce}\">"
        );
        self.remember_quote(&text, session, "");
        text
    }
}
