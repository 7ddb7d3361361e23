//! What becomes of one envelope: its mark, its row, its place and whom it is told to.

use std::time::Duration;

use penpal_delivery::{
    Arrival, Command, Event, HeldReason, MailKey, Mailbox, Opened, Outcome, Placement, Selection, SpoolRow,
    Stage, Standing, Surfacing, Table, Verdict,
};
use penpal_protocol::ids::{Incarnation, KeyId, ShortHash};
use penpal_protocol::limits::MAX_CLOCK_AHEAD_MS;
use penpal_protocol::sealed::{Body, Order};

use crate::world::{Send, World, info, peer};

fn mark(number: u8) -> ShortHash {
    ShortHash::from_bytes([number; 16])
}

/// The next row of a node's spool.
fn next_row(world: &World, id: usize) -> SpoolRow {
    let (epoch, newest) = world.relay.hello(peer(id));
    SpoolRow { epoch, seq: newest + 1 }
}

fn arrival(enc: ShortHash, row: Option<SpoolRow>, body: Body) -> Arrival {
    let content = body.parse_content().expect("good content");
    let placement = Placement { mailbox: Mailbox::Desk, held: None, quiet: false };
    let opened = Opened { key: KeyId::from_bytes([0; 8]), body, content, placement };
    Arrival { row, enc, envelope: enc, verdict: Verdict::Opened(Box::new(opened)) }
}

fn arrived(world: &World, id: usize) -> Vec<MailKey> {
    let events = world.nodes[id].events.iter();
    let keys =
        events.filter_map(|event| if let Event::Arrived { key, .. } = event { Some(*key) } else { None });
    keys.collect()
}

#[test]
fn an_envelope_that_comes_again_is_known_by_its_mark_and_its_row_is_done() {
    let mut world = World::new(1000, 2);
    let body = world.forge_letter(0, 1, "once", None);
    let row = next_row(&world, 1);
    let first = arrival(mark(1), Some(row), body);
    let outcome = world.step(1, |machine, step| machine.handle_arrival(first, step)).unwrap();
    assert!(matches!(outcome, Outcome::Stored { .. }));
    let node = &world.nodes[1];
    assert_eq!(node.machine().is_seen(&mark(1), &node.rows), Ok(true));
    assert_eq!(node.machine().is_seen(&mark(2), &node.rows), Ok(false));
    assert_eq!(node.machine().spool_epoch(), Some(row.epoch));
    let again = SpoolRow { seq: row.seq + 1, ..row };
    let mut outcome = None;
    let commands = world.commands(1, |machine, step| {
        outcome = Some(machine.handle_seen(Some(again), &mark(1), step));
    });
    assert_eq!(outcome, Some(Outcome::Duplicate));
    assert!(
        commands.iter().any(|command| matches!(command, Command::Ack { up_to, .. } if *up_to == again.seq))
    );
    let other = SpoolRow { epoch: penpal_protocol::ids::SpoolEpoch::from_bytes([9; 8]), seq: 1 };
    let stale = world.step(1, |machine, step| machine.handle_seen(Some(other), &mark(1), step));
    assert_eq!(stale, Some(Outcome::Stale));
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["once"]);
}

#[test]
fn a_row_that_is_no_envelope_is_acknowledged_in_its_own_spool_only() {
    let mut world = World::new(1001, 2);
    let row = next_row(&world, 1);
    let mut current = None;
    let commands = world.commands(1, |machine, step| current = Some(machine.handle_other_row(row, step)));
    assert_eq!(current, Some(true));
    assert!(
        commands.iter().any(|command| matches!(command, Command::Ack { up_to, .. } if *up_to == row.seq))
    );
    let other = SpoolRow { epoch: penpal_protocol::ids::SpoolEpoch::from_bytes([9; 8]), seq: 7 };
    let commands = world.commands(1, |machine, step| current = Some(machine.handle_other_row(other, step)));
    assert_eq!(current, Some(false));
    assert_eq!(commands, []);
}

