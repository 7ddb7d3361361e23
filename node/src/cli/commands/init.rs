//! `penpal init`

use std::path::{Path, PathBuf};

use penpal_agents::kind::AgentKind;
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::text::Label;
use serde_json::{Value, json};

use super::send::failed;
use crate::cli::output::{Output, clean};
use crate::cli::{Context, Done, Failure};
use crate::config::{self, Wakes};
use crate::wiring::service::Service;
use crate::wiring::{self, AgentPlan, Applied, Plan, State, Want};

/// Wire the agents on this machine in: show the plan, ask, write
///
/// Merges into each agent's own files and keeps everything else in them: comments, other hooks, a status line. What was there is copied
/// to a folder that is printed; `penpal uninstall` takes everything out again. Run it as often as you like.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these agents, found or not: claude-code, codex, opencode, gemini, cursor, cline, grok, copilot, qwen
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    client: Vec<String>,

    /// Show every line that would change, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Start the node at login as well (systemd or launchd); without this flag it is asked on a terminal, and not done elsewhere
    #[arg(long)]
    login: bool,

    /// Whether an ask may start a turn in an idle session; written into config.toml, read when the node starts
    #[arg(long, value_name = "WHETHER", value_enum)]
    wakes: Option<Wakes>,

    /// Program that agents run, instead of this one
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let out = context.out;
    let setup = wiring::setup(&context.home, args.program.clone())?;
    let want = wanted(&args.client)?;
    let plan = wiring::wire(&setup, &context.home, &want);
    let service = Service::new(&setup.user, setup.program.path(), &context.home);
    if plan.agents.is_empty() {
        let none = ApiError::new(ErrorCode::NotFound, "no agent was found here");
        return Err(none.hint("penpal init --client claude-code").into());
    }
    let changes = plan.agents.iter().any(|agent| agent.files.iter().any(wiring::FilePlan::changes));
    if !out.json {
        show(out, &plan, &setup.user, args.dry_run || !args.yes)?;
    }
    // Written only with the rest, once it was agreed to.
    let set_wakes = || match args.wakes {
        Some(wakes) => write_wakes(context, wakes),
        None => Ok(()),
    };
    if args.dry_run || (!changes && !args.login) {
        if !args.dry_run {
            set_wakes()?;
        }
        let failure = in_the_way(&plan, None);
        if out.json {
            let shape = shape(&plan, setup.program.path(), None, &service);
            out.show_failed(&shape, failure.as_ref(), |_| Ok(()))?;
        } else if !changes {
            out.line("  Everything is as it should be.")?;
        }
        return failed(failure, out);
    }
    if changes && !args.yes {
        match out.ask("Write this? [y/N]").as_deref() {
            Some("y" | "Y" | "yes") => {}
            Some(_) => {
                out.remark("  nothing was written");
                return Err(Failure::Status(1));
            }
            None => {
                let error = ApiError::new(ErrorCode::NeedsAnswer, "it has to be asked whether to write this");
                return Err(error.hint("penpal init --yes, or --dry-run to look only").into());
            }
        }
    }
    set_wakes()?;
    let applied = wiring::apply(&plan, &context.home, true)?;
    let login = args.login
        || (!args.yes
            && !service.is_installed()
            && matches!(
                out.ask("Start the node when you log in? [y/N]").as_deref(),
                Some("y" | "Y" | "yes")
            ));
    if login && let Err(why) = service.install(&context.home) {
        out.remark(format_args!("  {} at login: {why}", out.warn("!")));
    }
    let failure = in_the_way(&plan, Some(&applied));
    if out.json {
        let shape = shape(&plan, setup.program.path(), Some(&applied), &service);
        out.show_failed(&shape, failure.as_ref(), |_| Ok(()))?;
    } else {
        done(out, &applied, &setup.user, &context.home)?;
    }
    for (path, why) in &applied.failed {
        out.remark(format_args!("{} {}: {}", out.warn("✗"), path.display(), clean(why)));
    }
    failed(failure, out)
}

/// Whether an ask may wake, into the settings. A node that runs has read them already.
fn write_wakes(context: &Context, wakes: Wakes) -> Result<(), ApiError> {
    config::write_wakes(&context.home, wakes).map_err(|error| error.api())?;
    if crate::launch::is_listening(&context.home) {
        context.out.remark(
            "whether an ask may wake counts from the node's next start: penpal daemon stop; the next command starts it",
        );
    }
    Ok(())
}

fn wanted(clients: &[String]) -> Result<Want, ApiError> {
    if clients.is_empty() {
        return Ok(Want::Found);
    }
    let known = || AgentKind::known().map(|kind| kind.label().to_string()).collect::<Vec<_>>();
    let mut kinds = Vec::new();
    for name in clients {
        let kind = Label::new(name).ok().map(|label| AgentKind::from_label(&label));
        match kind.filter(|kind| penpal_agents::agent::of(kind).is_some()) {
            Some(kind) => kinds.push(kind),
            None => {
                let error = ApiError::new(ErrorCode::Usage, format!("no agent is called \"{name}\""));
                return Err(error.candidates(known()));
            }
        }
    }
    Ok(Want::These(kinds))
}

