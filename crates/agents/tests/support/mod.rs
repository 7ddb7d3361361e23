//! A machine with processes, and a node that decides and keeps sessions as the real one does.
#![allow(dead_code, unreachable_pub, clippy::panic, reason = "a test helper: each binary uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use penpal_agents::caller::{Decision, KnownSession, Occasion, decide};
use penpal_agents::evidence::process::{Found, ProcessTable};
use penpal_agents::evidence::{Environment, Surroundings};
use penpal_agents::hook::{HookEvent, HookReport};
use penpal_agents::kind::{AgentKind, Model};
use penpal_local_api::caller::{Caller, Process};
use penpal_protocol::ids::SessionId;
use penpal_protocol::sealed::SessionState;
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use penpal_sessions::{
    AgentConversation, Binding, Command, LocalView, Place, ProcessModel, ProcessRef, Registration, Sessions,
    Sign,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;

/// Processes that a test makes up.
#[derive(Debug, Default, Clone)]
pub struct Processes(BTreeMap<u32, Found>);

impl Processes {
    pub fn start(&mut self, pid: u32, parent: u32, command: &str) {
        let process = Process { pid, started: u64::from(pid) * 10 };
        let arguments = command.split(' ').map(str::to_owned).collect();
        self.0.insert(pid, Found { process, parent, arguments });
    }
}

impl ProcessTable for Processes {
    fn look(&self, pid: u32) -> Option<Found> {
        self.0.get(&pid).cloned()
    }
}

/// What became of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    Session(SessionId),
    /// The error that lists this many candidates.
    NeedsId(usize),
    /// A person.
    Outside,
    Nothing,
}

impl Became {
    pub fn session(self) -> SessionId {
        match self {
            Self::Session(session) => session,
            Self::NeedsId(_) | Self::Outside | Self::Nothing => panic!("no session: {self:?}"),
        }
    }
}

/// Processes, sessions and time.
pub struct World {
    pub processes: Processes,
    pub sessions: Sessions,
    pub commands: Vec<Command>,
    now: Now,
    rng: ChaCha20Rng,
}

impl World {
    pub fn new() -> Self {
        let now = Now { mono: Duration::from_secs(1), wall_ms: 1_795_219_100_000 };
        let mut sessions = Sessions::new();
        sessions.handle_started(now);
        let mut processes = Processes::default();
        processes.start(1, 0, "/sbin/init");
        processes.start(100, 1, "-bash");
        Self { processes, sessions, commands: Vec::new(), now, rng: ChaCha20Rng::seed_from_u64(7) }
    }

    /// A hook of `agent`, run through a shell by process `client`.
    pub fn hook(
        &mut self,
        agent: &AgentKind,
        client: u32,
        event: &str,
        input: &Value,
        environment: &Environment,
    ) -> Became {
        self.processes.start(9_000, client, "sh -c penpal");
        self.processes.start(9_001, 9_000, "penpal hook");
        let report = HookReport::read(agent, event, input);
        let around = Surroundings::new(
            &self.processes,
            9_001,
            environment.clone(),
            Some(PathBuf::from("/home/alice/proj")),
        );
        let caller = around.for_hook(agent, &report);
        self.arrive(&caller, Occasion::Hook(report.event))
    }

    /// The MCP server in process `pid`.
    pub fn mcp(&self, pid: u32, environment: &Environment, folder: &str) -> Surroundings {
        Surroundings::new(&self.processes, pid, environment.clone(), Some(PathBuf::from(folder)))
    }

    pub fn mcp_start(&mut self, server: &Surroundings, client: &str) -> Became {
        let caller = server.for_mcp(client, None, None);
        self.arrive(&caller, Occasion::McpStart)
    }

    pub fn mcp_call(&mut self, server: &Surroundings, client: &str, meta: Option<&Value>) -> Became {
        let caller = server.for_mcp(client, None, meta);
        self.arrive(&caller, Occasion::McpCall)
    }

    /// A command in process `pid`.
    pub fn command(&mut self, pid: u32, environment: &Environment, folder: &str) -> Became {
        let caller = self.mcp(pid, environment, folder).for_command();
        self.arrive(&caller, Occasion::Command)
    }

    pub fn gone(&mut self, pid: u32) {
        let process = ProcessRef { pid, started: u64::from(pid) * 10 };
        self.sessions.handle_process_gone(process, self.now);
        self.drain();
    }

