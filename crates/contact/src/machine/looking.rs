//! Looking for the account of a recovery code, and deciding what becomes of its devices.
//!
//! The relay is asked what it keeps, and nothing changes anywhere until a person has said which devices are to be revoked.

use penpal_protocol::{
    cbor::List,
    ids::DeviceId,
    limits::MAX_DEVICES,
    sealed::{AccountState, DeviceEntry},
    text::{Label, RecoveryCode, RelayAddress},
};
use penpal_seal::{IdentityKeys, RootKey, VerifiedManifest};

use super::{
    Contacts, OwnDevice, Step,
    kept::{Head, Read},
    merging::newest_manifest,
    timing::Check,
};
use crate::{
    error::RecoverError,
    jobs::{Job, Why},
    notice::{Notice, RecoveryFailure},
    record::{RecoverStep, Recovering, RowKey, StoredRelay},
};

/// How long a code is kept in memory that nobody decides about, in milliseconds.
const LOOKING_LIFE_MS: u64 = 15 * 60 * 1000;

/// Which devices of the account a recovery revokes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoke {
    /// All but this one: what is right when they are lost.
    All,
    /// All but this one and these.
    AllBut(Vec<Label>),
    /// These.
    Only(Vec<Label>),
}

/// The account of a recovery code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its handle.
    pub handle: Label,
    /// Its devices, by name, this one among them if it is one.
    pub devices: Vec<OwnDevice>,
    /// How many contacts come back.
    pub contacts: usize,
}

/// A recovery code in use, in this run.
#[derive(Debug)]
pub(super) struct Looking {
    pub(super) root: RootKey,
    pub(super) relay: RelayAddress,
    pub(super) name: Label,
    pub(super) choice: Option<Revoke>,
    pub(super) opened: Option<Box<Opened>>,
    /// Whether our own profile was fetched, on a device that takes over.
    pub(super) fetched: bool,
}

/// What the relay keeps, verified.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) head: Head,
    pub(super) state: AccountState,
    pub(super) manifest: VerifiedManifest,
}

impl Contacts {
    /// Uses a recovery code. Without a choice the account is only looked for; with one it is recovered.
    ///
    /// [`Notice::RecoveryFound`] follows when it was found and no choice was made, [`Notice::Recovered`] when it is done, and
    /// [`Notice::RecoveryFailed`] otherwise. Using the same code again goes on with it.
    ///
    /// # Errors
    /// [`RecoverError`]; then nothing was begun.
    pub fn recover(
        &mut self,
        code: &RecoveryCode,
        name: Label,
        choice: Option<Revoke>,
        step: &mut Step<'_>,
    ) -> Result<(), RecoverError> {
        let begun = self.start_recovery(code, name, choice, step);
        self.settle(step);
        begun
    }

    fn start_recovery(
        &mut self,
        code: &RecoveryCode,
        name: Label,
        choice: Option<Revoke>,
        step: &mut Step<'_>,
    ) -> Result<(), RecoverError> {
        let root = RootKey::from_seed(code.seed.expose());
        let account = root.fingerprint();
        if let Some(registering) = &self.registering {
            return Err(RecoverError::Registering { handle: registering.handle.clone() });
        }
        if self.is_joining() {
            return Err(RecoverError::Joining);
        }
        if name.is_reserved() {
            return Err(RecoverError::Reserved { name });
        }
        if let Some(recovering) = &self.recovering {
            // It is decided and under way.
            return if recovering.account == account { Ok(()) } else { Err(RecoverError::Running) };
        }
        if let Some(own) = &self.own {
            if own.manifest.0.fingerprint() != account {
                return Err(RecoverError::Registered { handle: own.handle.clone() });
            }
            if self.root().is_some() {
                return Err(RecoverError::Primary);
            }
        }
        // What a person chose is done to what is there now: the account may have changed since it was shown.
        let known = self.looking.as_ref().is_some_and(|looking| looking.root == root);
        let known = known && (self.own.is_some() || choice.is_none());
        if !known {
            self.kept.read_anew();
            self.jobs.drop_unless_asked(Job::GetState);
        }
        match self.looking.as_mut().filter(|_| known) {
            Some(looking) => (looking.name, looking.choice) = (name, choice),
            None => {
                let relay = code.relay.clone();
                self.looking = Some(Looking { root, relay, name, choice, opened: None, fetched: false });
            }
        }
        self.check_at(Check::Recovery, step.now.wall_ms.saturating_add(LOOKING_LIFE_MS));
        if self.own.is_some() || self.looking.as_ref().is_some_and(|looking| looking.opened.is_some()) {
            self.decide(step);
        } else {
            self.jobs.want(Job::GetState);
        }
        Ok(())
    }