#[test]
fn an_acknowledgement_that_was_lost_is_made_up_for_by_the_next() {
    let mut world = World::new(1002, 2);
    let mut row = next_row(&world, 1);
    let mut acknowledged = |world: &mut World| {
        let commands = world.commands(1, |machine, step| {
            machine.handle_other_row(row, step);
        });
        row.seq += 1;
        commands.iter().filter(|command| matches!(command, Command::Ack { .. })).count()
    };
    assert!((0..100).any(|_| acknowledged(&mut world) == 0), "unanswered acknowledgements without end");
    let commands = world.commands(1, |machine, step| machine.handle_ack_lost(step));
    assert_eq!(commands.len(), 1);
    assert_eq!(acknowledged(&mut world), 0);
}

#[test]
fn what_the_spool_had_for_one_lets_go_what_waits_for_others() {
    let mut world = World::new(1003, 3);
    world.offline.insert(0);
    world.cut(0);
    for text in ["a", "b"] {
        world.send(1, Send::note(0, text)).unwrap();
    }
    world.run_seconds(5);
    let id = world.send(0, Send::note(2, "to somebody else")).unwrap().msg_id;
    world.offline.clear();
    while world.connection_of(0).is_none() {
        world.run_for(Duration::from_millis(1));
    }
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_restart_remembers_how_far_the_spool_was_read() {
    let mut world = World::new(1004, 2);
    world.send(0, Send::note(1, "read")).unwrap();
    world.run_seconds(5);
    world.restart(1);
    let id = world.send(1, Send::note(0, "at once")).unwrap().msg_id;
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.nodes[1].stage(id), Stage::Delivered);
}

#[test]
fn a_message_counts_until_its_last_moment() {
    let mut world = World::new(1005, 2);
    for (late, taken) in [(0, true), (1, false)] {
        let mut body = world.forge_letter(0, 1, "just in time", None);
        body.expires_ms = world.now(1).wall_ms - late;
        let outcome = world.deliver_forged(1, body).unwrap();
        assert_eq!(matches!(outcome, Outcome::Stored { .. }), taken, "{outcome:?}");
    }
    for (ahead, held) in [(0, None), (1, Some("clock-ahead"))] {
        let mut body = world.forge_letter(0, 1, "from tomorrow", None);
        body.sent_ms = world.now(1).wall_ms + MAX_CLOCK_AHEAD_MS + ahead;
        body.expires_ms = body.sent_ms + 1000;
        let key = MailKey::from_contact(body.msg_id, peer(0).account);
        world.deliver_forged(1, body).unwrap();
        let found =
            world.nodes[1].list(Selection::All(Mailbox::Desk)).into_iter().any(|view| view.key == key);
        assert_eq!(found, held.is_none());
    }
}

#[test]
fn mail_is_told_of_once_and_when_it_can_be_seen() {
    let mut world = World::new(1006, 2);
    let shown = world.send(0, Send::note(1, "shown")).unwrap().msg_id;
    world.run_seconds(1);
    let key = |msg_id| MailKey::from_contact(msg_id, peer(0).account);
    assert_eq!(arrived(&world, 1), [key(shown)]);
    // Held back for a person.
    world.step(1, |machine, step| {
        machine.set_contact(peer(0).account, info(peer(0), Standing::OnProbation), step);
    });
    let body = world.forge_letter(0, 1, "held", None);
    let held = body.msg_id;
    world.deliver_forged(1, body);
    assert_eq!(arrived(&world, 1), [key(shown)]);
    assert_eq!(world.nodes[1].machine().hidden_count(), 1);
    // It waits for a person, and for no time.
    assert!(world.nodes[1].machine().poll_timeout().is_some_and(|at| at > world.mono));
    // Nothing that is said of the contact again lets it go, but that somebody accepted it.
    world.step(1, |machine, step| {
        machine.set_contact(peer(0).account, info(peer(0), Standing::OnProbation), step);
    });
    assert_eq!(arrived(&world, 1), [key(shown)]);
    world.step(1, |machine, step| {
        machine.set_contact(peer(0).account, info(peer(0), Standing::Active), step);
    });
    assert_eq!(arrived(&world, 1), [key(shown), key(held)]);
    assert_eq!(world.nodes[1].machine().hidden_count(), 0);
}

