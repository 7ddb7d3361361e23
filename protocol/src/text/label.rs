//! Labels: names of sessions, handles, contacts, devices and rooms.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::limits::MAX_LABEL_BYTES;

/// A name of the form `[a-z0-9][a-z0-9._-]{0,63}`.
///
/// Input is folded to lower case. Whether a reserved word (`desk`, `me`) is acceptable depends on what is named: see
/// [`Label::is_reserved`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// A text is not a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// Nothing there.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than [`MAX_LABEL_BYTES`].
    #[error("a name has at most {MAX_LABEL_BYTES} characters, this one has {got}")]
    TooLong {
        /// Length in bytes.
        got: usize,
    },
    /// A character outside the alphabet, or a first character that is no letter or digit.
    #[error(
        "a name has letters, digits, `.`, `_` and `-`, and starts with a letter or digit; {character:?} at {position} does not fit"
    )]
    Character {
        /// What was found.
        character: char,
        /// Its position in characters, from 0.
        position: usize,
    },
}

impl Label {
    /// Parses and folds to lower case.
    ///
    /// # Errors
    /// See [`LabelError`].
    pub fn new(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() {
            return Err(LabelError::Empty);
        }
        if text.len() > MAX_LABEL_BYTES {
            return Err(LabelError::TooLong { got: text.len() });
        }
        let folded = text.to_ascii_lowercase();
        for (position, character) in folded.chars().enumerate() {
            let first = character.is_ascii_lowercase() || character.is_ascii_digit();
            let later = position > 0 && matches!(character, '.' | '_' | '-');
            if !(first || later) {
                return Err(LabelError::Character { character, position });
            }
        }
        Ok(Self(folded))
    }

    /// Makes the nearest label of any text: other characters become `-`, runs of `-` and leading punctuation go, the end is cut.
    ///
    /// `fallback` is used when nothing is left, and `x` when that is no label either. The result may be a reserved word.
    #[must_use]
    pub fn reduce(text: &str, fallback: &str) -> Self {
        let mut out = String::new();
        for character in text.chars() {
            let character = character.to_ascii_lowercase();
            let plain = character.is_ascii_lowercase() || character.is_ascii_digit();
            if plain || (matches!(character, '.' | '_') && !out.is_empty()) {
                out.push(character);
            } else if !out.is_empty() && !out.ends_with('-') {
                out.push('-');
            }
            if out.len() >= MAX_LABEL_BYTES {
                break;
            }
        }
        let trimmed = out.trim_end_matches(['-', '.', '_']);
        Self::new(trimmed).or_else(|_| Self::new(fallback)).unwrap_or_else(|_| Self("x".to_owned()))
    }

    /// Whether this is `desk` or `me`, which no session, contact or device may be called.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        matches!(self.0.as_str(), "desk" | "me")
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This name with `-<number>` behind it, cut so that it stays a label.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let keep = MAX_LABEL_BYTES.saturating_sub(suffix.len()).min(self.0.len());
        let head = self.0.get(..keep).unwrap_or(&self.0);
        Self(format!("{head}{suffix}"))
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::new(text)
    }
}

impl<C> Encode<C> for Label {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Label {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let text = d.str()?;
        let label = Self::new(text).map_err(|error| decode::Error::message(error.to_string()).at(at))?;
        if label.as_str() == text {
            Ok(label)
        } else {
            Err(decode::Error::message("name is not in lower case").at(at))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_folded_and_bounded() {
        assert_eq!(Label::new("Shop-Web.2_x").unwrap().as_str(), "shop-web.2_x");
        assert_eq!(Label::new(""), Err(LabelError::Empty));
        assert_eq!(Label::new(&"a".repeat(65)), Err(LabelError::TooLong { got: 65 }));
        assert_eq!(Label::new("-a"), Err(LabelError::Character { character: '-', position: 0 }));
        assert_eq!(Label::new("aé"), Err(LabelError::Character { character: 'é', position: 1 }));
        assert!(Label::new("Desk").unwrap().is_reserved() && Label::new("me").unwrap().is_reserved());
        assert!(!Label::new("desk2").unwrap().is_reserved());
    }

    #[test]
    fn any_folder_becomes_a_name() {
        for (folder, name) in [
            ("shop-web", "shop-web"),
            ("Shop Web", "shop-web"),
            ("..hidden", "hidden"),
            ("a  --  b", "a-b"),
            ("Übung (alt)", "bung-alt"),
            ("a.", "a"),
            ("世界", "folder"),
            ("", "folder"),
        ] {
            assert_eq!(Label::reduce(folder, "folder").as_str(), name, "{folder:?}");
        }
        assert_eq!(Label::reduce("", "").as_str(), "x");
        assert_eq!(Label::reduce(&"ab ".repeat(50), "folder").as_str().len(), 64);
    }

    #[test]
    fn numbers_fit_behind_the_longest_name() {
        assert_eq!(Label::new("web").unwrap().numbered(2).as_str(), "web-2");
        let longest = Label::new(&"n".repeat(64)).unwrap().numbered(u32::MAX);
        assert_eq!(longest.as_str().len(), 64);
        assert!(longest.as_str().ends_with("n-4294967295"));
    }

    proptest! {
        #[test]
        fn whatever_is_made_is_a_name(text in ".{0,200}", number in any::<u32>()) {
            let name = Label::reduce(&text, "x");
            prop_assert_eq!(Label::new(name.as_str()), Ok(name.clone()));
            let numbered = name.numbered(number);
            prop_assert_eq!(Label::new(numbered.as_str()), Ok(numbered));
            if let Ok(name) = Label::new(&text) {
                prop_assert_eq!(name.as_str().len(), text.len());
            }
        }
    }
}
