//! Frozen vectors in `tests/vectors/protocol`: what these files say about bytes never changes.
//!
//! `PENPAL_WRITE_VECTORS=1` writes the files that are missing; an existing file is only ever compared.

use std::fs;
use std::path::PathBuf;

use penpal_protocol::ids::Signature;
use penpal_protocol::sealed::Signed;
use serde_json::{Value, json};

use crate::generate::Style;
use crate::raw::{self, Entry};
use crate::structures::{Structure, all};

/// Seed of the frozen values.
const SEED: u64 = 0x70_656e_7061_6c31;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/protocol")
}

/// Reads a vector file, or writes it when asked to and missing.
pub(crate) fn frozen(name: &str, make: impl FnOnce() -> Value) -> Value {
    let path = folder().join(name);
    if !path.exists() && std::env::var_os("PENPAL_WRITE_VECTORS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        let text = serde_json::to_string_pretty(&make()).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// One entry of a vector file.
fn vector(what: &str, bytes: &[u8]) -> Value {
    json!({ "what": what, "hex": hex::encode(bytes) })
}

fn bytes(vector: &Value) -> Vec<u8> {
    hex::decode(vector["hex"].as_str().unwrap()).unwrap()
}

fn describe(structure: &Structure) -> Value {
    let full = structure.make(SEED, Style::Full);
    let mut valid = vec![
        vector("mandatory fields only", &structure.make(SEED, Style::Minimal)),
        vector("all fields", &full),
    ];
    for seed in 1..=4 {
        let value = structure.make(SEED + seed, Style::Random);
        if !valid.iter().any(|known| bytes(known) == value) {
            valid.push(vector("some fields", &value));
        }
    }
    let mut invalid = any_structure(&full);
    if let Some(entries) = raw::entries(&full) {
        invalid.extend(any_map(&entries, &raw::entries(&structure.make(SEED, Style::Minimal)).unwrap()));
        let mut extended = entries;
        extended.push((127, vec![0x81, 0x00]));
        let skipped = json!({
            "what": "unknown optional field, skipped",
            "hex": hex::encode(raw::map(&extended)),
            "means": hex::encode(&full),
        });
        valid.push(skipped);
    }
    invalid.extend(of_structure(structure.rule, &full));
    let invalid: Vec<Value> = invalid.iter().map(|(what, bytes)| vector(what, bytes)).collect();
    json!({ "structure": structure.rule, "frame": structure.frame, "valid": valid, "invalid": invalid })
}

type Invalid = (&'static str, Vec<u8>);

fn any_structure(full: &[u8]) -> Vec<Invalid> {
    vec![
        ("nothing", Vec::new()),
        ("ends early", full[..full.len() - 1].to_vec()),
        ("a byte after the end", [full, &[0x00]].concat()),
        ("head not in shortest form", [&[(full[0] & 0xe0) | 24, full[0] & 31][..], &full[1..]].concat()),
        ("indefinite length", [&[(full[0] & 0xe0) | 31][..], &full[1..], &[0xff]].concat()),
        ("within a tag", [&[0xc1][..], full].concat()),
        ("within a list", [&[0x81][..], full].concat()),
    ]
}

fn any_map(full: &[Entry], minimal: &[Entry]) -> Vec<Invalid> {
    let with = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = full.to_vec();
        change(&mut entries);
        raw::map(&entries)
    };
    let text_key = [&raw::write_head(5, 1)[..], &[0x61, 0x30, 0x00]].concat();
    let nested = [vec![0x81; 14], vec![0x00]].concat();
    let mut out = vec![
        ("duplicate key", with(&|entries| entries.insert(0, entries[0].clone()))),
        ("unknown critical key", with(&|entries| entries.push((128, vec![0x00])))),
        ("text as key", text_key),
        ("nested too deeply", with(&|entries| entries.push((127, nested.clone())))),
        ("text that is not UTF-8", with(&|entries| entries.push((127, vec![0x61, 0xff])))),
        ("null", with(&|entries| entries[0].1 = vec![0xf6])),
        ("undefined", with(&|entries| entries.push((127, vec![0xf7])))),
        ("float", with(&|entries| entries.push((127, vec![0xf9, 0x00, 0x00])))),
        ("field of another type", with(&|entries| entries[0].1 = vec![0x20])),
    ];
    if full.len() > 1 {
        out.push(("keys not ascending", with(&|entries| entries.swap(0, 1))));
    }
    if let Some((missing, _)) = minimal.first() {
        out.push(("mandatory field missing", with(&|entries| entries.retain(|(key, _)| key != missing))));
    }
    out
}

/// Breaks the rules that one structure has on top.
fn of_structure(rule: &str, full: &[u8]) -> Vec<Invalid> {
    let replaced = |values: &[(u64, &[u8])]| {
        let mut entries = raw::entries(full).unwrap();
        for (key, value) in values {
            entries.iter_mut().find(|(other, _)| other == key).unwrap().1 = value.to_vec();
        }
        raw::map(&entries)
    };
    let without = |keys: &[u64]| {
        let mut entries = raw::entries(full).unwrap();
        entries.retain(|(key, _)| !keys.contains(key));
        raw::map(&entries)
    };
    let id15 = [&[0x4f][..], &[0; 15]].concat();
    let zeros16 = [&[0x50][..], &[0; 16]].concat();
    let order = |seq: u8, prev: u8| [&[0xa2, 0x00, seq, 0x01, 0x50][..], &[prev; 16]].concat();
    match rule {
        "hello" => vec![
            ("id one byte short", replaced(&[(1, &[0x47, 0, 0, 0, 0, 0, 0, 0])])),
            (
                "the present run listed as an earlier one",
                replaced(&[(1, &[0x48, 7, 7, 7, 7, 7, 7, 7, 7]), (2, &[0x81, 0x48, 7, 7, 7, 7, 7, 7, 7, 7])]),
            ),
            ("software of 65 bytes", replaced(&[(3, &[&[0x78, 65][..], &[b'x'; 65]].concat())])),
        ],
        "register" => vec![
            ("handle with a capital", replaced(&[(0, &[0x63, b'B', b'o', b'b'])])),
            ("empty handle", replaced(&[(0, &[0x60])])),
            ("handle that starts with a dot", replaced(&[(0, &[0x62, b'.', b'b'])])),
            ("invite without proof", without(&[3])),
            ("proof without invite", without(&[2])),
        ],
        "ack" => vec![
            ("gaps not ascending", replaced(&[(1, &[0x09]), (2, &[0x82, 0x05, 0x03])])),
            ("gap twice", replaced(&[(1, &[0x09]), (2, &[0x82, 0x05, 0x05])])),
            ("gap beyond the end", replaced(&[(1, &[0x04]), (2, &[0x81, 0x05])])),
            ("gap 0", replaced(&[(1, &[0x04]), (2, &[0x81, 0x00])])),
            ("65 gaps", {
                let gaps: Vec<u8> = (1..=65).flat_map(|gap| raw::write_head(0, gap)).collect();
                replaced(&[(1, &[0x18, 99]), (2, &[&[0x98, 65][..], &gaps].concat())])
            }),
        ],
        "put-manifest" => vec![("revision does not grow", replaced(&[(0, &[0x05]), (1, &[0x05])]))],
        "deposit" => vec![
            ("edge of 15 bytes", replaced(&[(0, &id15)])),
            ("ephemeral as a number", replaced(&[(4, &[0x01])])),
        ],
        "hello-answer" => vec![("unknown verdict", replaced(&[(0, &[0x00])]))],
        "deposit-answer" => vec![("unknown outcome", replaced(&[(1, &[0x06])]))],
        "invite-answer" => vec![("unknown state", replaced(&[(0, &[0x03])]))],
        "refusal" => vec![("unknown code", replaced(&[(0, &[0x0c])]))],
        "welcome" => vec![("revision beyond 16 bits", replaced(&[(0, &[0x1a, 0x00, 0x01, 0x00, 0x00])]))],
        "body" => vec![
            ("ask without order", without(&[9, 16])),
            ("receipts with order", replaced(&[(12, &[0x04])])),
            ("order that starts at 0", replaced(&[(9, &order(0, 0))])),
            ("first message that names one before", replaced(&[(9, &order(1, 1))])),
            ("control with a key on offer", replaced(&[(12, &[0x07])])),
            ("receipt batch 0", replaced(&[(17, &[0xa2, 0x00, 0x00, 0x01, 0x80])])),
            ("no life", replaced(&[(10, &[0x05]), (11, &[0x05])])),
            ("ends before it starts", replaced(&[(10, &[0x05]), (11, &[0x04])])),
            (
                "lives a millisecond longer than 30 days",
                replaced(&[(10, &[0x00]), (11, &[0x1a, 0x9a, 0x7e, 0xc8, 0x01])]),
            ),
            ("unknown kind", replaced(&[(12, &[0x09])])),
            ("hops beyond 8 bits", replaced(&[(14, &[0x19, 0x01, 0x00])])),
        ],
        "letter" => vec![
            ("subject of 257 bytes", replaced(&[(2, &[&[0x79, 0x01, 0x01][..], &[b'x'; 257]].concat())])),
            (
                "session name with a space",
                replaced(&[(0, &[&[0xa2, 0x00][..], &zeros16, &[0x01, 0x63, b'a', b' ', b'b']].concat())]),
            ),
        ],
        "presence" => {
            vec![("holds longer than 15 minutes", replaced(&[(2, &[0x1a, 0x00, 0x0d, 0xbb, 0xa1])]))]
        }
        "signed" => {
            let signed = Signed { body: vec![1], sig: Signature::from_bytes([2; 64]) }.encode();
            vec![
                ("three parts", [&[0x83][..], &signed[1..], &[0x00]].concat()),
                ("one part", vec![0x81, 0x41, 0x01]),
                ("signature of 63 bytes", [&[0x82, 0x41, 0x01, 0x58, 63][..], &[2; 63]].concat()),
            ]
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_structure_reads_and_writes_its_frozen_bytes() {
    for structure in all() {
        let file = frozen(&format!("{}.json", structure.rule), || describe(&structure));
        assert_eq!(file["structure"], structure.rule);
        assert_eq!(file["frame"], json!(structure.frame), "{}", structure.rule);
        let valid = file["valid"].as_array().unwrap();
        // What the encoder writes today is what it wrote when the file was made.
        assert_eq!(bytes(&valid[0]), structure.make(SEED, Style::Minimal), "{}", structure.rule);
        assert_eq!(bytes(&valid[1]), structure.make(SEED, Style::Full), "{}", structure.rule);
        for vector in valid {
            let means = vector
                .get("means")
                .map_or_else(|| bytes(vector), |hex| hex::decode(hex.as_str().unwrap()).unwrap());
            assert_eq!(
                (structure.recode)(&bytes(vector)),
                Ok(means),
                "{}: {}",
                structure.rule,
                vector["what"]
            );
        }
        for vector in file["invalid"].as_array().unwrap() {
            let taken = (structure.recode)(&bytes(vector));
            assert!(taken.is_err(), "{}: {}", structure.rule, vector["what"]);
        }
    }
}

#[test]
fn no_vector_file_is_left_over() {
    let known: Vec<String> = all()
        .iter()
        .map(|structure| structure.rule.to_owned())
        .chain(["envelope-header", "hash", "text"].map(str::to_owned))
        .map(|name| format!("{name}.json"))
        .collect();
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name) || name == "README.md", "{name} is read by no test");
    }
}
