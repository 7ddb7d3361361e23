//! Sealed manifests and bundles: kept for the account, given to its contacts.

use penpal_protocol::cbor::List;
use penpal_protocol::ids::{AccountId, SlotId};
use penpal_protocol::wire::{
    Answer, ContactState, DeviceBundles, GetContactState, PutBundle, PutManifest, RefusalCode,
};

use crate::core::{Caller, CallerDevice, Cx, RelayCore, refused};
use crate::error::Fault;
use crate::rows::records::{Bundle, Manifest};

/// Most that one revision may be ahead of the stored one: far more than an honest node ever skips, and far from running out.
const MAX_REVISION_JUMP: u64 = 1 << 32;

impl RelayCore {
    /// Replaces the manifest if the stored revision is the expected one; the same again is done.
    pub(crate) fn put_manifest(
        &mut self,
        device: CallerDevice,
        what: PutManifest,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        let stored = self.db.manifests.get(&device.account, cx.rows)?;
        if stored.is_some_and(|held| held.revision == what.revision && held.profile == what.profile) {
            return Ok(Answer::Done);
        }
        let revision = stored.map_or(0, |held| held.revision);
        if revision != what.expect || what.revision <= what.expect {
            return Ok(refused(RefusalCode::Conflict, &format!("revision {revision} is stored")));
        }
        if stored.is_some() && what.revision - revision > MAX_REVISION_JUMP {
            return Ok(refused(RefusalCode::Conflict, &format!("revision {revision} is stored, far below")));
        }
        let Some(mut account) = self.db.accounts.get(&device.account, cx.rows)?.cloned() else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        account.manifest_revision = what.revision;
        self.db.accounts.put(device.account, account, &mut self.db.changes);
        let manifest = Manifest { revision: what.revision, profile: what.profile };
        self.db.manifests.put(device.account, manifest, &mut self.db.changes);
        Ok(Answer::Done)
    }

    /// Replaces the device's bundle.
    pub(crate) fn put_bundle(
        &mut self,
        device: CallerDevice,
        what: PutBundle,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        let bundle = Bundle { profile: what.profile };
        if self.db.bundles.get(&device.slot, cx.rows)? != Some(&bundle) {
            self.db.bundles.put(device.slot, bundle, &mut self.db.changes);
        }
        Ok(Answer::Done)
    }

    /// Gives the sealed profile of the account behind an edge to whoever shows its capability.
    pub(crate) fn contact_state(
        &mut self,
        caller: &Caller,
        what: &GetContactState,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        let Some(edge) = self.shown_edge(caller, &what.edge, &what.cap, cx.rows)? else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let Some(devices) =
            self.db.accounts.get(&edge.owner, cx.rows)?.map(|account| account.devices.clone())
        else {
            return Ok(Answer::refused(RefusalCode::No));
        };
        let mut bundles = Vec::new();
        for device in devices.iter() {
            if let Some(bundle) = self.db.bundles.get(&device.slot, cx.rows)? {
                bundles.push(DeviceBundles { slot: device.slot, profile: bundle.profile.clone() });
            }
        }
        let manifest = self.db.manifests.get(&edge.owner, cx.rows)?.map(|held| held.profile.clone());
        Ok(Answer::ContactState(ContactState { manifest, bundles: List::truncated(bundles) }))
    }

    /// Removes what an account and its slots have stored here.
    pub(crate) fn delete_profile(&mut self, account: AccountId, slots: impl Iterator<Item = SlotId>) {
        self.db.manifests.delete(account, &mut self.db.changes);
        for slot in slots {
            self.db.bundles.delete(slot, &mut self.db.changes);
        }
    }
}
