//! `penpal run`: an agent in a terminal of its own, between the person's terminal and penpal.
//!
//! ```text
//! person's terminal ── bytes, untouched ──▶ pseudo terminal ──▶ agent
//!                   ◀─ bytes, untouched ──
//!                          ▲ typed text, when `penpal_wake::Typist` allows it
//!                          └── node: wake, take, commit (own thread)
//! ```
//!
//! | module | does |
//! | --- | --- |
//! | `node` | waits for wakes and takes mail, on its own thread: a node that hangs never holds up a key |
//! | `signals` | the size of the terminal, and the end |
//! | `terminal` | raw mode, and back |

mod node;
mod signals;
mod terminal;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use penpal_agents::agent::{self, Agent};
use penpal_agents::evidence::{NAME_VARIABLE, RUN_VARIABLE};
use penpal_agents::kind::AgentKind;
use penpal_local_api::home::Home;
use penpal_protocol::text::Label;
use penpal_wake::{Act, Typist};
use pty_process::blocking::{Command, Pty};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use node::Order;

/// Most bytes that wait to be written to the agent; then the person's keys wait, too.
const MAX_PENDING: usize = 256 * 1024;

/// Bytes that are passed at a time.
const PASS: usize = 16 * 1024;

/// What is started.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Which agent.
    pub(crate) kind: AgentKind,
    /// Its program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// What its session is to be called.
    pub(crate) name: Option<Label>,
}

/// What other threads tell the terminal.
#[derive(Debug)]
enum Told {
    /// A session is to be woken.
    Wanted(String),
    /// What waits for it: lease and text, or nothing.
    Taken(Option<(String, String)>),
    /// The person's terminal has another size.
    Resized,
    /// This process is asked to end.
    End,
}

/// Starts the agent and stays until it ends; gives its exit status.
///
/// # Errors
/// When there is no terminal to be had. The person's terminal is as it was in every case.
pub(crate) fn run(home: &Home, plan: &Plan) -> std::io::Result<ExitCode> {
    // Hooks of the agent are below this process; whatever else inherits the variable is not.
    let run = format!("{}.{}.{}", plan.kind.label(), std::process::id(), token()?);
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        // Nobody types here, and nobody watches: the agent as it is.
        let mut command = std::process::Command::new(&plan.program);
        command.args(&plan.args).env("PENPAL_HOME", home.path());
        if let Some(name) = &plan.name {
            command.env(NAME_VARIABLE, name.as_str());
        }
        return command.status().map(code);
    }
    let (pty, pts) = pty_process::blocking::open().map_err(std::io::Error::other)?;
    if let Some(size) = terminal::size() {
        pty.resize(size).map_err(std::io::Error::other)?;
    }
    let mut command =
        Command::new(&plan.program).args(&plan.args).env("PENPAL_HOME", home.path()).env(RUN_VARIABLE, &run);
    if let Some(name) = &plan.name {
        command = command.env(NAME_VARIABLE, name.as_str());
    }
    let inside = agent::of(&plan.kind).map_or(&[][..], Agent::inside_its_process);
    for (variable, value) in inside.iter().filter(|(variable, _)| std::env::var_os(variable).is_none()) {
        command = command.env(variable, value);
    }
    let mut child = command.spawn(pts).map_err(std::io::Error::other)?;
    let (tell, told) = std::sync::mpsc::channel();
    let (woken, poke) = rustix::pipe::pipe()?;
    let poke = std::sync::Arc::new(poke);
    signals::watch(tell.clone(), std::sync::Arc::clone(&poke))?;
    let orders = node::start(home, run, tell, poke)?;
    let raw = terminal::Raw::begin()?;
    let passed = Screen::new(pty, told, orders)?.pass(&woken);
    drop(raw);
    passed?;
    child.wait().map(code)
}

/// The bytes in both directions, and what is typed in between.
struct Screen {
    pty: Pty,
    typist: Typist,
    begun: Instant,
    pending: VecDeque<u8>,
    /// What is written was asked for by the typist: report it once `pending` is empty.
    typing: bool,
    told: Receiver<Told>,
    orders: Sender<Order>,
    session: String,
    taken: Option<(String, String)>,
    keys: bool,
}

