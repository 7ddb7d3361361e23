//! Checks that bytes are one item in core deterministic encoding, before any structure is built from them.

/// Deepest nesting of arrays and maps that any structure of this protocol needs, with room.
const MAX_DEPTH: usize = 12;

/// First integer key of a map that must be understood: from here on an unknown key is refused instead of skipped.
///
/// Version 1 defines none, so every such key is unknown.
const FIRST_CRITICAL_KEY: u64 = 128;

/// Bytes are not a structure of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborError {
    /// Longer than this structure may be.
    #[error("{got} bytes, at most {max} are allowed")]
    TooLong {
        /// Largest allowed length in bytes.
        max: usize,
        /// Length that was seen.
        got: usize,
    },
    /// Ends in the middle of an item.
    #[error("ends early at byte {offset}")]
    Truncated {
        /// Where more was expected.
        offset: usize,
    },
    /// More bytes than one item.
    #[error("{extra} bytes after the end at byte {offset}")]
    Trailing {
        /// Where the item ended.
        offset: usize,
        /// How many bytes follow.
        extra: usize,
    },
    /// Valid CBOR perhaps, but not in the one form that a value may have here.
    #[error("not in deterministic form at byte {offset}: {what}")]
    Form {
        /// Where.
        offset: usize,
        /// Which rule is broken.
        what: &'static str,
    },
    /// A field that must be understood and is not: the sender is newer.
    #[error("unknown critical field {key} at byte {offset}")]
    Critical {
        /// Where.
        offset: usize,
        /// The key.
        key: u64,
    },
    /// In good form, but not this structure.
    #[error("wrong structure at byte {offset}: {reason}")]
    Structure {
        /// Where.
        offset: usize,
        /// What the decoder missed.
        reason: String,
    },
}