/// Something in the way of one agent is a failure of the command, after the others were done. What it is was said with the agent.
fn in_the_way(plan: &Plan, applied: Option<&Applied>) -> Option<ApiError> {
    let conflict = plan.agents.iter().any(|agent| agent.state == State::Conflict);
    let unwritten = applied.is_some_and(|applied| !applied.failed.is_empty());
    (conflict || unwritten).then(|| {
        ApiError::new(ErrorCode::BadFile, "a file of an agent is in the way; it is named above")
            .hint("put that file right by hand, and run the same command again")
    })
}

fn title(agent: &AgentPlan) -> String {
    let version = agent.found.as_ref().and_then(|found| found.version.clone()).unwrap_or_default();
    clean(format!("{} {version}", agent.agent.title()).trim())
}

fn what(agent: &AgentPlan) -> String {
    match agent.state {
        State::Covered => "nothing of its own".to_owned(),
        State::Conflict => "cannot be wired in".to_owned(),
        State::Done | State::Change => {
            // Several files may hold hooks: they are told together.
            let mut parts: Vec<String> = Vec::new();
            let mut hooks = 0;
            for part in agent.files.iter().flat_map(|file| &file.parts) {
                match part.strip_suffix(" hooks").or_else(|| part.strip_suffix(" hook")) {
                    Some(count) => hooks += count.parse::<u32>().unwrap_or(1),
                    None => parts.push(part.clone()),
                }
            }
            if hooks > 0 {
                parts.insert(parts.len().min(1), format!("{hooks} hooks"));
            }
            parts.join(", ")
        }
    }
}

fn short(path: &Path, user: &Path) -> String {
    path.strip_prefix(user)
        .map_or_else(|_| path.display().to_string(), |rest| format!("~/{}", rest.display()))
}

fn show(out: Output, plan: &Plan, user: &Path, lines: bool) -> Result<(), Failure> {
    for agent in &plan.agents {
        let state = if agent.state == State::Done { " (as it is)" } else { "" };
        out.line(format_args!("  {:<20} {}{state}", title(agent), what(agent)))?;
        for remark in &agent.remarks {
            out.line(format_args!("  {:<20} {}", "", out.dim(&clean(remark))))?;
        }
        for file in &agent.files {
            let change = match (&file.before, &file.after) {
                (None, Some(_)) => "new",
                (Some(_), None) => "goes",
                _ if file.changes() => "changes",
                _ => continue,
            };
            out.line(format_args!("  {:<20} {} ({change})", "", clean(&short(&file.path, user))))?;
            if lines {
                let (before, after) = (file.before.as_deref(), file.after.as_deref());
                for line in wiring::diff(before.unwrap_or_default(), after.unwrap_or_default()) {
                    out.line(format_args!("    {}", clean_line(&line)))?;
                }
            }
        }
    }
    Ok(())
}

/// A line of a file for a terminal, with its indentation.
fn clean_line(line: &str) -> String {
    penpal_agents::terminal::lines(line)
}

fn done(
    out: Output,
    applied: &Applied,
    user: &Path,
    home: &penpal_local_api::home::Home,
) -> Result<(), Failure> {
    let undo = "undo: penpal uninstall";
    match &applied.backups {
        Some(backups) => out.line(format_args!("  Backups: {}/ · {undo}", short(backups, user)))?,
        None => out.line(format_args!("  Nothing was there before · {undo}"))?,
    }
    if !home.is_default() {
        out.line(format_args!("  All commands name this home: {}", short(home.path(), user)))?;
    }
    out.line("  Mail shows at the next prompt, within a turn and at its end; an ask, or the answer to one, keeps a turn from ending, once; a note never does.")?;
    out.line(match config::wakes(home) {
        Wakes::On => {
            "  An ask, or the answer to one, wakes an idle session at most once a minute (--wakes off)."
        }
        Wakes::Off => "  No idle session is woken (--wakes on).",
    })?;
    out.line("  Restart open agent windows. Then: penpal sessions")?;
    Ok(())
}

fn shape(plan: &Plan, program: &str, applied: Option<&Applied>, service: &Service) -> Value {
    let agents: Vec<Value> = plan
        .agents
        .iter()
        .map(|agent| {
            let files: Vec<Value> = agent
                .files
                .iter()
                .map(|file| {
                    let (before, after) = (file.before.as_deref(), file.after.as_deref());
                    let action = match (before, after) {
                        (None, Some(_)) => "create",
                        (Some(_), None) => "remove",
                        _ if file.changes() => "change",
                        _ => "none",
                    };
                    json!({
                        "path": file.path,
                        "action": action,
                        "lines": wiring::diff(before.unwrap_or_default(), after.unwrap_or_default()),
                    })
                })
                .collect();
            json!({
                "agent": agent.agent.kind().label().as_str(),
                "version": agent.found.as_ref().and_then(|found| found.version.clone()),
                "verified": agent.agent.tried().is_some(),
                "state": match agent.state {
                    State::Done => "done",
                    State::Change => "change",
                    State::Covered => "covered",
                    State::Conflict => "conflict",
                },
                "files": files,
                "remarks": agent.remarks,
            })
        })
        .collect();
    json!({
        "v": SHAPE_VERSION,
        "program": program,
        "agents": agents,
        "backups": applied.and_then(|applied| applied.backups.clone()),
        "written": applied.map(|applied| applied.written.clone()).unwrap_or_default(),
        "login": { "path": service.path, "installed": service.is_installed() },
    })
}
