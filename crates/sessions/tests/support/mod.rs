//! A shell for the machine: keeps its records, collects its other commands, restarts it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::time::Duration;

use penpal_protocol::time::Now;
use penpal_sessions::{
    AgentConversation, Binding, Command, LocalView, Place, Placed, ProcessModel, ProcessRef, Registration,
    Sessions, Sign, Table,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub struct Shell {
    pub machine: Sessions,
    pub now: Now,
    pub rng: ChaCha20Rng,
    pub records: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    pub commands: Vec<Command>,
}

impl Shell {
    pub fn new() -> Self {
        Self::seeded(1)
    }

    pub fn seeded(seed: u64) -> Self {
        let mut shell = Self {
            machine: Sessions::new(),
            now: Now { mono: Duration::from_secs(100), wall_ms: 1_795_219_100_000 },
            rng: ChaCha20Rng::seed_from_u64(seed),
            records: BTreeMap::new(),
            commands: Vec::new(),
        };
        shell.machine.handle_started(shell.now);
        shell.drain();
        shell
    }

    /// Stores changes and keeps everything else.
    pub fn drain(&mut self) {
        while let Some(command) = self.machine.poll_command() {
            if let Command::Change(change) = command {
                let key = (change.table, change.key);
                match change.value {
                    Some(value) => self.records.insert(key, value),
                    None => self.records.remove(&key),
                };
            } else {
                self.commands.push(command);
            }
        }
    }

    /// Commands since the last time, changes left out.
    pub fn take(&mut self) -> Vec<Command> {
        self.drain();
        std::mem::take(&mut self.commands)
    }

    /// The process dies and starts again from its records.
    pub fn restart(&mut self) {
        self.drain();
        self.commands.clear();
        let mut machine = Sessions::new();
        for ((table, key), value) in &self.records {
            machine.restore(*table, key, value).expect("own records are read");
        }
        self.machine = machine;
        // Another process has another monotonic clock.
        self.now.mono = Duration::from_secs(7);
        self.machine.handle_started(self.now);
        self.drain();
    }

    /// Lets time pass, waking the machine when it asks for it.
    pub fn pass(&mut self, by: Duration) {
        let end = self.now.plus(by);
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= end.mono) {
            let step = at.saturating_sub(self.now.mono);
            self.now = self.now.plus(step.max(Duration::from_millis(1)));
            self.machine.handle_timeout(self.now);
            self.drain();
        }
        if self.now < end {
            self.now = end;
        }
    }

    pub fn register(&mut self, registration: Registration) -> Placed {
        let placed =
            self.machine.handle_register(registration, self.now, &mut self.rng).expect("there is room");
        self.drain();
        placed
    }

    pub fn bind(&mut self, binding: Binding) -> Placed {
        let placed = self.machine.handle_bind(binding, self.now).expect("the session is known");
        self.drain();
        placed
    }

    pub fn sign(&mut self, placed: &Placed, sign: Sign) {
        self.machine.handle_sign(placed.session, sign, self.now).expect("the session is known");
        self.drain();
    }

    pub fn end(&mut self, placed: &Placed) {
        self.machine.handle_end(placed.session, self.now).expect("the session is known");
        self.drain();
    }

    pub fn gone(&mut self, pid: u32) {
        self.machine.handle_process_gone(process(pid), self.now);
        self.drain();
    }

    pub fn row(&self, placed: &Placed) -> LocalView {
        self.machine.session(placed.session).expect("the session is known")
    }

    pub fn names(&self) -> Vec<String> {
        self.machine.local().iter().map(|row| row.name.to_string()).collect()
    }
}

pub fn process(pid: u32) -> ProcessRef {
    ProcessRef { pid, started: u64::from(pid) * 1000 }
}

pub fn id(text: &str) -> AgentConversation {
    AgentConversation::new(text).expect("short enough")
}

/// A certain conversation of Claude Code in `/home/alice/<folder>`.
pub fn claude(pid: u32, conversation: &str, folder: &str) -> Registration {
    Registration {
        agent: "claude-code".parse().expect("a label"),
        model: ProcessModel::OnePerConversation,
        process: Some(process(pid)),
        conversation: Some((id(conversation), true)),
        place: place(folder),
        wanted: None,
        headless: false,
        fork: false,
    }
}

/// A certain thread of Codex.
pub fn codex(conversation: &str, folder: &str) -> Registration {
    Registration {
        agent: "codex".parse().expect("a label"),
        model: ProcessModel::Shared,
        process: None,
        ..claude(0, conversation, folder)
    }
}

/// An MCP server of Gemini before its first hook.
pub fn gemini(pid: u32, folder: &str) -> Registration {
    Registration {
        agent: "gemini".parse().expect("a label"),
        conversation: None,
        ..claude(pid, "unused", folder)
    }
}

pub fn place(folder: &str) -> Place {
    let path = format!("/home/alice/{folder}");
    Place::new(&format!("{path}/src"), Some(&path), Some(&path))
}

pub fn binding(placed: &Placed, conversation: &str) -> Binding {
    Binding {
        session: placed.session,
        conversation: Some((id(conversation), true)),
        process: None,
        absorb: None,
        fresh: false,
    }
}
