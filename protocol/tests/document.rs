//! The tables of `docs/protocol.md` say what the code does.

use std::collections::BTreeMap;

use penpal_protocol::blob::{
    CHUNK_BYTES, MAX_CONTENT_BYTES as MAX_ARTIFACT_BYTES, MAX_PARTS, PART_BYTES, PART_CHUNKS,
};
use penpal_protocol::envelope::{LADDER, capacity};
use penpal_protocol::hash::USES;
use penpal_protocol::limits::*;
use penpal_protocol::wire::{DepositOutcome, FrameKind, MAX_ANSWER_BYTES, RefusalCode};

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

/// How many times `unit` is contained, exactly.
fn whole(number: u64, unit: u64) -> u64 {
    assert_eq!(number % unit, 0, "{number} is no multiple of {unit}");
    number / unit
}

#[test]
fn limits_are_the_ones_in_the_table() {
    let kib = |bytes: usize| whole(bytes as u64, 1024);
    let hours = |ms: u64| whole(ms, 3_600_000);
    let days = |ms: u64| whole(ms, 86_400_000);
    let (spool_rows, spool_mib) = (whole(MAX_SPOOLED_ENVELOPES, 1_000), whole(MAX_SPOOL_BYTES, 1_048_576));
    let known = [
        ("text of a message", format!("{} KiB", kib(MAX_TEXT_BYTES))),
        ("subject", format!("{MAX_SUBJECT_BYTES} bytes")),
        ("content of a body", format!("{MAX_CONTENT_BYTES} bytes")),
        ("body", format!("{MAX_BODY_BYTES} bytes")),
        (
            "life of a message",
            format!(
                "{} days unless said otherwise, at most {}",
                days(DEFAULT_MESSAGE_LIFE_MS),
                days(MAX_MESSAGE_LIFE_MS)
            ),
        ),
        ("sender's clock ahead", format!("{} h", hours(MAX_CLOCK_AHEAD_MS))),
        ("receipts in one envelope", MAX_RECEIPTS.to_string()),
        ("hashes in one need-reseal", MAX_NEED_RESEAL.to_string()),
        (
            "sessions in one presence list",
            format!("{MAX_ANNOUNCED_SESSIONS}, of {} min at most", whole(MAX_PRESENCE_TTL_MS, 60_000)),
        ),
        ("summary, folder part", format!("{MAX_SUMMARY_BYTES}, {MAX_FOLDER_BYTES} bytes")),
        ("artifacts of one message", MAX_ARTIFACTS.to_string()),
        (
            "part of a blob",
            format!("{PART_BYTES} bytes: {PART_CHUNKS} chunks of {} KiB and their tags", kib(CHUNK_BYTES)),
        ),
        ("parts of a blob", MAX_PARTS.to_string()),
        (
            "content of an artifact",
            format!(
                "{} GiB, and what the relay takes: 100 MiB unless its operator says otherwise",
                whole(MAX_ARTIFACT_BYTES, 1 << 30)
            ),
        ),
        ("life of a blob", format!("{} h longer than the message's, at most 32 days", hours(BLOB_GRACE_MS))),
        (
            "manifest, bundle (signed)",
            format!("{} KiB, {} KiB", kib(MAX_MANIFEST_BYTES), kib(MAX_BUNDLE_BYTES)),
        ),
        ("profile blob", format!("{} KiB", kib(MAX_PROFILE_BLOB_BYTES))),
        ("invite blob", format!("{} KiB", kib(MAX_INVITE_BLOB_BYTES))),
        (
            "life of an invite",
            format!(
                "{} h unless said otherwise; {} days once redeemed",
                hours(DEFAULT_INVITE_LIFE_MS),
                days(REDEEMED_INVITE_LIFE_MS)
            ),
        ),
        ("devices of an account", MAX_DEVICES.to_string()),
        (
            "state that a relay keeps",
            format!(
                "{MAX_STATE_PARTS} parts of {MAX_STATE_PART_BYTES} bytes, and as much again while it is replaced"
            ),
        ),
        ("contacts of an account", MAX_CONTACTS.to_string()),
        ("gaps in one `Ack`", MAX_ACK_GAPS.to_string()),
        ("runs in one `Hello`", MAX_RUNS.to_string()),
        (
            "spool of a device",
            format!("{spool_rows} 000 rows or {spool_mib} MiB; a row lives {} days", days(SPOOL_ROW_LIFE_MS)),
        ),
        ("memory of deposit ids", format!("{} h", hours(DEPOSIT_ID_LIFE_MS))),
        (
            "frame",
            format!(
                "{} KiB; {} KiB for `ContactState`; {PART_BYTES} bytes for `BlobPart`",
                kib(MAX_FRAME_BYTES),
                kib(MAX_ANSWER_BYTES)
            ),
        ),
    ];
    let described: Vec<(&str, String)> =
        rows("### Limits").iter().skip(2).map(|row| (row[0], row[1].to_owned())).collect();
    assert_eq!(described, known);
}

#[test]
fn limits_that_no_table_has_are_what_the_text_says() {
    assert_eq!(MAX_PART_SET_BYTES, 8_192);
    assert_eq!(MAX_KEPT_ENTRIES, 3_000);
    assert_eq!(STATE_CHUNK_BYTES, 32_768);
    assert_eq!(MAX_ACCOUNT_STATE_BYTES, 4 << 20);
    assert_eq!(DUPLICATE_MARK_GRACE_MS, 172_800_000);
    assert_eq!((HOUR_MS, DAY_MS), (3_600_000, 86_400_000));
    assert_eq!(penpal_protocol::blob::PART_CONTENT_BYTES, 1 << 20);
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
