//! What a relay keeps on disk.
//!
//! ```text
//! DIR/store/         the log and its index; locked while in use
//! DIR/blobs/         sealed contents of artifacts, a file each
//! DIR/place.json     port and public name, so that the same folder keeps its address
//! DIR/admin.sock     where a running relay takes commands
//! DIR/keys/          (or --keys) relay.key, relay.chain, graph.key, quic.key, log.mark
//! ```

mod chain;
mod files;
mod keys;
mod place;

use std::path::{Path, PathBuf};

pub(crate) use files::{copy_file, create_private_dir, replace};
pub use keys::KeysError;
pub(crate) use keys::{KeyCopy, Keys};
pub(crate) use place::Place;
pub use place::PlaceError;

/// Longest path that fits a socket address on every system.
const MAX_SOCKET_PATH: usize = 100;

/// The paths of one relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    data: PathBuf,
    keys: PathBuf,
}

impl Folder {
    pub(crate) fn new(data: &Path, keys: Option<&Path>) -> Self {
        Self { data: data.to_owned(), keys: keys.map_or_else(|| data.join("keys"), Path::to_owned) }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.data.join("blobs")
    }

    pub(crate) fn keys(&self) -> &Path {
        &self.keys
    }

    pub(crate) fn place(&self) -> PathBuf {
        self.data.join("place.json")
    }

    /// Whether there is a relay's data here already.
    pub(crate) fn is_used(&self) -> bool {
        self.store().exists()
    }

    /// Where the admin socket is: in the folder, or in a private one under `/tmp` when the path is too long for a socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        let data = std::path::absolute(&self.data).unwrap_or_else(|_| self.data.clone());
        let here = data.join("admin.sock");
        if here.as_os_str().len() <= MAX_SOCKET_PATH {
            return here;
        }
        let name = penpal_protocol::hash::labelled16("admin-socket", &[data.as_os_str().as_encoded_bytes()]);
        let name = penpal_protocol::text::base32::encode(&name);
        let user = rustix::process::geteuid().as_raw();
        PathBuf::from(format!("/tmp/penpal-relay-{user}")).join(format!("{name}.sock"))
    }
}
