//! What the daily sweep leaves and takes.

use std::time::Duration;

use penpal_delivery::{
    Arrival, HistoryLimits, Mailbox, Outcome, Selection, Stage, Surfacing, Table, Verdict,
};
use penpal_protocol::ids::ShortHash;
use penpal_protocol::limits::{DAY_MS, HOUR_MS, SPOOL_ROW_LIFE_MS};

use crate::world::{Node, Send, World, peer};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn keep(world: &mut World, id: usize, max_age_ms: u64, max_bytes: u64) {
    world.step(id, |machine, _| machine.set_history(HistoryLimits { max_age_ms, max_bytes }));
}

#[test]
fn a_mark_stays_two_days_longer_than_its_message() {
    let mut world = World::new(900, 2);
    let life_ms = Some(5 * DAY_MS);
    world.send(0, Send { life_ms, ..Send::note(1, "remember me") }).unwrap();
    world.run_for(DAY * 6);
    // That of the note, and those of receipts, which say that they live longer.
    assert!(world.nodes[1].rows_of(Table::Seen) > 0);
    world.run_for(DAY * 30);
    assert_eq!(world.nodes[1].rows_of(Table::Seen), 0);
}

#[test]
fn the_mark_of_what_could_not_be_opened_stays_as_long_as_a_relay_may_show_it() {
    let mut world = World::new(912, 2);
    let id = ShortHash::from_bytes([7; 16]);
    let verdict = Verdict::Unreadable { account: peer(0).account };
    let arrival = Arrival { row: None, enc: id, envelope: id, verdict };
    world.step(1, |machine, step| machine.handle_arrival(arrival, step));
    let marked = |world: &World| world.nodes[1].machine().is_seen(&id, &world.nodes[1].rows).unwrap();
    world.run_for(Duration::from_millis(SPOOL_ROW_LIFE_MS) + DAY / 2);
    assert!(marked(&world));
    world.run_for(DAY * 2);
    assert!(!marked(&world));
}

#[test]
fn a_receipted_copy_can_be_sealed_again_for_two_days_and_is_history_then() {
    let mut world = World::new(901, 2);
    let sent = world.send(0, Send::note(1, "keep a copy")).unwrap();
    world.run_for(DAY + DAY / 2);
    let rows = |world: &World| {
        [Table::Outbox, Table::Sealed, Table::Copy].map(|table| world.nodes[0].rows_of(table))
    };
    assert_eq!(rows(&world), [1, 1, 0]);
    let sealed: Vec<u8> =
        world.nodes[0].rows.0.keys().find(|(table, _)| *table == Table::Sealed).unwrap().1.clone();
    world.run_for(DAY * 2);
    assert_eq!(rows(&world), [0, 0, 1]);
    let copy = world.nodes[0].rows.0.iter().find(|((table, _), _)| *table == Table::Copy).unwrap().1;
    assert!(!copy.windows(sealed.len()).any(|window| window == sealed), "history names an envelope");
    assert_eq!(world.nodes[0].stage(sent.msg_id), Stage::Delivered);
}

#[test]
fn the_two_days_begin_with_the_first_receipt() {
    let mut world = World::new(902, 2);
    world.send(0, Send::note(1, "read late")).unwrap();
    world.run_for(Duration::from_secs(40 * 3600));
    assert_eq!(Node::take_all(&mut world, 1).len(), 1);
    world.run_for(Duration::from_secs(34 * 3600));
    assert_eq!(world.nodes[0].stage(world.nodes[0].sent[0].0), Stage::Surfaced);
    assert_eq!(world.nodes[0].rows_of(Table::Outbox), 0);
}

#[test]
fn a_copy_that_is_owed_again_stays_owed_however_old_its_first_receipt_is() {
    let mut world = World::new(903, 2);
    world.offline.insert(1);
    world.cut(1);
    let life_ms = Some(20 * DAY_MS);
    let id = world.send(0, Send { life_ms, ..Send::note(1, "once more") }).unwrap().msg_id;
    world.run_seconds(10);
    let refusal = world.forge_receipt(1, 0, id, penpal_protocol::sealed::Stage::Expired);
    world.deliver_forged(0, refusal);
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    // No relay takes it: nothing writes it anew.
    world.relay.down = true;
    world.cut(0);
    world.step(0, |machine, step| machine.retry(id, step)).unwrap().unwrap();
    world.run_for(DAY * 5);
    assert_eq!(world.nodes[0].rows_of(Table::Outbox), 1);
    world.restart(0);
    assert_eq!(world.nodes[0].machine().outbox(&world.nodes[0].rows).unwrap().len(), 1);
}

#[test]
fn what_is_owed_is_kept_whatever_its_age() {
    let mut world = World::new(904, 3);
    keep(&mut world, 0, DAY_MS, u64::MAX);
    world.offline.insert(1);
    world.cut(1);
    let send = Send { life_ms: Some(20 * DAY_MS), ..Send::note(1, "old and owed") };
    // One of two who had it keeps nothing for the other.
    let to = [2, 1].map(|id| penpal_delivery::Destination::Device(peer(id)));
    world.send(0, Send { to: to.to_vec(), ..send.clone() }).unwrap();
    let to = [1, 2].map(|id| penpal_delivery::Destination::Device(peer(id)));
    world.send(0, Send { to: to.to_vec(), ..send }).unwrap();
    world.run_for(DAY * 6);
    assert_eq!(world.nodes[0].rows_of(Table::Content), 2);
    world.offline.clear();
    world.run_for(DAY / 4);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["old and owed", "old and owed"]);
}

