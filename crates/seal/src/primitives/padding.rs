//! Padding with `0x80` and zeros (ISO/IEC 7816-4), so that a length says little.

/// Appends `0x80` and zeros up to `size`. `None` when there is no room for the mark.
pub(crate) fn pad(mut text: Vec<u8>, size: usize) -> Option<Vec<u8>> {
    if text.len() >= size {
        return None;
    }
    text.push(0x80);
    text.resize(size, 0);
    Some(text)
}

/// Pads to the next multiple of 1 KiB.
pub(crate) fn pad_to_step(text: Vec<u8>) -> Vec<u8> {
    let step = text.len().saturating_add(1).next_multiple_of(1024);
    pad(text, step).expect("the step lies above the length")
}

/// Cuts the padding off. `None` when it is not there.
///
/// Called only on opened, thus authenticated, bytes: its timing tells nobody anything.
pub(crate) fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let mark = padded.iter().rposition(|byte| *byte != 0)?;
    let (text, rest) = padded.split_at_checked(mark)?;
    (rest.first() == Some(&0x80)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_carries_no_mark() {
        for bad in [&[][..], &[0, 0], &[1, 2, 3], &[0x80, 1], &[0x81, 0, 0]] {
            assert_eq!(unpad(bad), None, "{bad:?}");
        }
        assert_eq!(pad(vec![1; 4], 4), None);
    }

    proptest! {
        #[test]
        fn cuts_what_was_added(text in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let padded = pad_to_step(text.clone());
            prop_assert_eq!(padded.len() % 1024, 0);
            prop_assert!(padded.len() > text.len() && padded.len() <= text.len() + 1024);
            prop_assert_eq!(unpad(&padded), Some(text.as_slice()));
        }
    }
}
