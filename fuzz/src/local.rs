//! What comes over the sockets of this machine: calls of the local API, answers to them, questions of an operator.

use std::sync::LazyLock;

use penpal_local_api::{
    client::parse_answer,
    error::ApiError,
    methods::{Call, schemas},
};

static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| schemas().iter().map(|schema| schema.name).collect());

/// The first byte chooses the method, or what else the rest is.
pub fn check(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    match which {
        0xff => answer(rest),
        0xfe => drop(serde_json::from_slice::<ApiError>(rest)),
        0xfd => {
            if let Ok(line) = str::from_utf8(rest) {
                drop(penpal_relay::check_question(line));
            }
        }
        _ => call(*which, rest),
    }
}

fn answer(bytes: &[u8]) {
    if let Ok((_, body)) = parse_answer(bytes.to_vec()) {
        assert!(bytes.ends_with(&body), "a body that is not the end of the answer");
    }
}

fn call(which: u8, body: &[u8]) {
    let name = NAMES[usize::from(which) % NAMES.len()];
    match Call::parse(name, body) {
        None => panic!("{name} is in the list of methods and is none"),
        Some(Ok(call)) => assert_eq!(call.name(), name),
        Some(Err(_)) => {}
    }
}
