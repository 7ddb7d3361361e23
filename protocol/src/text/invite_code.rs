//! Invite codes: what one person sends another so that they become contacts.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::base32;
use super::grouped;
use super::host::{HostError, HostPort};
use super::relay_address::RelayAddress;
use crate::ids::{Fingerprint, InviteSecret, RelayPin};
use crate::limits::HOUR_MS;

/// Version of the code's layout, its first byte and the digit of its prefix.
const VERSION: u8 = 1;
/// The same layout, for a device of the account instead of a contact.
const DEVICE_VERSION: u8 = 2;
const CHECK_BYTES: usize = 4;
/// Everything but the host.
const FIXED_BYTES: usize = 1 + 20 + 16 + 16 + 3 + CHECK_BYTES;
/// Longest host with port: a DNS name of 253 bytes and `:65535`.
const MAX_HOST_BYTES: usize = 259;
/// Characters of the shortest and of the longest code, prefix and dashes not counted.
const MIN_SYMBOLS: usize = (FIXED_BYTES + 1) * 8 / 5 + 1;
const MAX_SYMBOLS: usize = ((FIXED_BYTES + MAX_HOST_BYTES) * 8).div_ceil(5);
/// Most places in a text that look like the beginning of a code and are tried; bounds the work on hostile text.
const MAX_TRIES: usize = 16;

/// `pp1-06W5V-…`: where to go, whom to expect there, and the secret that proves the invitation.
///
/// ```text
/// version 1 | secret 20 | inviter fingerprint 16 | relay pin 16 | expiry in Unix hours 3 | host[:port] | check 4
/// ```
///
/// in Crockford base32, groups of five after the prefix. `check` is the beginning of the labelled hash (`invite-code`) of all
/// bytes before it. Reading ignores case, dashes, white space and line marks, and finds a code or link within other text.
/// Neither `Debug` nor `Display` shows it: use [`Self::to_code`] and [`Self::to_link`]. Source: `docs/protocol.md` §4.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteCode {
    /// What every key of the invite is derived from.
    pub secret: InviteSecret,
    /// Fingerprint of the account that invites.
    pub inviter: Fingerprint,
    /// Relay where the invite lies.
    pub relay: RelayAddress,
    /// When it ends, in whole hours since the Unix epoch; below 2²⁴.
    expires_hours: u32,
    /// What comes of using it.
    pub purpose: CodePurpose,
}

/// What comes of using a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CodePurpose {
    /// `pp1-`: two accounts become contacts.
    Contact,
    /// `pp2-`: a machine becomes a device of the account.
    Device,
}

impl CodePurpose {
    const fn version(self) -> u8 {
        match self {
            Self::Contact => VERSION,
            Self::Device => DEVICE_VERSION,
        }
    }

    const fn from_version(version: u8) -> Option<Self> {
        match version {
            VERSION => Some(Self::Contact),
            DEVICE_VERSION => Some(Self::Device),
            _ => None,
        }
    }
}

/// A text holds no usable invite code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteCodeError {
    /// Nothing in it begins like a code.
    #[error("no invite code found; a code begins with pp1-")]
    NotFound,
    /// A code begins and ends too early.
    #[error("the invite code is cut short: {got} characters, at least {MIN_SYMBOLS} are needed")]
    CutShort {
        /// Characters without prefix and dashes.
        got: usize,
    },
    /// A code whose check does not fit.
    #[error("the invite code is mistyped or incomplete: its check does not fit")]
    Mistyped,
    /// A code of a later version.
    #[error(
        "the invite code has version {got}, this program reads {DEVICE_VERSION}; a newer penpal is needed"
    )]
    Newer {
        /// Version of the code.
        got: u8,
    },
    /// An intact code with an impossible relay: whoever made it is at fault.
    #[error("the invite code names an impossible relay: {0}")]
    Relay(#[from] HostError),
}

