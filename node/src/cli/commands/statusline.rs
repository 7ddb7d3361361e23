//! `penpal statusline`

use crate::cli::{Context, Done};

/// Print mail that waits, for an agent's status line (run by agents)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Another status line's command, whose output comes first
    #[arg(long, value_name = "COMMAND")]
    then: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    crate::hook::statusline(Some(context.home.path().to_path_buf()), args.then.as_deref());
    Ok(())
}
