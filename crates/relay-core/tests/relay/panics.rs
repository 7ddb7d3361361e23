//! Whatever is asked in whatever order, the machine answers and does not panic.

use penpal_protocol::cbor::{Blob, List, Text};
use penpal_protocol::ids::{
    BlobId, Capability, DepositId, EdgeId, Hash, Incarnation, InviteId, RegistrationProof, RunId, SlotId,
    SpoolEpoch,
};
use penpal_protocol::wire::{
    Ack, Answer, BlobCreate, BlobDelete, BlobGet, BlobPut, Deposit, EdgeCreate, EdgeLink, EdgeRevoke,
    GetContactState, Hello, InviteCreate, InviteFetch, InviteRedeem, InviteRevoke, Profile, PutBundle,
    PutManifest, Register, Request,
};
use penpal_relay_core::{AdminRequest, Config, ConnId, RegistrationPolicy};
use proptest::prelude::*;

use crate::world::{START_MS, World, hello, key, label};

/// Few values, so that random inputs meet.
fn few<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    (0..4_u8).prop_map(|byte| [byte; N])
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..6_u64, Just(u64::MAX), Just(START_MS), Just(START_MS + 60_000), any::<u64>()]
}

fn blob<const MAX: usize>() -> impl Strategy<Value = Blob<MAX>> {
    (0..3_u8, 0..40_usize).prop_map(|(byte, length)| Blob::new(vec![byte; length]).unwrap())
}

fn profile() -> impl Strategy<Value = Profile> {
    (blob(), proptest::option::of(blob())).prop_map(|(current, previous)| Profile { current, previous })
}

fn cap() -> impl Strategy<Value = Capability> {
    few().prop_map(Capability::from_bytes)
}

