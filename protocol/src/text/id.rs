//! Ids as people see them: Crockford base32, whole or shortened.

use super::base32;

/// Shortest prefix of an id that stands for it, in characters.
pub const MIN_SHORT_ID: usize = 4;

/// A text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Another number of characters.
    #[error("an id has {expected} characters, this one has {got}")]
    Length {
        /// Characters of an id of this type.
        expected: usize,
        /// Characters that were seen.
        got: usize,
    },
    /// A character outside the alphabet.
    #[error("{character:?} at {position} does not occur in an id")]
    Character {
        /// What was found.
        character: char,
        /// Its position in characters, from 0.
        position: usize,
    },
    /// The last character says more than the id has bits.
    #[error("the last character of this id is impossible")]
    Tail,
}

/// Reads an id of `N` bytes; case and look-alikes are ignored.
pub(crate) fn parse<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let expected = N.saturating_mul(8).div_ceil(5);
    let got = text.chars().count();
    if got != expected {
        return Err(IdError::Length { expected, got });
    }
    for (position, character) in text.chars().enumerate() {
        if base32::value(character).is_none() {
            return Err(IdError::Character { character, position });
        }
    }
    base32::decode(text).and_then(|bytes| bytes.try_into().ok()).ok_or(IdError::Tail)
}

/// The shortest prefix of `id_text`, of at least [`MIN_SHORT_ID`] characters, that `taken` does not claim; the whole id when
/// every prefix is claimed.
///
/// `taken` answers whether an earlier id begins with a prefix, or bears it as its short id.
#[must_use]
pub fn short_id(id_text: &str, mut taken: impl FnMut(&str) -> bool) -> String {
    (MIN_SHORT_ID..id_text.len())
        .filter_map(|length| id_text.get(..length))
        .find(|prefix| !taken(prefix))
        .unwrap_or(id_text)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::MsgId;

    #[test]
    fn ids_have_26_lower_case_characters() {
        let id = MsgId::from_bytes([0xff; 16]);
        assert_eq!(id.to_text(), "zzzzzzzzzzzzzzzzzzzzzzzzzw");
        assert_eq!(MsgId::parse(&id.to_text().to_uppercase()), Ok(id));
        assert_eq!(MsgId::parse("7k3p"), Err(IdError::Length { expected: 26, got: 4 }));
        assert_eq!(
            MsgId::parse("zzzzzzzzzzzzuzzzzzzzzzzzzw"),
            Err(IdError::Character { character: 'u', position: 12 })
        );
        assert_eq!(MsgId::parse("zzzzzzzzzzzzzzzzzzzzzzzzzz"), Err(IdError::Tail));
    }

    #[test]
    fn short_ids_grow_only_when_they_must() {
        let id = "7k3p9f2cabcdefghjkmnpqrstv";
        assert_eq!(short_id(id, |_| false), "7k3p");
        assert_eq!(short_id(id, |prefix| "7k3p9xxx".starts_with(prefix)), "7k3p9f");
        assert_eq!(short_id(id, |_| true), id);
    }

    proptest! {
        #[test]
        fn text_and_bytes_are_one_to_one(bytes in any::<[u8; 16]>(), text in "[0-9a-zA-Z]{26}") {
            let id = MsgId::from_bytes(bytes);
            prop_assert_eq!(MsgId::parse(&id.to_text()), Ok(id));
            if let Ok(id) = MsgId::parse(&text) {
                let folded = text.to_ascii_lowercase().replace('o', "0").replace(['i', 'l'], "1");
                prop_assert_eq!(id.to_text(), folded);
            }
        }
    }
}
