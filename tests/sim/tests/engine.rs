//! An engine whose disk takes nothing any more, and one that is to keep more at once than its log takes.

use std::sync::Arc;

use penpal::config::Config;
use penpal::engine::{CallId, Clock, Engine, Input, Output, Parts, Rng};
use penpal::files::shelf::Shelf;
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ErrorCode;
use penpal_local_api::home::Home;
use penpal_local_api::methods::Call;
use penpal_local_api::sessions::OpenRequest;
use penpal_local_api::status::StatusRequest;
use penpal_seal::MemoryKeys;
use penpal_sim::dice::{Dice, generator};
use penpal_sim::party::PartyClock;
use penpal_store::disk::MemDisk;
use penpal_store::{LogStore, MemIndex, Options};
use tokio::time::Instant;

fn engine(disk: &MemDisk, options: Options) -> Engine {
    let store = LogStore::open_in(Arc::new(disk.clone()), Box::new(MemIndex::new()), options);
    let clock = Arc::new(PartyClock::new(Instant::now(), Dice::new(1, "clock")));
    Engine::open(Parts {
        home: Home::at("/nowhere"),
        config: Config::default(),
        store: Box::new(store.expect("a log")),
        shelf: Shelf::of(&Home::at("/nowhere")),
        search: None,
        keys: Box::new(MemoryKeys::default()),
        clock: Clock::start_of(clock),
        rng: Rng::new(Box::new(generator(1, "node"))),
    })
    .expect("it opens")
}

fn open(name: &str) -> Call {
    Call::SessionOpen(OpenRequest { caller: Caller::default(), name: name.to_owned(), agent: None })
}

fn send(text: &str) -> Call {
    let request = serde_json::json!({ "to": "one", "text": text, "wait_ms": 0 });
    Call::Send(serde_json::from_value(request).expect("a request"))
}

fn status() -> Call {
    Call::Status(StatusRequest { caller: Caller::default() })
}

/// The answers to calls of one step: none is well.
fn step(engine: &mut Engine, calls: Vec<Call>) -> Vec<Option<ErrorCode>> {
    let mut answers = vec![Some(ErrorCode::Internal); calls.len()];
    let numbered = (0..).zip(calls).map(|(id, call)| Input::Call { id: CallId(id), call: Box::new(call) });
    let stepped = engine.step(numbered.collect(), &mut |output| {
        if let Output::Answer { call, outcome } = output {
            answers[usize::try_from(call.0).expect("small")] = outcome.err().map(|error| error.code);
        }
    });
    stepped.expect("it goes on");
    answers
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_what_must_be_kept_and_answers_questions() {
    let disk = MemDisk::new();
    let mut engine = engine(&disk, Options::default());
    assert_eq!(step(&mut engine, vec![open("one")]), [None]);
    disk.set_capacity(Some(disk.used_bytes()));
    // The log has some room of its own.
    let large = "x".repeat(60_000);
    let taken = (0..1_000).find(|_| step(&mut engine, vec![send(&large)]) != [None]);
    assert!(taken.is_some(), "it never ends");
    let refused = Some(ErrorCode::DiskFull);
    let calls = vec![send(&large), status(), send(&large), status()];
    assert_eq!(step(&mut engine, calls), [refused, None, refused, None]);
    disk.set_capacity(None);
    let calls = vec![send(&large), status(), open("two")];
    assert_eq!(step(&mut engine, calls), [None, None, None]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_at_once_is_kept_in_as_many_steps_as_it_needs() {
    let mut engine = engine(&MemDisk::new(), Options::default());
    assert_eq!(step(&mut engine, vec![open("one")]), [None]);
    // More than the log takes at once.
    let large = "x".repeat(64 * 1024);
    let count = 2 * penpal_store::MAX_BATCH_BYTES / large.len();
    assert_eq!(step(&mut engine, vec![send(&large); count]), vec![None; count]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_changes_more_than_the_log_takes_fails_and_ends_nothing() {
    let small = Options { segment_bytes: 64 * 1024, ..Options::default() };
    let mut engine = engine(&MemDisk::new(), small);
    assert_eq!(step(&mut engine, vec![open("one")]), [None]);
    let large = "x".repeat(60_000);
    let refused = Some(ErrorCode::Internal);
    assert_eq!(step(&mut engine, vec![send(&large), status()]), [refused, refused]);
    let calls = vec![send("small"), send(&large), status(), send("small")];
    assert_eq!(step(&mut engine, calls), [None, refused, None, None]);
}
