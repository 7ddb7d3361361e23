//! `identity.key`: who this device is.

use std::path::Path;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{
    KeyFile, KeyFileError, KeyStorage,
    format::{self, Payload},
};
use crate::keys::{AccountSecret, DeviceSigningKey, HedgeSecret, RootKey, TransportSeed};

/// Everything in `identity.key`.
///
/// Payload: `{0: root seed?, 1: signing seed, 2: transport seed, 3: hedge secret, 4: account secret?}`, 32 bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityKeys {
    /// Root of the account; only on the device that made the account or recovered it.
    pub root: Option<RootKey>,
    /// Signs this device's messages.
    pub signing: DeviceSigningKey,
    /// Shows this device to its relay.
    pub transport: TransportSeed,
    /// Mixed into the coins of every encapsulation.
    pub hedge: HedgeSecret,
    /// Shared with the account's other devices, once there are any.
    pub account: Option<AccountSecret>,
}

impl IdentityKeys {
    /// Makes the keys of a new account on its first device.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self {
            root: Some(RootKey::generate(rng)),
            signing: DeviceSigningKey::generate(rng),
            transport: TransportSeed::generate(rng),
            hedge: HedgeSecret::generate(rng),
            account: Some(AccountSecret::generate(rng)),
        }
    }

    /// Encodes the file.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let optional = usize::from(self.root.is_some()).saturating_add(usize::from(self.account.is_some()));
        let mut payload = Payload::with_capacity(256);
        payload.map(optional.saturating_add(3));
        if let Some(root) = &self.root {
            payload.key(0).bytes(root.expose_seed());
        }
        payload.key(1).bytes(self.signing.expose_seed());
        payload.key(2).bytes(self.transport.expose());
        payload.key(3).bytes(self.hedge.expose());
        if let Some(account) = &self.account {
            payload.key(4).bytes(account.expose());
        }
        format::frame(KeyFile::Identity, &payload.finish())
    }

    /// Decodes the file; `path` names it in errors.
    ///
    /// # Errors
    /// [`KeyFileError`], everything but `Io` and `Exposed`.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, KeyFileError> {
        let payload = format::unframe(KeyFile::Identity, bytes, path)?;
        format::read(payload, path, |d| {
            let (mut root, mut signing, mut transport, mut hedge, mut account) =
                (None, None, None, None, None);
            for _ in 0..format::count(d.map()?)? {
                match d.u8()? {
                    0 => root = Some(Zeroizing::new(format::fixed(d)?)),
                    1 => signing = Some(Zeroizing::new(format::fixed(d)?)),
                    2 => transport = Some(TransportSeed::from_bytes(format::fixed(d)?)),
                    3 => hedge = Some(HedgeSecret::from_bytes(format::fixed(d)?)),
                    4 => account = Some(AccountSecret::from_bytes(format::fixed(d)?)),
                    _ => d.skip()?,
                }
            }
            let missing = |key| move || minicbor::decode::Error::message(key);
            Ok(Self {
                root: root.map(|seed| RootKey::from_seed(&seed)),
                signing: DeviceSigningKey::from_seed(&*signing.ok_or_else(missing("no signing key"))?),
                transport: transport.ok_or_else(missing("no transport key"))?,
                hedge: hedge.ok_or_else(missing("no hedge secret"))?,
                account,
            })
        })
    }
}

/// Reads `identity.key`. `None` only when there is no such file; anything else in its place is an error, never a new identity.
///
/// # Errors
/// [`KeyFileError`].
pub fn load_identity(storage: &impl KeyStorage) -> Result<Option<IdentityKeys>, KeyFileError> {
    let Some(bytes) = storage.read(KeyFile::Identity)? else { return Ok(None) };
    IdentityKeys::decode(&bytes, &storage.path(KeyFile::Identity)).map(Some)
}

/// Replaces `identity.key`; returns once it is durable.
///
/// # Errors
/// [`KeyFileError::Io`]: the old file is still there.
pub fn store_identity(storage: &impl KeyStorage, keys: &IdentityKeys) -> Result<(), KeyFileError> {
    storage.replace(KeyFile::Identity, &keys.encode())
}
