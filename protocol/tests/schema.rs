//! `docs/penpal.cddl` and the encoders say the same.

use std::collections::BTreeSet;

use cddl_cat::cbor::validate_cbor_bytes;
use proptest::prelude::*;

use crate::generate::Style;
use crate::raw;
use crate::structures::{Structure, all};

const SCHEMA: &str = include_str!("../../docs/penpal.cddl");

fn fits(structure: &Structure, bytes: &[u8]) -> Result<(), String> {
    validate_cbor_bytes(structure.rule, SCHEMA, bytes).map_err(|error| format!("{}: {error}", structure.rule))
}

/// Every rule that is a map: its name, and the keys of its entries with whether they are optional.
fn map_rules() -> Vec<(String, Vec<(u64, bool)>)> {
    let mut rules = Vec::new();
    let mut open: Option<(String, Vec<(u64, bool)>)> = None;
    for line in SCHEMA.lines() {
        if let Some(name) = line.strip_suffix(" = {") {
            open = Some((name.to_owned(), Vec::new()));
        } else if line == "}" {
            rules.extend(open.take());
        } else if let Some((_, entries)) = &mut open {
            let line = line.trim_start();
            let (optional, rest) = line.strip_prefix("? ").map_or((false, line), |rest| (true, rest));
            let (key, _) = rest.split_once(':').expect("an entry has a key");
            entries.push((key.parse().expect("a key is a number"), optional));
        }
    }
    rules
}

#[test]
fn smallest_and_fullest_values_fit() {
    for structure in all() {
        for style in [Style::Minimal, Style::Full] {
            fits(&structure, &structure.make(5, style)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn any_value_fits(seed in any::<u64>()) {
        for structure in all() {
            prop_assert_eq!(fits(&structure, &structure.make(seed, Style::Random)), Ok(()));
        }
    }
}

#[test]
fn every_entry_of_the_schema_is_written_and_optional_where_the_code_says_so() {
    let rules = map_rules();
    for structure in all().iter().filter(|structure| structure.rule != "signed") {
        let (_, entries) = rules
            .iter()
            .find(|(name, _)| name == structure.rule)
            .unwrap_or_else(|| panic!("no rule {}", structure.rule));
        let keys = |style| -> Vec<u64> {
            let seen: BTreeSet<u64> = (0..40)
                .flat_map(|seed| raw::entries(&structure.make(seed, style)).unwrap())
                .map(|(key, _)| key)
                .collect();
            seen.into_iter().collect()
        };
        let described: Vec<u64> = entries.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys(Style::Random), described, "{}", structure.rule);
        let full = raw::entries(&structure.make(0, Style::Full)).unwrap();
        for (key, optional) in entries {
            let Some(at) = full.iter().position(|(other, _)| other == key) else { continue };
            let mut without = full.clone();
            without.remove(at);
            let taken = (structure.recode)(&raw::map(&without));
            // Fields that depend on one another cannot be left out alone, though each is optional.
            let tied = matches!((structure.rule, key), ("register", 2 | 3) | ("body", 9));
            assert_eq!(taken.is_ok(), *optional && !tied, "{} key {key}: {taken:?}", structure.rule);
        }
    }
}

#[test]
fn altered_values_do_not_fit() {
    for structure in all().iter().filter(|structure| structure.rule != "signed") {
        let full = raw::entries(&structure.make(6, Style::Full)).unwrap();
        for at in 0..full.len() {
            for wrong in [vec![0x20], vec![0xf6], vec![0x42, 0, 0], vec![0xa1, 0x01, 0x00]] {
                let mut altered = full.clone();
                altered[at].1 = wrong;
                let encoded = raw::map(&altered);
                // Two bytes are a fine value where the schema says no more than `bstr`.
                let sound = (structure.recode)(&encoded).is_ok();
                assert_eq!(
                    fits(structure, &encoded).is_ok(),
                    sound,
                    "{} key {}",
                    structure.rule,
                    altered[at].0
                );
            }
        }
        let mut extended = full.clone();
        extended.push((127, vec![0x00]));
        assert!(fits(structure, &raw::map(&extended)).is_err(), "{}: unknown key", structure.rule);
    }
    let signed = all().into_iter().find(|structure| structure.rule == "signed").unwrap();
    let bytes = signed.make(6, Style::Full);
    assert!(fits(&signed, &[&[0x83], &bytes[1..], &[0x00]].concat()).is_err());
    assert!(fits(&signed, &bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn longer_than_the_schema_says_does_not_fit() {
    let letter = all().into_iter().find(|structure| structure.rule == "letter").unwrap();
    let with_subject = |length: usize| {
        let value = [raw::write_head(3, length as u64), vec![b'x'; length]].concat();
        raw::map(&[(2, value), (3, vec![0x60])])
    };
    assert_eq!(fits(&letter, &with_subject(256)), Ok(()));
    assert!(fits(&letter, &with_subject(257)).is_err());
    assert!((letter.recode)(&with_subject(256)).is_ok());
    assert!((letter.recode)(&with_subject(257)).is_err());
}
