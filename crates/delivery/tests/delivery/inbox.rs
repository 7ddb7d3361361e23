//! Leases, commits, moving mail, short ids and listings.

use std::time::Duration;

use penpal_delivery::{
    HeldReason, HistoryLimits, MailKey, Mailbox, ResolveError, Selection, Stage, SurfaceError, Surfacing,
};
use penpal_protocol::ids::{MsgId, SessionId};

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
fn history_is_kept_within_its_limits_and_what_waits_is_kept_in_any_case() {
    let mut world = with_mail(706, &["read", "unread"]);
    let read = world.nodes[1].list(Selection::Unread(Mailbox::Desk))[0].key;
    world.step(1, |machine, step| machine.surface(read, &hook(), step)).unwrap().unwrap();
    world.run_for(Duration::from_secs(60 * 24 * 3600));
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["read", "unread"]);
    world.run_for(Duration::from_secs(32 * 24 * 3600));
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["unread"]);
    assert_eq!(world.nodes[0].rows_of(penpal_delivery::Table::Mail), 0);
    assert_eq!(world.nodes[0].rows_of(penpal_delivery::Table::Copy), 0);
    assert_eq!(world.nodes[0].rows_of(penpal_delivery::Table::Thread), 0);
}

#[test]
fn history_is_kept_within_a_size() {
    let mut world = World::new(707, 2);
    world.step(0, |machine, _| {
        machine.set_history(HistoryLimits { max_age_ms: u64::MAX, max_bytes: 2_000 });
    });
    let day = Duration::from_secs(24 * 3600);
    for n in 0..40 {
        let text = format!("{n} {}", "x".repeat(200));
        world.send(0, Send { life_ms: Some(3600 * 1000), ..Send::note(1, &text) }).unwrap();
        world.run_for(day);
    }
    let kept = world.nodes[0].list(Selection::With(peer(1).account)).len();
    assert!((5..20).contains(&kept), "{kept} messages kept");
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