    /// Gives up a recovery that was not decided yet. Tells whether there was one.
    pub fn cancel_recovery(&mut self, step: &mut Step<'_>) -> bool {
        let running = self.looking.is_some() && self.recovering.is_none();
        if running {
            self.stop_looking();
            self.settle(step);
        }
        running
    }

    /// The account that was found with a recovery code.
    #[must_use]
    pub fn recovery_found(&self) -> Option<Found> {
        let looking = self.looking.as_ref()?;
        if let Some(own) = &self.own {
            let contacts = self.contacts.len();
            return Some(Found { handle: own.handle.clone(), devices: self.devices(), contacts });
        }
        let opened = looking.opened.as_deref()?;
        let device = |device: &DeviceEntry| OwnDevice {
            id: device.id,
            name: device.name.clone(),
            added_ms: device.added_ms,
            here: false,
            primary: device.primary == Some(true),
        };
        let mut devices: Vec<_> = opened.manifest.manifest().devices.iter().map(device).collect();
        devices.sort_by(|one, other| one.name.cmp(&other.name));
        let contacts = opened.state.contacts.iter().filter(|entry| entry.card.is_some()).count();
        Some(Found { handle: opened.head.handle.clone(), devices, contacts })
    }

    /// The root key of the account that is being recovered.
    pub(super) fn recovery_root(&self) -> Option<&RootKey> {
        if self.own.is_some() {
            return None;
        }
        let decided = self.recovering.as_ref().and(self.keys.root.as_ref());
        decided.or_else(|| self.looking.as_ref().map(|looking| &looking.root))
    }

    /// What the relay keeps of the account was read.
    pub(super) fn recovery_read(&mut self, read: Read, step: &mut Step<'_>) {
        match read {
            Read::Nothing => self.fail_recovery(RecoveryFailure::NothingKept, step),
            Read::Unusable(_, error) => {
                tracing::warn!(%error, "what the relay keeps does not fit the recovery code");
                self.fail_recovery(RecoveryFailure::Forged, step);
            }
            Read::Changed => {
                self.jobs.want(Job::GetState);
                self.jobs.pause(Job::GetState, step.now.mono, Why::Busy);
            }
            Read::All(all) => {
                let (head, state) = *all;
                let account = self.recovery_root().map(RootKey::fingerprint);
                let Some(manifest) = account.and_then(|account| newest_manifest(&account, &head, &state))
                else {
                    return self.fail_recovery(RecoveryFailure::Forged, step);
                };
                if self.is_overtaken(&manifest) {
                    return self.fail_recovery(RecoveryFailure::Overtaken, step);
                }
                self.look_on(Opened { head, state, manifest });
                self.decide(step);
            }
        }
    }

    /// Puts what was read where the recovery goes on; after a restart there is nothing yet.
    fn look_on(&mut self, opened: Opened) {
        let (Some(root), Some(recovering)) = (self.recovery_root().cloned(), &self.recovering) else {
            if let Some(looking) = &mut self.looking {
                looking.opened = Some(Box::new(opened));
            }
            return;
        };
        self.looking = Some(Looking {
            root,
            relay: recovering.relay.0.clone(),
            name: recovering.device_name.clone(),
            choice: None,
            opened: Some(Box::new(opened)),
            fetched: false,
        });
    }

    /// The relay does not know the account of this code.
    pub(super) fn recovery_unknown(&mut self, step: &mut Step<'_>) {
        self.fail_recovery(RecoveryFailure::NotFound, step);
    }

    /// Nobody decided in time: the root key leaves memory.
    pub(super) fn check_recovery(&mut self) {
        if self.recovering.is_none() && self.looking.is_some() {
            self.stop_looking();
        }
    }

    pub(super) fn stop_looking(&mut self) {
        self.looking = None;
        self.kept.read_anew();
        for job in [Job::GetState, Job::AddSelf] {
            self.jobs.drop_unless_asked(job);
        }
    }

