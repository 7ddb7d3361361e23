//! Chance that can be repeated.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// One stream of random numbers: streams of other names or seeds have nothing in common.
pub struct Dice(ChaCha8Rng);

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dice")
    }
}

/// 32 bytes that follow from a seed and a name.
#[must_use]
pub fn derive(seed: u64, name: &str) -> [u8; 32] {
    Sha256::new().chain_update(seed.to_be_bytes()).chain_update(name).finalize().into()
}

impl Dice {
    /// The stream of this name in the world of this seed.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        Self(generator(seed, name))
    }

    /// A number below `end`; 0 when `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    /// A number from `first` to `last`.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// An index of a list of this length.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap_or(u64::MAX))).unwrap_or(0)
    }
}

/// The generator behind a stream, for code that wants one.
#[must_use]
pub fn generator(seed: u64, name: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(derive(seed, name))
}
