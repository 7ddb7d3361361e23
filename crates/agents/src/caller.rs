//! Which session a caller is: one pure decision, made by the node from what hook, MCP server and command line gathered.
//!
//! | agent | what decides |
//! | --- | --- |
//! | one process a conversation | the conversation that a hook of the same client process reported last; the environment's id is a first guess |
//! | many conversations in a process | the id that the call brings; never the process |
//! | unknown | every MCP server it starts is a conversation of its own |
//!
//! The folder alone never decides.

use penpal_local_api::caller::{Caller, ConversationSource, Process};
use penpal_protocol::ids::SessionId;
use penpal_protocol::text::Label;

use crate::hook::{HookEvent, StartKind};
use crate::kind::{AgentKind, Model};

/// On what occasion evidence was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A hook ran.
    Hook(HookEvent),
    /// An MCP server started or connected again, before any call.
    McpStart,
    /// A tool was called over MCP.
    McpCall,
    /// A command ran.
    Command,
}

/// What the decision has to know of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSession {
    /// The session.
    pub session: SessionId,
    /// Its agent.
    pub agent: AgentKind,
    /// Its conversation, and whether that is certain.
    pub conversation: Option<(String, bool)>,
    /// Conversations it had before.
    pub earlier: Vec<String>,
    /// Processes that run it.
    pub processes: Vec<Process>,
    /// It has not ended.
    pub live: bool,
}

/// Which session a caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This one, and nothing about it is new.
    Known {
        /// The session.
        session: SessionId,
    },
    /// This one, and something about it is new.
    Bind {
        /// The session.
        session: SessionId,
        /// Its conversation now, and whether that is certain; `None` leaves it.
        conversation: Option<(String, bool)>,
        /// A process that runs it.
        process: Option<Process>,
        /// A session that turned out to be this one.
        absorb: Option<SessionId>,
        /// The conversation starts empty.
        fresh: bool,
    },
    /// None yet: one is made, or an ended one is taken over.
    New {
        /// Its agent.
        agent: AgentKind,
        /// Its conversation, and whether that is certain; `None` makes a provisional session.
        conversation: Option<(String, bool)>,
        /// A process that runs it.
        process: Option<Process>,
        /// It is a copy of another conversation and takes over nothing.
        fork: bool,
    },
    /// The agent runs many conversations and the call says not which.
    NeedsId {
        /// The agent.
        agent: AgentKind,
        /// Its sessions, live ones first: candidates for the error.
        candidates: Vec<SessionId>,
    },
    /// No session: a person, or a program of theirs.
    Outside,
    /// The end of a conversation that is not known: nothing to do.
    Nothing,
}

/// Decides which session a caller is.
#[must_use]
pub fn decide(caller: &Caller, occasion: Occasion, known: &[KnownSession]) -> Decision {
    let Some(label) = caller.agent.as_deref().and_then(|agent| Label::new(agent).ok()) else {
        return Decision::Outside;
    };
    let agent = AgentKind::from_label(&label);
    let case = Case {
        caller,
        occasion,
        process: caller.client,
        sessions: known.iter().filter(|session| session.agent == agent).collect(),
        agent,
    };
    let id = caller.conversation.as_ref();
    let certain = id.filter(|id| id.source != ConversationSource::Environment).map(|id| id.id.as_str());
    let guess = id.filter(|id| id.source == ConversationSource::Environment).map(|id| id.id.as_str());
    match (case.agent.model(), certain) {
        (Model::Shared, Some(id)) => case.shared(id),
        (Model::Shared, None) => case.shared_without_id(),
        (Model::OnePerConversation, Some(id)) => case.by_id(id),
        (Model::OnePerConversation, None) => case.by_process(guess),
    }
}

/// Whether a caller runs inside an agent: it descends from a process of a live session, or an agent's variables stand in its environment.
///
/// It keeps agents from deciding what a person must decide; it is no boundary against other processes of the same user.
#[must_use]
pub fn inside_agent(caller: &Caller, known: &[KnownSession]) -> bool {
    let descends = known
        .iter()
        .filter(|session| session.live)
        .flat_map(|session| &session.processes)
        .any(|process| caller.ancestors.contains(process));
    descends || !caller.agent_variables.is_empty()
}

struct Case<'a> {
    caller: &'a Caller,
    occasion: Occasion,
    agent: AgentKind,
    process: Option<Process>,
    /// Sessions of this agent.
    sessions: Vec<&'a KnownSession>,
}

impl KnownSession {
    fn has(&self, id: &str) -> bool {
        self.conversation.as_ref().is_some_and(|(known, _)| known == id)
    }

    /// Its id is missing or a guess, so it may turn out to be another session.
    fn unsure(&self) -> bool {
        !self.conversation.as_ref().is_some_and(|(_, certain)| *certain)
    }
}

