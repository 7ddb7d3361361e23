//! Writes the corpora anew from the vectors and fixtures in `tests`, and by hand where there are none.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`. Inputs that once failed stay: their names begin with `found-`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use penpal_fuzz::sealed::{FIRST_CONTENT, STRUCTURES};
use serde_json::Value;

/// Longest seed, in bytes: the corpora stay small.
const MAX_SEED_BYTES: usize = 4096;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Corpus {
    folder: PathBuf,
}

impl Corpus {
    fn of(target: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder).expect("a folder");
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("a file").path();
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("found-")) {
                fs::remove_file(path).expect("an old seed");
            }
        }
        Self { folder }
    }

    fn add(&self, name: &str, parts: &[&[u8]]) {
        let bytes = parts.concat();
        if bytes.len() <= MAX_SEED_BYTES {
            fs::write(self.folder.join(name), bytes).expect("a seed");
        }
    }
}

fn vectors(structure: &str) -> Value {
    let path = root().join(format!("tests/vectors/protocol/{structure}.json"));
    serde_json::from_str(&fs::read_to_string(path).expect("vectors")).expect("JSON")
}

fn valid(structure: &str) -> Vec<Vec<u8>> {
    let file = vectors(structure);
    let valid = file["valid"].as_array().expect("valid values").iter();
    // The smallest, and one with everything in it.
    valid.take(2).map(|value| hex::decode(value["hex"].as_str().expect("hex")).expect("hex")).collect()
}

fn structures() -> Vec<String> {
    let entries = fs::read_dir(root().join("tests/vectors/protocol")).expect("vectors");
    let names = entries.map(|entry| entry.expect("a file").path());
    let json = names.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut names: Vec<String> =
        json.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    names.retain(|name| !["text", "hash"].contains(&name.as_str()));
    names.sort();
    names
}

fn frames() {
    let corpus = Corpus::of("frames");
    for structure in structures() {
        if let Some(number) = vectors(&structure)["frame"].as_u64() {
            let number = u8::try_from(number).expect("frame numbers are bytes");
            for (index, bytes) in valid(&structure).iter().enumerate() {
                corpus.add(&format!("{structure}-{index}"), &[&[number], bytes]);
            }
        }
    }
    corpus.add("done", &[&[64]]);
    corpus.add("cloned", &[&[133]]);
}

fn sealed() {
    // Contents by kind: note, presence, need to reseal, control, copy.
    let contents = [("letter", 0), ("presence", 3), ("need-reseal", 4), ("control", 5), ("sync-copy", 6)];
    let corpus = Corpus::of("sealed");
    let whole = STRUCTURES.iter().copied().zip(0_u8..);
    for (structure, which) in whole.chain(contents.map(|(name, kind)| (name, FIRST_CONTENT + kind))) {
        for (index, bytes) in valid(structure).iter().enumerate() {
            corpus.add(&format!("{structure}-{index}"), &[&[which], bytes]);
        }
    }
    corpus.add("envelope-header", &[&[8, 1, 1], &[7; 64]]);
    corpus.add("outer-form", &[&[9], &[0xa2, 0, 0x82, 0xf5, 0x61, b'x', 0x18, 0x7f, 0x41, 0]]);
}

fn text() {
    let corpus = Corpus::of("text");
    let file = vectors("text");
    for (group, cases) in file.as_object().expect("groups") {
        let valid = cases["valid"].as_array().expect("valid texts").iter();
        let texts = valid.map(|case| match case {
            Value::Array(pair) => &pair[0],
            other => other.get("text").or_else(|| other.get("code")).unwrap_or(other),
        });
        for (index, text) in texts.filter_map(Value::as_str).take(12).enumerate() {
            corpus.add(&format!("{group}-{index}"), &[text.as_bytes()]);
        }
    }
}

fn seal() {
    let envelope = Corpus::of("envelope");
    for how in [0, 1] {
        envelope.add(&format!("header-{how}"), &[&[how], &[1, 1], &[7; 64]]);
    }
    envelope.add("unchanged", &[&[2]]);
    for (name, at) in [("version", 0_u16), ("hint", 3), ("key-id", 11), ("encapsulation", 40), ("text", 1200)]
    {
        envelope.add(&format!("spoiled-{name}"), &[&[2, 0], &at.to_be_bytes(), &[1]]);
    }
    let profile = Corpus::of("profile");
    profile.add("unchanged", &[&[1]]);
    profile.add("spoiled-salt", &[&[1, 0, 0, 3, 1]]);
    profile.add("spoiled-signature", &[&[4, 0, 0, 200, 1]]);
    profile.add("sealed-text", &[&[2], b"anything"]);
    let invite = Corpus::of("invite");
    for how in [1, 3] {
        invite.add(&format!("unchanged-{how}"), &[&[how]]);
        invite.add(&format!("spoiled-{how}"), &[&[how, 0, 1, 3, 1]]);
    }
    invite.add("accept-spoiled", &[&[5, 0, 0, 40, 1]]);
    for (corpus, structure, how) in [
        (&envelope, "body", 7),
        (&profile, "manifest", 5),
        (&profile, "bundle", 5),
        (&profile, "signed", 3),
        (&invite, "invite-request", 4),
        (&invite, "invite-accept", 5),
    ] {
        for (index, bytes) in valid(structure).iter().enumerate() {
            corpus.add(&format!("{structure}-{index}"), &[&[how], bytes]);
        }
    }
}

