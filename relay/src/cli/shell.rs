//! `penpal-relay completions` and `penpal-relay man`: from the same definitions as the commands.

use clap::{Args, CommandFactory};

use super::output::Output;
use super::problem::Problem;
use crate::code::Code;

/// Print a script that completes commands in a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Problem> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "penpal-relay", &mut script);
        print(&script)
    }
}

/// One page with every command.
pub(super) fn manual() -> Result<(), Problem> {
    let mut page = Vec::new();
    let failed = |error: std::io::Error| Problem::new(Code::Internal, error.to_string());
    let command = super::Cli::command();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
    for sub in command.get_subcommands() {
        let title = format!("penpal-relay-{}", sub.get_name());
        clap_mangen::Man::new(sub.clone()).title(title).render(&mut page).map_err(failed)?;
    }
    print(&page)
}

fn print(bytes: &[u8]) -> Result<(), Problem> {
    Output::stdout().line(String::from_utf8_lossy(bytes).trim_end())
}
