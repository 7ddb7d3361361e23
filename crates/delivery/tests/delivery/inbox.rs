//! Leases, commits, moving mail, short ids and listings.

use std::time::Duration;

use penpal_delivery::{HeldReason, MailKey, MailState, Mailbox, Selection, Stage, SurfaceError, Surfacing};
use penpal_protocol::ids::SessionId;
use penpal_protocol::limits::HOUR_MS;

use crate::world::{Node, Send, World, peer};

const SESSION: Mailbox = Mailbox::Session(SessionId::from_bytes([4; 16]));

fn hook() -> Surfacing {
    Surfacing { mechanism: "hook".to_owned(), session: None, read: false }
}

fn with_mail(seed: u64, texts: &[&str]) -> World {
    let mut world = World::new(seed, 2);
    for text in texts {
        world.send(0, Send::note(1, text)).unwrap();
    }
    world.run_seconds(2);
    world
}

#[test]
fn leased_mail_is_not_handed_out_twice_and_comes_back_after_ten_seconds() {
    let mut world = with_mail(700, &["a", "b"]);
    let first = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 10, step)).unwrap();
    assert_eq!(first.messages.len(), 2);
    let second = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 10, step)).unwrap();
    assert!(second.messages.is_empty());
    assert_eq!(world.nodes[1].machine().unread(Mailbox::Desk).unread, 2);
    world.run_seconds(11);
    let third = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 10, step)).unwrap();
    assert!(third.messages.iter().all(|view| view.marks.again));
    // The first reader was only slow: what reached it is surfaced, and the second commit has nothing to do.
    world.step(1, |machine, step| machine.commit(first.id, None, &hook(), step)).unwrap().unwrap();
    world.step(1, |machine, step| machine.commit(third.id, None, &hook(), step)).unwrap().unwrap();
    assert_eq!(world.nodes[1].machine().unread(Mailbox::Desk).unread, 0);
    world.run_seconds(1);
    let surfaced = world.nodes[0].trail(world.nodes[0].sent[0].0);
    assert_eq!(surfaced.iter().filter(|stage| **stage == Stage::Surfaced).count(), 1);
}

#[test]
fn a_part_of_a_lease_can_be_committed_or_given_back() {
    let mut world = with_mail(701, &["a", "b", "c"]);
    let lease = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 10, step)).unwrap();
    let one = [lease.messages[1].key];
    world.step(1, |machine, step| machine.commit(lease.id, Some(&one), &hook(), step)).unwrap().unwrap();
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["a", "c"]);
    world.step(1, |machine, step| machine.give_back(lease.id, step));
    let again = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 1, step)).unwrap();
    assert_eq!(again.messages.len(), 1);
    let stale =
        world.step(1, |machine, step| machine.commit(penpal_delivery::LeaseId(1), None, &hook(), step));
    assert!(matches!(stale, Some(Err(SurfaceError::NoLease { .. }))));
}

#[test]
fn mail_moves_in_order_and_its_senders_are_told() {
    let mut world = with_mail(702, &["a", "b"]);
    let moved = world.step(1, |machine, step| {
        machine.retarget(Mailbox::Desk, SESSION, Some(HeldReason::SessionGone), step)
    });
    assert_eq!(moved, Some(2));
    assert!(world.nodes[1].list(Selection::All(Mailbox::Desk)).is_empty());
    assert_eq!(world.nodes[1].texts(Selection::Unread(SESSION)), ["a", "b"]);
    world.step(1, |machine, step| machine.mark_earlier(SESSION, step));
    world.restart(1);
    assert_eq!(world.nodes[1].texts(Selection::Unread(SESSION)), ["a", "b"]);
    assert!(world.nodes[1].list(Selection::Unread(SESSION)).iter().all(|view| view.marks.earlier));
    world.run_seconds(5);
    let id = world.nodes[0].sent[0].0;
    assert_eq!(world.nodes[0].stage(id), Stage::Held);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("session-gone"));
    let lease = world.step(1, |machine, step| machine.take(SESSION, None, 10, step)).unwrap();
    world.step(1, |machine, step| machine.commit(lease.id, None, &hook(), step)).unwrap().unwrap();
    world.run_seconds(5);
    assert_eq!(world.nodes[0].stage(id), Stage::Surfaced);
}

