//! `penpal completions`

use clap_complete::Shell;

use crate::cli::{Context, Done};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::definition(), "penpal", &mut script);
    context.out.raw(&script)?;
    Ok(())
}
