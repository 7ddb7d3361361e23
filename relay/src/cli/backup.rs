//! `penpal-relay backup` and `penpal-relay restore`

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::Output;
use super::problem::{Problem, chain};
use super::words::{ago, bytes, count};
use crate::admin::{Ask, Reply};
use crate::backup::{self, RestoreError};
use crate::code::Code;
use crate::folder::{Folder, KeysError};

/// Write a copy of the relay, which may go on running
///
/// The data goes into a new folder, the keys into a file of its own: kept apart, a stolen copy of the data says nothing of who
/// is whose contact. restore needs both. A running relay writes them itself, as the user that it runs as.
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    place: super::Place,
    /// New folder for the data
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// New file for the keys [default: TO.keys]
    #[arg(long, value_name = "FILE")]
    keys_to: Option<PathBuf>,
    /// Print one line of JSON: {"v":1,"backup":{"data":…,"keys":…,"bytes":…}}
    #[arg(long)]
    json: bool,
}

/// Put a copy back into a folder without a relay
///
/// Reads and checks every byte. The relay then has the same address; every spool begins a new epoch, so that nodes bring what
/// they know and senders send again what was not receipted.
#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    place: super::Place,
    /// Folder that backup wrote
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// File with the keys that backup wrote [default: FROM.keys]
    #[arg(long, value_name = "FILE")]
    keys_from: Option<PathBuf>,
    /// Print one line of JSON: {"v":1,"restored":…}
    #[arg(long)]
    json: bool,
}

/// The keys' usual place beside a copy.
fn keys_beside(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".keys");
    data.with_file_name(name)
}

impl Backup {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| Problem::new(Code::Usage, error.to_string()))
        };
        let to = absolute(&self.to)?;
        let keys_to = absolute(&self.keys_to.unwrap_or_else(|| keys_beside(&to)))?;
        let reply = self.place.ask(Ask::Backup { to, keys_to })?;
        let mut out = Output::stdout();
        match reply {
            Reply::Failed { error, .. } => Err(error.into()),
            shape if self.json => out.json(&shape),
            Reply::Backup { backup, .. } => {
                out.line(&format!("data  {} ({})", backup.data.display(), bytes(backup.bytes)))?;
                out.line(&format!("keys  {}", backup.keys.display()))?;
                Output::stderr().line("hint: keep the two in different places")
            }
            _ => Err(Problem::unexpected()),
        }
    }
}

impl Restore {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        let folder = Folder::new(&self.place.data, self.place.keys.as_deref());
        let keys_from = self.keys_from.unwrap_or_else(|| keys_beside(&self.from));
        let restored = backup::restore(&folder, &self.from, &keys_from, super::serve::progress())?;
        let mut out = Output::stdout();
        if self.json {
            let (made_ms, pin) = (restored.about.made_ms, &restored.about.pin);
            return out.json(&serde_json::json!({
                "v": 1,
                "restored": { "made_ms": made_ms, "pin": pin, "rows": restored.rows, "waiting": restored.waiting },
            }));
        }
        out.line(&format!(
            "restored a copy made {}: {}, {} waiting",
            ago(restored.about.made_ms),
            count(restored.rows, "row", "rows"),
            count(restored.waiting, "queued row", "queued rows")
        ))?;
        Output::stderr().line(&format!("hint: penpal-relay serve --data {}", folder.data().display()))
    }
}

impl From<RestoreError> for Problem {
    fn from(error: RestoreError) -> Self {
        let message = chain(&error);
        match error {
            RestoreError::InUse { .. } => Self::new(Code::FolderInUse, message)
                .hint("choose another folder with --data, or move the present one away"),
            RestoreError::NotACopy { .. } => {
                Self::new(Code::NotACopy, message).hint("name the folder that penpal-relay backup wrote")
            }
            RestoreError::Keys(KeysError::Io { .. }) => {
                Self::new(Code::Keys, message).hint("name the file with the keys with --keys-from")
            }
            RestoreError::OtherKeys { .. } | RestoreError::Keys(_) => {
                Self::new(Code::Keys, message).hint("use the file of keys that was written with this copy")
            }
            RestoreError::KeysInUse { .. } => Self::new(Code::KeysInUse, message)
                .hint("choose another folder with --keys, or move the present one away"),
            RestoreError::Damaged { .. } | RestoreError::Store(_) | RestoreError::Read(_) => {
                Self::new(Code::Damaged, message).hint("use another copy; nothing was put in place")
            }
            RestoreError::Io { .. } => {
                Self::new(Code::Folder, message).hint("choose a folder that this user may write with --data")
            }
        }
    }
}
