//! What would change, file by file. Nothing is written here.

use std::path::{Path, PathBuf};

use penpal_agents::agent::{self, Agent, Setup};
use penpal_agents::detect::{self, Found};
use penpal_agents::kind::AgentKind;
use penpal_agents::wire::{Content, JsonEntry, Wish, names_ours, shared_line, wrapped_command};
use penpal_local_api::home::Home;

use super::files;
use super::record::Record;

/// Which agents are wired.
#[derive(Debug, Clone)]
pub(crate) enum Want {
    /// All that are found here.
    Found,
    /// These, found or not.
    These(Vec<AgentKind>),
    /// Those in whose files something of ours is.
    Wired,
}

/// What would change.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) agents: Vec<AgentPlan>,
    /// Files out of which ours should go and cannot; the remarks say why.
    pub(crate) left: Vec<PathBuf>,
}

/// One agent.
#[derive(Debug)]
pub(crate) struct AgentPlan {
    pub(crate) agent: &'static dyn Agent,
    pub(crate) found: Option<Found>,
    pub(crate) state: State,
    pub(crate) files: Vec<FilePlan>,
    pub(crate) remarks: Vec<String>,
    /// Something of ours is in its files now.
    pub(crate) has_ours: bool,
}

impl AgentPlan {
    fn new(agent: &'static dyn Agent) -> Self {
        Self {
            agent,
            found: None,
            state: State::Done,
            files: Vec::new(),
            remarks: Vec::new(),
            has_ours: false,
        }
    }

    fn conflict(&mut self, wish: &Wish, why: &str) {
        self.state = State::Conflict;
        self.remarks.push(format!("{}: {why}", wish.path.display()));
    }
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its files are as they should be.
    Done,
    /// They will change.
    Change,
    /// Another agent's files serve it as well.
    Covered,
    /// Something is in the way; the remarks say what.
    Conflict,
}

/// One file.
#[derive(Debug)]
pub(crate) struct FilePlan {
    pub(crate) path: PathBuf,
    /// `None`: it is not there.
    pub(crate) before: Option<String>,
    /// `None`: it will not be there.
    pub(crate) after: Option<String>,
    /// As it is without penpal; `None`: it was not there.
    pub(crate) original: Option<String>,
    pub(crate) executable: bool,
    /// What it gets, for a person.
    pub(crate) parts: Vec<String>,
}

impl FilePlan {
    pub(crate) fn changes(&self) -> bool {
        self.before != self.after
    }
}

/// Plans wiring in.
pub(crate) fn wire(setup: &Setup, home: &Home, want: &Want) -> Plan {
    let record = Record::load(home);
    let all: Vec<(AgentPlan, bool)> = agent::all()
        .map(|agent| {
            let plan = plan_agent(agent, setup, &record);
            let wanted = match want {
                Want::Found => plan.found.is_some(),
                Want::These(kinds) => kinds.contains(&agent.kind()),
                Want::Wired => plan.has_ours,
            };
            (plan, wanted)
        })
        .collect();
    let wired: Vec<AgentKind> = all
        .iter()
        .filter(|(plan, wanted)| plan.has_ours || (*wanted && plan.state != State::Conflict))
        .map(|(plan, _)| plan.agent.kind())
        .collect();
    // An agent that reads another one's files as well gets none of its own, and loses those it has: each hook would run twice.
    let is_covered = |plan: &AgentPlan| plan.agent.covered_by().filter(|other| wired.contains(other));
    let mut agents: Vec<AgentPlan> = all
        .into_iter()
        .filter(|(plan, wanted)| *wanted || (plan.has_ours && is_covered(plan).is_some()))
        .map(|(plan, _)| plan)
        .collect();
    for plan in &mut agents {
        plan.remarks.extend(plan.agent.wiring(setup).remarks);
    }
    for plan in &mut agents {
        let Some(other) = is_covered(plan) else { continue };
        let name = agent::of(&other).map_or("another agent", |agent| agent.title());
        plan.remarks.push(format!("reads {name}'s files, which serve it as well"));
        for file in &mut plan.files {
            file.after.clone_from(&file.original);
        }
        plan.files.retain(FilePlan::changes);
        plan.state = State::Covered;
    }
    Plan { agents, left: Vec::new() }
}

/// Plans taking everything out: of the files that agents have, and of those that were written once.
pub(crate) fn unwire(setup: &Setup, home: &Home) -> Plan {
    let record = Record::load(home);
    let mut plan = Plan { agents: Vec::new(), left: Vec::new() };
    let mut seen: Vec<PathBuf> = Vec::new();
    for agent in agent::all() {
        let mut one = AgentPlan::new(agent);
        for wish in &agent.wiring(setup).files {
            let out = take_out(&mut one, wish, &record);
            if out != Out::Nothing {
                seen.push(wish.path.clone());
            }
            if out == Out::Stays {
                plan.left.push(wish.path.clone());
            }
        }
        plan.agents.push(one);
    }
    for path in record.files.keys().filter(|path| !seen.contains(path)) {
        let mut one = AgentPlan::new(owner_of(path, setup));
        if take_out(&mut one, &Wish::of_file(path.clone()), &record) == Out::Stays {
            plan.left.push(path.clone());
        }
        plan.agents.push(one);
    }
    plan.agents.retain(|one| one.state != State::Done);
    plan
}

