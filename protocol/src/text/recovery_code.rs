//! Recovery codes: what a person writes down so that an account outlives its machine.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::base32;
use super::host::{HostError, HostPort};
use super::relay_address::{RelayAddress, check_value};
use crate::ids::{RelayPin, RootSeed};

/// Version of the code's layout, its first byte.
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;
/// Everything but the host.
const FIXED_BYTES: usize = 1 + 32 + 16 + CHECK_BYTES;
/// Longest host with port: a DNS name of 253 bytes and `:65535`.
const MAX_HOST_BYTES: usize = 259;
/// Characters of a full line, without its check character.
const LINE: usize = 24;
/// Most characters that are read, check characters included.
const MAX_SYMBOLS: usize = symbols(MAX_HOST_BYTES);
/// Fewest, likewise.
const MIN_SYMBOLS: usize = symbols(1);

/// Characters of a code whose relay is written with so many bytes, check characters included.
const fn symbols(host_bytes: usize) -> usize {
    let plain = FIXED_BYTES.saturating_add(host_bytes).saturating_mul(8).div_ceil(5);
    plain.saturating_add(plain.div_ceil(LINE))
}

/// The root key of an account and the relay where its state lies, as five or so lines to be written down.
///
/// ```text
/// version 1 | root seed 32 | relay pin 16 | host[:port] | check 4
/// ```
///
/// in Crockford base32, cut into lines of 24 characters. Behind each line stands a check character, as behind a relay's pin, over the line's
/// number (from 1) and its characters: so a mistake is found in its line. `check` is the beginning of the labelled hash
/// (`recovery-code`) of all bytes before it. Lines are shown in groups of five. Reading ignores case and everything that is no letter or digit,
/// and reads `o` as 0, `i` and `l` as 1. Neither `Debug` nor `Display` shows it: use [`Self::to_lines`]. Source: `docs/protocol.md` §7.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryCode {
    /// Seed of the root key.
    pub seed: RootSeed,
    /// The account's relay.
    pub relay: RelayAddress,
}

/// A text is no recovery code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryCodeError {
    /// Nothing was typed.
    #[error("no recovery code was given")]
    Empty,
    /// A character that no code has.
    #[error("line {line} of the recovery code has the character {character:?}, which no code has")]
    Character {
        /// Which line, from 1.
        line: usize,
        /// The character.
        character: char,
    },
    /// A line's check does not fit.
    #[error("line {line} of the recovery code has a mistake")]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// Too short or too long.
    #[error("the recovery code has {got} characters; is a line missing, or there twice?")]
    Length {
        /// Characters that were found.
        got: usize,
    },
    /// Each line is intact, and together they are no code: of two codes, or in another order.
    #[error("the lines of the recovery code do not belong together")]
    Mixed,
    /// A code of a later version.
    #[error("the recovery code has version {got}, this program reads {VERSION}; a newer penpal is needed")]
    Newer {
        /// Version of the code.
        got: u8,
    },
    /// An intact code with an impossible relay: whoever made it is at fault.
    #[error("the recovery code names an impossible relay: {0}")]
    Relay(#[from] HostError),
}

impl RecoveryCode {
    /// The lines to be written down: groups of five characters, upper case.
    #[must_use]
    pub fn to_lines(&self) -> Vec<Zeroizing<String>> {
        let host = self.relay.at.to_string();
        let mut bytes = Zeroizing::new(Vec::with_capacity(FIXED_BYTES.saturating_add(host.len())));
        bytes.push(VERSION);
        bytes.extend_from_slice(self.seed.expose());
        bytes.extend_from_slice(self.relay.pin.as_bytes());
        bytes.extend_from_slice(host.as_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        let plain = Zeroizing::new(base32::encode(&bytes));
        let values = Zeroizing::new(plain.chars().filter_map(base32::value).collect::<Vec<u8>>());
        let lines = values.chunks(LINE).zip(1_usize..);
        lines.map(|(line, number)| written(line, number)).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, RecoveryCodeError> {
        let (body, given) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(RecoveryCodeError::Mixed)?;
        if !bool::from(check(body).ct_eq(given)) {
            return Err(RecoveryCodeError::Mixed);
        }
        let (&[version], rest) = body.split_first_chunk::<1>().ok_or(RecoveryCodeError::Mixed)?;
        if version != VERSION {
            return Err(RecoveryCodeError::Newer { got: version });
        }
        let (seed, rest) = rest.split_first_chunk::<32>().ok_or(RecoveryCodeError::Mixed)?;
        let (pin, host) = rest.split_first_chunk::<16>().ok_or(RecoveryCodeError::Mixed)?;
        let at = std::str::from_utf8(host).unwrap_or("\u{fffd}").parse::<HostPort>()?;
        let relay = RelayAddress { at, pin: RelayPin::from_bytes(*pin) };
        Ok(Self { seed: RootSeed::from_bytes(*seed), relay })
    }
}

fn check(body: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = crate::hash::labelled("recovery-code", &[body]);
    hash.first_chunk().copied().unwrap_or_default()
}

/// The check character of a line; no code has as many as 32.
fn line_check(line: &[u8], number: usize) -> u8 {
    let number = u8::try_from(number).unwrap_or_default();
    check_value(std::iter::once(number).chain(line.iter().copied()))
}

fn written(line: &[u8], number: usize) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(LINE.saturating_mul(2)));
    for (at, value) in line.iter().copied().chain([line_check(line, number)]).enumerate() {
        if at > 0 && at % 5 == 0 {
            text.push('-');
        }
        text.push(base32::symbol(value).to_ascii_uppercase());
    }
    text
}

