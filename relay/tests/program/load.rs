//! Clients that take all they can get, with honest ones beside them; and that every *no* is one and the same.

use std::path::Path;
use std::time::{Duration, Instant};

use penpal_protocol::ids::{Capability, EdgeId, InviteId, SlotId};
use penpal_protocol::wire::{
    Answer, DepositOutcome, EdgeLink, FrameKind, GetContactState, InviteFetch, RefusalCode, Request,
};
use penpal_transport::Frame;

use crate::client::{Client, LONG, Way, pair};
use crate::process::{Process, binary, data};

/// How much a flood may cost the relay's memory: a small part of what its limits allow for so many connections.
const MAX_GROWTH_KIB: u64 = 96 * 1024;

/// How long an honest deposit may take beside a flood, on a machine that runs other tests as well.
const MAX_MEDIAN: Duration = Duration::from_millis(400);

/// Of each kind of question, at a time; and how often that may be repeated.
const ROUNDS: usize = 200;
const TRIES: usize = 8;

fn token(data: &Path) -> String {
    let output = binary().args(["token", "new", "--uses", "9", "--data"]).arg(data).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Opens streams without end, each with the first byte of a frame that never goes on.
async fn open_streams(client: Client) {
    let mut open = Vec::new();
    loop {
        match client.connection.open_bi(1024).await {
            Ok((mut writer, reader)) => {
                writer.push_raw_for_tests(&[0]);
                // Refused or reset: the next one.
                writer.flush().await.ok();
                open.push((writer, reader));
            }
            Err(_) => return,
        }
    }
}

/// Asks as fast as answers come, many at a time.
async fn ask_without_end(client: Client) {
    let fetch = Request::InviteFetch(InviteFetch { invite: InviteId::from_bytes([7; 16]) });
    let frame = Frame::new(fetch.kind().number(), fetch.encode());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (connection, frame) = (client.connection.clone(), frame.clone());
        asking.spawn(async move { while connection.request(&frame, 1024, LONG).await.is_ok() {} });
    }
    asking.join_all().await;
}

/// Hands over deposits that are not allowed, and never reads an answer.
async fn deposit_without_reading(mut client: Client) {
    let way = Way {
        edge: EdgeId::from_bytes([9; 16]),
        cap: Capability::from_bytes([9; 32]),
        slot: SlotId::from_bytes([9; 16]),
    };
    let deposit = way.deposit(1, vec![0; 4096]).encode();
    let (writer, _) = client.deposits().await;
    while writer.send(FrameKind::Deposit.number(), &deposit).await.is_ok() {}
    // It ends when the connection does.
    client.connection.closed().await;
}