/// Hands letters of a contact to a node until one is refused; gives how many were taken.
fn fill(world: &mut World, text: &str) -> usize {
    let mut taken = 0;
    loop {
        let body = world.forge_letter(0, 1, text, None);
        match world.deliver_forged(1, body) {
            Some(Outcome::Stored { .. }) => taken += 1,
            Some(Outcome::Refused { reason }) => {
                assert_eq!(reason, "inbox-full");
                return taken;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn so_much_waits_of_one_contact_and_no_more() {
    let mut world = World::new(1010, 3);
    let stand = |world: &mut World, standing| {
        world.step(1, |machine, step| machine.set_contact(peer(0).account, info(peer(0), standing), step));
    };
    stand(&mut world, Standing::OnProbation);
    assert_eq!(fill(&mut world, "a"), 256);
    world.restart(1);
    stand(&mut world, Standing::OnProbation);
    assert_eq!(fill(&mut world, "a"), 0, "also after a restart");
    world.send(2, Send::note(1, "of somebody else")).unwrap();
    world.run_seconds(1);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["of somebody else"]);
    // A person may let them in, and what was shown makes room.
    stand(&mut world, Standing::Active);
    let body = world.forge_letter(0, 1, "b", None);
    assert!(matches!(world.deliver_forged(1, body), Some(Outcome::Stored { .. })));
    let surfacing = Surfacing { mechanism: "hook".to_owned(), session: None, read: false };
    for view in &world.nodes[1].list(Selection::With(peer(0).account))[..7] {
        world.step(1, |machine, step| machine.surface(view.key, &surfacing, step)).unwrap().unwrap();
    }
    stand(&mut world, Standing::OnProbation);
    assert_eq!(fill(&mut world, "c"), 6);
}

#[test]
fn what_waits_of_one_contact_is_counted_by_its_bytes_too() {
    let mut world = World::new(1011, 2);
    world.step(1, |machine, step| {
        machine.set_contact(peer(0).account, info(peer(0), Standing::OnProbation), step);
    });
    let text = "x".repeat(60 * 1024);
    let taken = fill(&mut world, &text);
    assert_eq!(taken, 4 * 1024 * 1024 / text.len() + 1);
}

#[test]
fn one_who_is_accepted_lets_nobody_else_in() {
    let mut world = World::new(1007, 3);
    for from in [0, 1] {
        world.step(2, |machine, step| {
            machine.set_contact(peer(from).account, info(peer(from), Standing::OnProbation), step);
        });
        world.send(from, Send::note(2, &format!("from {from}"))).unwrap();
    }
    world.run_seconds(1);
    assert_eq!(world.nodes[2].machine().hidden_count(), 2);
    world.step(2, |machine, step| {
        machine.set_contact(peer(0).account, info(peer(0), Standing::Active), step);
    });
    assert_eq!(world.nodes[2].texts(Selection::Unread(Mailbox::Desk)), ["from 0"]);
    assert_eq!(world.nodes[2].machine().hidden_count(), 1);
}

#[test]
fn a_message_that_waits_is_shown_to_nobody_and_told_when_its_turn_comes() {
    let mut world = World::new(1008, 2);
    let mut prev_hash = ShortHash::from_bytes([0; 16]);
    let mut bodies = Vec::new();
    for seq in 1..=2 {
        let body = world.forge_letter(0, 1, &format!("{seq}"), Some(Order { seq, prev_hash }));
        prev_hash = body.chain_hash();
        bodies.push(body);
    }
    let keys = [0, 1].map(|at: usize| MailKey::from_contact(bodies[at].msg_id, peer(0).account));
    world.deliver_forged(1, bodies[1].clone());
    let node = &world.nodes[1];
    assert_eq!(node.machine().is_known(keys[1], &node.rows), Ok(true));
    assert_eq!(node.machine().is_known(keys[0], &node.rows), Ok(false));
    assert_eq!(arrived(&world, 1), []);
    let taken = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 9, step)).unwrap();
    assert_eq!(taken.messages, []);
    world.deliver_forged(1, bodies[0].clone());
    assert_eq!(arrived(&world, 1), keys);
    let views = world.nodes[1].list(Selection::All(Mailbox::Desk));
    assert!(views.iter().all(|view| world.nodes[1].machine().is_shown(view)));
    assert!(views.iter().all(|view| view.sender() == Some(peer(0))));
}

#[test]
fn what_is_held_or_handed_out_is_said_so() {
    let mut world = World::new(1009, 2);
    world.send(0, Send::note(1, "plain")).unwrap();
    world.run_seconds(1);
    world.nodes[1].places.held = Some(HeldReason::RoomEpoch);
    let hidden = world.send(0, Send::note(1, "hidden")).unwrap().msg_id;
    world.run_seconds(1);
    let plain = world.nodes[1].list(Selection::Unread(Mailbox::Desk)).remove(0);
    let mut view = plain.clone();
    assert!(world.nodes[1].machine().is_shown(&view));
    view.hidden = true;
    assert!(!world.nodes[1].machine().is_shown(&view));
    assert!(!world.nodes[1].machine().is_leased(&plain.key));
    let taken = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 9, step)).unwrap();
    assert_eq!(taken.messages.iter().map(|view| view.key).collect::<Vec<_>>(), [plain.key]);
    assert!(world.nodes[1].machine().is_leased(&plain.key));
    assert!(!world.nodes[1].machine().is_leased(&MailKey::from_contact(hidden, peer(0).account)));
}

