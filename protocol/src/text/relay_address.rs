//! Relay addresses: where a relay is, and which key it must show.

use std::fmt;
use std::str::FromStr;

use super::host::{HostError, HostPort};
use super::{base32, grouped};
use crate::cbor::Text;
use crate::ids::RelayPin;
use crate::limits::MAX_RELAY_ADDRESS_BYTES;

const SCHEME: &str = "penpal://";

/// Characters of a pin: 26 for 16 bytes, and one check character.
const PIN_CHARACTERS: usize = 27;

/// `penpal://host[:port]/<pin>`.
///
/// The pin is the Crockford base32 of [`RelayPin`] and one check character, shown in groups of five; case and dashes do not
/// matter on input. The check character finds every single wrong character and every exchanged pair. Port 4433 is left out.
/// At most [`MAX_RELAY_ADDRESS_BYTES`] long. Source: `docs/protocol.md` §5.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayAddress {
    /// Where it listens.
    pub at: HostPort,
    /// What its key hashes to.
    pub pin: RelayPin,
}

/// A text is not a relay address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayAddressError {
    /// Longer than any address.
    #[error("a relay address has at most {MAX_RELAY_ADDRESS_BYTES} bytes, this one has {got}")]
    TooLong {
        /// Length in bytes.
        got: usize,
    },
    /// Does not begin with `penpal://`.
    #[error("a relay address begins with penpal://")]
    Scheme,
    /// An invite link.
    #[error("this is an invite, not a relay address")]
    Invite,
    /// The host or port is wrong.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Nothing after the host.
    #[error("the pin after the host is missing")]
    PinMissing,
    /// Too few or too many characters in the pin.
    #[error("the pin has {got} characters, {PIN_CHARACTERS} are expected")]
    PinLength {
        /// Characters without dashes.
        got: usize,
    },
    /// A character that no pin has.
    #[error("the pin has the character {character:?}, which no pin has")]
    PinCharacter {
        /// What was found.
        character: char,
    },
    /// The check character does not fit.
    #[error("the pin is mistyped: its check character does not fit")]
    PinMistyped,
}

impl RelayAddress {
    /// The host, as a resolver takes it; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.at.host.as_str()
    }

    /// UDP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.at.port
    }

    /// What its key hashes to.
    #[must_use]
    pub fn pin(&self) -> &RelayPin {
        &self.pin
    }

    /// The address as a bounded text for the wire.
    #[must_use]
    pub fn to_text(&self) -> Text<MAX_RELAY_ADDRESS_BYTES> {
        // The longest host, port and pin make 301 bytes, so nothing is ever cut.
        Text::truncated(&self.to_string())
    }
}

/// The check character over GF(32) with polynomial x⁵+x²+1: each value is weighted with another power of x, so one wrong
/// character and two exchanged ones always show.
pub(super) fn check_value(values: impl Iterator<Item = u8>) -> u8 {
    values.fold(0, |sum, value| {
        let doubled = (sum ^ value) << 1;
        if doubled & 0b10_0000 == 0 { doubled } else { doubled ^ 0b10_0101 }
    })
}

/// Writes a pin with its check character, in groups of five.
#[must_use]
pub fn pin_to_text(pin: &RelayPin) -> String {
    let mut text = base32::encode(pin.as_bytes());
    let check = check_value(text.chars().filter_map(base32::value));
    text.push(base32::symbol(check));
    grouped(&text)
}

/// Reads a pin as written by [`pin_to_text`]; case and dashes are ignored.
///
/// # Errors
/// The `Pin…` errors of [`RelayAddressError`].
pub fn pin_from_text(text: &str) -> Result<RelayPin, RelayAddressError> {
    let mut symbols = String::with_capacity(PIN_CHARACTERS);
    let mut values = Vec::with_capacity(PIN_CHARACTERS);
    for character in text.chars().filter(|character| *character != '-') {
        let value = base32::value(character).ok_or(RelayAddressError::PinCharacter { character })?;
        values.push(value);
        symbols.push(base32::symbol(value));
    }
    if values.is_empty() {
        return Err(RelayAddressError::PinMissing);
    }
    if values.len() != PIN_CHARACTERS {
        return Err(RelayAddressError::PinLength { got: values.len() });
    }
    let given = values.pop();
    symbols.pop();
    if given != Some(check_value(values.into_iter())) {
        return Err(RelayAddressError::PinMistyped);
    }
    let bytes = base32::decode(&symbols).ok_or(RelayAddressError::PinMistyped)?;
    RelayPin::from_slice(&bytes).ok_or(RelayAddressError::PinMistyped)
}

