//! Devices of an account: added and removed by whoever shows the proof that its root key gives.
//!
//! A device alone cannot do either: who stole one could lock the others out.

use penpal_protocol::cbor::List;
use penpal_protocol::ids::{AccountId, AccountProof, SpoolEpoch};
use penpal_protocol::limits::MAX_DEVICES;
use penpal_protocol::wire::{Answer, DeviceAdd, DeviceRemove, PutProof, RefusalCode, Registered};

use crate::core::{CallerDevice, Cx, RelayCore, refused};
use crate::db;
use crate::effect::Effect;
use crate::error::Fault;
use crate::rows::Rows;
use crate::rows::records::{Account, AccountDevice, Device, ProofOwner, Slot};

impl RelayCore {
    /// Keeps the hash of the account's proof; the same again is done, another one is a conflict.
    pub(crate) fn put_proof(
        &mut self,
        device: CallerDevice,
        what: &PutProof,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        let Some(mut account) = self.db.accounts.get(&device.account, cx.rows)?.cloned() else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let holder = self.db.proofs.get(&what.proof_hash, cx.rows)?.map(|owner| owner.account);
        if account.proof_hash == Some(what.proof_hash) && holder == Some(device.account) {
            return Ok(Answer::Done);
        }
        if account.proof_hash.is_some() || holder.is_some() {
            return Ok(refused(RefusalCode::Conflict, "another proof is stored"));
        }
        account.proof_hash = Some(what.proof_hash);
        let changes = &mut self.db.changes;
        self.db.accounts.put(device.account, account, changes);
        self.db.proofs.put(what.proof_hash, ProofOwner { account: device.account }, changes);
        Ok(Answer::Done)
    }

    /// Makes a key that of a further device, with a spool of its own; the same again gets the same slot.
    pub(crate) fn device_add(&mut self, what: &DeviceAdd, cx: &mut Cx<'_>) -> Result<Answer, Fault> {
        let Some((id, mut account)) = self.proved(&what.proof, cx.rows)? else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let handle = account.handle.clone();
        if let Some(device) = self.db.devices.get(&what.key, cx.rows)?.copied() {
            return Ok(if device.account == id {
                Answer::Registered(Registered { account: id, slot: device.slot, handle })
            } else {
                Answer::refused(RefusalCode::No)
            });
        }
        let slot = db::new_slot_id(cx.rng);
        let mut devices = account.devices.to_vec();
        devices.push(AccountDevice { slot, key: what.key });
        let Ok(devices) = List::new(devices) else {
            let most = format!("an account has at most {MAX_DEVICES} devices");
            return Ok(refused(RefusalCode::Quota, &most));
        };
        account.devices = devices;
        let epoch = SpoolEpoch::from_bytes(db::random(cx.rng));
        let changes = &mut self.db.changes;
        self.db.accounts.put(id, account, changes);
        self.db.devices.put(what.key, Device { account: id, slot }, changes);
        self.db.slots.put(slot, Slot { account: id, epoch, known: None, earlier: List::default() }, changes);
        for conn in self.conns.of_peer(&what.key).to_vec() {
            self.effects.push(Effect::Registered { conn });
        }
        Ok(Answer::Registered(Registered { account: id, slot, handle }))
    }

    /// Ends a device. Afterwards the account has none with this slot, and that is all the answer says.
    ///
    /// The stored manifest goes with it: the device may have put there what nobody could replace.
    pub(crate) fn device_remove(&mut self, what: &DeviceRemove, cx: &mut Cx<'_>) -> Result<Answer, Fault> {
        let Some((id, mut account)) = self.proved(&what.proof, cx.rows)? else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let Some(device) = account.devices.iter().find(|device| device.slot == what.slot).copied() else {
            return Ok(Answer::Done);
        };
        let alone = self.db.changes.is_empty();
        let left = account.devices.iter().filter(|other| other.slot != what.slot).copied().collect();
        account.devices = List::truncated(left);
        account.manifest_revision = 0;
        self.db.accounts.put(id, account, &mut self.db.changes);
        self.db.manifests.delete(id, &mut self.db.changes);
        self.db.bundles.delete(device.slot, &mut self.db.changes);
        self.remove_invites_of(&id, Some(&device.slot), cx.rows)?;
        self.end_device(&device);
        // Also on a full disk: what is written is less than what goes, and nobody does it more often than there are devices.
        self.removal = alone.then_some(self.db.changes.len());
        Ok(Answer::Done)
    }

    /// The account whose proof is shown, unless it is suspended or not confirmed yet.
    pub(crate) fn proved(
        &mut self,
        proof: &AccountProof,
        rows: &dyn Rows,
    ) -> Result<Option<(AccountId, Account)>, Fault> {
        let Some(id) = self.db.proofs.get(&proof.hash(), rows)?.map(|owner| owner.account) else {
            return Ok(None);
        };
        let account = self.db.accounts.get(&id, rows)?.cloned();
        Ok(account
            .filter(|account| !account.suspended && account.provisional.is_none())
            .map(|found| (id, found)))
    }
}
