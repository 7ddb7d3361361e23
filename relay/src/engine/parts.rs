//! What the engine stands on, so that a host other than the program can give its own.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use penpal_relay_core::{Config, GraphKey};
use penpal_store::{LogPosition, Store};
use penpal_transport::Offload;
use penpal_transport::clock::Clock;
use rand_core::CryptoRng;

use crate::folder::KeysError;

/// Where it stands how far the log was known to go: apart from the data, so that it does not come back with an old copy of it.
pub trait Mark: fmt::Debug + Send {
    /// The mark, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self) -> Result<Option<LogPosition>, KeysError>;

    /// Replaces the mark, durably.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&mut self, mark: LogPosition) -> Result<(), KeysError>;
}

/// Everything that an engine is made from.
pub struct Parts {
    /// What the operator decides.
    pub config: Config,
    /// The data.
    pub store: Box<dyn Store>,
    /// Folder of the files of blobs.
    pub blobs: PathBuf,
    /// Where those files are read and written.
    pub offload: Offload,
    /// The key under which stored rows join no contact graph.
    pub graph: GraphKey,
    /// How far the log was known to go.
    pub mark: Box<dyn Mark>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Box<dyn CryptoRng + Send>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("config", &self.config).finish_non_exhaustive()
    }
}
