//! `penpal-relay address`

use clap::Args;
use penpal_protocol::ids::RelayPin;
use penpal_protocol::text::{HostPort, RelayAddress, pin_to_text};
use serde::Serialize;

use super::output::Output;
use super::problem::Problem;
use crate::code::Code;
use crate::folder::{Folder, Keys, Place};
use crate::relay::RelayError;

/// Print the address to give to people
///
/// It is the one of the last start of the relay in this folder, whether or not it runs now.
#[derive(Debug, Args)]
pub(super) struct Address {
    #[command(flatten)]
    place: super::Place,
    /// Print one line of JSON: {"v":1,"address":…,"pin":…}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Shape {
    v: u32,
    address: String,
    pin: String,
}

impl Address {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        let folder = Folder::new(&self.place.data, self.place.keys.as_deref());
        let place = Place::read(&folder.place())
            .map_err(RelayError::from)?
            .ok_or_else(|| Problem::no_relay(folder.data()))?;
        let at: HostPort = place.at.parse().map_err(|error| {
            Problem::new(Code::Place, format!("{} is not usable: {error}", folder.place().display()))
        })?;
        let key = Keys::identity(folder.keys()).map_err(RelayError::from)?;
        let pin = RelayPin::from_bytes(key.public().pin().0);
        let address = RelayAddress { at, pin }.to_string();
        let mut out = Output::stdout();
        if self.json {
            out.json(&Shape { v: 1, address, pin: pin_to_text(&pin) })
        } else {
            out.line(&address)
        }
    }
}
