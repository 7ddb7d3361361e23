//! The relay is blind: nothing that people wrote, and no name they gave, occurs in its files, its log or its memory.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use penpal_tests::{Pair, wait};

const BODY: &str = "canary-body-6bc1bee22e409f96";
const SUBJECT: &str = "canary-subject-e93d7e117393172a";
const SESSION: &str = "canary-session-ae2d8a571e03ac9c";
const SUMMARY: &str = "canary-summary-9eb76fac45af8e51";
const CONTACT: &str = "canary-contact-30c81c46a35ce411";
const WAITING: &str = "canary-waiting-e5fbc1191a0a52ef";

#[test]
fn nothing_that_people_wrote_occurs_in_files_log_or_memory_of_the_relay() {
    let mut pair = Pair::connected();
    pair.alice.ok(&["session", "open", SESSION]);
    pair.alice.ok(&["session", "summary", SESSION, SUMMARY]);
    pair.bob.ok(&["contact", "rename", "alice", CONTACT]);
    pair.bob.ok(&[
        "send",
        &format!("{CONTACT}/{SESSION}"),
        BODY,
        "--subject",
        SUBJECT,
        "--as",
        "web",
        "--anyway",
    ]);
    wait::until("the message", || pair.alice.bodies(SESSION) == [BODY]);
    let short =
        pair.alice.json(&["inbox", SESSION])["messages"][0]["short"].as_str().expect("an id").to_owned();
    pair.alice.ok(&["reply", &short, BODY]);
    wait::until("the answer", || pair.bob.bodies("web") == [BODY]);
    // One that stays in the spool.
    pair.alice.ok(&["daemon", "stop"]);
    let sent = pair.bob.json(&["send", CONTACT, WAITING, "--as", "web"]);
    assert_eq!(sent["stage"], "relayed", "{sent}");

    let canaries = [BODY, SUBJECT, SESSION, SUMMARY, CONTACT, WAITING];
    let pid = pair.relay.pid().expect("the relay runs");
    let memory = found_in_memory(pid, &canaries);
    // The search finds what must be there: the handle is the operator's to know.
    assert!(
        found_in_memory(pid, &["alice"]).contains("alice"),
        "the search of the memory finds nothing at all"
    );
    assert_eq!(memory, BTreeSet::new(), "in the relay's memory");

    pair.relay.stop();
    let mut files = BTreeSet::new();
    let mut control = BTreeSet::new();
    for_each_file(pair.relay.folder(), &mut |bytes| {
        files.extend(found(bytes, &canaries));
        control.extend(found(bytes, &["alice"]));
    });
    assert!(control.contains("alice"), "the search of the files finds nothing at all");
    let log = std::fs::read(pair.relay.log()).expect("the log");
    files.extend(found(&log, &canaries));
    assert_eq!(files, BTreeSet::new(), "in the relay's files or log");
}

fn found<'t>(bytes: &[u8], texts: &[&'t str]) -> BTreeSet<&'t str> {
    let occurs = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    texts.iter().copied().filter(|text| occurs(text)).collect()
}

fn for_each_file(folder: &Path, seen: &mut impl FnMut(&[u8])) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("its type").is_dir() {
            for_each_file(&entry.path(), seen);
        } else if entry.file_type().expect("its type").is_file() {
            seen(&std::fs::read(entry.path()).expect("a file"));
        }
    }
}

/// Reads the writable memory of a process of this user, as the system shows it.
fn found_in_memory<'t>(pid: u32, texts: &[&'t str]) -> BTreeSet<&'t str> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its map of memory");
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut all = BTreeSet::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split(' ').next().unwrap_or_default();
        let Some((start, end)) = range.split_once('-') else { continue };
        let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)) else {
            continue;
        };
        let mut bytes = vec![0; usize::try_from(end - start).expect("a range that fits")];
        let read = memory.seek(SeekFrom::Start(start)).and_then(|_| memory.read_exact(&mut bytes));
        // Some ranges cannot be read; the others hold the heap and the stacks.
        if read.is_ok() {
            all.extend(found(&bytes, texts));
        }
    }
    all
}