#[test]
fn a_message_is_known_again_after_its_content_went() {
    let mut world = World::new(905, 2);
    keep(&mut world, 1, HOUR_MS, u64::MAX);
    let mut body = world.forge_letter(0, 1, "seen before", None);
    body.expires_ms = world.now(0).wall_ms + 5 * DAY_MS;
    assert!(matches!(world.deliver_forged(1, body.clone()), Some(Outcome::Stored { .. })));
    let surfacing = Surfacing { mechanism: "hook".to_owned(), session: None, read: true };
    let key = world.nodes[1].list(Selection::All(Mailbox::Desk))[0].key;
    world.step(1, |machine, step| machine.surface(key, &surfacing, step)).unwrap().unwrap();
    world.run_for(DAY * 3);
    let rows = |world: &World| [Table::Content, Table::Mail].map(|table| world.nodes[1].rows_of(table));
    assert_eq!(rows(&world), [0, 1]);
    assert_eq!(world.deliver_forged(1, body.clone()), Some(Outcome::Duplicate));
    world.run_for(DAY * 3);
    assert_eq!(rows(&world), [0, 1]);
    world.run_for(DAY * 2);
    assert_eq!(rows(&world), [0, 0]);
}

#[test]
fn a_failure_that_left_history_is_not_listed() {
    let mut world = World::new(906, 2);
    keep(&mut world, 0, DAY_MS, u64::MAX);
    world.offline.insert(1);
    world.cut(1);
    world.send(0, Send { life_ms: Some(HOUR_MS), ..Send::note(1, "too late") }).unwrap();
    world.run_for(DAY / 2);
    let dead = |world: &World| (world.nodes[0].machine().dead_count(), world.nodes[0].rows_of(Table::Dead));
    assert_eq!(dead(&world), (1, 1));
    assert_eq!(world.nodes[0].rows_of(Table::Sealed), 0);
    world.run_for(DAY * 5);
    assert_eq!(world.nodes[0].rows_of(Table::Mail), 0);
    assert_eq!(dead(&world), (0, 0));
}

/// Sends so many short-lived messages a day for some days, and gives how many are kept after two more.
fn kept(seed: u64, days: u32, a_day: usize, max_bytes: u64) -> usize {
    let mut world = World::new(seed, 2);
    keep(&mut world, 0, u64::MAX, max_bytes);
    for day in 0..days {
        for number in 0..a_day {
            let text = format!("{day:03} {number:03} {}", "x".repeat(192));
            world.send(0, Send { life_ms: Some(HOUR_MS), ..Send::note(1, &text) }).unwrap();
        }
        world.run_for(DAY);
    }
    world.run_for(DAY * 4);
    let kept = world.nodes[0].list(Selection::With(peer(1).account));
    kept.iter()
        .filter(|view| world.nodes[0].machine().content(view.key, &world.nodes[0].rows).unwrap().is_some())
        .count()
}

#[test]
fn the_newest_days_that_fit_are_kept_whole() {
    // Ten messages of 200 and a few bytes a day: two days are more than 4 500 bytes, and less than 5 000.
    let one = kept(907, 1, 1, u64::MAX);
    assert_eq!(one, 1);
    assert_eq!(kept(908, 8, 10, 4_900), 20);
    assert_eq!(kept(909, 8, 10, 7_200), 30);
}

/// A contact could end everybody's history otherwise, with what nobody was shown.
#[test]
fn what_nobody_saw_costs_no_history() {
    let mut world = World::new(913, 2);
    keep(&mut world, 1, u64::MAX, 2_000);
    let letter = |world: &mut World, text: &str| world.forge_letter(0, 1, text, None);
    let read = letter(&mut world, "kept");
    assert!(matches!(world.deliver_forged(1, read), Some(Outcome::Stored { .. })));
    let surfacing = Surfacing { mechanism: "hook".to_owned(), session: None, read: true };
    let key = world.nodes[1].list(Selection::All(Mailbox::Desk))[0].key;
    world.step(1, |machine, step| machine.surface(key, &surfacing, step)).unwrap().unwrap();
    let long = "x".repeat(1_500);
    for late in [true, false] {
        for _ in 0..3 {
            let mut body = letter(&mut world, &long);
            if late {
                (body.sent_ms, body.expires_ms) = (10, 11);
            }
            world.deliver_forged(1, body);
        }
        world.run_for(DAY * 3);
        assert!(
            world.nodes[1].texts(Selection::All(Mailbox::Desk)).contains(&"kept".to_owned()),
            "late: {late}"
        );
    }
}

#[test]
fn history_of_many_rows_is_counted_whole_before_anything_goes() {
    // 300 and 256 rows: more than one bite, and exactly one.
    assert_eq!(kept(910, 3, 100, 50_000), 200);
    assert_eq!(kept(911, 4, 64, 32_000), 128);
}

#[test]
fn history_is_kept_within_its_limits_and_what_waits_is_kept_in_any_case() {
    let mut world = World::new(706, 2);
    for text in ["read", "unread"] {
        world.send(0, Send::note(1, text)).unwrap();
    }
    world.run_seconds(2);
    let read = world.nodes[1].list(Selection::Unread(Mailbox::Desk))[0].key;
    let surfacing = Surfacing { mechanism: "hook".to_owned(), session: None, read: false };
    world.step(1, |machine, step| machine.surface(read, &surfacing, step)).unwrap().unwrap();
    world.run_for(DAY * 60);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["read", "unread"]);
    world.run_for(DAY * 32);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["unread"]);
    assert_eq!(world.nodes[0].rows_of(Table::Mail), 0);
    assert_eq!(world.nodes[0].rows_of(Table::Copy), 0);
    assert_eq!(world.nodes[0].rows_of(Table::Thread), 0);
}
