//! `penpal hook AGENT EVENT` and `penpal statusline`: what agents run while their people wait.
//!
//! A light path: no command tree, no runtime, one call to the node. It fails open. Whatever goes wrong, the agent goes on at once and reads
//! nothing that would disturb it; a node that is away is started for the next time.

mod input;
mod start;
mod statusline;
mod wait;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use penpal_agents::agent::{self, Agent, Shows, WAIT};
use penpal_agents::evidence::Surroundings;
use penpal_agents::hook::{HookEvent as Event, HookReport, StartKind};
use penpal_agents::kind::AgentKind;
use penpal_local_api::caller::Caller;
use penpal_local_api::client::{CallError, Client};
use penpal_local_api::home::Home;
use penpal_local_api::hook::{HookEvent, HookRequest, HookShows};
use penpal_local_api::mail::CommitRequest;
use penpal_local_api::methods::{Commit, Hook};
use penpal_protocol::text::Label;

pub(crate) use statusline::run as statusline;
pub(crate) use wait::run as wait;

/// How long a hook may take all in all when the node does not answer.
const LIMIT: Duration = Duration::from_millis(130);

/// Time that is left for saying that mail was shown, however long the rest took.
const COMMIT_LIMIT: Duration = Duration::from_millis(100);

/// Runs `hook` and `statusline` without the command tree; `None` for every other command line.
///
/// Nothing but `--home` may stand before them, as in the commands that agents' files hold.
#[must_use]
pub fn light(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let mut home = None;
    let mut first = arguments.next()?;
    if first == "--home" {
        home = Some(PathBuf::from(arguments.next()?));
        first = arguments.next()?;
    }
    let rest: Vec<String> = arguments.map(OsString::into_string).collect::<Result<_, _>>().ok()?;
    // Help and other options are the command tree's.
    let plain = rest.iter().take_while(|word| *word != "--then").all(|word| !word.starts_with('-'));
    match (first.to_str()?, rest.as_slice()) {
        ("hook", [agent, event]) if plain && event == WAIT => return Some(wait::run(home, agent)),
        ("hook", [agent, event]) if plain => run(home, agent, event),
        ("statusline", then) if plain => statusline::run(home, then.get(1).map(String::as_str)),
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

/// Runs one hook of an agent.
pub(crate) fn run(home: Option<PathBuf>, agent: &str, event: &str) {
    let begun = Instant::now();
    let (Ok(home), Ok(label)) = (Home::resolve(home.as_deref()), Label::new(agent)) else { return };
    let Some(input) = input::read() else { return };
    let kind = AgentKind::from_label(&label);
    let report = HookReport::read(&kind, event, &input);
    let caller = Surroundings::of_this_process(None).for_hook(&kind, &report);
    // Without an id there is nothing to hold on to.
    let Some(agent) = agent_of(&caller).filter(|_| caller.conversation.is_some()) else { return };
    let point = agent.hooks().iter().find(|hook| hook.event == event);
    let shows = point.map_or(Shows::Nothing, |hook| hook.shows);
    let request = HookRequest {
        caller,
        event: event_of(report.event),
        shows: match shows {
            Shows::Nothing => HookShows::Nothing,
            Shows::Context => HookShows::Context,
            Shows::Hold => HookShows::Hold,
        },
        held_before: report.held_before && agent.tells_second_stop(),
        nonces: report.nonces,
    };
    let client = Client::new(&home);
    match client.call_within::<Hook>(&request, LIMIT.saturating_sub(begun.elapsed())) {
        Ok(answer) => {
            let Some(lease) = answer.lease else { return };
            // Committed only once the agent's pipe has it all: else it is unread again.
            if say(&agent.say(event, shows, &answer.quote)) && !agent.gives_back(shows) {
                let committed = client.call_within::<Commit>(&CommitRequest { lease }, COMMIT_LIMIT);
                drop(committed);
            }
        }
        Err(CallError::NoNode { .. }) => start::fire(&home),
        Err(_) => {}
    }
}

/// The agent that runs the hook; it may be another than the hook was installed for.
fn agent_of(caller: &Caller) -> Option<&'static dyn Agent> {
    let label = Label::new(caller.agent.as_deref()?).ok()?;
    agent::of(&AgentKind::from_label(&label))
}

fn say(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    !text.is_empty() && out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

fn event_of(event: Event) -> HookEvent {
    match event {
        Event::Start(StartKind::Startup) => HookEvent::Startup,
        Event::Start(StartKind::Resume) => HookEvent::Resume,
        Event::Start(StartKind::Clear) => HookEvent::Clear,
        Event::Start(StartKind::Compact) => HookEvent::Compact,
        Event::Start(StartKind::Fork) => HookEvent::Fork,
        Event::Prompt => HookEvent::Prompt,
        Event::Tool => HookEvent::Tool,
        Event::Stop => HookEvent::Stop,
        Event::End => HookEvent::End,
        Event::Replaced => HookEvent::Replaced,
        Event::Other => HookEvent::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn other_commands_and_help_go_to_the_command_tree() {
        for line in [
            "penpal",
            "penpal status",
            "penpal hook",
            "penpal hook codex",
            "penpal hook --help",
            "penpal --json hook codex Stop",
            "penpal hook codex Stop --json",
            "penpal --home",
            "penpal statusline --help",
        ] {
            assert!(light(words(line)).is_none(), "{line}");
        }
    }
}