    pub fn known(&self) -> Vec<KnownSession> {
        let known = |row: LocalView| KnownSession {
            session: row.session,
            agent: AgentKind::from_label(&row.agent),
            conversation: row.conversation.map(|(id, certain)| (id.as_str().to_owned(), certain)),
            earlier: row.earlier.iter().map(|id| id.as_str().to_owned()).collect(),
            processes: row
                .processes
                .iter()
                .map(|process| Process { pid: process.pid, started: process.started })
                .collect(),
            live: row.state != SessionState::Ended,
        };
        self.sessions.local().into_iter().map(known).collect()
    }

    pub fn row(&self, session: SessionId) -> LocalView {
        self.sessions.session(session).expect("the session is known")
    }

    pub fn only(&self) -> LocalView {
        let rows = self.sessions.local();
        let [row] = <[LocalView; 1]>::try_from(rows).expect("one session");
        row
    }

    pub fn names(&self) -> Vec<String> {
        self.sessions.local().iter().map(|row| row.name.to_string()).collect()
    }

    /// What the node does with evidence.
    pub fn arrive(&mut self, caller: &Caller, occasion: Occasion) -> Became {
        self.now = self.now.plus(Duration::from_millis(10));
        let now = self.now;
        let conversation = |conversation: Option<(String, bool)>| {
            conversation.and_then(|(id, certain)| Some((AgentConversation::new(&id)?, certain)))
        };
        let process =
            |process: Option<Process>| process.map(|at| ProcessRef { pid: at.pid, started: at.started });
        let became = match decide(caller, occasion, &self.known()) {
            Decision::Known { session } => Became::Session(session),
            Decision::Bind { session, conversation: id, process: by, absorb, fresh } => {
                let binding =
                    Binding { session, conversation: conversation(id), process: process(by), absorb, fresh };
                Became::Session(self.sessions.handle_bind(binding, now).expect("known").session)
            }
            Decision::New { agent, conversation: id, process: by, fork } => {
                let registration = Registration {
                    agent: agent.label(),
                    model: match agent.model() {
                        Model::OnePerConversation => ProcessModel::OnePerConversation,
                        Model::Shared => ProcessModel::Shared,
                    },
                    process: process(by),
                    conversation: conversation(id),
                    place: Place::new(
                        caller.folder.as_deref().expect("a folder"),
                        caller.worktree.as_deref(),
                        caller.repository.as_deref(),
                    ),
                    wanted: caller.wanted_name.as_deref().and_then(|name| Label::new(name).ok()),
                    headless: caller.headless,
                    fork,
                };
                let placed = self.sessions.handle_register(registration, now, &mut self.rng);
                Became::Session(placed.expect("there is room").session)
            }
            Decision::NeedsId { candidates, .. } => Became::NeedsId(candidates.len()),
            Decision::Outside => Became::Outside,
            Decision::Nothing => Became::Nothing,
        };
        if let Became::Session(session) = became {
            let sign = match occasion {
                Occasion::Hook(HookEvent::Start(_)) => Some(Sign::Start),
                Occasion::Hook(HookEvent::Prompt) => Some(Sign::Prompt),
                Occasion::Hook(HookEvent::Tool) => Some(Sign::Tool),
                Occasion::Hook(HookEvent::Stop) => Some(Sign::Stop),
                Occasion::Hook(HookEvent::Other) | Occasion::McpStart => Some(Sign::Seen),
                Occasion::McpCall | Occasion::Command => Some(Sign::Call),
                Occasion::Hook(HookEvent::End) => {
                    self.sessions.handle_end(session, now).expect("known");
                    None
                }
                Occasion::Hook(HookEvent::Replaced) => None,
            };
            if let Some(sign) = sign {
                self.sessions.handle_sign(session, sign, now).expect("known");
            }
        }
        self.drain();
        became
    }

    fn drain(&mut self) {
        while let Some(command) = self.sessions.poll_command() {
            self.commands.push(command);
        }
    }
}

/// Variables of a recording, or made up.
pub fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Variables of a recorded line.
pub fn recorded_environment(line: &Value) -> Environment {
    let variables = line["env"].as_object().expect("variables");
    variables.iter().map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned())).collect()
}

/// Lines of a recording.
pub fn recording(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/agents");
    let text = std::fs::read_to_string(folder.join(name)).expect(name);
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