impl InviteCode {
    /// Makes a code. `expires_ms` (Unix milliseconds) is rounded up to a whole hour.
    #[must_use]
    pub fn new(secret: InviteSecret, inviter: Fingerprint, relay: RelayAddress, expires_ms: u64) -> Self {
        let hours = expires_ms.div_ceil(HOUR_MS).min(0xff_ffff);
        let expires_hours = u32::try_from(hours).unwrap_or(0xff_ffff);
        Self { secret, inviter, relay, expires_hours, purpose: CodePurpose::Contact }
    }

    /// The same for a device of the account.
    #[must_use]
    pub fn for_device(self) -> Self {
        Self { purpose: CodePurpose::Device, ..self }
    }

    /// When the invite ends, Unix milliseconds; a whole hour. The relay's own record may end up to an hour earlier.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        u64::from(self.expires_hours).saturating_mul(HOUR_MS)
    }

    /// The code: `pp1-06W5V-…`, upper case behind the prefix.
    #[must_use]
    pub fn to_code(&self) -> Zeroizing<String> {
        let host = self.relay.at.to_string();
        let mut bytes = Zeroizing::new(Vec::with_capacity(FIXED_BYTES.saturating_add(host.len())));
        bytes.push(self.purpose.version());
        bytes.extend_from_slice(self.secret.expose());
        bytes.extend_from_slice(self.inviter.as_bytes());
        bytes.extend_from_slice(self.relay.pin.as_bytes());
        bytes.extend(self.expires_hours.to_be_bytes().into_iter().skip(1));
        bytes.extend_from_slice(host.as_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        let mut plain = Zeroizing::new(base32::encode(&bytes));
        plain.make_ascii_uppercase();
        let body = Zeroizing::new(grouped(&plain));
        Zeroizing::new(format!("pp{}-{}", self.purpose.version(), body.as_str()))
    }

    /// The code as a link: `penpal://i/pp1-…`.
    #[must_use]
    pub fn to_link(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("penpal://i/{}", self.to_code().as_str()))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Result<Self, InviteCodeError>> {
        let (body, given) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if !bool::from(check(body).ct_eq(given)) {
            return None;
        }
        let (&[version], rest) = body.split_first_chunk::<1>()?;
        let Some(purpose) = CodePurpose::from_version(version) else {
            return Some(Err(InviteCodeError::Newer { got: version }));
        };
        let (secret, rest) = rest.split_first_chunk::<20>()?;
        let (inviter, rest) = rest.split_first_chunk::<16>()?;
        let (pin, rest) = rest.split_first_chunk::<16>()?;
        let (&[high, middle, low], host) = rest.split_first_chunk::<3>()?;
        let at = match std::str::from_utf8(host).unwrap_or("\u{fffd}").parse::<HostPort>() {
            Ok(at) => at,
            Err(error) => return Some(Err(error.into())),
        };
        Some(Ok(Self {
            secret: InviteSecret::from_bytes(*secret),
            inviter: Fingerprint::from_bytes(*inviter),
            relay: RelayAddress { at, pin: RelayPin::from_bytes(*pin) },
            expires_hours: u32::from_be_bytes([0, high, middle, low]),
            purpose,
        }))
    }
}

fn check(body: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = crate::hash::labelled("invite-code", &[body]);
    hash.first_chunk().copied().unwrap_or_default()
}

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteCode")
            .field("inviter", &self.inviter)
            .field("relay", &self.relay)
            .field("expires_hours", &self.expires_hours)
            .finish_non_exhaustive()
    }
}

/// What may stand between the characters of a code: dashes as programs "improve" them, white space and invisible characters,
/// marks of quoted or continued lines.
fn is_separator(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '-' | '>' | '|' | '\\')
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2010}'..='\u{2015}' | '\u{2060}' | '\u{feff}')
}

/// What follows one prefix: the characters of a possible code, and where it may end.
struct Candidate {
    version: u8,
    /// Canonical characters of the alphabet, up to the first character that no code has or the greatest length.
    symbols: Zeroizing<String>,
    /// Lengths at which a separator or the end of the text follows, ascending.
    ends: Vec<usize>,
}

