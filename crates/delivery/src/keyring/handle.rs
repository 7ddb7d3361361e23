//! What the shell tells of the key file and of published bundles.

use penpal_protocol::ids::KeyId;

use crate::machine::Delivery;
use crate::step::Step;

impl Delivery {
    /// Seeds were made and are durable in the key file, in answer to [`crate::Command::WantSeeds`].
    pub fn handle_seeds(&mut self, keys: &[KeyId], step: &mut Step<'_>) {
        self.begin(step);
        self.keyring.seeds(keys, &mut self.ledger);
    }

    /// Seeds were erased from the key file, in answer to [`crate::Command::DeleteSeeds`].
    pub fn handle_seeds_deleted(&mut self, keys: &[KeyId], step: &mut Step<'_>) {
        self.begin(step);
        self.keyring.erased(keys, &mut self.ledger);
    }

    /// The relay took the bundle of a [`crate::Command::PublishPrekey`].
    pub fn handle_prekey_taken(&mut self, key: KeyId, step: &mut Step<'_>) {
        self.begin(step);
        self.keyring.prekey_taken(key, step.now, &mut self.ledger);
    }

    /// A bundle is wanted now, as after registering: publishes the present prekey again, or a first one.
    pub fn handle_prekey_wanted(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        self.commands.extend(self.keyring.publish_wanted(step.now, &mut self.ledger));
    }

    /// The own key that will be put on offer next: worth expanding before it is needed.
    #[must_use]
    pub fn next_key(&self) -> Option<KeyId> {
        self.keyring.next_seed()
    }

    /// Own keys that envelopes may be sealed to: those whose expanded form is worth keeping in memory.
    pub fn live_keys(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keyring.live()
    }
}
