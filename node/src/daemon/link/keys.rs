//! Keys of relays that gave up the one that their address pins.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use penpal_protocol::ids::RelayPin;
use penpal_protocol::text::{pin_from_text, pin_to_text};
use penpal_protocol::wire::FrameKind;
use penpal_transport::chain::{MAX_UPDATES, UPDATE_BYTES, follow};
use penpal_transport::{Dialer, Frame, Target, TransportKey};

/// How long asking a relay for its chain may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// Longest chain, in bytes.
const MAX_CHAIN_BYTES: u32 = {
    assert!(MAX_UPDATES * UPDATE_BYTES < 1 << 20);
    (MAX_UPDATES * UPDATE_BYTES) as u32
};

/// Which key stands in place of a pinned one, kept in a file: a key that was given up is never taken again.
#[derive(Debug)]
pub struct KnownKeys {
    /// `None` in tests, and when the file cannot be read: then everything is found out again.
    path: Option<PathBuf>,
    /// Pinned → present.
    known: Mutex<BTreeMap<RelayPin, RelayPin>>,
}

impl KnownKeys {
    /// Reads the file: a line for each pinned key with the one that stands in its place.
    ///
    /// # Errors
    /// The system's; also for a file that is not what was written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut known = BTreeMap::new();
        for line in text.lines() {
            let pins = line.split_once(' ').map(|(old, new)| (pin_from_text(old), pin_from_text(new)));
            let Some((Ok(old), Ok(new))) = pins else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line that is no pair of pins"));
            };
            known.insert(old, new);
        }
        Ok(Self { path: Some(path.to_owned()), known: Mutex::new(known) })
    }

    /// Knows nothing and keeps nothing.
    #[must_use]
    pub fn forgetful() -> Self {
        Self { path: None, known: Mutex::default() }
    }

    /// The key to expect where this one is pinned.
    pub(super) fn present(&self, pinned: &RelayPin) -> RelayPin {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(pinned).copied().unwrap_or(*pinned)
    }

    /// Notes that a key stands in place of the pinned one. A file that cannot be written costs the question at the next start.
    fn note(&self, pinned: RelayPin, present: RelayPin) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(pinned, present);
        let Some(path) = &self.path else { return };
        let line = |(old, new)| format!("{} {}\n", pin_to_text(old), pin_to_text(new));
        if let Err(error) = write(path, &known.iter().map(line).collect::<String>()) {
            tracing::warn!(%error, "the changed key of a relay cannot be noted");
        }
    }

    /// Asks whoever shows another key than the expected one for the way from one to the other. Shows a throw-away key and says
    /// nothing else.
    ///
    /// Gives the pin to expect from now on, or nothing when the way does not lead there.
    pub(super) async fn follow(
        &self,
        dialer: &Dialer,
        addresses: &[SocketAddr],
        pinned: RelayPin,
        shown: penpal_transport::RelayPin,
    ) -> Option<RelayPin> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).ok()?;
        let key = TransportKey::from_seed(&seed);
        let dialed = dialer.dial(Target { addresses, pin: shown, key: &key }, ASK_LIMIT).await.ok()?;
        let ask = Frame::new(FrameKind::GetKeyChain.number(), Vec::new());
        let answer = dialed.connection.request(&ask, MAX_CHAIN_BYTES, ASK_LIMIT).await.ok()?;
        if answer.kind != FrameKind::KeyChain.number() {
            return None;
        }
        let expected = penpal_transport::RelayPin(*self.present(&pinned).as_bytes());
        follow(&answer.payload, expected, shown).ok()?;
        let present = RelayPin::from_bytes(shown.0);
        self.note(pinned, present);
        tracing::info!("a relay has another key, which its old one signed");
        Some(present)
    }
}

/// Replaces the file as a whole, durably.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay-keys");
        let pin = |byte| RelayPin::from_bytes([byte; 16]);
        let known = KnownKeys::open(&path).unwrap();
        assert_eq!(known.present(&pin(1)), pin(1));
        known.note(pin(1), pin(2));
        known.note(pin(4), pin(5));
        known.note(pin(1), pin(3));
        let known = KnownKeys::open(&path).unwrap();
        assert_eq!([1, 2, 4].map(|byte| known.present(&pin(byte))), [pin(3), pin(2), pin(5)]);
        fs::write(&path, "noise\n").unwrap();
        assert!(KnownKeys::open(&path).is_err());
    }
}
