//! Scripts that put no spaces between words: each of their characters becomes a word of its own, and what stands together in a question
//! has to stand together in the text.

use std::borrow::Cow;

/// Whether words of this script are not told apart by spaces.
///
/// Ranges of the Unicode blocks for Thai, Lao, Khmer, kana, Hangul excluded (it has spaces), and Han.
pub(crate) fn is_unspaced(one: char) -> bool {
    matches!(u32::from(one),
        0x0E00..=0x0EFF         // Thai, Lao
        | 0x1780..=0x17FF       // Khmer
        | 0x3040..=0x30FF       // Hiragana, Katakana
        | 0x31F0..=0x31FF       // Katakana extensions
        | 0x3400..=0x4DBF       // Han, extension A
        | 0x4E00..=0x9FFF       // Han
        | 0xF900..=0xFAFF       // Han, compatibility
        | 0x20000..=0x3134F     // Han, further extensions
    )
}

/// The text with spaces around every such character.
pub(crate) fn spaced(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unspaced) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 2);
    for one in text.chars() {
        if is_unspaced(one) {
            out.extend([' ', one, ' ']);
        } else {
            out.push(one);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_without_spaces_change() {
        assert!(matches!(spaced("plain, naïve, 한국어"), Cow::Borrowed(_)));
        assert_eq!(spaced("a支払b"), "a 支  払 b");
    }
}