impl Candidate {
    /// Reads behind a `pp` that begins a word.
    fn read(after: &str) -> Option<Self> {
        let mut characters = after.chars();
        let version = base32::value(characters.next()?)?;
        if version == 0 || version > 9 {
            return None;
        }
        let mut symbols = Zeroizing::new(String::with_capacity(MAX_SYMBOLS));
        let mut ends = Vec::new();
        let mut mark = |length: usize| {
            if ends.last() != Some(&length) {
                ends.push(length);
            }
        };
        for character in characters {
            if is_separator(character) {
                mark(symbols.len());
            } else if let (Some(value), true) = (base32::value(character), symbols.len() < MAX_SYMBOLS) {
                symbols.push(base32::symbol(value));
            } else {
                break;
            }
        }
        mark(symbols.len());
        Some(Self { version, symbols, ends })
    }

    /// The first end at which the check fits.
    fn decode(&self) -> Result<InviteCode, InviteCodeError> {
        if self.symbols.len() < MIN_SYMBOLS {
            return Err(InviteCodeError::CutShort { got: self.symbols.len() });
        }
        for end in self.ends.iter().filter(|end| **end >= MIN_SYMBOLS) {
            let bytes = self.symbols.get(..*end).and_then(base32::decode).map(Zeroizing::new);
            if let Some(found) = bytes.and_then(|bytes| InviteCode::from_bytes(&bytes)) {
                return found;
            }
        }
        Err(if self.version > DEVICE_VERSION {
            InviteCodeError::Newer { got: self.version }
        } else {
            InviteCodeError::Mistyped
        })
    }
}

impl FromStr for InviteCode {
    type Err = InviteCodeError;

    fn from_str(text: &str) -> Result<Self, InviteCodeError> {
        let mut best: Option<InviteCodeError> = None;
        let mut before = None;
        let mut tries: usize = 0;
        for (at, character) in text.char_indices() {
            let begins_word = before.is_none_or(|before: char| !before.is_alphanumeric());
            before = Some(character);
            if !begins_word || !character.eq_ignore_ascii_case(&'p') {
                continue;
            }
            let rest = text.get(at..).unwrap_or_default();
            let Some((prefix, after)) = rest.split_at_checked(2) else { continue };
            if !prefix.eq_ignore_ascii_case("pp") {
                continue;
            }
            let Some(candidate) = Candidate::read(after) else { continue };
            tries = tries.saturating_add(1);
            match candidate.decode() {
                Ok(code) => return Ok(code),
                // The error that knows most about a code wins over words that merely begin like one.
                Err(error) if best.as_ref().is_none_or(|best| rank(&error) > rank(best)) => {
                    best = Some(error)
                }
                Err(_) => {}
            }
            if tries >= MAX_TRIES {
                break;
            }
        }
        Err(best.unwrap_or(InviteCodeError::NotFound))
    }
}

