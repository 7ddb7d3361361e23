//! Crockford base32: what ids, pins and codes look like to people. Lower case out; case and look-alikes ignored in.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Writes bytes as lower-case Crockford base32 without padding; unused low bits of the last character are zero.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(8).div_ceil(5));
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    let symbol = |value: u32| symbol(u8::try_from(value & 31).unwrap_or_default());
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits = bits.saturating_add(8);
        while bits >= 5 {
            bits = bits.saturating_sub(5);
            out.push(symbol(buffer >> bits));
        }
        buffer &= 0xff;
    }
    if bits > 0 {
        out.push(symbol(buffer << 5_u32.saturating_sub(bits)));
    }
    out
}

/// The character of a value; only its low five bits count.
#[must_use]
pub fn symbol(value: u8) -> char {
    char::from(ALPHABET.get(usize::from(value & 31)).copied().unwrap_or(b'0'))
}

/// The value of one character, with `o` read as 0, `i` and `l` as 1, in either case.
#[must_use]
pub fn value(character: char) -> Option<u8> {
    let lower = match character.to_ascii_lowercase() {
        'o' => b'0',
        'i' | 'l' => b'1',
        other => u8::try_from(other).ok()?,
    };
    ALPHABET.iter().position(|symbol| *symbol == lower).and_then(|position| u8::try_from(position).ok())
}

/// Reads characters as written by [`encode`]; `None` for another character, an impossible length or set unused bits.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len().saturating_mul(5) / 8);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for character in text.chars() {
        buffer = ((buffer & 0xff) << 5) | u32::from(value(character)?);
        bits = bits.saturating_add(5);
        if bits >= 8 {
            bits = bits.saturating_sub(8);
            out.push(u8::try_from((buffer >> bits) & 0xff).ok()?);
        }
    }
    let unused = buffer & (1_u32 << bits).saturating_sub(1);
    (bits < 5 && unused == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answers() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "cr"),
            (b"fo", "csqg"),
            (b"foo", "csqpy"),
            (b"foob", "csqpyrg"),
            (b"fooba", "csqpyrk1"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Some(bytes));
            assert_eq!(decode(&text.to_uppercase()).as_deref(), Some(bytes));
        }
        assert_eq!(decode("OIL0"), decode("0110"));
        assert_eq!(decode("cu"), None, "no such character");
        assert_eq!(decode("cs"), None, "unused bits are set");
        assert_eq!(decode("c"), None, "five bits make no byte");
        assert_eq!(decode("0"), None, "not even when they are zero");
    }

    proptest! {
        #[test]
        fn bytes_and_text_are_one_to_one(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[0-9a-z]{0,40}") {
            let written = encode(&bytes);
            prop_assert_eq!(decode(&written), Some(bytes));
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text.replace('o', "0").replace(['i', 'l'], "1"));
            }
        }
    }
}
