//! Histories of sessions: what may happen, and what must hold after each step. Random tests and the fuzzer draw the steps.
#![allow(unreachable_pub, reason = "included where it is used")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::{Fingerprint, SessionId};
use penpal_protocol::sealed::{Reach, SessionState};
use penpal_sessions::{
    Binding, Command, DeliveryMode, LocalView, ProcessModel, ProcessRef, Registration, Sign,
};

use super::support::{Shell, claude, codex, gemini, id, process};

#[derive(Debug, Clone)]
pub enum Step {
    Register {
        agent: u8,
        pid: u32,
        conversation: Option<u8>,
        certain: bool,
        folder: u8,
        wanted: Option<u8>,
        headless: bool,
        fork: bool,
    },
    Bind {
        session: usize,
        conversation: Option<u8>,
        certain: bool,
        pid: Option<u32>,
        absorb: Option<usize>,
        fresh: bool,
    },
    Sign {
        session: usize,
        sign: u8,
    },
    End {
        session: usize,
    },
    Gone {
        pid: u32,
    },
    Open {
        name: u8,
    },
    Close {
        session: usize,
    },
    Rename {
        session: usize,
        name: u8,
    },
    Hide {
        session: usize,
        hidden: bool,
    },
    Mail {
        session: usize,
    },
    ContactUp,
    ContactDown,
    Pass {
        seconds: u64,
    },
    Restart,
}

const NAMES: [&str; 6] = ["proj", "proj-2", "api", "other", "desk", "me"];
const FOLDERS: [&str; 3] = ["proj", "other", "desk"];
const SIGNS: [Sign; 6] = [Sign::Start, Sign::Prompt, Sign::Tool, Sign::Stop, Sign::Call, Sign::Seen];

