//! Order per pair of devices: gaps are waited for, then shown with a mark.

use penpal_delivery::{Event, Mailbox, Outcome, Selection, Stage, Table};
use penpal_protocol::ids::{Incarnation, ShortHash};
use penpal_protocol::sealed::{Body, Order};

use crate::world::{Send, World, peer};

fn letters(world: &mut World, count: u64) -> Vec<Body> {
    let mut prev_hash = ShortHash::from_bytes([0; 16]);
    let mut bodies = Vec::new();
    for seq in 1..=count {
        let body = world.forge_letter(0, 1, &format!("{seq}"), Some(Order { seq, prev_hash }));
        prev_hash = body.chain_hash();
        bodies.push(body);
    }
    bodies
}

fn shown(world: &World) -> Vec<String> {
    world.nodes[1].texts(Selection::Unread(Mailbox::Desk))
}

fn gaps(world: &World) -> Vec<bool> {
    world.nodes[1].list(Selection::All(Mailbox::Desk)).iter().map(|view| view.marks.gap).collect()
}

fn give(world: &mut World, bodies: &[Body], seq: usize) {
    world.deliver_forged(1, bodies[seq - 1].clone());
}

#[test]
fn a_message_waits_for_the_one_before_it() {
    let mut world = World::new(500, 2);
    let bodies = letters(&mut world, 3);
    give(&mut world, &bodies, 1);
    give(&mut world, &bodies, 3);
    assert_eq!(shown(&world), ["1"]);
    world.run_seconds(1);
    give(&mut world, &bodies, 2);
    assert_eq!(shown(&world), ["1", "2", "3"]);
    assert_eq!(gaps(&world), [false, false, false]);
    world.run_seconds(5);
    assert!(!world.nodes[1].events.contains(&Event::Gap { peer: peer(0) }));
}

#[test]
fn after_two_seconds_it_is_shown_with_a_mark_and_the_late_one_as_late() {
    let mut world = World::new(501, 2);
    let bodies = letters(&mut world, 4);
    give(&mut world, &bodies, 1);
    give(&mut world, &bodies, 3);
    give(&mut world, &bodies, 4);
    world.run_seconds(3);
    assert_eq!(shown(&world), ["1", "3", "4"]);
    assert_eq!(gaps(&world), [false, true, false]);
    assert!(world.nodes[1].events.contains(&Event::Gap { peer: peer(0) }));
    give(&mut world, &bodies, 2);
    assert_eq!(shown(&world), ["1", "3", "4", "2"]);
    let views = world.nodes[1].list(Selection::All(Mailbox::Desk));
    assert!(views[3].marks.late);
}

