//! Every *no* is the same answer, and costs the machine the same look-ups.

use std::cell::RefCell;

use bytes::Bytes;
use penpal_protocol::ids::{Capability, EdgeId, SlotId};
use penpal_protocol::wire::{
    Answer, Deposit, DepositOutcome, EdgeLink, EdgeRevoke, GetContactState, RefusalCode, Request,
};
use penpal_relay_core::{
    Command, Committed, MemRows, Queue, QueueRow, RequestId, Rows, RowsError, Table, Usage,
};

use crate::world::{Way, World, key};

/// Rows that note what is asked of them.
struct Watched<'r> {
    rows: &'r MemRows,
    asked: RefCell<Vec<String>>,
}

impl Rows for Watched<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, RowsError> {
        self.asked.borrow_mut().push(format!("get {table:?}"));
        self.rows.get(table, key)
    }

    fn keys(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, RowsError> {
        self.asked.borrow_mut().push(format!("keys {table:?}"));
        self.rows.keys(table, prefix, after, limit)
    }

    fn usage(&self, queue: Queue) -> Result<Usage, RowsError> {
        self.asked.borrow_mut().push("usage".to_owned());
        self.rows.usage(queue)
    }

    fn read(&self, queue: Queue, after: u64, rows: usize, bytes: usize) -> Result<Vec<QueueRow>, RowsError> {
        self.asked.borrow_mut().push("read".to_owned());
        self.rows.read(queue, after, rows, bytes)
    }

    fn older_than(&self, minute: u32, limit: usize) -> Result<Vec<(Queue, u64)>, RowsError> {
        self.asked.borrow_mut().push("older_than".to_owned());
        self.rows.older_than(minute, limit)
    }
}

/// What a cold machine looks up for one input, and what it answers.
fn watched(world: &mut World, conn_key: u64, input: &dyn Fn() -> Input) -> (Vec<String>, String) {
    world.restart();
    let conn = world.connect(key(conn_key));
    // The device rows are warm, as for every connection in use: they say nothing about the question.
    let warm = world.put(
        conn,
        Request::InviteFetch(penpal_protocol::wire::InviteFetch {
            invite: penpal_protocol::ids::InviteId::from_bytes([0xee; 16]),
        }),
    );
    world.step();
    world.answer(warm);
    let rows = Watched { rows: &world.rows, asked: RefCell::default() };
    match input() {
        Input::Request(request) => {
            world
                .core
                .handle_request(conn, RequestId(u64::MAX), request, &rows, world.now, &mut world.rng)
                .unwrap();
        }
        Input::Deposit(deposit) => world.core.handle_deposit(conn, deposit, &rows, world.now).unwrap(),
    }
    let changes = world.core.take_changes(world.now);
    assert!(changes.is_empty(), "a no changes nothing");
    world.core.handle_committed(Committed::Done, &rows, world.now).unwrap();
    let mut said = Vec::new();
    while let Some(command) = world.core.poll_command() {
        said.push(match command {
            Command::Answer { answer, .. } => format!("{answer:?}"),
            Command::DepositAnswer { answer, .. } => format!("{:?}", answer.outcome),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(said.len(), 1);
    (rows.asked.into_inner(), said.remove(0))
}

enum Input {
    Request(Request),
    Deposit(Deposit),
}

/// Every way of having no right: which key asks, and with what.
fn cases(world: &mut World) -> Vec<(&'static str, u64, Way)> {
    let (alice, bob, way) = world.pair();
    let carol = world.person(3, "carol");
    let revoked = world.way(&alice, bob.conn);
    assert_eq!(world.ask(alice.conn, Request::EdgeRevoke(EdgeRevoke { edge: revoked.edge })), Answer::Done);
    let linked_by_carol = world.way(&alice, carol.conn);
    let absent = Way { edge: EdgeId::from_bytes([0; 16]), ..way.clone() };
    let wrong_cap = Way { cap: Capability::from_bytes([0; 32]), ..way.clone() };
    vec![
        ("absent edge", 2, absent),
        ("wrong capability", 2, wrong_cap),
        ("revoked edge", 2, revoked),
        ("linked by another account", 2, linked_by_carol),
    ]
}

#[test]
fn requests_by_capability() {
    let mut world = World::new();
    let no = format!("{:?}", Answer::refused(RefusalCode::No));
    for (name, asker, way) in cases(&mut world) {
        let link = || Input::Request(Request::EdgeLink(EdgeLink { edge: way.edge, cap: way.cap.clone() }));
        let read = || {
            Input::Request(Request::GetContactState(GetContactState { edge: way.edge, cap: way.cap.clone() }))
        };
        for input in [&link as &dyn Fn() -> Input, &read] {
            let (asked, answer) = watched(&mut world, asker, input);
            assert_eq!(answer, no, "{name}");
            assert_eq!(asked, ["get Edge"], "{name}");
        }
    }
}

#[test]
fn deposits() {
    let mut world = World::new();
    let mut cases = cases(&mut world);
    let (_, _, good) = &cases[1];
    let alice_slot = good.slot;
    let absent_slot = Way { slot: SlotId::from_bytes([0; 16]), ..cases[2].2.clone() };
    cases.push(("absent slot", 2, absent_slot));
    cases.push(("a stranger", 9, cases[3].2.clone()));
    for (name, asker, way) in &cases {
        let deposit = || Input::Deposit(way.deposit(1, vec![1; 4096]));
        let (asked, answer) = watched(&mut world, *asker, &deposit);
        assert_eq!(answer, format!("{:?}", DepositOutcome::No), "{name}");
        assert_eq!(asked, ["get Edge", "get Slot"], "{name}");
    }
    assert!(cases.iter().any(|(_, _, way)| way.slot == alice_slot));
}
