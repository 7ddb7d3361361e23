//! What every input brings along.

use penpal_protocol::time::Now;
use rand_core::CryptoRng;

use crate::ledger::Records;

/// Time, committed rows and randomness of one step.
pub struct Step<'a> {
    /// Both clocks.
    pub now: Now,
    /// Committed rows.
    pub records: &'a dyn Records,
    /// Randomness for ids; never for keys.
    pub rng: &'a mut dyn CryptoRng,
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Step<'_> {
    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}