#[test]
fn a_message_without_a_place_is_late_only_when_it_is_of_an_earlier_life() {
    let mut world = World::new(1010, 2);
    let late = |world: &World, body: &Body| {
        let views = world.nodes[1].list(Selection::All(Mailbox::Desk));
        let key = MailKey::from_contact(body.msg_id, peer(0).account);
        views.into_iter().find(|view| view.key == key).expect("it is here").marks.late
    };
    let lives = [1_u8, 2, 3].map(|life| Incarnation::from_bytes([life; 8]));
    let first = Order { seq: 1, prev_hash: ShortHash::from_bytes([0; 16]) };
    let letter = |world: &mut World, life: usize, order| {
        let mut body = world.forge_letter(0, 1, "x", order);
        body.incarnation = lives[life];
        world.deliver_forged(1, body.clone()).expect("it runs");
        late(world, &body)
    };
    assert!(!letter(&mut world, 0, Some(first)));
    assert!(!letter(&mut world, 0, None));
    // Its database is another one, of which nothing with a place has come: what was sent before cannot be behind it.
    assert!(!letter(&mut world, 1, None));
    assert!(!letter(&mut world, 0, Some(Order { seq: 2, ..first })));
    assert!(!letter(&mut world, 1, Some(first)));
    assert!(letter(&mut world, 0, Some(Order { seq: 3, ..first })));
}

#[test]
fn four_earlier_lives_of_a_database_are_known_again() {
    let mut world = World::new(1011, 2);
    let changes = |world: &mut World, life: u8| {
        let mut body = world.forge_letter(0, 1, "x", None);
        body.incarnation = Incarnation::from_bytes([life; 8]);
        world.nodes[1].events.clear();
        world.deliver_forged(1, body).expect("it runs");
        world.nodes[1].events.contains(&Event::IncarnationChanged { peer: peer(0) })
    };
    assert_eq!(
        (1..=6).map(|life| changes(&mut world, life)).collect::<Vec<_>>(),
        [false, true, true, true, true, true]
    );
    assert!((2..=6).all(|life| !changes(&mut world, life)));
    assert!(changes(&mut world, 1), "older ones are forgotten");
}

#[test]
fn what_was_settled_is_settled_for_that_end_and_earlier_ones() {
    let mut world = World::new(1012, 2);
    let body = world.forge_letter(0, 1, "not here", None);
    let (key, end) = (MailKey::from_contact(body.msg_id, peer(0).account), body.expires_ms);
    let settled = |world: &World, end| world.nodes[1].machine().is_settled(key, end, &world.nodes[1].rows);
    assert_eq!(settled(&world, end), Ok(false));
    world.deliver_declined(1, body, "not-a-member").unwrap();
    assert_eq!(settled(&world, end), Ok(true));
    assert_eq!(settled(&world, end + 1), Ok(false));
    assert_eq!(world.nodes[1].rows_of(Table::Content), 0);
}

