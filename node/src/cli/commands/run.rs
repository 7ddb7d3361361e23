//! `penpal run`

use std::ffi::OsString;

use penpal_agents::agent::{self, Wake};
use penpal_agents::detect;
use penpal_agents::kind::AgentKind;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::text::Label;

use crate::cli::{Context, Done, Failure};
use crate::supervise;

/// Start an agent under the terminal supervisor, which wakes it by typing
///
/// What you and the agent write passes untouched. When an ask waits and the session is idle, the supervisor types it, but never into a line
/// that you have begun.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Agent: claude-code, codex, opencode, gemini, cursor, cline, grok, copilot or qwen
    agent: String,
    /// Name of the session
    #[arg(long)]
    name: Option<String>,
    /// Arguments for the agent
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let usage = |what: String| ApiError::new(ErrorCode::Usage, what);
    let kind = Label::new(&args.agent).ok().map(|label| AgentKind::from_label(&label));
    let known = kind.filter(|kind| agent::of(kind).is_some());
    let Some(kind) = known else {
        let all = AgentKind::known().map(|kind| kind.label().to_string()).collect();
        return Err(usage(format!("no agent is called {:?}", args.agent)).candidates(all).into());
    };
    let path = std::env::var("PATH").ok();
    let Some(program) = detect::on_path(kind.programs(), path.as_deref()) else {
        let names = kind.programs().join(" or ");
        return Err(usage(format!("{names} is not on the path"))
            .hint("install the agent, or open a new shell")
            .into());
    };
    let name = args.name.as_deref().map(Label::new).transpose();
    let name = name.map_err(|error| ApiError::new(ErrorCode::BadName, error.to_string()))?;
    // Started here, outside: the agent's own shell may not be allowed to.
    if let Err(error) = context.node().bring_up() {
        context.out.remark(format_args!(
            "penpal is not at hand ({}); {} runs without it",
            error.message,
            kind.label()
        ));
    }
    if agent::of(&kind).is_some_and(|agent| !agent.wakes().contains(&Wake::Terminal)) {
        // Said once, before its window covers it.
        context.out.remark(format_args!(
            "{} runs many conversations in one process and is woken by its own means: nothing is typed here",
            kind.label()
        ));
    }
    let plan = supervise::Plan { kind, program, args: args.args.clone(), name };
    let status = supervise::run(&context.home, &plan).map_err(|error| {
        ApiError::new(ErrorCode::Internal, format!("the terminal cannot be used: {error}"))
            .hint("run the agent itself; its session is woken by other means where it has any")
    })?;
    Err(Failure::Exit(status))
}