pub(crate) fn requests() -> impl Strategy<Value = Request> {
    let edge = || few().prop_map(EdgeId::from_bytes);
    let invite = || few().prop_map(InviteId::from_bytes);
    let run = || few().prop_map(RunId::from_bytes);
    prop_oneof![
        (few(), run(), proptest::collection::vec(run(), 0..4)).prop_map(|(incarnation, run, since)| {
            let incarnation = Incarnation::from_bytes(incarnation);
            let software = Text::truncated("x");
            Request::Hello(Hello { incarnation, run, since: List::truncated(since), software })
        }),
        (0..3_u8, proptest::option::of(invite()), proptest::option::of(few())).prop_map(
            |(handle, invite, proof)| {
                let handle = label(&format!("h{handle}"));
                let proof = proof.map(RegistrationProof::from_bytes);
                Request::Register(Register { handle, token: None, invite, proof })
            }
        ),
        (any::<[u8; 8]>(), number(), proptest::collection::vec(number(), 0..5)).prop_map(
            |(epoch, up_to, gaps)| {
                Request::Ack(Ack { epoch: SpoolEpoch::from_bytes(epoch), up_to, gaps: List::truncated(gaps) })
            }
        ),
        (number(), number(), profile()).prop_map(|(expect, revision, profile)| {
            Request::PutManifest(PutManifest { expect, revision, profile })
        }),
        profile().prop_map(|profile| Request::PutBundle(PutBundle { profile })),
        (edge(), cap()).prop_map(|(edge, cap)| Request::GetContactState(GetContactState { edge, cap })),
        (edge(), cap())
            .prop_map(|(edge, cap)| Request::EdgeCreate(EdgeCreate { edge, cap_hash: cap.hash() })),
        (edge(), cap()).prop_map(|(edge, cap)| Request::EdgeLink(EdgeLink { edge, cap })),
        edge().prop_map(|edge| Request::EdgeRevoke(EdgeRevoke { edge })),
        (invite(), few(), number(), blob()).prop_map(|(invite, proof, expires_ms, record)| {
            let proof_hash = RegistrationProof::from_bytes(proof).hash();
            Request::InviteCreate(InviteCreate { invite, proof_hash, expires_ms, record })
        }),
        invite().prop_map(|invite| Request::InviteFetch(InviteFetch { invite })),
        (invite(), blob())
            .prop_map(|(invite, request)| Request::InviteRedeem(InviteRedeem { invite, request })),
        invite().prop_map(|invite| Request::InviteRevoke(InviteRevoke { invite })),
        (few(), number(), cap(), number()).prop_map(|(blob, bytes, cap, expires_ms)| {
            Request::BlobCreate(BlobCreate {
                blob: BlobId::from_bytes(blob),
                bytes,
                token_hash: cap.hash(),
                expires_ms,
            })
        }),
        (few(), any::<u32>(), any::<u32>()).prop_map(|(blob, part, bytes)| {
            Request::BlobPut(BlobPut { blob: BlobId::from_bytes(blob), part, bytes })
        }),
        (few(), cap(), any::<u32>()).prop_map(|(blob, token, part)| {
            Request::BlobGet(BlobGet { blob: BlobId::from_bytes(blob), token, part })
        }),
        few().prop_map(|blob| Request::BlobDelete(BlobDelete { blob: BlobId::from_bytes(blob) })),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Connect(u64),
    Close(u64),
    Ask(u64, Request),
    /// An acknowledgement in the right epoch.
    AckRight(u64, u64, Vec<u64>),
    Deposit(u64, [u8; 16], [u8; 32], [u8; 16], u8, bool),
    DepositRight(u64, usize, u8, bool),
    Admin(AdminRequest),
    Pass(u64),
    Jump(i64),
    DiskFull(bool),
    Commit,
    Restart(bool),
}

fn steps() -> impl Strategy<Value = Step> {
    let conn = || 1..12_u64;
    prop_oneof![
        3 => (0..4_u64).prop_map(Step::Connect),
        1 => conn().prop_map(Step::Close),
        12 => (conn(), requests()).prop_map(|(conn, request)| Step::Ask(conn, request)),
        3 => (conn(), number(), proptest::collection::vec(number(), 0..4))
            .prop_map(|(conn, up_to, gaps)| Step::AckRight(conn, up_to, gaps)),
        2 => (conn(), few(), few(), few(), any::<u8>(), any::<bool>())
            .prop_map(|(conn, edge, cap, slot, id, ephemeral)| Step::Deposit(conn, edge, cap, slot, id, ephemeral)),
        4 => (conn(), 0..4_usize, any::<u8>(), any::<bool>())
            .prop_map(|(conn, slot, id, ephemeral)| Step::DepositRight(conn, slot, id, ephemeral)),
        1 => prop_oneof![
            Just(AdminRequest::TokenList),
            Just(AdminRequest::TokenNew { note: "n".into(), life_ms: 50_000, uses: 0 }),
            Just(AdminRequest::TokenRevoke { which: "0000".into() }),
        ].prop_map(Step::Admin),
        2 => (0..2_000_000_u64).prop_map(Step::Pass),
        1 => (-100_000_000_000..100_000_000_000_i64).prop_map(Step::Jump),
        1 => any::<bool>().prop_map(Step::DiskFull),
        4 => Just(Step::Commit),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

fn run(steps: Vec<Step>) {
    let mut world = World::with(Config { registration: RegistrationPolicy::Open, ..Config::default() });
    for step in steps {
        match step {
            Step::Connect(number) => {
                world.connect(key(number));
            }
            Step::Close(conn) => world.disconnect(ConnId(conn)),
            Step::Ask(conn, request) => {
                world.put(ConnId(conn), request);
            }
            Step::AckRight(conn, up_to, gaps) => {
                let id = world.put(ConnId(conn), hello(1, 1, &[]));
                world.step();
                if let Some(Answer::Hello(answer)) = world.answer(id) {
                    let gaps = List::truncated(gaps);
                    world.put(ConnId(conn), Request::Ack(Ack { epoch: answer.epoch, up_to, gaps }));
                }
            }
            Step::Deposit(conn, edge, cap, slot, id, ephemeral) => {
                world.put_deposit(ConnId(conn), deposit(edge, cap, slot, id, ephemeral));
            }
            Step::DepositRight(conn, nth, id, ephemeral) => {
                use penpal_relay_core::{Rows, Table};
                let slots = world.rows.keys(Table::Slot, &[], None, 9).unwrap();
                let slot = slots.get(nth).and_then(|key| key.as_slice().try_into().ok()).unwrap_or([0; 16]);
                for byte in 0..4 {
                    let what = deposit([byte; 16], [byte; 32], slot, id, ephemeral);
                    world.put_deposit(ConnId(conn), what);
                }
            }
            Step::Admin(request) => {
                world.admin(request);
            }
            Step::Pass(ms) => {
                world.step();
                world.advance(std::time::Duration::from_millis(ms));
            }
            Step::Jump(ms) => world.now.wall_ms = world.now.wall_ms.saturating_add_signed(ms),
            Step::DiskFull(full) => world.disk_full = full,
            Step::Commit => world.step(),
            Step::Restart(restored) => {
                world.step();
                let full = std::mem::take(&mut world.disk_full);
                world.restart_as(restored);
                world.disk_full = full;
            }
        }
    }
    world.step();
    assert!(world.alarms.is_empty(), "{:?}", world.alarms);
}

fn deposit(edge: [u8; 16], cap: [u8; 32], slot: [u8; 16], id: u8, ephemeral: bool) -> Deposit {
    Deposit {
        edge: EdgeId::from_bytes(edge),
        cap: Capability::from_bytes(cap),
        slot: SlotId::from_bytes(slot),
        deposit: DepositId::from_bytes([id; 16]),
        ephemeral: Some(ephemeral),
        envelope: Blob::new(vec![id; 4096]).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_steps(steps in proptest::collection::vec(steps(), 0..120)) {
        run(steps);
    }
}

#[test]
fn hashes_of_nothing_open_nothing() {
    // The placeholder compared with for absent edges is no edge's hash.
    assert_ne!(Capability::from_bytes([0; 32]).hash(), Hash::from_bytes([0; 32]));
}