fn rank(error: &InviteCodeError) -> u8 {
    match error {
        InviteCodeError::NotFound => 0,
        InviteCodeError::CutShort { .. } => 1,
        InviteCodeError::Mistyped => 2,
        InviteCodeError::Newer { .. } => 3,
        InviteCodeError::Relay(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code_for(host: &str) -> InviteCode {
        let relay = RelayAddress { at: host.parse().unwrap(), pin: RelayPin::from_bytes([0x33; 16]) };
        InviteCode::new(
            InviteSecret::from_bytes([0x11; 20]),
            Fingerprint::from_bytes([0x22; 16]),
            relay,
            1_790_000_000_000,
        )
    }

    fn sample() -> InviteCode {
        code_for("relay.example.com")
    }

    #[test]
    fn looks_like_this() {
        assert_eq!(
            sample().to_code().as_str(),
            "pp1-048H2-48H24-8H248-H248H-248H2-48H24-8H24H-248H2-48H24-8H248-H248H-248H3-6CSK6-CSK6C-SK6CS-K6CSK-\
             6CSK6-1WP8X-S6AV3-1F4Q6-AY31D-NR6RS-9ECDQ-PTGYD-5ARG"
        );
        let shown = format!("{:?}", sample());
        assert!(shown.starts_with("InviteCode { inviter: ") && shown.ends_with(", .. }"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(sample().expires_ms() >= 1_790_000_000_000);
        assert!(sample().expires_ms() - 1_790_000_000_000 < HOUR_MS);
    }

    #[test]
    fn is_found_however_it_travelled() {
        let code = sample().to_code();
        let link = sample().to_link();
        for text in [
            code.to_string(),
            link.to_string(),
            code.to_lowercase(),
            code.to_uppercase(),
            code.replace('-', ""),
            code.replace('-', " "),
            code.replace('-', "\u{2013}"),
            code.replace('0', "o").replace('1', "l"),
            code.as_bytes()
                .chunks(20)
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect::<Vec<_>>()
                .join("\n"),
            format!("> {}", code.replacen('-', "-\n> ", 9)),
            format!("hi bob, run `penpal contact add {}` please", code.as_str()),
            format!("see pp2 and pp1 of the plan, then {} thanks, see pp3", code.as_str()),
            format!("<a href=\"{}\">{}</a>", link.as_str(), link.as_str()),
            format!("({}).", code.as_str()),
            format!("{} and then some words that go on and on\nand on", code.as_str()),
        ] {
            assert_eq!(text.parse::<InviteCode>().as_ref(), Ok(&sample()), "{text}");
        }
    }

    #[test]
    fn each_error_says_what_is_wrong() {
        let error = |text: &str| text.parse::<InviteCode>().unwrap_err();
        let code = sample().to_code();
        assert_eq!(error(""), InviteCodeError::NotFound);
        assert_eq!(error("hello apple1, pp"), InviteCodeError::NotFound);
        assert_eq!(error("pp1-8ZK3Q-"), InviteCodeError::CutShort { got: 5 });
        assert_eq!(error(&code.as_str()[..code.len() - 3]), InviteCodeError::Mistyped);
        let newer = format!("pp3-{}", "Q".repeat(140));
        assert_eq!(error(&newer), InviteCodeError::Newer { got: 3 });
    }

    #[test]
    fn a_code_for_a_device_says_so() {
        let code = sample().for_device();
        assert_eq!(code.purpose, CodePurpose::Device);
        assert!(code.to_code().starts_with("pp2-"));
        assert_eq!(code.to_code().parse::<InviteCode>(), Ok(code.clone()));
        let mistyped = code.to_code().replacen("48H", "48J", 1);
        assert_eq!(mistyped.parse::<InviteCode>(), Err(InviteCodeError::Mistyped));
    }

    #[test]
    fn versions_are_the_digits_from_1_to_9() {
        let error = |prefix: &str| format!("{prefix}-{}", "Q".repeat(140)).parse::<InviteCode>().unwrap_err();
        assert_eq!(error("pp0"), InviteCodeError::NotFound);
        assert_eq!(error("pp1"), InviteCodeError::Mistyped);
        assert_eq!(error("pp9"), InviteCodeError::Newer { got: 9 });
        assert_eq!([error("ppa"), error("ppz")], [InviteCodeError::NotFound, InviteCodeError::NotFound]);
    }

    #[test]
    fn the_shortest_code_has_98_characters_and_nothing_behind_the_longest_is_read() {
        let error = |length: usize| format!("pp1-{}", "Q".repeat(length)).parse::<InviteCode>().unwrap_err();
        assert_eq!(error(97), InviteCodeError::CutShort { got: 97 });
        assert_eq!(error(98), InviteCodeError::Mistyped);
        let bare = |host: &str| code_for(host).to_code().replace('-', "");
        assert_eq!(bare("r").len(), "pp1".len() + 98);
        let host = format!("{}:65535", [63, 63, 63, 61].map(|length| "a".repeat(length)).join("."));
        assert_eq!(format!("{}0000", bare(&host)).parse::<InviteCode>(), Ok(code_for(&host)));
    }

    #[test]
    fn the_error_that_knows_most_wins_and_of_equals_the_first() {
        let error = |parts: &[&str]| parts.join(". ").parse::<InviteCode>().unwrap_err();
        let mistyped = format!("pp1-{}", "Q".repeat(140));
        let newer = format!("pp3-{}", "Q".repeat(140));
        assert_eq!(error(&["pp1-8ZK3Q", "pp1-8ZK"]), InviteCodeError::CutShort { got: 5 });
        assert_eq!(error(&["pp1-8ZK3Q", &mistyped]), InviteCodeError::Mistyped);
        assert_eq!(error(&[&mistyped, "pp1-8ZK3Q"]), InviteCodeError::Mistyped);
        assert_eq!(error(&[&mistyped, &newer, &mistyped]), InviteCodeError::Newer { got: 3 });
    }

    #[test]
    fn sixteen_beginnings_are_tried() {
        let after = |words: usize| format!("{}{}", "pp1. ".repeat(words), sample().to_code().as_str());
        assert_eq!(after(15).parse::<InviteCode>(), Ok(sample()));
        assert_eq!(after(16).parse::<InviteCode>(), Err(InviteCodeError::CutShort { got: 0 }));
    }

    #[test]
    fn hosts_of_every_kind_travel() {
        let longest = [63, 63, 63, 61].map(|length| "a".repeat(length)).join(".");
        for host in
            ["r", "127.0.0.1:49210", "[::1]:49210", "relay.example.com:1", &format!("{longest}:65535")]
        {
            let code = code_for(host);
            assert_eq!(code.to_code().parse::<InviteCode>(), Ok(code), "{host}");
        }
        assert!(code_for(&format!("{longest}:65535")).to_code().len() > MAX_SYMBOLS);
    }

    #[test]
    fn hostile_text_costs_little() {
        let text = "pp1-".repeat(40_000);
        assert_eq!(text.parse::<InviteCode>().unwrap_err(), InviteCodeError::Mistyped);
    }

    proptest! {
        #[test]
        fn codes_read_back(
            secret in any::<[u8; 20]>(), inviter in any::<[u8; 16]>(), pin in any::<[u8; 16]>(),
            expires_ms in 0..u64::from(0xff_ffff_u32) * HOUR_MS, port in 1..=u16::MAX,
        ) {
            let relay = RelayAddress {
                at: format!("relay.example.com:{port}").parse().unwrap(),
                pin: RelayPin::from_bytes(pin),
            };
            let code = InviteCode::new(
                InviteSecret::from_bytes(secret), Fingerprint::from_bytes(inviter), relay, expires_ms,
            );
            prop_assert_eq!(code.to_code().parse::<InviteCode>(), Ok(code.clone()));
            prop_assert_eq!(code.to_link().parse::<InviteCode>(), Ok(code));
        }

        #[test]
        fn one_wrong_character_is_mistyped(at in 4..130_usize, value in 0..32_u8) {
            let code = sample().to_code();
            let at = at.min(code.len() - 1);
            prop_assume!(code.as_bytes()[at] != b'-');
            let wrong = base32::symbol(value).to_ascii_uppercase();
            let changed = format!("{}{wrong}{}", &code[..at], &code[at + 1..]);
            prop_assume!(changed != code.as_str());
            prop_assert_eq!(changed.parse::<InviteCode>(), Err(InviteCodeError::Mistyped));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,300}", symbols in "[0-9A-Z -]{0,700}") {
            drop(text.parse::<InviteCode>());
            drop(format!("pp1-{symbols}").parse::<InviteCode>());
        }
    }
}