/// Checks one whole item: definite lengths, shortest heads, map keys ascending without duplicates, UTF-8 text, no floats and no
/// tags, bounded depth, no unknown critical key, nothing after the end.
///
/// # Errors
/// The first rule broken, with its offset.
pub fn check(bytes: &[u8]) -> Result<(), CborError> {
    let mut cursor = Cursor { bytes, at: 0 };
    cursor.item(MAX_DEPTH)?;
    let extra = bytes.len().saturating_sub(cursor.at);
    if extra > 0 {
        return Err(CborError::Trailing { offset: cursor.at, extra });
    }
    Ok(())
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    fn take(&mut self, count: u64) -> Result<&'b [u8], CborError> {
        let truncated = CborError::Truncated { offset: self.bytes.len() };
        let end = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count))
            .ok_or(truncated.clone())?;
        let taken = self.bytes.get(self.at..end).ok_or(truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn form<T>(offset: usize, what: &'static str) -> Result<T, CborError> {
        Err(CborError::Form { offset, what })
    }

    /// Reads a head: major type and argument, the argument in its shortest form.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let offset = self.at;
        let first = self.take(1)?.iter().fold(0, |_, byte| *byte);
        let (major, low) = (first >> 5, first & 0x1f);
        let width: u64 = match low {
            0..=23 => return Ok((major, u64::from(low))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Self::form(offset, "indefinite or reserved length"),
        };
        let argument = self.take(width)?.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let shortest = match width {
            1 => argument >= 24,
            2 => argument > 0xff,
            4 => argument > 0xffff,
            _ => argument > 0xffff_ffff,
        };
        if major == 7 {
            return Self::form(offset, "float or extended simple value");
        }
        if !shortest {
            return Self::form(offset, "integer or length is not in its shortest form");
        }
        Ok((major, argument))
    }

    fn item(&mut self, depth: usize) -> Result<(), CborError> {
        let offset = self.at;
        let (major, argument) = self.head()?;
        match major {
            0 | 1 => Ok(()),
            2 => self.take(argument).map(|_| ()),
            3 => match std::str::from_utf8(self.take(argument)?) {
                Ok(_) => Ok(()),
                Err(_) => Self::form(offset, "text is not UTF-8"),
            },
            4 => {
                let inner = Self::deeper(offset, depth)?;
                for _ in 0..argument {
                    self.item(inner)?;
                }
                Ok(())
            }
            5 => self.map(offset, argument, depth),
            6 => Self::form(offset, "tag"),
            _ if argument == 20 || argument == 21 => Ok(()),
            _ => Self::form(offset, "simple value that is neither true nor false"),
        }
    }

    fn deeper(offset: usize, depth: usize) -> Result<usize, CborError> {
        depth.checked_sub(1).map_or_else(|| Self::form(offset, "nested too deeply"), Ok)
    }

    fn map(&mut self, offset: usize, entries: u64, depth: usize) -> Result<(), CborError> {
        let inner = Self::deeper(offset, depth)?;
        let mut previous: Option<u64> = None;
        for _ in 0..entries {
            let key_at = self.at;
            let (major, key) = self.head()?;
            if major != 0 {
                return Self::form(key_at, "map key is not an unsigned integer");
            }
            if previous.is_some_and(|previous| previous >= key) {
                return Self::form(key_at, "map keys are not ascending");
            }
            if key >= FIRST_CRITICAL_KEY {
                return Err(CborError::Critical { offset: key_at, key });
            }
            previous = Some(key);
            self.item(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(hex: &str) -> Result<(), CborError> {
        check(&hex::decode(hex).unwrap_or_default())
    }

    #[test]
    fn deterministic_items_pass() {
        let numbers =
            ["00", "17", "1818", "18ff", "190100", "1a00010000", "1b0000000100000000", "20", "3818"];
        let others = ["40", "4100", "60", "62c3bc", "80", "820102", "a0", "a2004100187f00", "f4", "f5"];
        for hex in numbers.into_iter().chain(others) {
            assert_eq!(checked(hex), Ok(()), "{hex}");
        }
    }

    #[test]
    fn every_longer_head_is_refused() {
        // Each width with the greatest argument that a shorter one could hold, for numbers, bytes, text, lists and maps.
        for (low, argument) in [("18", "17"), ("19", "00ff"), ("1a", "0000ffff"), ("1b", "00000000ffffffff")]
        {
            for major in [0_u8, 1, 2, 3, 4, 5] {
                let first = u8::from_str_radix(low, 16).unwrap() | (major << 5);
                let refused = checked(&format!("{first:02x}{argument}"));
                assert!(
                    matches!(refused, Err(CborError::Form { offset: 0, .. })),
                    "{first:02x}{argument}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn each_rule_names_its_place() {
        let form = |hex: &str| match checked(hex) {
            Err(CborError::Form { offset, .. }) => Some(offset),
            _ => None,
        };
        assert_eq!(form("8200c000"), Some(2), "tag");
        assert_eq!((form("d4"), form("d500")), (Some(0), Some(0)), "tags with the numbers of false and true");
        assert_eq!(form("8200f6"), Some(2), "null");
        assert_eq!(form("8200f7"), Some(2), "undefined");
        assert_eq!(form("8200f90000"), Some(2), "float");
        assert_eq!(form("8200f820"), Some(2), "extended simple value");
        assert_eq!(form("8200f0"), Some(2), "simple value");
        assert_eq!(form("82009fff"), Some(2), "indefinite list");
        assert_eq!(form("82005f4100ff"), Some(2), "indefinite bytes");
        assert_eq!(form("82001c"), Some(2), "reserved head");
        assert_eq!(form("820061ff"), Some(2), "text that is not UTF-8");
        assert_eq!(form("a200000000"), Some(3), "duplicate key");
        assert_eq!(form("a201000000"), Some(3), "keys not ascending");
        assert_eq!(form("a12000"), Some(1), "negative key");
        assert_eq!(form("a1410000"), Some(1), "key that is no number");
        assert_eq!(checked("a1188000"), Err(CborError::Critical { offset: 1, key: 128 }));
        assert_eq!(checked("a100a1188000"), Err(CborError::Critical { offset: 3, key: 128 }));
        assert_eq!(checked("0000"), Err(CborError::Trailing { offset: 1, extra: 1 }));
        for hex in ["", "18", "1900", "41", "8200", "a100", "5bffffffffffffffff", "9bffffffffffffffff"] {
            assert!(matches!(checked(hex), Err(CborError::Truncated { .. })), "{hex}");
        }
    }

    #[test]
    fn nesting_ends_at_the_stated_depth() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert!(matches!(check(&nested(MAX_DEPTH + 1)), Err(CborError::Form { .. })));
        // Far beyond the stack, if it recursed.
        assert!(check(&nested(10_000_000)).is_err());
    }
}