/// Begins the largest frame among deposits, and hands it over byte by byte for ever: a stream that has carried one whole frame is
/// given no time limit, only its share of memory.
async fn trickle(mut client: Client) {
    let way = Way {
        edge: EdgeId::from_bytes([9; 16]),
        cap: Capability::from_bytes([9; 32]),
        slot: SlotId::from_bytes([9; 16]),
    };
    let deposit = way.deposit(1, vec![0; 4096]).encode();
    let (writer, _) = client.deposits().await;
    if writer.send(FrameKind::Deposit.number(), &deposit).await.is_err() {
        return;
    }
    let length: u32 = 90 * 1024;
    writer.push_raw_for_tests(&length.to_be_bytes());
    writer.push_raw_for_tests(&[FrameKind::Deposit.number()]);
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    loop {
        writer.push_raw_for_tests(&[0]);
        if writer.flush().await.is_err() {
            return;
        }
        pace.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_cost_bounded_memory_and_do_not_starve_the_honest() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let (mut alice, mut bob, way) = pair(&process.address, &token(&data)).await;
    let hello = alice.hello().await;
    let quiet = process.resident_kib();
    let mut floods = tokio::task::JoinSet::new();
    for number in 0..8 {
        floods.spawn(open_streams(Client::connect(&process.address, 20 + number).await));
        floods.spawn(ask_without_end(Client::connect(&process.address, 40 + number).await));
        floods.spawn(deposit_without_reading(Client::connect(&process.address, 60 + number).await));
        floods.spawn(trickle(Client::connect(&process.address, 80 + number).await));
    }
    let mut times = Vec::new();
    for number in 0..150 {
        let began = Instant::now();
        assert_eq!(bob.deposit(&way, number, vec![1; 4096]).await, DepositOutcome::Accepted);
        assert_eq!(alice.delivery().await.seq, number + 1);
        times.push(began.elapsed());
        alice.ack(&hello, number + 1).await;
    }
    let middle = median(&mut times);
    let grown = process.resident_kib().saturating_sub(quiet);
    assert!(grown < MAX_GROWTH_KIB, "{grown} KiB more beside 32 clients that flood or trickle");
    assert!(middle < MAX_MEDIAN, "an honest message takes {middle:?} in the middle");
    floods.shutdown().await;
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_no_is_the_same_in_content_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&dir);
    let process = Process::start(&data);
    let token = token(&data);
    let (_alice, mut bob, way) = pair(&process.address, &token).await;
    let carol = Client::connect(&process.address, 3).await;
    let other = carol.register("carol", &token).await.slot;
    let taken = carol.open(5, other).await;
    let unknown = Way { edge: EdgeId::from_bytes([8; 16]), ..way.clone() };
    let wrong = Way { cap: Capability::from_bytes([8; 32]), ..way.clone() };
    let elsewhere = Way { slot: other, ..way.clone() };
    let unlinked = taken;
    let nowhere = Way { slot: SlotId::from_bytes([8; 16]), ..way.clone() };
    let kinds = [
        ("an unknown edge", unknown.clone()),
        ("a wrong capability", wrong.clone()),
        ("another account's slot", elsewhere),
        ("an edge that nobody linked", unlinked.clone()),
        ("an unknown slot", nowhere),
    ];
    let mut number = 0;
    let mut tries = 0..TRIES;
    loop {
        let mut times = vec![Vec::new(); kinds.len()];
        for _ in 0..ROUNDS {
            number += 1;
            for (place, (what, way)) in kinds.iter().enumerate() {
                let began = Instant::now();
                assert_eq!(bob.deposit(way, number, vec![1; 4096]).await, DepositOutcome::No, "{what}");
                times[place].push(began.elapsed());
            }
        }
        if same(kinds.iter().map(|(what, _)| *what), &mut times) {
            break;
        }
        assert!(tries.next().is_some(), "deposits can be told apart");
    }
    // And of questions.
    let state =
        |way: &Way| Request::GetContactState(GetContactState { edge: way.edge, cap: way.cap.clone() });
    let link = |way: &Way, cap: u8| {
        Request::EdgeLink(EdgeLink { edge: way.edge, cap: Capability::from_bytes([cap; 32]) })
    };
    let kinds = [
        ("the state at an unknown edge", state(&unknown)),
        ("the state with a wrong capability", state(&wrong)),
        ("linking an unknown edge", link(&unknown, 1)),
        ("linking with a wrong capability", link(&unlinked, 1)),
    ];
    let mut tries = 0..TRIES;
    loop {
        let mut times = vec![Vec::new(); kinds.len()];
        for _ in 0..ROUNDS {
            for (place, (what, request)) in kinds.iter().enumerate() {
                let began = Instant::now();
                assert_eq!(bob.ask(request.clone()).await, Answer::refused(RefusalCode::No), "{what}");
                times[place].push(began.elapsed());
            }
        }
        if same(kinds.iter().map(|(what, _)| *what), &mut times) {
            break;
        }
        assert!(tries.next().is_some(), "answers can be told apart");
    }
    assert_eq!(process.terminate(), Some(0));
}

/// Whether interleaved measurements lie closer together than a network lets them be told apart. What the machine does beside
/// makes single ones longer, never shorter: the fastest tenth is looked at, and a difference that is real shows every time.
#[expect(clippy::print_stderr, reason = "who looks at a failing test wants all figures")]
fn same<'w>(kinds: impl Iterator<Item = &'w str>, times: &mut [Vec<Duration>]) -> bool {
    let fast: Vec<Duration> = times
        .iter_mut()
        .map(|times| {
            times.sort_unstable();
            times[times.len() / 10]
        })
        .collect();
    let (least, most) = (fast.iter().min().unwrap(), fast.iter().max().unwrap());
    for (what, time) in kinds.zip(&fast) {
        eprintln!("{what}: {time:?}");
    }
    *most - *least < *least / 5 + Duration::from_micros(20)
}