#[test]
fn two_holes_are_filled_in_any_order() {
    let mut world = World::new(502, 2);
    let bodies = letters(&mut world, 6);
    for seq in [1, 6, 4, 3, 2, 5] {
        give(&mut world, &bodies, seq);
    }
    assert_eq!(shown(&world), ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn what_waited_out_of_order_is_put_in_order_when_time_is_up() {
    let mut world = World::new(503, 2);
    let bodies = letters(&mut world, 6);
    for seq in [1, 6, 4, 3] {
        give(&mut world, &bodies, seq);
    }
    world.run_seconds(3);
    assert_eq!(shown(&world), ["1", "3", "4", "6"]);
    assert_eq!(gaps(&world), [false, true, false, true]);
}

#[test]
fn a_crash_while_waiting_shows_everything() {
    let mut world = World::new(504, 2);
    let bodies = letters(&mut world, 3);
    give(&mut world, &bodies, 1);
    give(&mut world, &bodies, 3);
    world.restart(1);
    assert_eq!(shown(&world), ["1", "3"]);
    assert_eq!(gaps(&world), [false, true]);
    give(&mut world, &bodies, 2);
    assert_eq!(shown(&world), ["1", "3", "2"]);
}

#[test]
fn a_broken_chain_is_told() {
    let mut world = World::new(505, 2);
    let bodies = letters(&mut world, 2);
    give(&mut world, &bodies, 1);
    let prev_hash = ShortHash::from_bytes([9; 16]);
    let other = world.forge_letter(0, 1, "other", Some(Order { seq: 2, prev_hash }));
    world.deliver_forged(1, other);
    assert!(world.nodes[1].events.contains(&Event::Gap { peer: peer(0) }));
    assert_eq!(shown(&world), ["1", "other"]);
}

#[test]
fn a_new_incarnation_starts_a_new_order_and_an_old_one_does_not_disturb_it() {
    let mut world = World::new(506, 2);
    let bodies = letters(&mut world, 3);
    give(&mut world, &bodies, 1);
    let mut newer = letters(&mut world, 2);
    for body in &mut newer {
        body.incarnation = Incarnation::from_bytes([5; 8]);
    }
    give(&mut world, &newer, 1);
    give(&mut world, &bodies, 2);
    give(&mut world, &newer, 2);
    give(&mut world, &bodies, 3);
    assert_eq!(shown(&world), ["1", "1", "2", "2", "3"]);
    let views = world.nodes[1].list(Selection::All(Mailbox::Desk));
    let late: Vec<bool> = views.iter().map(|view| view.marks.late).collect();
    assert_eq!(late, [false, false, true, false, true]);
    let changed = Event::IncarnationChanged { peer: peer(0) };
    assert_eq!(world.nodes[1].events.iter().filter(|event| **event == changed).count(), 1);
}

#[test]
fn what_waits_for_an_earlier_one_is_shown_before_what_a_new_incarnation_sends() {
    let mut world = World::new(515, 2);
    let bodies = letters(&mut world, 3);
    give(&mut world, &bodies, 1);
    give(&mut world, &bodies, 3);
    assert_eq!(shown(&world), ["1"]);
    let order = Some(Order { seq: 1, prev_hash: ShortHash::from_bytes([0; 16]) });
    let mut newer = world.forge_letter(0, 1, "new", order);
    newer.incarnation = Incarnation::from_bytes([5; 8]);
    give(&mut world, &[newer], 1);
    assert_eq!(shown(&world), ["1", "3", "new"]);
    assert_eq!(gaps(&world), [false, true, false]);
}

#[test]
fn one_id_with_two_contents_is_refused() {
    let mut world = World::new(507, 2);
    let mut bodies = letters(&mut world, 2);
    bodies[1].msg_id = bodies[0].msg_id;
    give(&mut world, &bodies, 1);
    give(&mut world, &bodies, 2);
    assert_eq!(shown(&world), ["1"]);
    let reused = Event::IdReused { peer: peer(0), msg_id: bodies[0].msg_id };
    assert!(world.nodes[1].events.contains(&reused));
}

#[test]
fn the_same_message_under_another_conversation_is_another_message() {
    let mut world = World::new(508, 2);
    let bodies = letters(&mut world, 1);
    give(&mut world, &bodies, 1);
    give(&mut world, &bodies, 1);
    assert_eq!(shown(&world), ["1"]);
    assert_eq!(world.nodes[1].rows_of(Table::Mail), 1);
    let mut other = bodies[0].clone();
    other.conversation = penpal_protocol::ids::ConversationId::from_bytes([3; 16]);
    let outcome = world.deliver_forged(1, other).unwrap();
    assert_eq!(outcome, Outcome::Refused { reason: "id-reused".to_owned() });
}

#[test]
fn a_refused_message_does_not_block_the_next() {
    let mut world = World::new(509, 2);
    world.offline.insert(0);
    world.cut(0);
    let short = Send { life_ms: Some(1000), ..Send::note(1, "short") };
    let expired = world.send(0, short).unwrap().msg_id;
    world.send(0, Send::note(1, "long")).unwrap();
    world.run_seconds(5);
    assert_eq!(world.nodes[0].stage(expired), Stage::Expired);
    world.offline.clear();
    world.run_seconds(30);
    assert_eq!(shown(&world), ["long"]);
}

#[test]
fn what_still_waits_when_a_hole_is_filled_stays_behind_it() {
    let mut world = World::new(510, 2);
    let bodies = letters(&mut world, 7);
    for seq in [1, 5, 7, 2, 3, 4] {
        give(&mut world, &bodies, seq);
    }
    assert_eq!(shown(&world), ["1", "2", "3", "4", "5"]);
    world.run_seconds(3);
    assert_eq!(shown(&world), ["1", "2", "3", "4", "5", "7"]);
}

#[test]
fn what_was_declined_stays_declined_when_it_comes_again() {
    let mut world = World::new(520, 2);
    let bodies = letters(&mut world, 2);
    let declined = |outcome| matches!(outcome, Some(Outcome::Refused { reason }) if reason == "not-a-member");
    assert!(declined(world.deliver_declined(1, bodies[0].clone(), "not-a-member")));
    // It had its place in the order, and nothing waits for it.
    give(&mut world, &bodies, 2);
    assert_eq!(shown(&world), ["2"]);
    // Left again because its sender did not hear of it; it would count by now, after a restart, too.
    for restart in [false, true] {
        if restart {
            world.restart(1);
        }
        assert_eq!(world.deliver_forged(1, bodies[0].clone()), Some(Outcome::Duplicate));
        assert_eq!(shown(&world), ["2"]);
    }
    // Its sender tries it anew.
    let mut again = bodies[0].clone();
    again.expires_ms += 1;
    assert!(matches!(world.deliver_forged(1, again), Some(Outcome::Stored { .. })));
    assert_eq!(shown(&world), ["2", "1"]);
}

#[test]
fn what_waits_in_order_keeps_its_place() {
    let mut world = World::new(510, 2);
    let bodies = letters(&mut world, 4);
    give(&mut world, &bodies, 1);
    give(&mut world, &bodies, 3);
    give(&mut world, &bodies, 4);
    let next = world.nodes[1].machine().next_ordinal();
    world.run_seconds(3);
    assert_eq!(shown(&world), ["1", "3", "4"]);
    // Nothing was moved: those behind the missing one came in order.
    assert_eq!(world.nodes[1].machine().next_ordinal(), next);
}

#[test]
fn a_message_that_is_not_shown_lets_those_behind_it_go_at_once() {
    let mut world = World::new(511, 2);
    let mut bodies = letters(&mut world, 2);
    bodies[0].expires_ms = world.now(1).wall_ms - 1;
    give(&mut world, &bodies, 2);
    assert_eq!(shown(&world), Vec::<String>::new());
    assert!(matches!(world.deliver_forged(1, bodies[0].clone()), Some(Outcome::Refused { .. })));
    assert_eq!(shown(&world), ["2"]);
}

#[test]
fn a_second_hole_is_waited_for_when_the_first_is_filled() {
    let mut world = World::new(512, 2);
    let mut bodies = letters(&mut world, 5);
    give(&mut world, &bodies, 2);
    // The fourth came and is not shown, so the third is missing, and nothing waits for it.
    bodies[3].expires_ms = world.now(1).wall_ms - 1;
    give(&mut world, &bodies, 4);
    give(&mut world, &bodies, 1);
    assert_eq!(shown(&world), ["1", "2"]);
    give(&mut world, &bodies, 5);
    assert_eq!(shown(&world), ["1", "2"]);
    give(&mut world, &bodies, 3);
    assert_eq!(shown(&world), ["1", "2", "3", "5"]);
}

#[test]
fn places_begin_at_one_in_each_life_of_the_database() {
    let mut world = World::new(513, 2);
    let mut lives = Vec::new();
    for _ in 0..2 {
        for text in ["first", "second"] {
            world.send(0, Send::note(1, text)).unwrap();
            world.run_seconds(5);
        }
        lives.push(*world.nodes[0].machine().incarnation().as_bytes());
        world.step(0, |machine, step| machine.handle_rolled_back(step));
    }
    for life in lives {
        let places = world.places.keys().filter(|(from, _, of, _)| *from == peer(0) && *of == life);
        assert_eq!(places.map(|(_, _, _, seq)| *seq).collect::<Vec<_>>(), [1, 2]);
    }
    assert!(!world.nodes[1].events.contains(&Event::Gap { peer: peer(0) }));
}

#[test]
fn a_place_that_is_taken_twice_hides_neither_message() {
    let mut world = World::new(514, 2);
    let bodies = letters(&mut world, 3);
    give(&mut world, &bodies, 1);
    give(&mut world, &bodies, 3);
    let other = world.forge_letter(0, 1, "also 3", bodies[2].order);
    world.deliver_forged(1, other);
    assert_eq!(shown(&world), ["1", "also 3"]);
    assert!(world.nodes[1].events.contains(&Event::Gap { peer: peer(0) }));
    give(&mut world, &bodies, 2);
    assert_eq!(shown(&world), ["1", "also 3", "2", "3"]);
}
