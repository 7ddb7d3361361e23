//! Every decoder is total, and every value has one encoding.

use penpal_protocol::cbor::{self, CborError};
use proptest::prelude::*;

use crate::generate::Style;
use crate::raw;
use crate::structures::{Structure, all};

/// A mutation of `bytes` that depends on `choice` only.
fn mutated(bytes: &[u8], choice: u64) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = usize::try_from(choice >> 16).unwrap_or(0) % bytes.len().max(1);
    let value = (choice >> 8) as u8;
    match choice % 6 {
        0 => out[at] ^= 1 << (value % 8),
        1 => out[at] = value,
        2 => out.truncate(at),
        3 => out.insert(at, value),
        4 => {
            out.remove(at);
        }
        _ => {
            let piece = bytes[at..(at + usize::from(value % 40)).min(bytes.len())].to_vec();
            out.splice(at..at, piece);
        }
    }
    out
}

/// Unknown fields are skipped, so what is read may be shorter than what was sent; it may not be different otherwise.
fn assert_only_encoding(structure: &Structure, bytes: &[u8]) {
    if let Ok(again) = (structure.recode)(bytes) {
        assert!(again == bytes || again.len() < bytes.len(), "{}: {}", structure.rule, hex::encode(bytes));
        assert_eq!((structure.recode)(&again), Ok(again.clone()), "{}", structure.rule);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn values_survive_the_wire(seed in any::<u64>()) {
        for structure in all() {
            let bytes = structure.make(seed, Style::Random);
            prop_assert_eq!(cbor::check(&bytes), Ok(()), "{}", structure.rule);
            prop_assert_eq!((structure.recode)(&bytes), Ok(bytes.clone()), "{}", structure.rule);
        }
    }

    #[test]
    fn no_mutation_panics_or_finds_a_second_encoding(seed in any::<u64>(), choices in prop::collection::vec(any::<u64>(), 1..4)) {
        for structure in all() {
            let mut bytes = structure.make(seed, Style::Random);
            for choice in &choices {
                bytes = if bytes.is_empty() { bytes } else { mutated(&bytes, *choice) };
                assert_only_encoding(&structure, &bytes);
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for structure in all() {
            assert_only_encoding(&structure, &bytes);
        }
        for number in 0..=u8::MAX {
            // Any frame number with any payload.
            drop(penpal_protocol::wire::Request::decode(number, &bytes));
            drop(penpal_protocol::wire::Answer::decode(number, &bytes));
            drop(penpal_protocol::wire::Event::decode(number, &bytes));
        }
    }
}

#[test]
fn keys_ascend_and_absent_fields_are_left_out() {
    for structure in all().iter().filter(|structure| structure.rule != "signed") {
        let minimal = raw::entries(&structure.make(0, Style::Minimal)).unwrap();
        let full = raw::entries(&structure.make(0, Style::Full)).unwrap();
        for entries in [&minimal, &full] {
            assert!(entries.is_sorted_by(|one, next| one.0 < next.0), "{}", structure.rule);
            assert!(entries.iter().all(|(_, value)| value != &[0xf6]), "{}", structure.rule);
        }
        let missing = minimal.iter().find(|(key, _)| !full.iter().any(|(other, _)| other == key));
        assert_eq!(missing, None, "{}", structure.rule);
    }
}

#[test]
fn unknown_optional_fields_are_skipped_and_critical_ones_refused() {
    for structure in all().iter().filter(|structure| structure.rule != "signed") {
        let bytes = structure.make(1, Style::Full);
        let mut extended = raw::entries(&bytes).unwrap();
        // A nested value, as a later revision may send: {1: [true, "x"]}.
        extended.push((127, vec![0xa1, 0x01, 0x82, 0xf5, 0x61, 0x78]));
        assert_eq!((structure.recode)(&raw::map(&extended)), Ok(bytes.clone()), "{}", structure.rule);

        let mut critical = raw::entries(&bytes).unwrap();
        critical.push((128, vec![0x00]));
        let encoded = raw::map(&critical);
        let refused = cbor::check(&encoded);
        assert!(
            matches!(refused, Err(CborError::Critical { key: 128, .. })),
            "{}: {refused:?}",
            structure.rule
        );
        assert!((structure.recode)(&encoded).is_err(), "{}", structure.rule);
    }
}

#[test]
fn lengths_are_checked_before_memory_is_taken() {
    // Heads that promise 2⁶⁰ elements or bytes, with nothing behind them.
    for head in [0x9b_u8, 0xbb, 0x5b, 0x7b] {
        let mut bytes = vec![0xa1, 0x00, head];
        bytes.extend((1_u64 << 60).to_be_bytes());
        for structure in all() {
            assert!((structure.recode)(&bytes).is_err(), "{}", structure.rule);
        }
    }
}
