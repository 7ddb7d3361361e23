//! What the engine stands on, so that a host other than the daemon can give its own.

use std::fmt;
use std::ops::{Deref, DerefMut};

use penpal_local_api::home::Home;
use penpal_seal::{KeyFolder, KeyStorage};
use penpal_store::{LogStore, Options, Store};
use rand_core::CryptoRng;

use super::clock::Clock;
use super::fate::Fate;
use crate::config::Config;
use crate::files::shelf::Shelf;

/// Randomness for ids and keys.
pub struct Rng(Box<dyn CryptoRng + Send>);

impl Rng {
    /// Takes a generator: the system's, except in simulations.
    #[must_use]
    pub fn new(generator: Box<dyn CryptoRng + Send>) -> Self {
        Self(generator)
    }

    /// The operating system's generator.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Box::new(rand_core::UnwrapErr(getrandom::SysRng)))
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

impl Deref for Rng {
    type Target = dyn CryptoRng + Send;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl DerefMut for Rng {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.0
    }
}

/// Everything that an engine is opened from.
pub struct Parts {
    /// The folder, for messages to people and for the mark of a node that was stopped by hand.
    pub home: Home,
    /// What the person decides.
    pub config: Config,
    /// Messages and state.
    pub store: Box<dyn Store>,
    /// Contents of artifacts.
    pub shelf: Shelf,
    /// Where the index for searching is; none keeps none.
    pub search: Option<std::path::PathBuf>,
    /// Key files.
    pub keys: Box<dyn KeyStorage + Send>,
    /// The clocks.
    pub clock: Clock,
    /// Randomness.
    pub rng: Rng,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Parts {
    /// What lies in a home, with the system's generator.
    pub(super) fn of(home: &Home, config: Config, clock: Clock) -> Result<Self, Fate> {
        let keys = KeyFolder::open(home.keys());
        Ok(Self {
            home: home.clone(),
            config,
            store: open_store(home)?,
            shelf: Shelf::of(home),
            search: Some(home.search()),
            keys: Box::new(keys.map_err(|error| Fate::Home(error.to_string()))?),
            clock,
            rng: Rng::system(),
        })
    }
}

fn open_store(home: &Home) -> Result<Box<dyn Store>, Fate> {
    let mut told = 0;
    let progress = move |progress: penpal_store::Progress| {
        // A line for every tenth of the way.
        let tenth = progress.done.saturating_mul(10).checked_div(progress.total).unwrap_or_default();
        if tenth > told {
            told = tenth;
            tracing::info!(task = ?progress.task, percent = tenth * 10, "working through the log");
        }
    };
    let options = Options { progress: Some(Box::new(progress)), ..Options::default() };
    let store =
        LogStore::open(&home.data(), options).map_err(|error| Fate::home("messages and state", &error))?;
    let opening = store.opening();
    for warning in &opening.warnings {
        tracing::warn!(?warning, "found in the log");
    }
    if let Some(why) = &opening.rebuilt {
        tracing::info!(%why, "the index was rebuilt");
    }
    Ok(Box::new(store))
}