impl FromStr for RecoveryCode {
    type Err = RecoveryCodeError;

    fn from_str(text: &str) -> Result<Self, RecoveryCodeError> {
        let mut values = Zeroizing::new(Vec::with_capacity(MAX_SYMBOLS));
        for character in text.chars().filter(|character| character.is_alphanumeric()) {
            let line = (values.len() / (LINE + 1)).saturating_add(1);
            let value = base32::value(character).ok_or(RecoveryCodeError::Character { line, character })?;
            if values.len() >= MAX_SYMBOLS {
                return Err(RecoveryCodeError::Length { got: text.len() });
            }
            values.push(value);
        }
        if values.is_empty() {
            return Err(RecoveryCodeError::Empty);
        }
        let mut plain = Zeroizing::new(String::with_capacity(values.len()));
        for (line, number) in values.chunks(LINE + 1).zip(1_usize..) {
            let (last, line) = line.split_last().ok_or(RecoveryCodeError::Line { line: number })?;
            if line_check(line, number) != *last {
                // A line that is cut short looks like a mistake in it; that the code is too short says more.
                let short = values.len() < MIN_SYMBOLS && number > values.len() / (LINE + 1);
                let got = values.len();
                return Err(if short {
                    RecoveryCodeError::Length { got }
                } else {
                    RecoveryCodeError::Line { line: number }
                });
            }
            plain.extend(line.iter().map(|value| base32::symbol(*value)));
        }
        if values.len() < MIN_SYMBOLS {
            return Err(RecoveryCodeError::Length { got: values.len() });
        }
        let bytes = base32::decode(&plain).map(Zeroizing::new).ok_or(RecoveryCodeError::Mixed)?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryCode").field("relay", &self.relay).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code_for(host: &str) -> RecoveryCode {
        let relay = RelayAddress { at: host.parse().unwrap(), pin: RelayPin::from_bytes([0x33; 16]) };
        RecoveryCode { seed: RootSeed::from_bytes([0x11; 32]), relay }
    }

    fn lines() -> Vec<String> {
        code_for("relay.example.com").to_lines().iter().map(|line| line.to_string()).collect()
    }

    fn error(text: &str) -> RecoveryCodeError {
        text.parse::<RecoveryCode>().unwrap_err()
    }

    #[test]
    fn looks_like_this() {
        assert_eq!(
            lines(),
            [
                "048H2-48H24-8H248-H248H-248HA",
                "248H2-48H24-8H248-H248H-248HX",
                "248H2-CSK6C-SK6CS-K6CSK-6CSK1",
                "6CSK6-CVJCN-P62Y9-ECNW6-2VBGC",
                "DHJJW-RVFDQ-MQ7F3-WN"
            ]
        );
        let shown = format!("{:?}", code_for("relay.example.com"));
        assert!(shown.starts_with("RecoveryCode { relay: ") && !shown.contains("seed"), "{shown}");
    }

    #[test]
    fn is_read_however_it_was_typed() {
        let (code, lines) = (code_for("relay.example.com"), lines());
        let joined = lines.join("\n");
        for text in [
            joined.clone(),
            lines.concat(),
            lines.join(" "),
            joined.to_lowercase(),
            joined.replace('-', ""),
            joined.replace('0', "o").replace('1', "l"),
            format!("\r\n  {}\r\n", lines.join("\r\n  ")),
        ] {
            assert_eq!(text.parse::<RecoveryCode>().as_ref(), Ok(&code), "{text}");
        }
    }