impl FromStr for RelayAddress {
    type Err = RelayAddressError;

    fn from_str(text: &str) -> Result<Self, RelayAddressError> {
        let text = text.trim();
        if text.len() > MAX_RELAY_ADDRESS_BYTES {
            return Err(RelayAddressError::TooLong { got: text.len() });
        }
        let (scheme, rest) = text.split_at_checked(SCHEME.len()).ok_or(RelayAddressError::Scheme)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(RelayAddressError::Scheme);
        }
        let (at, pin) = rest.split_once('/').unwrap_or((rest, ""));
        if at.eq_ignore_ascii_case("i") {
            return Err(RelayAddressError::Invite);
        }
        let at = at.parse()?;
        let pin = pin_from_text(pin.strip_suffix('/').unwrap_or(pin))?;
        Ok(Self { at, pin })
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.at, pin_to_text(&self.pin))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> RelayAddress {
        let pin = RelayPin::from_bytes(*b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");
        RelayAddress { at: "relay.example.com".parse().unwrap(), pin }
    }

    #[test]
    fn looks_like_this() {
        let text = address().to_string();
        assert_eq!(text, "penpal://relay.example.com/000g4-0r40m-30e20-9185g-r38e1-w8");
        assert_eq!(text.parse::<RelayAddress>().unwrap(), address());
        let shouted = text.to_uppercase();
        assert_eq!(shouted.parse::<RelayAddress>().unwrap(), address());
        let dashless = text.replace('-', "");
        assert_eq!(dashless.parse::<RelayAddress>().unwrap(), address());
        assert_eq!((address().host(), address().port()), ("relay.example.com", 4433));
    }

    #[test]
    fn each_error_names_its_part() {
        let error = |text: &str| text.parse::<RelayAddress>().unwrap_err();
        let good = address().to_string();
        assert_eq!(error("https://relay/x"), RelayAddressError::Scheme);
        assert_eq!(error(""), RelayAddressError::Scheme);
        assert_eq!(error("penpal://"), RelayAddressError::Host(HostError::Missing));
        assert_eq!(error("penpal://relay"), RelayAddressError::PinMissing);
        assert_eq!(error("penpal://relay/"), RelayAddressError::PinMissing);
        assert_eq!(error("penpal://i/pp1-ABC"), RelayAddressError::Invite);
        assert_eq!(error("penpal://relay/q7m2k"), RelayAddressError::PinLength { got: 5 });
        assert_eq!(error(&format!("{good}u")), RelayAddressError::PinCharacter { character: 'u' });
        assert!(matches!(error("penpal://re lay/q7m2k"), RelayAddressError::Host(HostError::Name { .. })));
        assert_eq!(error(&"p".repeat(400)), RelayAddressError::TooLong { got: 400 });
        assert_eq!(error(&"p".repeat(321)), RelayAddressError::TooLong { got: 321 });
        assert_eq!(error(&"p".repeat(320)), RelayAddressError::Scheme);
    }

    #[test]
    fn longest_address_fits() {
        let host = [&"a".repeat(63), &"b".repeat(63), &"c".repeat(63), &"d".repeat(61)]
            .map(|part| part.as_str())
            .join(".");
        let address = RelayAddress { at: format!("{host}:65535").parse().unwrap(), ..address() };
        assert_eq!(address.to_text().as_str(), address.to_string());
        assert_eq!(address.to_string().parse::<RelayAddress>().unwrap(), address);
    }

    proptest! {
        #[test]
        fn one_wrong_character_or_one_exchange_is_mistyped(
            bytes in any::<[u8; 16]>(), at in 0..PIN_CHARACTERS, other in 0..PIN_CHARACTERS, value in 0..32_u8,
        ) {
            let pin = RelayPin::from_bytes(bytes);
            let text = pin_to_text(&pin).replace('-', "");
            prop_assert_eq!(pin_from_text(&text), Ok(pin));

            let mut replaced: Vec<char> = text.chars().collect();
            replaced[at] = base32::symbol(value);
            let mut swapped: Vec<char> = text.chars().collect();
            swapped.swap(at, other);
            for changed in [replaced, swapped] {
                let changed = String::from_iter(changed);
                if changed == text {
                    prop_assert_eq!(pin_from_text(&changed), Ok(pin));
                } else {
                    prop_assert_eq!(pin_from_text(&changed), Err(RelayAddressError::PinMistyped));
                }
            }
        }

        #[test]
        fn any_text_is_answered(text in ".{0,400}") {
            drop(text.parse::<RelayAddress>());
            drop(format!("penpal://{text}").parse::<RelayAddress>());
        }
    }
}