#[test]
fn a_used_up_wake_budget_is_told_and_ends_with_surfacing() {
    let mut world = with_mail(703, &["wake me"]);
    let key = world.nodes[1].list(Selection::Unread(Mailbox::Desk))[0].key;
    world.step(1, |machine, step| machine.hold(key, HeldReason::WakeBudget, step));
    world.run_seconds(1);
    let id = world.nodes[0].sent[0].0;
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("wake-budget"));
    Node::take_all(&mut world, 1);
    world.run_seconds(1);
    assert_eq!(world.nodes[0].stage(id), Stage::Surfaced);
    assert_eq!(world.nodes[0].report(id).reason, None);
}

#[test]
fn listings_come_in_pages_and_change_nothing() {
    let texts: Vec<String> = (0..300).map(|n| format!("{n}")).collect();
    let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
    let world = with_mail(705, &refs);
    let node = &world.nodes[1];
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = node.machine().list(Selection::All(Mailbox::Desk), after, 77, &node.rows).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.ordinal);
        all.extend(page.iter().map(|view| node.text(view.key)));
    }
    assert_eq!(all, texts);
    assert_eq!(node.machine().unread(Mailbox::Desk).unread, 300);
}

#[test]
fn all_mail_is_given_once_in_the_order_of_its_places() {
    let mut world = with_mail(711, &["a", "b", "c"]);
    world.step(1, |machine, step| machine.retarget(Mailbox::Desk, SESSION, None, step));
    for text in ["d", "e"] {
        world.send(1, Send::note(0, text)).unwrap();
    }
    world.send(0, Send::note(1, "f")).unwrap();
    world.run_seconds(2);
    let node = &world.nodes[1];
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = node.machine().newer(after, 2, &node.rows).unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.len() <= 2);
        after = last.ordinal;
        seen.extend(page);
    }
    assert!(after < node.machine().next_ordinal());
    assert!(seen.is_sorted_by_key(|(view, _)| view.ordinal));
    assert!(seen.iter().all(|(_, contact)| *contact == Some(peer(0).account)));
    // Moved mail has a later place than it had; nothing is given twice.
    let texts: Vec<String> = seen.iter().map(|(view, _)| node.text(view.key)).collect();
    assert_eq!(texts, ["a", "b", "c", "d", "e", "f"]);
    assert!(node.machine().newer(after, 2, &node.rows).unwrap().is_empty());
}

#[test]
fn what_another_device_read_before_it_came_here_is_read_when_it_comes() {
    let mut world = World::new(761, 2);
    world.offline.insert(1);
    world.cut(1);
    let first = world.send(0, Send::note(1, "read there")).unwrap().msg_id;
    world.send(0, Send::note(1, "unread")).unwrap();
    world.run_seconds(5);
    let key = MailKey::from_contact(first, peer(0).account);
    let was_unread = world.step(1, |machine, step| machine.read_elsewhere(key, false, step));
    assert_eq!(was_unread, Some(false));
    world.restart(1);
    world.offline.clear();
    world.heal();
    world.run_seconds(60);
    assert_eq!(world.nodes[1].machine().unread(Mailbox::Desk).unread, 1);
    let taken = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 10, step)).unwrap();
    assert_eq!(taken.messages.len(), 1);
    assert_ne!(taken.messages[0].key, key);
}

#[test]
fn a_lease_can_be_committed_for_five_minutes_after_its_end() {
    for (late, known) in [(1, true), (0, false)] {
        let mut world = with_mail(720, &["slow"]);
        let lease = world.step(1, |machine, step| machine.take(Mailbox::Desk, None, 9, step)).unwrap();
        let end = world.mono + Duration::from_secs(10 + 300) - Duration::from_millis(late);
        world.run_until(end);
        world.step(1, |machine, step| machine.handle_timeout(step));
        let done = world.step(1, |machine, step| machine.commit(lease.id, None, &hook(), step)).unwrap();
        assert_eq!(done.is_ok(), known, "{done:?}");
    }
}

