//! Envelopes: one message, sealed for one device.
//!
//! ```text
//! header   = version 1 | suite 1 | hint 8 | mkey 8
//! envelope = header 18 | enc 1120 | ciphertext          total exactly 4, 8, 16, 32 or 80 KiB
//! (enc, ctx) = SEAL.setup(pk, info = "seal" | recipient device | key id | H("pk" | pk))
//! mkey = key id XOR HMAC(pair key, "kid" | version | suite | H("enc" | enc))[..8]
//! hint = HMAC(pair key, "hint" | version | suite | mkey | H("enc" | enc))[..8]
//! ciphertext = ctx.seal(aad = header | enc, [body: bstr, sig: bstr] | 0x80 | 0x00…)
//! sig  = SIG(D, "msg" | H("bind" | header | enc | recipient device | pk) | H("body" | body))
//! ```
//! Source: `docs/protocol.md` §3.

mod binding;
mod open;
mod seal;

pub use open::{Arrived, FromContact, OpenError, Opened, Parsed, VerifiedMessage, VerifyError, reseal_hash};
pub(crate) use seal::coins;
pub use seal::{FreshBytes, Recipient, SealError, Sender, seal};

#[cfg(test)]
mod tests;