    #[test]
    fn each_error_says_where_to_look() {
        let good = lines();
        assert_eq!(error(" \n"), RecoveryCodeError::Empty);
        for (before, line) in [(7, 1), (24, 1), (25, 2), (49, 2), (50, 3)] {
            let text = format!("{}U", "0".repeat(before));
            assert_eq!(error(&text), RecoveryCodeError::Character { line, character: 'U' }, "{before}");
        }
        assert_eq!(error(&good[..4].join(" ")[..29 * 2]), RecoveryCodeError::Length { got: 49 });
        assert_eq!(error("048H2"), RecoveryCodeError::Length { got: 5 });
        let mut wrong = good.clone();
        wrong[2].replace_range(3..4, "D");
        assert_eq!(error(&wrong.join(" ")), RecoveryCodeError::Line { line: 3 });
        assert_eq!(
            error(&wrong[..3].join(" ")),
            RecoveryCodeError::Line { line: 3 },
            "also where more is missing"
        );
        let mut swapped = good.clone();
        swapped.swap(1, 2);
        assert_eq!(error(&swapped.join(" ")), RecoveryCodeError::Line { line: 2 });
        let other = RecoveryCode { seed: RootSeed::from_bytes([0x12; 32]), ..code_for("relay.example.com") };
        let mut mixed = good.clone();
        mixed[0] = other.to_lines()[0].to_string();
        assert_eq!(error(&mixed.join(" ")), RecoveryCodeError::Mixed);
        let missing = [&good[..2], &good[3..]].concat().join(" ");
        assert_eq!(error(&missing), RecoveryCodeError::Line { line: 3 });
        assert!(matches!(
            error(&"0".repeat(5_000)),
            RecoveryCodeError::Length { .. } | RecoveryCodeError::Line { .. }
        ));
    }

    #[test]
    fn a_code_has_91_to_521_characters() {
        let count = |host: &str| {
            let lines = code_for(host).to_lines();
            lines.iter().map(|line| line.replace('-', "").len()).sum::<usize>()
        };
        let longest = [63, 63, 63, 61].map(|length| "a".repeat(length)).join(".");
        assert_eq!((count("r"), count(&format!("{longest}:65535"))), (91, 521));
        assert_eq!((MIN_SYMBOLS, MAX_SYMBOLS), (91, 521));
        // Each line's check fits: what is wrong is the length.
        let zeros = |count: usize| {
            let lines = vec![0; count];
            let lines =
                lines.chunks(LINE).zip(1_usize..).map(|(line, number)| written(line, number).to_string());
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(error(&zeros(86)), RecoveryCodeError::Length { got: 90 });
        assert_eq!(error(&zeros(87)), RecoveryCodeError::Mixed);
        assert_eq!(error(&zeros(500)), RecoveryCodeError::Mixed);
        assert_eq!(error(&zeros(501).replace(['-', '\n'], "")), RecoveryCodeError::Length { got: 522 });
        // A line that is cut short: of a whole code it has a mistake.
        assert_eq!(error(&zeros(86)[..105]), RecoveryCodeError::Length { got: 88 });
        assert_eq!(error(&format!("{}Z", &zeros(87)[..108])), RecoveryCodeError::Line { line: 4 });
    }

    #[test]
    fn hosts_of_every_kind_travel() {
        let longest = [63, 63, 63, 61].map(|length| "a".repeat(length)).join(".");
        for host in ["r", "127.0.0.1:49210", "[::1]:49210", &format!("{longest}:65535")] {
            let code = code_for(host);
            let text: Vec<String> = code.to_lines().iter().map(|line| line.to_string()).collect();
            assert_eq!(text.join("\n").parse::<RecoveryCode>(), Ok(code), "{host}");
        }
    }

    proptest! {
        #[test]
        fn codes_read_back(seed in any::<[u8; 32]>(), pin in any::<[u8; 16]>(), port in 1..=u16::MAX) {
            let relay = RelayAddress {
                at: format!("relay.example.com:{port}").parse().unwrap(),
                pin: RelayPin::from_bytes(pin),
            };
            let code = RecoveryCode { seed: RootSeed::from_bytes(seed), relay };
            let text: String = code.to_lines().iter().map(|line| line.to_string()).collect();
            prop_assert_eq!(text.parse::<RecoveryCode>(), Ok(code));
        }

        #[test]
        fn a_wrong_character_is_found_in_its_line(line in 0..5_usize, at in 0..17_usize, value in 0..32_u8) {
            let mut lines = lines();
            prop_assume!(lines[line].as_bytes()[at] != b'-');
            let wrong = base32::symbol(value).to_ascii_uppercase().to_string();
            prop_assume!(lines[line][at..=at] != wrong);
            lines[line].replace_range(at..=at, &wrong);
            prop_assert_eq!(error(&lines.join("\n")), RecoveryCodeError::Line { line: line + 1 });
        }

        #[test]
        fn any_text_is_answered(text in ".{0,300}", symbols in "[0-9A-Z -]{0,700}") {
            drop(text.parse::<RecoveryCode>());
            drop(symbols.parse::<RecoveryCode>());
        }
    }
}
