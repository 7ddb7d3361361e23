//! Typing into a terminal under virtual time.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use penpal_wake::{Act, QUIET, RETURN_AFTER, Typist};
use proptest::prelude::*;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Goes on until the text stands in the line; gives the time then.
fn typed() -> Typist {
    let mut typist = Typist::new();
    typist.handle_wanted();
    assert_eq!(typist.poll(at(0)), Some(Act::Take));
    typist.handle_taken(true);
    assert_eq!(typist.poll(at(0)), Some(Act::Text { pasted: false }));
    typist.handle_written(true, at(0));
    typist
}

#[test]
fn text_and_return_go_apart_and_only_then_it_is_committed() {
    let mut typist = typed();
    assert_eq!(typist.poll(at(1)), None);
    assert_eq!(typist.poll_timeout(), Some(RETURN_AFTER));
    assert_eq!(typist.poll(RETURN_AFTER), Some(Act::Return));
    assert_eq!(typist.poll(RETURN_AFTER), None, "not before the return is written");
    typist.handle_written(true, RETURN_AFTER);
    assert_eq!(typist.poll(RETURN_AFTER), Some(Act::Commit));
    assert_eq!(typist.poll(RETURN_AFTER), None);
}

#[test]
fn nothing_is_typed_into_a_draft_or_a_busy_keyboard() {
    let mut typist = Typist::new();
    typist.handle_keys(b"hel", at(0));
    typist.handle_wanted();
    assert_eq!((typist.poll(at(60_000)), typist.poll_timeout()), (None, None), "a draft may stand for hours");
    typist.handle_keys(b"lo\r", at(60_000));
    assert_eq!(typist.poll(at(60_100)), None, "just now");
    assert_eq!(typist.poll_timeout(), Some(at(60_000) + QUIET));
    assert_eq!(typist.poll(at(60_500)), Some(Act::Take));
    // A key while it is being taken.
    typist.handle_keys(b"x", at(60_501));
    typist.handle_taken(true);
    assert_eq!(typist.poll(at(60_502)), Some(Act::Leave));
}

#[test]
fn a_key_between_text_and_return_leaves_the_line_to_the_person() {
    let mut typist = typed();
    typist.handle_keys(b"!", at(100));
    assert_eq!(typist.poll(at(100)), Some(Act::Leave));
    assert_eq!(typist.poll(at(10_000)), None, "no return follows");
    typist.handle_wanted();
    assert_eq!(typist.poll(at(20_000)), None, "their draft");
    // The terminal's own reports are no keys.
    let mut typist = typed();
    typist.handle_keys(b"\x1b[I", at(100));
    assert_eq!(typist.poll(RETURN_AFTER), Some(Act::Return));
}

#[test]
fn a_write_that_fails_is_not_committed() {
    let mut typist = typed();
    assert_eq!(typist.poll(RETURN_AFTER), Some(Act::Return));
    typist.handle_written(false, RETURN_AFTER);
    assert_eq!(typist.poll(RETURN_AFTER), Some(Act::Leave));
    assert_eq!(typist.poll(at(60_000)), None);
}

#[test]
fn nothing_that_waits_types_nothing() {
    let mut typist = Typist::new();
    typist.handle_wanted();
    assert_eq!(typist.poll(at(0)), Some(Act::Take));
    typist.handle_taken(false);
    assert_eq!(typist.poll(at(0)), None);
}

#[test]
fn a_program_that_marks_pastes_gets_one_even_when_its_wish_comes_in_pieces() {
    let mut typist = Typist::new();
    typist.handle_output(b"hello \x1b[?20");
    typist.handle_output(b"04h world");
    typist.handle_wanted();
    assert_eq!(typist.poll(at(0)), Some(Act::Take));
    typist.handle_taken(true);
    assert_eq!(typist.poll(at(0)), Some(Act::Text { pasted: true }));
    let mut typist = Typist::new();
    typist.handle_output(b"\x1b[?2004h\x1b[?2004l");
    typist.handle_wanted();
    assert_eq!(typist.poll(at(0)), Some(Act::Take));
    typist.handle_taken(true);
    assert_eq!(typist.poll(at(0)), Some(Act::Text { pasted: false }));
}

#[derive(Debug, Clone)]
enum Step {
    Keys(Vec<u8>),
    Wanted,
    Pass(u64),
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop_oneof![
            Just(b"a".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\x1b[I".to_vec()),
            Just(b"\x1b[200~x\r".to_vec()),
            Just(b"\x1b[201~".to_vec())
        ]
        .prop_map(Step::Keys),
        Just(Step::Wanted),
        (0_u64..900).prop_map(Step::Pass),
        Just(Step::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_person_types_it_is_never_mixed_with_ours(steps in proptest::collection::vec(step(), 1..80)) {
        let mut typist = Typist::new();
        let (mut now, mut last_key) = (at(0), None::<Duration>);
        // What stands in the line: the person's keys, and ours.
        let (mut theirs, mut ours, mut pasting) = (false, false, false);
        let (mut returned, mut fail) = (false, false);
        for step in steps {
            match step {
                Step::Keys(bytes) => {
                    typist.handle_keys(&bytes, now);
                    match bytes.as_slice() {
                        b"\x1b[I" => {}
                        b"\r" if !pasting => { theirs = false; ours = false; last_key = Some(now); }
                        other => {
                            if other == b"\x1b[200~x\r" { pasting = true; }
                            if other == b"\x1b[201~" { pasting = false; }
                            theirs = true;
                            last_key = Some(now);
                        }
                    }
                }
                Step::Wanted => typist.handle_wanted(),
                Step::Pass(ms) => now += at(ms),
                Step::Fail => fail = true,
            }
            while let Some(act) = typist.poll(now) {
                match act {
                    Act::Take => typist.handle_taken(true),
                    Act::Text { .. } => {
                        prop_assert!(!theirs && !ours && last_key.is_none_or(|last| now >= last + QUIET));
                        let ok = !std::mem::take(&mut fail);
                        ours = true;
                        typist.handle_written(ok, now);
                        if !ok { theirs = true; }
                    }
                    Act::Return => {
                        prop_assert!(ours && !theirs, "a return sends ours alone");
                        let ok = !std::mem::take(&mut fail);
                        returned = ok;
                        if ok { ours = false; } else { theirs = true; }
                        typist.handle_written(ok, now);
                    }
                    Act::Commit => prop_assert!(std::mem::take(&mut returned)),
                    Act::Leave => returned = false,
                }
            }
        }
    }
}
