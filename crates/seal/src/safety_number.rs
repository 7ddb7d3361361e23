//! Safety numbers: what two people compare to know that nobody swapped a key between them.

use std::fmt;

use penpal_protocol::ids::RootPublicKey;

use crate::{labels::HashLabel, primitives::hash};

const GROUPS: usize = 12;
const BYTES_PER_GROUP: usize = 5;

/// 60 digits from two root keys, the same on both sides.
///
/// Shown in 12 groups of 5, such as `28317 90214 …`. Each group is 5 bytes of a labelled hash of both keys, modulo 100 000: about
/// 199 bits together, so that keys with a given number cost 2^99 tries at best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafetyNumber([u32; GROUPS]);

impl SafetyNumber {
    /// Computes the number of two accounts, in either order.
    #[must_use]
    pub fn of(one: &RootPublicKey, other: &RootPublicKey) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        let half =
            |counter: u8| hash(HashLabel::SafetyNumber, &[&[counter], low.as_bytes(), high.as_bytes()]);
        let bytes = [half(0), half(1)].concat();
        let mut groups = [0; GROUPS];
        for (group, [a, b, c, d, e]) in groups.iter_mut().zip(bytes.as_chunks::<BYTES_PER_GROUP>().0) {
            let number = u64::from_be_bytes([0, 0, 0, *a, *b, *c, *d, *e]);
            *group = u32::try_from(number % 100_000).unwrap_or_default();
        }
        Self(groups)
    }

    /// Whether text typed by a person is this number; everything but digits is ignored.
    #[must_use]
    pub fn matches(&self, typed: &str) -> bool {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        digits(typed) == digits(&self.to_string())
    }
}

impl fmt::Display for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for group in self.0 {
            write!(f, "{separator}{group:05}")?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_symmetric_sixty_digits_and_depends_on_both_keys() {
        let [a, b, c] = [1, 2, 3].map(|n| RootPublicKey::from_bytes([n; 32]));
        let number = SafetyNumber::of(&a, &b);
        assert_eq!(number, SafetyNumber::of(&b, &a));
        assert_ne!(number, SafetyNumber::of(&a, &c));
        assert_ne!(number, SafetyNumber::of(&c, &b));
        let shown = number.to_string();
        assert_eq!(shown.split(' ').count(), 12);
        assert!(shown.split(' ').all(|group| group.len() == 5));
        assert!(number.matches(&shown) && number.matches(&shown.replace(' ', "-\n")));
        assert!(!number.matches(&shown[6..]) && !number.matches(""));
    }
}