fn keyfile() {
    let corpus = Corpus::of("keyfile");
    let path = root().join("tests/vectors/seal/frozen/key-files.json");
    let text = fs::read_to_string(path).expect("vectors");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let mut files = Vec::new();
    hex_of(&file, &mut files);
    let mut index = 0;
    for bytes in files.iter().filter(|bytes| bytes.starts_with(b"penpalkf") && bytes.len() > 46) {
        let which = u8::from(bytes[9] == 2);
        corpus.add(&format!("file-{index}"), &[&[which], bytes]);
        corpus.add(&format!("payload-{index}"), &[&[which | 2], &bytes[14..bytes.len() - 32]]);
        index += 1;
    }
    assert!(index > 0, "no key files among the vectors");
}

/// Every hexadecimal text inside.
fn hex_of(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => found.extend(hex::decode(text)),
        Value::Array(values) => values.iter().for_each(|value| hex_of(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| hex_of(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn log() {
    let corpus = Corpus::of("log");
    corpus.add("empty", &[&[0]]);
    corpus.add("magic", &[&[0], b"PPL1\x07\0\0\0\x01\0\0\0\0\0\0\0\x01"]);
    corpus.add("format", &[&[2], b"penpal-store\nformat 1\nlog 0000000000000007\nsegment 65536\n"]);
    corpus.add("unchanged", &[&[3]]);
    corpus.add("spoiled-tail", &[&[3, 1, 0x80, 0, 0, 1]]);
    corpus.add("spoiled-middle", &[&[3, 0, 0x10, 0, 0, 1]]);
    corpus.add("cut", &[&[3, 0, 0x40, 0, 2, 0]]);
    corpus.add("zeros", &[&[3, 0, 0x20, 0, 3, 9]]);
    corpus.add("missing", &[&[3, 0, 0, 0, 5, 0xff]]);
    corpus.add("moved-sector", &[&[3, 1, 0x20, 0, 4, 3]]);
    let put = [1, 8, 0, 0, 0, 1, 1, 1, 0, b'k', b'a', b'b', b'c'];
    let append = [&[3, 30, 0, 0, 0][..], &[7; 16], &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 4], b"ro"].concat();
    let set = [7, 8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
    let batch = |segment: u8, records: &[u8]| {
        let length = u16::try_from(records.len()).expect("short").to_be_bytes();
        [&[segment][..], &length, records].concat()
    };
    corpus.add("put", &[&[1], &batch(0, &put)]);
    corpus.add("append", &[&[1], &batch(0, &append), &batch(0, &put)]);
    corpus.add("two-segments", &[&[1], &batch(0, &put), &batch(0, &[9, 0, 0, 0, 0]), &batch(1, &set)]);
}

fn quote() {
    let corpus = Corpus::of("quote");
    let path = root().join("tests/fixtures/defang/texts.jsonl");
    for (index, line) in fs::read_to_string(path).expect("texts").lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        corpus.add(&format!("text-{index}"), &[line["text"].as_str().expect("text").as_bytes()]);
    }
}

fn stream() {
    let corpus = Corpus::of("stream");
    corpus.add("empty", &[&[0, 0, 0]]);
    corpus.add("two", &[&[0, 9, 2], &[0, 0, 0, 2, 7, b'a', b'b', 0, 0, 0, 0, 64]]);
    corpus.add("too-large", &[&[0, 1, 200], &[0, 0, 0, 2, 7, b'a', b'b']]);
    corpus.add("inside", &[&[1, 0, 0], &[0, 0, 0, 9, 7, b'a']]);
}

fn blob() {
    let corpus = Corpus::of("blob");
    corpus.add("list", &[&[0], &9_u32.to_be_bytes(), &[0xff, 1]]);
    corpus.add("list-beyond", &[&[0], &9_u32.to_be_bytes(), &[0, 2]]);
    corpus.add("shape", &[&[1], &65_552_u32.to_be_bytes(), &[0]]);
    corpus.add("shape-long", &[&[1], &1_048_832_u32.to_be_bytes(), &[9]]);
    corpus.add("genuine", &[&[2], &70_000_u32.to_be_bytes()]);
    corpus.add("flipped", &[&[2], &5_000_u32.to_be_bytes(), &[0, 9, 1, 3]]);
    corpus.add("cut", &[&[2], &5_000_u32.to_be_bytes(), &[0, 9, 1, 0]]);
}

/// One row of each kind, and all of a machine together.
fn rows() {
    let corpus = Corpus::of("rows");
    let mut taken = std::collections::BTreeMap::<[u8; 2], usize>::new();
    let mut all = std::collections::BTreeMap::<u8, Vec<u8>>::new();
    for row in penpal_fuzz::pair::stored_rows() {
        let count = taken.entry([row[0], row[1]]).or_default();
        *count += 1;
        if *count <= 2 {
            corpus.add(&format!("machine-{}-table-{}-{count}", row[0], row[1]), &[&row]);
            let together = all.entry(row[0]).or_default();
            if together.len() + row.len() < MAX_SEED_BYTES - 1 {
                together.extend(&row[1..]);
            }
        }
    }
    for (machine, rows) in all {
        corpus.add(&format!("machine-{machine}-together"), &[&[machine], &rows]);
    }
    corpus.add("sessions-nothing", &[&[2, 0, 0, 0, 0]]);
}

fn local() {
    let corpus = Corpus::of("local");
    for which in 0..33 {
        corpus.add(&format!("nothing-{which}"), &[&[which], b"{}"]);
    }
    let send = br#"{"to":"bob/web","text":"is it final?","kind":"ask","caller":{"folder":"/home/a"}}"#;
    corpus.add("send", &[&[16], send]);
    corpus.add("name", &[&[7], br#"{"name":"bob"}"#]);
    corpus.add("invite", &[&[4], br#"{"count":1,"life_ms":259200000,"auto_accept":false}"#]);
    let head = b"HTTP/1.1 200 OK\r\npenpal-api: 1\r\ncontent-length: 2\r\n\r\n{}";
    corpus.add("answer", &[&[0xff], head]);
    corpus.add("failure", &[&[0xfe], br#"{"code":"usage","message":"m","hint":"h"}"#]);
    corpus.add("question", &[&[0xfd], br#"{"do":"token-new","note":"for bob","life_ms":5,"uses":1}"#]);
}

fn config() {
    let corpus = Corpus::of("config");
    let whole = "listen = '127.0.0.1:5'\npublic = 'relay.example.com'\nkeys = '/k'\nregister = 'allow-list'\nallow = ['Bob']\nspool-bytes = 2000000\n";
    corpus.add("whole", &[whole.as_bytes()]);
    corpus.add("limits", &[b"spool-envelopes = 16\nconnections = 2\nconnections-per-network = 1\n"]);
    corpus.add("unknown", &[b"port = 5\n"]);
}

fn hook() {
    let corpus = Corpus::of("hook");
    let folder = root().join("tests/fixtures/agents");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    for (index, path) in files.iter().filter(|path| path.to_string_lossy().ends_with(".jsonl")).enumerate() {
        let text = fs::read_to_string(path).expect("lines");
        for (line, text) in text.lines().take(2).enumerate() {
            let value: Value = serde_json::from_str(text).expect("JSON");
            // Hooks: what stood on standard input; MCP: the call itself.
            let input = value.get("stdin").or_else(|| value.get("input")).unwrap_or(&value);
            let (agent, event) = (u8::try_from(index % 10).expect("few"), u8::try_from(line).expect("few"));
            corpus.add(&format!("recorded-{index}-{line}"), &[&[agent, event], input.to_string().as_bytes()]);
        }
    }
}

/// Targets whose input is steps begin anywhere.
fn steps() {
    for target in ["sessions", "contact", "delivery", "relay", "reconnect", "pair", "room"] {
        let corpus = Corpus::of(target);
        for (number, length) in [64_usize, 256, 512, 1024].into_iter().enumerate() {
            for how in 0..2_u8 {
                // Any bytes that are always the same.
                let mut state = 0x9e37_79b9_u32 ^ (u32::try_from(number).expect("few") << 8) ^ u32::from(how);
                let bytes: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        state.to_be_bytes()[0]
                    })
                    .collect();
                corpus.add(&format!("steps-{number}-{how}"), &[&[how], &bytes]);
            }
        }
    }
}

fn main() {
    stream();
    blob();
    rows();
    local();
    config();
    hook();
    steps();
    frames();
    sealed();
    text();
    seal();
    keyfile();
    log();
    quote();
}
