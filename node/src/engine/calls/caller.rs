//! Who is calling, and what that allows.

use penpal_agents::caller::{Decision, KnownSession, Occasion, decide, inside_agent};
use penpal_agents::kind::{AgentKind, BY_HAND, Model};
use penpal_delivery::Mailbox;
use penpal_local_api::caller::{Caller, Process, Via};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::ids::SessionId;
use penpal_protocol::sealed::SessionState;
use penpal_protocol::text::Label;
use penpal_sessions::{AgentConversation, Binding, Place, ProcessModel, ProcessRef, Registration, Sign};

use crate::engine::machines::Engine;

impl Engine {
    pub(super) fn known(&self) -> Vec<KnownSession> {
        let session = |row: penpal_sessions::LocalView| KnownSession {
            session: row.session,
            agent: AgentKind::from_label(&row.agent),
            conversation: row.conversation.map(|(id, certain)| (id.as_str().to_owned(), certain)),
            earlier: row.earlier.iter().map(|id| id.as_str().to_owned()).collect(),
            processes: row
                .processes
                .iter()
                .map(|one| Process { pid: one.pid, started: one.started })
                .collect(),
            live: row.state != SessionState::Ended,
        };
        self.sessions.local().into_iter().map(session).collect()
    }

    /// The session that calls, made or bound as its evidence says; `None` for a person.
    pub(super) fn caller_session(&mut self, caller: &Caller) -> Result<Option<SessionId>, ApiError> {
        if let Some(name) = caller.wanted_name.as_deref().filter(|_| caller.agent.is_none()) {
            // A person's shell that stands for a session by its name.
            return Ok(Label::new(name).ok().and_then(|name| self.sessions.by_name(&name)));
        }
        let (occasion, sign) = match caller.via {
            Via::Command => (Occasion::Command, Sign::Call),
            Via::McpStart => (Occasion::McpStart, Sign::Seen),
            Via::McpCall => (Occasion::McpCall, Sign::Call),
        };
        self.place_caller(caller, occasion, Some(sign))
    }

    /// The same for an occasion that is known; `sign` is the sign of life that it is.
    pub(super) fn place_caller(
        &mut self,
        caller: &Caller,
        occasion: Occasion,
        sign: Option<Sign>,
    ) -> Result<Option<SessionId>, ApiError> {
        let placed = match decide(caller, occasion, &self.known()) {
            Decision::Known { session } => Some(session),
            Decision::Bind { session, conversation, process, absorb, fresh } => {
                let binding = Binding {
                    session,
                    conversation: conversation.and_then(agent_conversation),
                    process: process.map(process_ref),
                    absorb,
                    fresh,
                };
                self.sessions.handle_bind(binding, self.now).ok().map(|placed| placed.session)
            }
            Decision::New { agent, conversation, process, fork } => {
                let registration = Registration {
                    agent: agent.label(),
                    model: match agent.model() {
                        Model::OnePerConversation => ProcessModel::OnePerConversation,
                        Model::Shared => ProcessModel::Shared,
                    },
                    process: process.map(process_ref),
                    conversation: conversation.and_then(agent_conversation),
                    place: Place::new(
                        caller.folder.as_deref().unwrap_or("/"),
                        caller.worktree.as_deref(),
                        caller.repository.as_deref(),
                    ),
                    wanted: caller.wanted_name.as_deref().and_then(|name| Label::new(name).ok()),
                    headless: caller.headless,
                    fork,
                };
                let placed = self.sessions.handle_register(registration, self.now, &mut self.rng);
                let placed =
                    placed.map_err(|error| ApiError::new(ErrorCode::WhichSession, error.to_string()))?;
                Some(placed.session)
            }
            Decision::NeedsId { candidates, .. } if occasion != Occasion::McpStart => {
                let names = candidates.iter().filter_map(|sid| self.sessions.session(*sid));
                let names = names.map(|view| view.name.to_string()).collect();
                let message = "this agent runs many conversations and does not say which one calls";
                return Err(ApiError::new(ErrorCode::WhichSession, message).candidates(names));
            }
            Decision::NeedsId { .. } | Decision::Outside | Decision::Nothing => None,
        };
        if let Some(session) = placed {
            self.note_offers(session, &caller.wakes);
        }
        if let (Some(session), Some(sign)) = (placed, sign)
            && let Err(error) = self.sessions.handle_sign(session, sign, self.now)
        {
            tracing::debug!(%error, "a sign of a session that is gone");
        }
        Ok(placed)
    }

