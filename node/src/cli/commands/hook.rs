//! `penpal hook`

use crate::cli::{Context, Done, Failure};

/// Report what happens in an agent and show mail that waits (run by agents)
///
/// Reads what the agent says on standard input and writes what it shows to its model. Fails open: it exits 0 whatever happens, and within
/// 150 ms when the node is away.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Agent that runs it, such as claude-code
    agent: String,
    /// The agent's own name of the event
    event: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let home = Some(context.home.path().to_path_buf());
    if args.event == penpal_agents::agent::WAIT {
        return Err(Failure::Exit(crate::hook::wait(home, &args.agent)));
    }
    crate::hook::run(home, &args.agent, &args.event);
    Ok(())
}
