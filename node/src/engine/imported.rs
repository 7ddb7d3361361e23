//! The first start after an import: the state is an older copy of a node, whatever the relay thinks of it.

use penpal_protocol::ids::SpoolEpoch;
use penpal_protocol::wire::{HelloAnswer, Verdict};

use super::machines::{Engine, contact_step, delivery_step, room_step};
use super::notices::Holds;
use crate::portable::MARK;

impl Engine {
    /// Takes another life and fresh keys, as when the relay finds a restored backup: what was exported may have been used since, and
    /// whoever wrote lately sends again.
    pub(super) fn take_imported(&mut self) {
        let Some(handle) = self.contacts.account().map(|own| own.handle.clone()) else { return };
        if !self.home.path().join(MARK).exists() {
            return;
        }
        tracing::info!("this home was imported: it takes fresh keys");
        let text =
            "this node was imported from a file. It takes fresh keys; what others sent lately comes again";
        self.notice(Holds::Always, text.to_owned());
        self.delivery.handle_rolled_back(&mut delivery_step!(self));
        let answer = HelloAnswer {
            verdict: Verdict::RolledBack,
            epoch: SpoolEpoch::from_bytes([0; SpoolEpoch::BYTES]),
            newest: 0,
            handle,
            manifest_revision: 0,
        };
        self.contacts.handle_hello(&answer, &mut contact_step!(self));
        self.rooms.handle_rolled_back(&mut room_step!(self));
    }

    /// That is durable now. A mark that stays does it once more at the next start.
    pub(super) fn forget_import(&self) {
        if self.contacts.account().is_none() {
            return;
        }
        match std::fs::remove_file(self.home.path().join(MARK)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the mark of an import stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
