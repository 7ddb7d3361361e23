//! The tables of `docs/protocol.md` say what the code does.

use std::collections::BTreeMap;

use penpal_protocol::envelope::{LADDER, capacity};
use penpal_protocol::hash::USES;
use penpal_protocol::wire::{DepositOutcome, FrameKind, RefusalCode};

const TEXT: &str = include_str!("../../docs/protocol.md");
const SCHEMA: &str = include_str!("../../docs/penpal.cddl");

/// The cells of every table row below a heading, until the next heading.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, after) = TEXT.split_once(&format!("{heading}\n")).unwrap();
    after
        .lines()
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn frame_numbers_are_the_ones_in_the_table() {
    let described: Vec<(u8, String)> = rows("### Frames and streams")
        .iter()
        .filter_map(|row| Some((row[0].parse().ok()?, quoted(row[1]).first()?.to_string())))
        .collect();
    let known: Vec<(u8, String)> =
        FrameKind::ALL.iter().map(|kind| (kind.number(), format!("{kind:?}"))).collect();
    assert_eq!(described, known);
    let reserved = |number| (30..=31).contains(&number) || (84..=95).contains(&number);
    assert!(FrameKind::ALL.iter().all(|kind| !reserved(kind.number())));
}

#[test]
fn refusals_and_outcomes_are_the_ones_in_the_tables() {
    let described = |heading| {
        let codes: BTreeMap<u8, String> = rows(heading)
            .iter()
            .filter_map(|row| row[0].split_once(' '))
            .filter_map(|(number, name)| Some((number.parse().ok()?, name.replace(' ', ""))))
            .collect();
        codes
    };
    use RefusalCode::*;
    let codes =
        [No, Used, NeedsToken, HandleTaken, NotRegistered, Quota, Full, Conflict, Malformed, Busy, Suspended];
    for code in codes {
        let number = *penpal_protocol::cbor::encode(&code).first().unwrap();
        assert_eq!(described("### Requests").get(&number), Some(&format!("{code:?}").to_lowercase()));
    }
    assert_eq!(described("### Requests").len(), codes.len());
    use DepositOutcome as Outcome;
    let outcomes = [Outcome::Accepted, Outcome::Quota, Outcome::Full, Outcome::RecipientFull, Outcome::No];
    for outcome in outcomes {
        let number = *penpal_protocol::cbor::encode(&outcome).first().unwrap();
        assert_eq!(described("### Deposits").get(&number), Some(&format!("{outcome:?}").to_lowercase()));
    }
    assert_eq!(described("### Deposits").len(), outcomes.len());
}

#[test]
fn ladder_is_the_one_in_the_table() {
    let described: Vec<[usize; 2]> = rows("### The envelope")
        .iter()
        .filter_map(|row| Some([row[0].parse().ok()?, row[1].parse().ok()?]))
        .collect();
    assert_eq!(described, LADDER.map(|step| [step, capacity(step)]));
}

#[test]
fn every_hash_label_is_listed() {
    let (_, after) = TEXT.split_once("| hash | ").unwrap();
    let listed = quoted(after.lines().next().unwrap());
    for use_ in USES {
        assert!(listed.contains(&use_), "{use_}");
    }
}

#[test]
fn next_free_keys_are_right() {
    let mut described = BTreeMap::new();
    for row in rows("### Next free keys") {
        for pair in row.chunks(2) {
            for name in quoted(pair[0]) {
                described.insert(name.to_owned(), pair[1].parse::<u64>().unwrap());
            }
        }
    }
    let mut known = BTreeMap::new();
    let mut rule = None;
    for line in SCHEMA.lines() {
        if let Some(name) = line.strip_suffix(" = {") {
            rule = Some(name);
        } else if line == "}" {
            rule = None;
        } else if let (Some(name), Some((key, _))) =
            (rule, line.trim_start_matches([' ', '?']).split_once(':'))
        {
            known.insert(name.to_owned(), key.parse::<u64>().unwrap() + 1);
        }
    }
    assert_eq!(described, known);
}