/// The machine, and what a faithful shell would have made of its commands.
pub struct World {
    shell: Shell,
    /// Mails by mailbox; `None` is the desk.
    mail: BTreeMap<Option<SessionId>, u32>,
    sent: u32,
    /// Mailboxes that mail came to, which only time may take away.
    kept: BTreeSet<SessionId>,
    /// So much time passed that ended sessions may be let go.
    late: bool,
    watched: BTreeSet<ProcessRef>,
    revision: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            shell: Shell::seeded(seed),
            mail: BTreeMap::new(),
            sent: 0,
            kept: BTreeSet::new(),
            late: false,
            watched: BTreeSet::new(),
            revision: 0,
        }
    }

    fn pick(&self, number: usize) -> Option<LocalView> {
        let rows = self.shell.machine.local();
        rows.get(number % rows.len().max(1)).cloned()
    }

    pub fn run(&mut self, step: Step) {
        let now = self.shell.now;
        match step {
            Step::Register { agent, pid, conversation, certain, folder, wanted, headless, fork } => {
                let folder = FOLDERS[usize::from(folder)];
                let base = match agent {
                    0 => claude(pid, "unused", folder),
                    1 => codex("unused", folder),
                    _ => gemini(pid, folder),
                };
                let conversation = conversation.map(|number| (id(&format!("c{number}")), certain));
                let conversation =
                    if agent == 1 { conversation.or_else(|| Some((id("c0"), true))) } else { conversation };
                let wanted = wanted.map(|number| NAMES[usize::from(number)].parse().expect("a label"));
                let process = base.process.filter(|_| pid < 5);
                let registration = Registration { conversation, wanted, headless, fork, process, ..base };
                let placed = self
                    .shell
                    .machine
                    .handle_register(registration.clone(), now, &mut self.shell.rng)
                    .expect("room");
                let row = self.shell.machine.session(placed.session).expect("it is there");
                assert_eq!(row.name, placed.name);
                assert_eq!(row.agent, registration.agent, "a session never changes its agent");
                assert_ne!(row.state, SessionState::Ended, "whoever registers is live");
            }
            Step::Bind { session, conversation, certain, pid, absorb, fresh } => {
                let Some(row) = self.pick(session).filter(|row| row.model != ProcessModel::ByHand) else {
                    return;
                };
                // The decision absorbs only what is unsure and of the same agent.
                let absorb = absorb.and_then(|number| self.pick(number)).filter(|other| {
                    other.agent == row.agent
                        && !other.conversation.as_ref().is_some_and(|(_, certain)| *certain)
                });
                let binding = Binding {
                    session: row.session,
                    conversation: conversation.map(|number| (id(&format!("c{number}")), certain)),
                    process: pid.map(process),
                    absorb: absorb.map(|other| other.session),
                    fresh,
                };
                let placed = self.shell.machine.handle_bind(binding, now).expect("known");
                assert_ne!(
                    self.shell.machine.session(placed.session).expect("there").state,
                    SessionState::Ended
                );
            }
            Step::Sign { session, sign } => {
                if let Some(row) = self.pick(session) {
                    self.shell
                        .machine
                        .handle_sign(row.session, SIGNS[usize::from(sign)], now)
                        .expect("known");
                }
            }
            Step::End { session } => {
                if let Some(row) = self.pick(session) {
                    self.shell.machine.handle_end(row.session, now).expect("known");
                    let ended = self.shell.machine.session(row.session);
                    assert!(ended.is_none_or(|row| row.state == SessionState::Ended));
                }
            }
            Step::Gone { pid } => {
                self.watched.remove(&process(pid));
                self.shell.machine.handle_process_gone(process(pid), now);
            }
            Step::Open { name } => {
                let name = NAMES[usize::from(name)].parse().expect("a label");
                let agent = "by-hand".parse().expect("a label");
                drop(self.shell.machine.handle_open(name, agent, now, &mut self.shell.rng));
            }
            Step::Close { session } => {
                if let Some(row) = self.pick(session) {
                    drop(self.shell.machine.handle_close(row.session, now));
                }
            }
            Step::Rename { session, name } => {
                if let Some(row) = self.pick(session) {
                    let name = NAMES[usize::from(name)].parse().expect("a label");
                    drop(self.shell.machine.handle_rename(row.session, name, now));
                }
            }
            Step::Hide { session, hidden } => {
                if let Some(row) = self.pick(session) {
                    self.shell.machine.handle_hide(row.session, hidden, now).expect("known");
                    self.shell.machine.handle_mute(row.session, DeliveryMode::Quiet, now).expect("known");
                    self.shell.machine.handle_reach(row.session, Reach::Wakes, now).expect("known");
                }
            }
            Step::Mail { session } => {
                if let Some(row) = self.pick(session) {
                    *self.mail.entry(Some(row.session)).or_default() += 1;
                    self.shell.machine.handle_mail(row.session, now).expect("known");
                    self.kept.insert(row.session);
                    self.sent += 1;
                }
            }
            Step::ContactUp => self.shell.machine.handle_contact_up(Fingerprint::from_bytes([1; 16]), now),
            Step::ContactDown => {
                self.shell.machine.handle_contact_down(Fingerprint::from_bytes([1; 16]), now)
            }
            Step::Pass { seconds } => {
                self.late |= seconds > 1_000_000;
                self.shell.pass(Duration::from_secs(seconds));
            }
            Step::Restart => self.restart(),
        }
        self.obey();
        self.check();
    }

    pub fn restart(&mut self) {
        let identity = |row: LocalView| {
            (
                row.session,
                row.name,
                row.conversation,
                row.processes,
                row.state == SessionState::Ended,
                row.announced,
            )
        };
        let before: Vec<_> = self.shell.machine.local().into_iter().map(identity).collect();
        self.obey();
        self.shell.restart();
        let after: Vec<_> = self.shell.machine.local().into_iter().map(identity).collect();
        assert_eq!(before, after, "a restart changes nothing");
        self.watched.clear();
    }

    fn obey(&mut self) {
        for command in self.shell.take() {
            match command {
                Command::Change(_) => unreachable!("the shell keeps them"),
                Command::Announce { presence, to } => {
                    assert!(!to.is_empty());
                    assert!(presence.revision > self.revision, "revisions rise");
                    self.revision = presence.revision;
                }
                Command::MoveMail { from, into } => {
                    assert_ne!(from, into);
                    let moved = self.mail.remove(&Some(from)).unwrap_or_default();
                    *self.mail.entry(Some(into)).or_default() += moved;
                    assert_eq!(
                        self.shell.machine.session(from).map(|row| row.session),
                        self.shell.machine.session(into).map(|row| row.session)
                    );
                }
                Command::MarkEarlier { before_ms, .. } => assert!(before_ms <= self.shell.now.wall_ms),
                Command::MailToDesk { session } => {
                    assert!(self.late || !self.kept.contains(&session), "gone before its time");
                    let moved = self.mail.remove(&Some(session)).unwrap_or_default();
                    *self.mail.entry(None).or_default() += moved;
                }
                Command::Watch(process) => assert!(self.watched.insert(process), "watched twice"),
                Command::Unwatch(process) => assert!(self.watched.remove(&process), "was not watched"),
            }
        }
    }

    fn check(&self) {
        let rows = self.shell.machine.local();
        let mut names = BTreeSet::new();
        let mut conversations = BTreeSet::new();
        let mut exclusive = BTreeSet::new();
        let mut running = BTreeSet::new();
        for row in &rows {
            assert!(names.insert(row.name.clone()), "two sessions are called {}", row.name);
            assert!(!row.name.is_reserved());
            if let Some((conversation, _)) = &row.conversation {
                assert!(
                    conversations.insert((row.agent.clone(), conversation.clone())),
                    "two sessions have {conversation:?}"
                );
            }
            running.extend(row.processes.iter().copied());
            if row.model == ProcessModel::OnePerConversation {
                for process in &row.processes {
                    assert!(exclusive.insert(*process), "two sessions have {process:?}");
                }
            }
            assert!(!(row.provisional && (row.announced || row.reach != Reach::Manual)));
            assert!(!(row.hidden && row.announced));
        }
        assert_eq!(self.watched, running);
        let stored =
            self.shell.records.keys().filter(|(table, _)| *table == penpal_sessions::Table::Session).count();
        assert_eq!(stored, rows.len());
        for (mailbox, count) in &self.mail {
            let reachable = mailbox.is_none_or(|mailbox| self.shell.machine.session(mailbox).is_some());
            assert!(*count == 0 || reachable, "mail without a mailbox");
        }
        assert_eq!(self.mail.values().sum::<u32>(), self.sent, "no mail is lost or doubled");
        if let Some(at) = self.shell.machine.poll_timeout() {
            assert!(at >= self.shell.now.mono || at <= self.shell.now.mono + Duration::from_secs(1));
        }
    }
}
