//! `penpal-relay rebuild-index`

use clap::Args;

use super::output::Output;
use super::problem::Problem;
use crate::admin::{Ask, Reply};

/// Rebuild the index from the log
///
/// Never needed in the ordinary course: a missing, stale or damaged index is rebuilt at start. A running relay answers nobody
/// meanwhile: about a second for every 30 000 stored rows.
#[derive(Debug, Args)]
pub(super) struct RebuildIndex {
    #[command(flatten)]
    place: super::Place,
    /// Print one line of JSON: {"v":1,"rebuilt_ms":…}
    #[arg(long)]
    json: bool,
}

impl RebuildIndex {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        let reply = self.place.ask(Ask::RebuildIndex)?;
        let mut out = Output::stdout();
        match reply {
            Reply::Failed { error, .. } => Err(error.into()),
            shape if self.json => out.json(&shape),
            Reply::Rebuilt { rebuilt_ms, .. } => {
                out.line(&format!("the index is rebuilt, in {rebuilt_ms} ms"))
            }
            _ => Err(Problem::unexpected()),
        }
    }
}
