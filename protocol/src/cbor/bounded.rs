//! Text, bytes and lists that know their maximum: the length is checked before memory is taken.

use std::fmt;
use std::ops::Deref;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// A value is larger than its type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{got} is more than {max}")]
pub struct Bounded {
    /// Largest allowed length: bytes for text and blobs, elements for lists.
    pub max: usize,
    /// Length that was seen.
    pub got: usize,
}

fn bounded(max: usize, got: usize) -> Result<(), Bounded> {
    if got > max { Err(Bounded { max, got }) } else { Ok(()) }
}

fn too_long(error: &Bounded, at: usize) -> decode::Error {
    decode::Error::message(error.to_string()).at(at)
}

/// UTF-8 text of at most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Takes a text that is short enough.
    ///
    /// # Errors
    /// [`Bounded`] with both lengths.
    pub fn new(text: impl Into<String>) -> Result<Self, Bounded> {
        let text = text.into();
        bounded(MAX, text.len()).map(|()| Self(text))
    }

    /// Takes as much of a text as fits, cut at a character border.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        let mut end = text.len().min(MAX);
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        Self(text.get(..end).unwrap_or_default().to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Texts of messages are never printed by accident: `Debug` shows the length only.
impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

impl<C, const MAX: usize> Encode<C> for Text<MAX> {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C, const MAX: usize> Decode<'b, C> for Text<MAX> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let text = d.str()?;
        bounded(MAX, text.len()).map_err(|error| too_long(&error, at))?;
        Ok(Self(text.to_owned()))
    }
}

/// A byte string of at most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Blob<MAX> {
    /// Takes bytes that are few enough.
    ///
    /// # Errors
    /// [`Bounded`] with both lengths.
    pub fn new(bytes: Vec<u8>) -> Result<Self, Bounded> {
        bounded(MAX, bytes.len()).map(|()| Self(bytes))
    }

    /// The bytes, owned.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Blob<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl<C, const MAX: usize> Encode<C> for Blob<MAX> {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C, const MAX: usize> Decode<'b, C> for Blob<MAX> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let bytes = d.bytes()?;
        bounded(MAX, bytes.len()).map_err(|error| too_long(&error, at))?;
        Ok(Self(bytes.to_owned()))
    }
}

/// A list of at most `MAX` elements.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// Takes elements that are few enough.
    ///
    /// # Errors
    /// [`Bounded`] with both lengths.
    pub fn new(elements: Vec<T>) -> Result<Self, Bounded> {
        bounded(MAX, elements.len()).map(|()| Self(elements))
    }

    /// Takes the first `MAX` elements.
    #[must_use]
    pub fn truncated(mut elements: Vec<T>) -> Self {
        elements.truncate(MAX);
        Self(elements)
    }

    /// The elements, owned.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<C, T: Encode<C>, const MAX: usize> Encode<C> for List<T, MAX> {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(u64::try_from(self.0.len()).unwrap_or(u64::MAX))?;
        for element in &self.0 {
            element.encode(e, ctx)?;
        }
        Ok(())
    }
}

impl<'b, C, T: Decode<'b, C>, const MAX: usize> Decode<'b, C> for List<T, MAX> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let count = d.array()?.ok_or_else(|| decode::Error::message("list without length").at(at))?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        bounded(MAX, count).map_err(|error| too_long(&error, at))?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode(d, ctx)?);
        }
        Ok(Self(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_bytes_and_elements() {
        assert_eq!(Text::<3>::new("üb").unwrap().as_str(), "üb");
        assert_eq!(Text::<3>::new("übe"), Err(Bounded { max: 3, got: 4 }));
        assert_eq!(Blob::<2>::new(vec![0; 3]), Err(Bounded { max: 2, got: 3 }));
        assert_eq!(List::<u8, 2>::new(vec![0; 3]), Err(Bounded { max: 2, got: 3 }));
        assert_eq!(List::<u8, 2>::truncated(vec![1, 2, 3]).to_vec(), [1, 2]);
    }

    #[test]
    fn what_went_in_comes_out() {
        assert_eq!(&*Text::<3>::new("üb").unwrap(), "üb");
        assert_eq!(Text::<3>::new("üb").unwrap().into_string(), "üb");
        assert_eq!(&*Blob::<3>::new(vec![1, 2, 3]).unwrap(), [1, 2, 3]);
        assert_eq!(Blob::<3>::new(vec![1, 2, 3]).unwrap().into_vec(), [1, 2, 3]);
        assert_eq!(List::<u8, 3>::new(vec![1, 2, 3]).unwrap().into_vec(), [1, 2, 3]);
    }

    #[test]
    fn cut_text_ends_at_a_character() {
        assert_eq!(Text::<4>::truncated("aüüü").as_str(), "aü");
        assert_eq!(Text::<4>::truncated("abc").as_str(), "abc");
        assert_eq!(Text::<1>::truncated("ü").as_str(), "");
    }

    #[test]
    fn debug_shows_lengths_only() {
        let shown = format!("{:?} {:?}", Text::<9>::truncated("secret"), Blob::<9>::new(vec![7; 3]).unwrap());
        assert_eq!(shown, "Text(6 bytes) Blob(3 bytes)");
    }
}