impl Case<'_> {
    fn start(&self) -> Option<StartKind> {
        match self.occasion {
            Occasion::Hook(HookEvent::Start(start)) => Some(start),
            Occasion::Hook(_) | Occasion::McpStart | Occasion::McpCall | Occasion::Command => None,
        }
    }

    fn is_over(&self) -> bool {
        match self.occasion {
            Occasion::Hook(event) => event.is_over(),
            Occasion::McpStart | Occasion::McpCall | Occasion::Command => false,
        }
    }

    fn with(&self, id: &str) -> Option<&KnownSession> {
        self.sessions.iter().copied().find(|session| session.has(id))
    }

    /// The one session that had this conversation before and is not in use.
    fn had(&self, id: &str) -> Option<&KnownSession> {
        let mut had = self
            .sessions
            .iter()
            .copied()
            .filter(|session| !session.live && session.earlier.iter().any(|known| known == id));
        let first = had.next();
        first.filter(|_| had.next().is_none())
    }

    fn of_process(&self) -> Option<&KnownSession> {
        let process = self.process?;
        self.sessions.iter().copied().find(|session| session.processes.contains(&process))
    }

    fn unknown(&self, conversation: Option<(String, bool)>) -> Decision {
        // The end of a turn or of a conversation that nobody heard of begins none.
        if self.is_over() {
            return Decision::Nothing;
        }
        let fork = self.start() == Some(StartKind::Fork);
        Decision::New { agent: self.agent.clone(), conversation, process: self.process, fork }
    }

    fn shared(&self, id: &str) -> Decision {
        match self.with(id).or_else(|| self.had(id)) {
            Some(session) => self.bind_if_new(session, id),
            None if self.is_over() => Decision::Nothing,
            None => self.unknown(Some((id.to_owned(), true))),
        }
    }

    fn shared_without_id(&self) -> Decision {
        let mut candidates: Vec<&KnownSession> = self.sessions.clone();
        if self.occasion == Occasion::Command {
            // A command is inside such an agent only when one of its sessions runs above it.
            let above = |session: &&KnownSession| {
                session.processes.iter().any(|process| self.caller.ancestors.contains(process))
            };
            candidates.retain(above);
            if candidates.is_empty() {
                return Decision::Outside;
            }
        }
        candidates.sort_by_key(|session| !session.live);
        let candidates = candidates.into_iter().map(|session| session.session).collect();
        Decision::NeedsId { agent: self.agent.clone(), candidates }
    }

    /// The agent itself named the conversation.
    fn by_id(&self, id: &str) -> Decision {
        let mine = self.of_process();
        let named = self.with(id).or_else(|| match mine {
            Some(mine) if mine.earlier.iter().any(|known| known == id) => None,
            Some(_) | None => self.had(id),
        });
        let conversation = Some((id.to_owned(), true));
        match (named, mine) {
            (Some(named), Some(mine)) if named.session != mine.session => {
                if self.is_over() {
                    return Decision::Known { session: named.session };
                }
                // The process goes on with a conversation that has a session: what it had was a guess, or is over.
                let absorb = mine.unsure().then_some(mine.session);
                let session = named.session;
                Decision::Bind { session, conversation, process: self.process, absorb, fresh: false }
            }
            (Some(named), _) => self.bind_if_new(named, id),
            (None, _) if self.is_over() => Decision::Nothing,
            (None, Some(mine)) if self.start() != Some(StartKind::Fork) => {
                let fresh = matches!(self.start(), Some(StartKind::Clear | StartKind::Startup));
                let fresh = fresh && !mine.unsure();
                let session = mine.session;
                Decision::Bind { session, conversation, process: self.process, absorb: None, fresh }
            }
            (None, _) => self.unknown(conversation),
        }
    }

    /// Nothing but the process, and perhaps a guess from the environment.
    fn by_process(&self, guess: Option<&str>) -> Decision {
        if let Some(mine) = self.of_process() {
            let unknown_guess = guess.filter(|id| self.with(id).is_none());
            return match (&mine.conversation, unknown_guess) {
                (None, Some(id)) => Decision::Bind {
                    session: mine.session,
                    conversation: Some((id.to_owned(), false)),
                    process: None,
                    absorb: None,
                    fresh: false,
                },
                _ => Decision::Known { session: mine.session },
            };
        }
        match guess {
            Some(id) => self.by_guess(id),
            None if self.occasion == Occasion::Command => Decision::Outside,
            None => self.unknown(self.own_id()),
        }
    }

    fn by_guess(&self, id: &str) -> Decision {
        match self.with(id) {
            None => self.unknown(Some((id.to_owned(), false))),
            // The environment of a command is made for that command: its agent knew which conversation it was in.
            Some(session) if self.process.is_none() || self.occasion == Occasion::Command => {
                Decision::Known { session: session.session }
            }
            // Another process runs that conversation: the variable was inherited, or is stale.
            Some(session) if !session.processes.is_empty() => self.unknown(None),
            Some(session) => Decision::Bind {
                session: session.session,
                conversation: Some((id.to_owned(), false)),
                process: self.process,
                absorb: None,
                fresh: false,
            },
        }
    }

    /// An unknown agent never says an id: its MCP server's process stands for the conversation.
    fn own_id(&self) -> Option<(String, bool)> {
        match (&self.agent, self.process) {
            (AgentKind::Other(_), Some(process)) => {
                Some((format!("process-{}-{}", process.pid, process.started), false))
            }
            _ => None,
        }
    }

    fn bind_if_new(&self, session: &KnownSession, id: &str) -> Decision {
        let process = self.process.filter(|process| !session.processes.contains(process));
        if self.is_over() || (process.is_none() && session.has(id) && !session.unsure() && session.live) {
            return Decision::Known { session: session.session };
        }
        Decision::Bind {
            session: session.session,
            conversation: Some((id.to_owned(), true)),
            process,
            absorb: None,
            fresh: false,
        }
    }
}