impl Screen {
    fn new(pty: Pty, told: Receiver<Told>, orders: Sender<Order>) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&pty, true)?;
        Ok(Self {
            pty,
            typist: Typist::new(),
            begun: Instant::now(),
            pending: VecDeque::new(),
            typing: false,
            told,
            orders,
            session: String::new(),
            taken: None,
            keys: true,
        })
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Passes bytes until the agent's end of the terminal is closed or this process is asked to end.
    fn pass(&mut self, woken: &OwnedFd) -> std::io::Result<()> {
        let stdin = std::io::stdin();
        let mut part = vec![0; PASS];
        loop {
            let mut out = PollFlags::IN;
            out.set(PollFlags::OUT, !self.pending.is_empty());
            let keys = self.keys && self.pending.len() < MAX_PENDING;
            let wait = self.typist.poll_timeout().map(|at| at.saturating_sub(self.now()));
            let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
            let (agent, person, poked) = {
                let mut wanted = vec![PollFd::new(&self.pty, out), PollFd::new(woken, PollFlags::IN)];
                if keys {
                    wanted.push(PollFd::new(&stdin, PollFlags::IN));
                }
                match poll(&mut wanted, wait.as_ref()) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other?,
                };
                let ready = |at: usize| wanted.get(at).map_or(PollFlags::empty(), PollFd::revents);
                (ready(0), ready(2), ready(1))
            };
            if agent.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
                && !self.agent_wrote(&mut part)?
            {
                return Ok(());
            }
            if !person.is_empty() {
                // Read past the standard library's buffer: what is in it would not be seen by `poll`.
                match rustix::io::read(&stdin, part.as_mut_slice()) {
                    Ok(0) => self.keys = false,
                    Ok(count) => {
                        let bytes = part.get(..count).unwrap_or_default();
                        self.pending.extend(bytes);
                        self.typist.handle_keys(bytes, self.now());
                    }
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(_) => self.keys = false,
                }
            }
            if !poked.is_empty() && !self.listen(woken)? {
                return Ok(());
            }
            self.write()?;
            self.act();
            self.write()?;
        }
    }

    /// Passes what the agent wrote; tells whether its end is still open.
    fn agent_wrote(&mut self, part: &mut [u8]) -> std::io::Result<bool> {
        match self.pty.read(part) {
            Ok(0) => Ok(false),
            Ok(count) => {
                let bytes = part.get(..count).unwrap_or_default();
                self.typist.handle_output(bytes);
                let mut out = std::io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()?;
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            // Linux says so when the last process of the terminal has ended.
            Err(_) => Ok(false),
        }
    }

    fn listen(&mut self, woken: &OwnedFd) -> std::io::Result<bool> {
        let mut sink = [0; 64];
        rustix::io::read(woken, &mut sink)?;
        while let Ok(told) = self.told.try_recv() {
            match told {
                Told::Wanted(session) => {
                    self.session = session;
                    self.typist.handle_wanted();
                }
                Told::Taken(taken) => {
                    self.typist.handle_taken(taken.is_some());
                    if taken.is_none() {
                        self.order(Order::Again);
                    }
                    self.taken = taken;
                }
                Told::Resized => {
                    if let Some(size) = terminal::size() {
                        // A size that cannot be set leaves the old one.
                        drop(self.pty.resize(size));
                    }
                }
                Told::End => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Writes what waits, as far as the agent takes it.
    fn write(&mut self) -> std::io::Result<()> {
        while !self.pending.is_empty() {
            let (first, _) = self.pending.as_slices();
            match self.pty.write(first) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.pending.clear();
                    self.written(false);
                    return Ok(());
                }
            }
        }
        self.written(true);
        Ok(())
    }

    fn written(&mut self, ok: bool) {
        if std::mem::take(&mut self.typing) {
            self.typist.handle_written(ok, self.now());
        }
    }

    fn act(&mut self) {
        while let Some(act) = self.typist.poll(self.now()) {
            match act {
                Act::Take => self.order(Order::Take(self.session.clone())),
                Act::Text { pasted } => {
                    let text = self.taken.as_ref().map(|(_, text)| typed(text, pasted)).unwrap_or_default();
                    self.pending.extend(text.as_bytes());
                    self.typing = true;
                }
                Act::Return => {
                    self.pending.push_back(b'\r');
                    self.typing = true;
                }
                Act::Commit => {
                    let lease = self.taken.take().map(|(lease, _)| lease).unwrap_or_default();
                    self.order(Order::Commit(lease));
                }
                Act::Leave => {
                    self.taken = None;
                    self.order(Order::Again);
                }
            }
            // A write is reported before the next question.
            if self.typing {
                return;
            }
        }
    }

    fn order(&self, order: Order) {
        // The thread ends only with this one.
        drop(self.orders.send(order));
    }
}

/// A text as keys: as one paste where the program asked for it, else in one line, for a line break would send it.
fn typed(text: &str, pasted: bool) -> String {
    let key = |one: char| match one {
        // Agents read the file that `@path` names, wherever it stands in a prompt.
        '@' => Some('＠'),
        one => (!one.is_control()).then_some(one),
    };
    let lines = text.lines().map(|line| line.chars().filter_map(key).collect::<String>());
    let lines: Vec<String> = lines.collect();
    if pasted { format!("\x1b[200~{}\x1b[201~", lines.join("\r")) } else { lines.join(" ") }
}

fn code(status: ExitStatus) -> ExitCode {
    let shell = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(shell).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn token() -> std::io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::typed;

    #[test]
    fn what_is_typed_holds_no_key_that_does_something() {
        let text = "a\nb\u{1b}[201~\rc\u{3}\td\u{9b}x @.env";
        assert_eq!(typed(text, true), "\u{1b}[200~a\rb[201~cdx ＠.env\u{1b}[201~");
        assert_eq!(typed(text, false), "a b[201~cdx ＠.env");
    }
}