    /// The mailbox for which a call acts: a session named, the caller's own, or the desk.
    pub(super) fn acting_mailbox(
        &mut self,
        caller: &Caller,
        named: Option<&str>,
    ) -> Result<Mailbox, ApiError> {
        let own = self.caller_session(caller)?;
        self.mailbox_of(own, caller, named)
    }

    /// The same for a caller whose session is known.
    pub(super) fn mailbox_of(
        &self,
        own: Option<SessionId>,
        caller: &Caller,
        named: Option<&str>,
    ) -> Result<Mailbox, ApiError> {
        match named {
            Some("desk") => {
                if self.acts_in_agent(caller) && !own.is_some_and(|own| self.sees_desk(own)) {
                    let message =
                        "the desk is its person's, and no session sees it unless that person lets it";
                    return Err(ApiError::new(ErrorCode::NeedsPerson, message)
                        .hint("ask your person to run `penpal session desk NAME` in their own terminal"));
                }
                Ok(Mailbox::Desk)
            }
            Some(name) => self.acting_as(own, caller, name).map(Mailbox::Session),
            None if own.is_none() && self.acts_in_agent(caller) => {
                let message = "an agent acts for its own session, and it cannot be told which one is calling";
                Err(ApiError::new(ErrorCode::WhichSession, message))
            }
            None => Ok(own.map_or(Mailbox::Desk, Mailbox::Session)),
        }
    }

    /// The session of a name, if the caller may act for it.
    pub(super) fn acting_session(&mut self, caller: &Caller, name: &str) -> Result<SessionId, ApiError> {
        let own = self.caller_session(caller)?;
        self.acting_as(own, caller, name)
    }

    /// What is kept by hand is anybody's here; another agent's mail and name are its own.
    fn acting_as(&self, own: Option<SessionId>, caller: &Caller, name: &str) -> Result<SessionId, ApiError> {
        let named = self.session_named(name)?;
        if own.is_some_and(|own| own != named) && self.acts_in_agent(caller) && self.is_agents(named) {
            let message = format!("{name} is another agent's session, and this runs inside an agent");
            return Err(ApiError::new(ErrorCode::NeedsPerson, message));
        }
        Ok(named)
    }

    /// Whether a session is an agent's, and not one that was opened by hand.
    fn is_agents(&self, session: SessionId) -> bool {
        self.sessions.session(session).is_some_and(|view| view.agent.as_str() != BY_HAND)
    }

    /// Whether a session is shown its person's desk.
    pub(in crate::engine) fn sees_desk(&self, session: SessionId) -> bool {
        self.sessions.session(session).is_some_and(|view| view.desk)
    }

    /// The mailboxes that a session is shown, its own first.
    pub(in crate::engine) fn mailboxes_of(&self, session: SessionId) -> Vec<Mailbox> {
        let desk = self.sees_desk(session).then_some(Mailbox::Desk);
        std::iter::once(Mailbox::Session(session)).chain(desk).collect()
    }

    /// There is no session of that name.
    pub(super) fn no_session(&self, name: &Label) -> ApiError {
        let candidates = self.sessions.local().into_iter().map(|row| row.name.to_string()).collect();
        ApiError::new(ErrorCode::UnknownAddress, format!("no session here is called {name}"))
            .candidates(candidates)
    }

    /// Refuses what only a person may do.
    pub(super) fn person_only(&self, caller: &Caller) -> Result<(), ApiError> {
        if self.acts_in_agent(caller) {
            return Err(ApiError::new(
                ErrorCode::NeedsPerson,
                "only a person may do this, and this runs inside an agent",
            ));
        }
        Ok(())
    }

    /// Whether an agent calls, or something inside one.
    pub(super) fn acts_in_agent(&self, caller: &Caller) -> bool {
        caller.agent.is_some() || inside_agent(caller, &self.known())
    }

    /// Refuses what needs an account.
    pub(super) fn needs_account(&self) -> Result<(), ApiError> {
        if self.contacts.account().is_some() {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::NoAccount, "there is no account yet"))
    }
}

fn agent_conversation((id, certain): (String, bool)) -> Option<(AgentConversation, bool)> {
    Some((AgentConversation::new(&id)?, certain))
}

fn process_ref(process: Process) -> ProcessRef {
    ProcessRef { pid: process.pid, started: process.started }
}
