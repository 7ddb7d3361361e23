//! Random choices that can be repeated.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A generator whose seed was printed: `PENPAL_SEED`, or one of the clock.
#[derive(Debug)]
pub struct Seeded(ChaCha8Rng);

impl Seeded {
    /// Takes the seed from the environment or the clock and prints it.
    #[must_use]
    #[expect(clippy::print_stdout, reason = "a failing test must show its seed")]
    pub fn printed(test: &str) -> Self {
        let given = std::env::var("PENPAL_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed: u64 = given
            .unwrap_or_else(|| clock.map_or(1, |since| since.as_secs() ^ u64::from(since.subsec_nanos())));
        println!("{test}: PENPAL_SEED={seed}");
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }

    /// Random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