/// How ours leave one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Out {
    /// There are none.
    Nothing,
    /// They go.
    Goes,
    /// The file cannot be read as what it should be, and is none of ours as far as is known.
    Unknown,
    /// Some stay.
    Stays,
}

/// Plans taking ours out of one file.
///
/// What could not be put in is no matter here: all that was put in goes.
fn take_out(plan: &mut AgentPlan, wish: &Wish, record: &Record) -> Out {
    let path = wish.path.clone();
    let read = files::read(&path);
    let ours = record.files.contains_key(&path) || matches!(&read, Ok(Some(text)) if names_ours(text));
    let taken = read.and_then(|before| {
        let original = original(wish, before.as_deref(), record)?;
        Ok(FilePlan { path, after: original.clone(), before, original, executable: false, parts: Vec::new() })
    });
    match taken {
        Ok(file) => {
            let shared = file.after.as_deref().and_then(shared_line);
            let mut out = Out::Nothing;
            if file.changes() {
                plan.has_ours = true;
                if plan.state == State::Done {
                    plan.state = State::Change;
                }
                plan.files.push(file);
                out = Out::Goes;
            }
            // Taking it out would take what somebody added to it.
            if let Some(line) = shared {
                plan.conflict(wish, &format!("a line runs penpal and more, and stays: {line}"));
                out = Out::Stays;
            }
            out
        }
        Err(why) => {
            plan.conflict(wish, &why);
            if ours { Out::Stays } else { Out::Unknown }
        }
    }
}

/// The agent in whose folder a file is; any, when it is in none.
fn owner_of(path: &Path, setup: &Setup) -> &'static dyn Agent {
    let found = agent::all().find(|agent| path.starts_with(agent.folder(setup)));
    found.or_else(|| agent::all().next()).expect("there are agents")
}

fn plan_agent(agent: &'static dyn Agent, setup: &Setup, record: &Record) -> AgentPlan {
    let wiring = agent.wiring(setup);
    let mut plan = AgentPlan { found: detect::find(agent, setup), ..AgentPlan::new(agent) };
    for wish in &wiring.files {
        match plan_file(wish, record) {
            Ok((file, in_the_way)) => {
                plan.has_ours |= file.before.is_some() && file.before != file.original;
                if file.changes() && plan.state == State::Done {
                    plan.state = State::Change;
                }
                plan.files.push(file);
                if let Some(why) = in_the_way {
                    plan.conflict(wish, &why);
                }
            }
            Err(why) => plan.conflict(wish, &why),
        }
    }
    plan
}

/// Plans one file. One into which ours cannot be put stays as it is, and is known all the same: ours may be in it from before.
fn plan_file(wish: &Wish, record: &Record) -> Result<(FilePlan, Option<String>), String> {
    let before = files::read(&wish.path)?;
    let original = original(wish, before.as_deref(), record)?;
    let (after, in_the_way) = match wish.put(before.as_deref()) {
        Ok(after) => (Some(after), None),
        Err(error) => (before.clone(), Some(error.to_string())),
    };
    let mut parts = wish.parts();
    if after.as_deref().is_some_and(|after| wraps(wish, after))
        && let Some(line) = parts.iter_mut().find(|part| *part == "status line")
    {
        line.push_str(" (wraps yours)");
    }
    let executable = matches!(wish.content, Content::Whole { executable: true, .. });
    Ok((FilePlan { path: wish.path.clone(), before, after, original, executable, parts }, in_the_way))
}

/// The file as it is without penpal: exactly as it was if nobody changed it since, else with our entries taken out.
fn original(wish: &Wish, before: Option<&str>, record: &Record) -> Result<Option<String>, String> {
    let Some(text) = before else { return Ok(None) };
    if let Some(wired) = record.unchanged(&wish.path, text) {
        match &wired.original {
            None => return Ok(None),
            // A copy that is gone is made up for by taking the entries out.
            Some(copy) => {
                if let Ok(Some(copy)) = files::read(copy) {
                    return Ok(Some(copy));
                }
            }
        }
    }
    let without = wish.take(text).map_err(|error| error.to_string())?;
    let made_by_us = record.files.get(&wish.path).is_some_and(|wired| wired.original.is_none());
    let whole = matches!(wish.content, Content::Whole { .. });
    Ok((!(without.bare && (made_by_us || whole))).then_some(without.text))
}

fn wraps(wish: &Wish, after: &str) -> bool {
    let Content::Json(entries) = &wish.content else { return false };
    if !entries.iter().any(|entry| matches!(entry, JsonEntry::StatusLine { .. })) {
        return false;
    }
    let value: Option<serde_json::Value> = serde_json::from_str(after).ok();
    let line =
        value.as_ref().and_then(|value| value.pointer("/statusLine/command")).and_then(|line| line.as_str());
    line.and_then(wrapped_command).flatten().is_some()
}
