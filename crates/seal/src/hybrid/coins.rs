//! Randomness of one encapsulation, as the generator that `hpke` asks for.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

/// Bytes that one X-Wing encapsulation consumes: 32 for ML-KEM, 32 for X25519.
pub(crate) const COINS_BYTES: usize = 64;

/// Exactly the coins of one encapsulation; asking for anything else is a bug of this crate and panics.
pub(crate) struct Coins(Option<Zeroizing<[u8; COINS_BYTES]>>);

impl Coins {
    pub(crate) fn new(coins: Zeroizing<[u8; COINS_BYTES]>) -> Self {
        Self(Some(coins))
    }
}

impl TryRng for Coins {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut word = [0; 4];
        self.try_fill_bytes(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut word = [0; 8];
        self.try_fill_bytes(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let coins = self.0.take().expect("an encapsulation draws its coins once");
        assert_eq!(out.len(), COINS_BYTES, "an encapsulation draws all its coins at once");
        out.copy_from_slice(coins.as_slice());
        Ok(())
    }
}

impl TryCryptoRng for Coins {}
