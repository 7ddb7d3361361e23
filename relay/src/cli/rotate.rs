//! `penpal-relay rotate-key`

use clap::Args;
use penpal_protocol::ids::RelayPin;
use penpal_protocol::text::{HostPort, RelayAddress, pin_to_text};
use penpal_store::{LogStore, OpenError, Options, Store};

use super::account::confirm;
use super::output::Output;
use super::problem::{Problem, chain};
use crate::admin;
use crate::code::Code;
use crate::folder::{Folder, Keys, Place};
use crate::relay::RelayError;

/// Give a stopped relay another key, which the present one signs
///
/// Nodes that know the address with the present key follow by themselves when they connect next, and never go back: the chain
/// of keys is kept for ever. The address that you give out changes. Copy the keys folder again afterwards.
#[derive(Debug, Args)]
pub(super) struct RotateKey {
    #[command(flatten)]
    place: super::Place,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one line of JSON: {"v":1,"address":…,"pin":…,"before":…}
    #[arg(long)]
    json: bool,
}

impl RotateKey {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        let folder = Folder::new(&self.place.data, self.place.keys.as_deref());
        if !folder.is_used() {
            return Err(Problem::no_relay(folder.data()));
        }
        if admin::is_running(&folder) {
            return Err(runs());
        }
        // Holds the lock, so that no relay starts meanwhile with the key that goes.
        let store = LogStore::open(&folder.store(), Options::default()).map_err(|error| match error {
            OpenError::Locked { .. } => runs(),
            error => {
                Problem::new(Code::Store, chain(&error)).hint("penpal-relay doctor says what can be done")
            }
        })?;
        let failed = |error| Problem::from(RelayError::Keys(error));
        let before = Keys::open(folder.keys(), true).map_err(failed)?.relay.public();
        if !self.yes {
            confirm("give this relay another key?", "--yes")?;
        }
        let after = Keys::rotate(folder.keys()).map_err(failed)?;
        Box::new(store).close().map_err(|error| Problem::new(Code::StorageFailed, chain(&error)))?;
        let [before, pin] = [before, after].map(|key| RelayPin::from_bytes(key.pin().0));
        let at = Place::read(&folder.place()).map_err(RelayError::from)?;
        let at = at.and_then(|place| place.at.parse::<HostPort>().ok());
        let address = at.map(|at| RelayAddress { at, pin }.to_string());
        let mut out = Output::stdout();
        if self.json {
            let (before, pin) = (pin_to_text(&before), pin_to_text(&pin));
            let shape = serde_json::json!({ "v": 1, "address": address, "pin": pin, "before": before });
            return out.json(&shape);
        }
        out.line(&address.unwrap_or_else(|| pin_to_text(&pin)))?;
        Output::stderr()
            .line("hint: start it, give out this address from now on, and copy the keys folder again")
    }
}

fn runs() -> Problem {
    Problem::new(Code::FolderInUse, "the relay runs: it has its key in memory")
        .hint("stop it, rotate, and start it again; nodes wait and come back")
}
