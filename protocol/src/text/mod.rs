//! What people type and read: names, addresses, relay addresses, invite codes, ids.

mod address;
pub mod base32;
mod host;
mod id;
mod invite_code;
mod label;
mod recovery_code;
mod relay_address;

pub use address::{Address, AddressError, AddressPart};
pub use host::{DEFAULT_PORT, Host, HostError, HostPort};
pub(crate) use id::parse as parse_id;
pub use id::{IdError, MIN_SHORT_ID, short_id};
pub use invite_code::{CodePurpose, InviteCode, InviteCodeError};
pub use label::{Label, LabelError};
pub use recovery_code::{RecoveryCode, RecoveryCodeError};
pub use relay_address::{RelayAddress, RelayAddressError, pin_from_text, pin_to_text};

/// Puts a dash after every fifth character.
fn grouped(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(text.len() / 5));
    for (position, character) in text.chars().enumerate() {
        if position > 0 && position % 5 == 0 {
            out.push('-');
        }
        out.push(character);
    }
    out
}
