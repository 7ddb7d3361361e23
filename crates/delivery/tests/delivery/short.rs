//! Ids as people type them.

use penpal_delivery::{MailKey, MailState, ResolveError, Selection, exact_id};
use penpal_protocol::ids::MsgId;

use crate::world::{Send, World, peer};

#[test]
fn short_ids_are_fixed_when_stored_and_found_by_any_unique_prefix() {
    let mut world = World::new(704, 2);
    let id = |byte: u8, last: u8| {
        let mut bytes = [byte; 16];
        bytes[15] = last;
        MsgId::from_bytes(bytes)
    };
    let mut shorts = Vec::new();
    for msg_id in [id(0, 1), id(0, 2), id(7, 1)] {
        let mut message = Send::note(1, "x").message(&world.nodes[0]);
        message.msg_id = Some(msg_id);
        let accepted = world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap();
        shorts.push(accepted.short);
    }
    assert_eq!(shorts[0], "0000");
    // Two ids that differ in the last byte only: everything but the last characters is taken.
    assert_eq!(shorts[1].len(), 26);
    assert_eq!(shorts[2].len(), 4);
    let node = &world.nodes[0];
    let find = |typed: &str| node.machine().resolve(typed, |_| true, &node.rows);
    assert_eq!(find("0000"), Ok(MailKey::own(id(0, 1))));
    assert_eq!(find("OOOO"), Ok(MailKey::own(id(0, 1))));
    assert!(
        matches!(find("00000"), Err(ResolveError::Ambiguous { candidates, .. }) if candidates.len() == 2)
    );
    assert_eq!(find(&shorts[1]), Ok(MailKey::own(id(0, 2))));
    assert_eq!(find(&shorts[2][..2]), Ok(MailKey::own(id(7, 1))));
    assert!(matches!(find("zzzz"), Err(ResolveError::Unknown { .. })));
    assert!(matches!(find("u???"), Err(ResolveError::NotAnId { .. })));
    let none = node.machine().resolve("0000", |_| false, &node.rows);
    assert!(matches!(none, Err(ResolveError::Unknown { .. })));
}

/// Sends a message under an id; gives its short one.
fn send_as(world: &mut World, bytes: [u8; 16]) -> String {
    let mut message = Send::note(1, "x").message(&world.nodes[0]);
    message.msg_id = Some(MsgId::from_bytes(bytes));
    world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap().short
}

fn find(world: &World, typed: &str) -> Result<MailKey, ResolveError> {
    world.nodes[0].machine().resolve(typed, |_| true, &world.nodes[0].rows)
}

fn starting(bytes: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    id[..bytes.len()].copy_from_slice(bytes);
    id
}

#[test]
fn a_short_id_is_free_when_only_its_whole_bytes_are_taken() {
    let mut world = World::new(730, 1);
    // Four characters are twenty bits: two bytes, and half of the third.
    assert_eq!(send_as(&mut world, starting(&[0, 0, 0x10])).len(), 4);
    assert_eq!(send_as(&mut world, starting(&[0, 0, 0x20])).len(), 4);
    assert_eq!(send_as(&mut world, starting(&[0, 0, 0x30])).len(), 4);
    // The fourth character of these is taken, though others stand before them.
    assert_eq!(send_as(&mut world, starting(&[0, 0, 0x2f])).len(), 5);
    assert_eq!(send_as(&mut world, starting(&[0, 0, 0x3f])).len(), 5);
    assert_eq!(send_as(&mut world, starting(&[0, 0, 0x00])).len(), 4);
}

#[test]
fn an_id_with_many_others_is_found_and_few_of_many_are_named() {
    let mut world = World::new(731, 1);
    let shorts: Vec<String> =
        (0..150_u8).map(|number| send_as(&mut world, starting(&[1, number, number]))).collect();
    for (number, short) in (0..150_u8).zip(&shorts) {
        assert_eq!(find(&world, short), Ok(MailKey::own(MsgId::from_bytes(starting(&[1, number, number])))));
    }
    let Err(ResolveError::Ambiguous { candidates, .. }) = find(&world, &shorts[0][..1]) else {
        panic!("ambiguous")
    };
    assert_eq!(candidates.len(), 8);
}

#[test]
fn what_is_no_id_is_called_so() {
    let mut world = World::new(732, 1);
    let short = send_as(&mut world, starting(&[1]));
    for typed in ["", " ", ".me", &"0".repeat(27), "\u{e4}\u{e4}\u{e4}\u{e4}", "u!"] {
        let found = find(&world, typed);
        assert!(matches!(found, Err(ResolveError::NotAnId { .. })), "{typed:?}: {found:?}");
    }
    let own = MailKey::own(MsgId::from_bytes(starting(&[1])));
    assert_eq!(find(&world, &short), Ok(own));
    assert_eq!(find(&world, &exact_id(&own)), Ok(own));
    assert!(matches!(find(&world, &format!("{short}.you")), Err(ResolveError::Unknown { .. })));
}

#[test]
fn what_was_not_taken_has_no_id_here() {
    let mut world = World::new(733, 2);
    let body = world.forge_letter(1, 0, "refused", None);
    let typed = body.msg_id.to_text();
    let key = MailKey::from_contact(body.msg_id, peer(1).account);
    world.deliver_declined(0, body, "not-a-member").unwrap();
    assert_eq!(world.nodes[0].machine().is_known(key, &world.nodes[0].rows), Ok(true));
    assert!(matches!(find(&world, &typed), Err(ResolveError::Unknown { .. })));
    let body = world.forge_letter(1, 0, "taken", None);
    let typed = body.msg_id.to_text();
    world.deliver_forged(0, body).unwrap();
    assert!(find(&world, &typed).is_ok());
    let states: Vec<_> =
        world.nodes[0].list(Selection::With(peer(1).account)).iter().map(|view| view.state).collect();
    assert_eq!(states, [Some(MailState::Unread)]);
}

#[test]
fn an_exact_id_is_found_behind_many_that_only_begin_so() {
    let mut world = World::new(734, 1);
    let first = send_as(&mut world, starting(&[1, 0, 0, 0xff]));
    assert_eq!(first.len(), 4);
    for number in 0..150 {
        assert!(send_as(&mut world, starting(&[1, 0, 0, number])).len() > 4);
    }
    assert_eq!(find(&world, &first), Ok(MailKey::own(MsgId::from_bytes(starting(&[1, 0, 0, 0xff])))));
}