#[test]
fn what_was_asked_for_is_read_and_what_was_handed_out_surfaced() {
    let mut world = with_mail(721, &["a"]);
    let key = world.nodes[1].list(Selection::Unread(Mailbox::Desk))[0].key;
    let state = |world: &World| world.nodes[1].list(Selection::All(Mailbox::Desk))[0].state;
    world.step(1, |machine, step| machine.surface(key, &hook(), step)).unwrap().unwrap();
    assert_eq!(state(&world), Some(MailState::Surfaced));
    let read = Surfacing { mechanism: "cli".to_owned(), session: None, read: true };
    world.step(1, |machine, step| machine.surface(key, &read, step)).unwrap().unwrap();
    assert_eq!(state(&world), Some(MailState::Read));
    world.run_seconds(1);
    let id = world.nodes[0].sent[0].0;
    assert_eq!(world.nodes[0].report(id).mechanism.as_deref(), Some("hook"));
}

#[test]
fn mail_is_moved_to_where_it_is_not_and_a_reason_is_told_once() {
    let mut world = with_mail(722, &["a", "b"]);
    let changes = world.nodes[1].machine().changes();
    let moved =
        |world: &mut World, from, to| world.step(1, |machine, step| machine.retarget(from, to, None, step));
    assert_eq!(moved(&mut world, Mailbox::Desk, Mailbox::Desk), Some(0));
    assert_eq!(moved(&mut world, SESSION, Mailbox::Desk), Some(0));
    assert_eq!(world.nodes[1].machine().changes(), changes);
    let keys: Vec<MailKey> =
        world.nodes[1].list(Selection::Unread(Mailbox::Desk)).iter().map(|view| view.key).collect();
    world.step(1, |machine, step| machine.surface(keys[1], &hook(), step)).unwrap().unwrap();
    let held = |world: &mut World, key| {
        let before = world.nodes[1].machine().changes();
        world.step(1, |machine, step| machine.hold(key, HeldReason::WakeBudget, step));
        world.nodes[1].machine().changes() > before
    };
    assert!(held(&mut world, keys[0]));
    assert!(!held(&mut world, keys[0]));
    assert!(!held(&mut world, keys[1]));
}

#[test]
fn what_ends_unread_is_not_shown_after_its_end() {
    let mut world = World::new(723, 2);
    for (text, hours) in [("first", 1), ("second", 1), ("third", 2), ("stays", 2)] {
        world.send(0, Send { life_ms: Some(hours * HOUR_MS), ..Send::note(1, text) }).unwrap();
    }
    world.run_seconds(2);
    let keys: Vec<MailKey> =
        world.nodes[1].list(Selection::Unread(Mailbox::Desk)).iter().map(|view| view.key).collect();
    for key in &keys[..3] {
        world.step(1, |machine, step| machine.let_end(*key, step));
    }
    // What was read does not end, and says nothing of the others.
    world.step(1, |machine, step| machine.surface(keys[0], &hook(), step)).unwrap().unwrap();
    let shown = |world: &World| world.nodes[1].texts(Selection::Unread(Mailbox::Desk));
    world.run_seconds(3590);
    assert_eq!(shown(&world), ["second", "third", "stays"]);
    world.run_seconds(10);
    assert_eq!(shown(&world), ["third", "stays"]);
    world.restart(1);
    world.run_seconds(3610);
    assert_eq!(shown(&world), ["stays"]);
    let states: Vec<_> =
        world.nodes[1].list(Selection::All(Mailbox::Desk)).iter().map(|view| view.state).collect();
    assert_eq!(states[0], Some(MailState::Surfaced));
}

#[test]
fn pages_hold_what_was_asked_for() {
    let mut world = with_mail(724, &["a", "b", "c", "d", "e"]);
    world.step(1, |machine, step| machine.retarget(Mailbox::Desk, SESSION, None, step));
    for _ in 0..5 {
        world.send(1, Send::note(0, "back")).unwrap();
    }
    world.run_seconds(2);
    let node = &world.nodes[1];
    let list = |limit| node.machine().list(Selection::All(SESSION), None, limit, &node.rows).unwrap().len();
    assert_eq!([0, 1, 4, 5, 9].map(list), [0, 1, 4, 5, 5]);
    for limit in 1..=11 {
        let page = node.machine().newer(0, limit, &node.rows).unwrap();
        let all = node.machine().newer(0, 100, &node.rows).unwrap();
        assert_eq!(page, all[..limit.min(10)]);
    }
}