#[test]
fn an_answer_counts_only_from_whom_it_was_asked() {
    let mut world = World::new(1013, 3);
    let ask = world.send(0, Send::ask(1, "between us")).unwrap().msg_id;
    world.run_seconds(1);
    let claimed = MailKey::from_contact(ask, peer(0).account);
    world.send(2, Send::reply(0, "I was not asked", claimed)).unwrap();
    world.run_seconds(1);
    assert_eq!(world.nodes[0].stage(ask), Stage::Delivered);
    let told = |world: &World, stage| {
        let of = |event: &&Event| matches!(event, Event::Stage { msg_id, stage: at, .. } if *msg_id == ask && *at == stage);
        world.nodes[0].events.iter().filter(of).count()
    };
    let all =
        |world: &World| [Stage::Relayed, Stage::Delivered, Stage::Answered].map(|stage| told(world, stage));
    assert_eq!(all(&world), [1, 1, 0]);
    world.send(1, Send::reply(0, "yes", claimed)).unwrap();
    world.run_seconds(1);
    assert_eq!(all(&world), [1, 1, 1]);
}

#[test]
fn a_machine_that_was_called_is_due_at_once() {
    let mut world = World::new(1014, 2);
    world.run_seconds(100);
    let now = world.now(0);
    let message = Send::note(1, "x").message(&world.nodes[0]);
    let node = &mut world.nodes[0];
    let mut step = penpal_delivery::Step { now, records: &node.rows, rng: &mut node.rng };
    let machine = node.machine.as_mut().unwrap();
    assert!(machine.poll_timeout().is_some_and(|at| at > now.mono));
    machine.send(message, &mut step).unwrap();
    assert_eq!(machine.poll_timeout(), Some(now.mono));
}

#[test]
fn mail_from_the_future_of_a_contact_that_nobody_accepted_waits_for_both() {
    let mut world = World::new(1015, 2);
    world.step(1, |machine, step| {
        machine.set_contact(peer(0).account, info(peer(0), Standing::OnProbation), step);
    });
    let mut bodies = ["early", "room"].map(|text| world.forge_letter(0, 1, text, None));
    bodies[0].sent_ms += MAX_CLOCK_AHEAD_MS + 60_000;
    bodies[0].expires_ms += MAX_CLOCK_AHEAD_MS + 60_000;
    let [early, room] = bodies;
    let hidden = |world: &World| world.nodes[1].machine().hidden_count();
    world.deliver_forged(1, early).unwrap();
    world.run_seconds(120);
    assert_eq!(hidden(&world), 1);
    let key = MailKey::from_contact(room.msg_id, peer(0).account);
    let content = room.parse_content().unwrap();
    let placement = Placement { mailbox: Mailbox::Desk, held: Some(HeldReason::RoomEpoch), quiet: false };
    let opened = Opened { key: KeyId::from_bytes([0; 8]), body: room, content, placement };
    let verdict = Verdict::Opened(Box::new(opened));
    let arrival = Arrival { row: None, enc: mark(7), envelope: mark(7), verdict };
    world.step(1, |machine, step| machine.handle_arrival(arrival, step));
    assert_eq!(hidden(&world), 2);
    world.step(1, |machine, step| {
        machine.set_contact(peer(0).account, info(peer(0), Standing::Active), step);
    });
    // The other one waits for its room.
    assert_eq!(hidden(&world), 1);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["early"]);
    world.step(1, |machine, step| machine.release_from_room(key, step));
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["early", "room"]);
}

#[test]
fn reading_one_message_lets_another_come_in_its_time() {
    let mut world = World::new(1016, 2);
    let mut body = world.forge_letter(0, 1, "early", None);
    body.sent_ms += MAX_CLOCK_AHEAD_MS + 60_000;
    body.expires_ms += MAX_CLOCK_AHEAD_MS + 60_000;
    world.deliver_forged(1, body).unwrap();
    let plain = world.forge_letter(0, 1, "plain", None);
    world.deliver_forged(1, plain).unwrap();
    assert_eq!(crate::world::Node::take_all(&mut world, 1).len(), 1);
    world.run_seconds(61);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["early"]);
}
