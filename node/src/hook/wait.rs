//! `penpal hook AGENT wait`: a hook that stays in the background until its session is to be woken.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use penpal_agents::agent::{self, WAIT, Wake};
use penpal_agents::evidence::Surroundings;
use penpal_agents::hook::HookReport;
use penpal_agents::kind::AgentKind;
use penpal_local_api::caller::Caller;
use penpal_local_api::client::{CallError, Client};
use penpal_local_api::home::Home;
use penpal_local_api::methods::{WakeTake, WakeWait};
use penpal_local_api::wake::{WakeTakeRequest, WakeWaitRequest, WakeWaited};
use penpal_protocol::text::Label;
use penpal_wake::Rung;

/// How long one request to the node waits; then it is seen whether the agent is still there.
const SLICE: Duration = Duration::from_secs(300);

/// How long an answer may take beyond that.
const GRACE: Duration = Duration::from_secs(10);

/// Pause while the node is away.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a node may be away before the hook gives up; the next turn brings another one.
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits, and ends as the agent wants it. Whatever goes wrong, it ends with 0 and has said nothing.
#[must_use]
pub(crate) fn run(home: Option<PathBuf>, agent: &str) -> ExitCode {
    woken(home, agent).unwrap_or(ExitCode::SUCCESS)
}

fn woken(home: Option<PathBuf>, agent: &str) -> Option<ExitCode> {
    if std::io::stdin().is_terminal() {
        return None;
    }
    let (home, label) = (Home::resolve(home.as_deref()).ok()?, Label::new(agent).ok()?);
    let kind = AgentKind::from_label(&label);
    let report = HookReport::read(&kind, WAIT, &super::input::read_line()?);
    let caller = Surroundings::of_this_process(None).for_hook(&kind, &report);
    let agent = super::agent_of(&caller)?;
    let rung = rung(agent)?;
    // A run that nobody watches ends by itself, and must not be kept.
    if caller.headless || caller.conversation.is_none() {
        return None;
    }
    let client = Client::new(&home);
    let session = wait(&client, caller, rung)?;
    let request = WakeTakeRequest { session, by: rung.name().to_owned() };
    let taken = client.call::<WakeTake>(&request).ok()?;
    // Not committed here: the agent's prompt hook shows that it arrived.
    taken.lease.as_ref()?;
    let said = agent.wake(&taken.text);
    let (mut out, mut error) = (std::io::stdout().lock(), std::io::stderr().lock());
    out.write_all(said.out.as_bytes()).and_then(|()| out.flush()).ok()?;
    error.write_all(said.error.as_bytes()).ok()?;
    Some(ExitCode::from(said.status))
}

fn rung(agent: &dyn agent::Agent) -> Option<Rung> {
    agent.wakes().iter().find_map(|wake| match wake {
        Wake::AsyncRewake => Some(Rung::RewakeHook),
        Wake::Plugin => Some(Rung::Plugin),
        Wake::MessagingSocket | Wake::Channel | Wake::QueueCommand | Wake::Terminal => None,
    })
}

/// The session that is to be woken, once it is.
fn wait(client: &Client, caller: Caller, rung: Rung) -> Option<String> {
    let parent = rustix::process::getppid();
    let request = WakeWaitRequest {
        caller,
        by: rung.name().to_owned(),
        run: None,
        wait_ms: u64::try_from(SLICE.as_millis()).unwrap_or(u64::MAX),
    };
    let mut heard = Instant::now();
    loop {
        match client.call_within::<WakeWait>(&request, SLICE + GRACE) {
            Ok(WakeWaited { wake: true, session, .. }) => return session,
            Ok(WakeWaited { over: true, .. }) => return None,
            Ok(_) => heard = Instant::now(),
            // A node that was stopped or restarted.
            Err(CallError::NoNode { .. } | CallError::Broken(_)) if heard.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            Err(_) => return None,
        }
        if rustix::process::getppid() != parent {
            return None;
        }
    }
}