    pub(super) fn fail_recovery(&mut self, why: RecoveryFailure, step: &mut Step<'_>) {
        if self.recovering.take().is_some() {
            self.touch(RowKey::Recovering);
            if self.own.is_none() {
                // Whatever account is made here next is another one.
                let root = Some(RootKey::generate(&mut step.rng));
                self.keep_identity(IdentityKeys { root, ..IdentityKeys::clone(&self.keys) });
            }
        }
        if self.own.is_none() {
            for slot in std::mem::take(&mut self.retired_devices) {
                self.jobs.drop_unless_asked(Job::RemoveDevice(slot));
                self.touch(RowKey::RetiredDevice(slot));
            }
        }
        self.stop_looking();
        self.notify(Notice::RecoveryFailed(why));
    }

    /// Whether another machine became the one that signs since people decided that this one is to be it.
    pub(super) fn is_overtaken(&self, list: &VerifiedManifest) -> bool {
        let Some(recovering) = &self.recovering else { return false };
        let now = signs(list).filter(|device| *device != recovering.device);
        recovering.instead_of.is_some() && now.is_some() && now != recovering.instead_of
    }

    /// Goes on with what was found, as far as people have said what is to become of the devices.
    fn decide(&mut self, step: &mut Step<'_>) {
        if self.recovering.is_some() {
            return;
        }
        let Some(looking) = &self.looking else { return };
        let Some(choice) = looking.choice.clone() else {
            let Some(found) = self.recovery_found() else { return };
            return self.notify(Notice::RecoveryFound { handle: found.handle });
        };
        let Some(found) = self.recovery_found() else { return };
        let others: Vec<_> = found.devices.into_iter().filter(|device| !device.here).collect();
        let named = match &choice {
            Revoke::All => [].as_slice(),
            Revoke::AllBut(names) | Revoke::Only(names) => names,
        };
        if let Some(name) = named.iter().find(|name| !others.iter().any(|device| device.name == **name)) {
            let candidates = others.iter().map(|device| device.name.clone()).collect();
            return self
                .fail_recovery(RecoveryFailure::UnknownDevice { name: name.clone(), candidates }, step);
        }
        let goes = |device: &&OwnDevice| match &choice {
            Revoke::All => true,
            Revoke::AllBut(names) => !names.contains(&device.name),
            Revoke::Only(names) => names.contains(&device.name),
        };
        let revoke: Vec<_> = others.iter().filter(goes).map(|device| device.id).collect();
        // Devices that share nothing would never hear that another one signs, and go on signing.
        let stays = others.iter().find(|device| !revoke.contains(&device.id));
        let among = self.own.is_some()
            || looking.opened.as_deref().is_some_and(|opened| opened.state.among.is_some());
        if let Some(device) = stays.filter(|_| !among) {
            return self.fail_recovery(RecoveryFailure::MustGo { name: device.name.clone() }, step);
        }
        self.begin_recovery(List::truncated(revoke), step);
    }

    fn begin_recovery(&mut self, revoke: List<DeviceId, MAX_DEVICES>, step: &mut Step<'_>) {
        let Some(looking) = &self.looking else { return };
        let (device, next) = match &self.own {
            Some(own) => (own.device, RecoverStep::Taking),
            None => (DeviceId::from_bytes(step.random()), RecoverStep::Adding),
        };
        let keys = IdentityKeys { root: Some(looking.root.clone()), ..IdentityKeys::clone(&self.keys) };
        let slots: Vec<_> = looking
            .opened
            .iter()
            .flat_map(|opened| {
                let devices = opened.manifest.manifest().devices.iter();
                devices.filter(|device| revoke.contains(&device.id)).map(|device| device.slot)
            })
            .collect();
        let list = self.own.as_ref().map(|own| &own.manifest.0);
        let list = list.or_else(|| looking.opened.as_deref().map(|opened| &opened.manifest));
        let instead_of = list.and_then(signs);
        self.recovering = Some(Recovering {
            instead_of,
            account: looking.root.fingerprint(),
            relay: StoredRelay(looking.relay.clone()),
            device,
            device_name: looking.name.clone(),
            revoke,
            step: next,
        });
        self.touch(RowKey::Recovering);
        self.keep_identity(keys);
        tracing::warn!("an account is being recovered here");
        if next == RecoverStep::Adding {
            for slot in slots {
                self.retire_device(slot);
            }
        }
    }
}

/// The device that signs an account's list.
fn signs(list: &VerifiedManifest) -> Option<DeviceId> {
    let devices = &list.manifest().devices;
    let primary = devices.iter().find(|device| device.primary == Some(true));
    // A list of before there were several names none.
    primary.or_else(|| devices.first().filter(|_| devices.len() == 1)).map(|device| device.id)
}
