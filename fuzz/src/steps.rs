//! Steps out of bytes, for targets that drive a machine.

use arbitrary::{Arbitrary, Unstructured};

/// Reads steps until the bytes or the patience end.
pub(crate) fn steps<'a, T: Arbitrary<'a>>(data: &'a [u8], most: usize) -> impl Iterator<Item = T> {
    let mut left = Unstructured::new(data);
    let next = move || if left.is_empty() { None } else { T::arbitrary(&mut left).ok() };
    std::iter::from_fn(next).take(most)
}
