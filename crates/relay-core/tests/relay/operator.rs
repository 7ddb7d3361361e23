//! What an operator does, and what the machine tells about unusable data.

use penpal_protocol::wire::RefusalCode;
use penpal_relay_core::{AdminAnswer, AdminRequest, Change, GraphKey, RelayCore, StartError, Table};

use crate::world::{World, hello, refusal};

fn list(world: &mut World) -> Vec<(String, String, u32)> {
    match world.admin(AdminRequest::TokenList) {
        AdminAnswer::Tokens(tokens) => {
            tokens.into_iter().map(|token| (token.id, token.note, token.uses_left)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_are_listed_by_id_and_revoked() {
    let mut world = World::new();
    let mint = |world: &mut World, note: &str| {
        let ask = AdminRequest::TokenNew { note: note.into(), life_ms: 1_000_000, uses: 2 };
        match world.admin(ask) {
            AdminAnswer::TokenNew { token, info } => (token, info.id),
            other => panic!("{other:?}"),
        }
    };
    let (first, first_id) = mint(&mut world, "for bob");
    world.now.wall_ms += 1;
    let (second, second_id) = mint(&mut world, "");
    assert_eq!(first.len(), 19, "{first}");
    assert_eq!(
        list(&mut world),
        [(first_id.clone(), "for bob".to_owned(), 2), (second_id.clone(), String::new(), 2)]
    );
    for text in [&first, &second] {
        let plain = text.replace('-', "");
        assert!(world.rows.all_bytes().all(|bytes| {
            !bytes.windows(plain.len()).any(|window| window.eq_ignore_ascii_case(plain.as_bytes()))
        }));
    }
    let revoked = |answer| match answer {
        AdminAnswer::TokensRevoked(tokens) => tokens.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(revoked(world.admin(AdminRequest::TokenRevoke { which: "abc".into() })), 0);
    assert_eq!(revoked(world.admin(AdminRequest::TokenRevoke { which: first })), 1);
    assert_eq!(revoked(world.admin(AdminRequest::TokenRevoke { which: second_id[..4].to_owned() })), 1);
    assert_eq!(list(&mut world), []);
}

#[test]
fn other_keys_are_noticed() {
    let mut world = World::new();
    let other = GraphKey::from_bytes([1; 32]);
    let error = RelayCore::new(world.config.clone(), other, false, &world.rows, world.now, &mut world.rng)
        .unwrap_err();
    assert!(matches!(error, StartError::WrongKeys), "{error}");
}

#[test]
fn an_unusable_row_costs_whoever_needs_it_and_is_told() {
    let mut world = World::new();
    let (alice, bob, way) = world.pair();
    world.restart();
    let slot_row = |value: &'static [u8]| Change::Put {
        table: Table::Slot,
        key: alice.registered.slot.as_bytes().to_vec(),
        value: value.into(),
    };
    world.rows.commit(vec![slot_row(b"\x07noise")]);
    let (alice, bob) = (world.connect(alice.key), world.connect(bob.key));
    assert_eq!(refusal(&world.ask(alice, hello(1, 1, &[]))), Some(RefusalCode::Busy));
    assert!(world.alarms[0].contains("table Slot is unusable: record version 7"), "{:?}", world.alarms);
    assert_eq!(world.deposit(bob, way.deposit(1, vec![1; 8])), penpal_protocol::wire::DepositOutcome::Full);
    // Everybody else is served.
    assert_eq!(world.hello(bob, 1, 1, &[]).verdict, penpal_protocol::wire::Verdict::Known);
}
