//! Wiring as checks of `doctor`.

use penpal_agents::agent::Setup;
use penpal_agents::kind::AgentKind;
use penpal_local_api::home::Home;
use penpal_local_api::status::{Check, CheckState};

use super::plan::{AgentPlan, State, Want};
use super::{apply, wire};

/// Checks every agent that is here. With `fix`, those that are wired in and are not as they should be are repaired.
pub(crate) fn agents(home: &Home, fix: bool) -> Vec<Check> {
    // From a build folder nothing can be said about the program; everything else can.
    let setup = super::setup(home, None).or_else(|_| super::setup(home, crate::program::path().ok()));
    let Ok(setup) = setup else { return Vec::new() };
    let mut repaired = Vec::new();
    if fix {
        let plan = wire(&setup, home, &Want::Wired);
        if let Ok(applied) = apply(&plan, home, true) {
            repaired = applied.written;
        }
    }
    let plan = wire(&setup, home, &Want::Found);
    plan.agents
        .iter()
        .map(|agent| check(agent, &setup, agent.files.iter().any(|file| repaired.contains(&file.path))))
        .collect()
}

fn check(plan: &AgentPlan, setup: &Setup, repaired: bool) -> Check {
    let label = plan.agent.kind().label();
    let version = plan.found.as_ref().and_then(|found| found.version.clone()).unwrap_or_default();
    let title = format!("{} {version}", plan.agent.title()).trim().to_owned();
    let init = format!("penpal init --client {label}");
    let (state, fact, repair) = match plan.state {
        State::Done if repaired => (CheckState::Ok, "wired in; repaired".to_owned(), None),
        State::Done => (CheckState::Ok, "wired in".to_owned(), None),
        State::Covered => (CheckState::Ok, plan.remarks.join("; "), None),
        State::Change if plan.has_ours => (
            CheckState::Warning,
            "is wired in for another place or version of penpal".to_owned(),
            Some("penpal doctor --fix".to_owned()),
        ),
        State::Change => (CheckState::Warning, "is not wired in".to_owned(), Some(init)),
        State::Conflict => (
            CheckState::Failed,
            plan.remarks.join("; "),
            Some(format!("put that file right by hand, then: {init}")),
        ),
    };
    let mut fact = format!("{title}: {fact}");
    if plan.agent.tried().is_none() {
        fact.push_str(" (unverified: built from its documentation)");
    }
    if plan.agent.kind() == AgentKind::Codex && plan.has_ours && !approved(plan, setup) {
        let why = "codex runs a hook only after its exact command was approved in its own window (it asks `Hooks need review`); \
                   `codex exec` leaves unapproved ones out silently";
        return Check {
            name: label.to_string(),
            state: CheckState::Warning,
            fact: format!("{fact}; its hooks are not approved yet: {why}"),
            repair: Some("open codex once and approve the hooks".to_owned()),
        };
    }
    Check { name: label.to_string(), state, fact, repair }
}

/// Whether Codex wrote down that somebody approved hooks of the file in which ours are.
fn approved(plan: &AgentPlan, setup: &Setup) -> bool {
    let folder = plan.agent.folder(setup);
    let config = super::files::read(&folder.join("config.toml")).ok().flatten().unwrap_or_default();
    let Ok(table) = config.parse::<toml::Table>() else { return false };
    let state = table.get("hooks").and_then(|hooks| hooks.get("state")).map(ToString::to_string);
    state.is_some_and(|state| state.contains("hooks.json"))
}
