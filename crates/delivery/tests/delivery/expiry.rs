//! The end of messages, clocks that disagree, and what people do about failures.

use std::time::Duration;

use penpal_delivery::{ContactInfo, DismissError, Mailbox, Outcome, RetryError, Selection, Stage, Standing};
use penpal_protocol::limits::{DAY_MS, HOUR_MS};

use penpal_protocol::sealed::Stage as Stated;

use crate::world::{Send, World, info, peer};

fn short_lived(text: &str) -> Send {
    Send { life_ms: Some(HOUR_MS), ..Send::note(1, text) }
}

#[test]
fn a_message_that_is_not_fetched_expires_and_is_listed_as_dead() {
    let mut world = World::new(600, 2);
    world.offline.insert(1);
    world.cut(1);
    let id = world.send(0, short_lived("too late")).unwrap().msg_id;
    world.run_seconds(3500);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.run_seconds(200);
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    assert!(!world.nodes[0].report(id).signed);
    let dead = world.nodes[0].machine().dead(&world.nodes[0].rows).unwrap();
    assert_eq!(dead.len(), 1);
    world.restart(0);
    assert_eq!(world.nodes[0].machine().dead_count(), 1);
    // Arriving after its end, it is refused there.
    world.offline.clear();
    world.run_seconds(60);
    assert!(world.nodes[1].texts(Selection::All(Mailbox::Desk)).is_empty());
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    assert!(world.nodes[0].report(id).signed);
}

#[test]
fn an_expiry_gives_way_to_a_later_receipt() {
    let mut world = World::new(601, 2);
    // It arrives in time, and all its receipts are lost until after its end.
    world.swallow.insert(0, 3);
    let id = world.send(0, short_lived("arrived")).unwrap().msg_id;
    world.run_seconds(3700);
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    assert_eq!(world.nodes[0].machine().dead_count(), 1);
    let receipt = world.forge_receipt(1, 0, id, Stated::Delivered);
    world.deliver_forged(0, receipt);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
}

#[test]
fn a_failed_message_can_be_tried_anew_and_arrives_once() {
    let mut world = World::new(602, 2);
    world.offline.insert(1);
    world.cut(1);
    let id = world.send(0, short_lived("second life")).unwrap().msg_id;
    world.run_seconds(3700);
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    world.step(0, |machine, step| machine.retry(id, step)).unwrap().unwrap();
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    world.offline.clear();
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["second life"]);
    let again = world.step(0, |machine, step| machine.retry(id, step)).unwrap();
    assert_eq!(again, Err(RetryError::Done { stage: Stage::Delivered }));
    world.heal();
    world.check_delivered();
}

#[test]
fn a_dismissed_failure_is_not_listed() {
    let mut world = World::new(603, 2);
    world.offline.insert(1);
    world.cut(1);
    let id = world.send(0, short_lived("never mind")).unwrap().msg_id;
    let early = world.step(0, |machine, step| machine.dismiss(id, step)).unwrap();
    assert!(matches!(early, Err(DismissError::NotFailed { .. })));
    world.run_seconds(3700);
    world.step(0, |machine, step| machine.dismiss(id, step)).unwrap().unwrap();
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
}

#[test]
fn what_waits_for_a_contact_that_is_gone_can_be_given_up_and_tried_again() {
    let mut world = World::new(612, 2);
    world.relay.refuses.insert((peer(0), peer(1)));
    let id = world.send(0, Send::note(1, "never mind")).unwrap().msg_id;
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(id), Stage::Queued);
    world.step(0, |machine, step| machine.dismiss(id, step)).unwrap().unwrap();
    let given_up = |world: &World| {
        assert_eq!(world.nodes[0].stage(id), Stage::Refused, "no relay has it");
        assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("given-up"));
        assert_eq!(world.nodes[0].machine().dead_count(), 0);
        assert!(world.nodes[0].machine().outbox(&world.nodes[0].rows).unwrap().is_empty());
    };
    given_up(&world);
    world.restart(0);
    world.relay.refuses.clear();
    world.run_seconds(2 * 3600);
    given_up(&world);
    assert!(world.nodes[1].texts(Selection::All(Mailbox::Desk)).is_empty());
    world.step(0, |machine, step| machine.retry(id, step)).unwrap().unwrap();
    world.run_seconds(3700);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["never mind"]);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn what_a_relay_took_before_it_was_given_up_is_expired_and_may_still_arrive() {
    let mut world = World::new(613, 2);
    world.swallow.insert(0, 9);
    let id = world.send(0, Send::note(1, "taken")).unwrap().msg_id;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.step(0, |machine, step| machine.handle_gone(peer(1).account, step)).unwrap();
    world.step(0, |machine, step| machine.dismiss(id, step)).unwrap().unwrap();
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    let receipt = world.forge_receipt(1, 0, id, Stated::Delivered);
    world.deliver_forged(0, receipt);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn a_message_under_way_when_it_is_given_up_is_not_called_refused() {
    let mut world = World::new(614, 2);
    let id = world.send(0, Send::note(1, "under way")).unwrap().msg_id;
    // Sealed and given to the connection; nobody has answered.
    while world.deposits == 0 {
        world.run_for(Duration::from_micros(20));
    }
    assert_eq!(world.nodes[0].stage(id), Stage::Queued);
    world.step(0, |machine, step| machine.handle_gone(peer(1).account, step)).unwrap();
    world.step(0, |machine, step| machine.dismiss(id, step)).unwrap().unwrap();
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    world.run_seconds(60);
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["under way"]);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn retry_of_a_waiting_message_tries_at_once() {
    let mut world = World::new(604, 2);
    world.swallow.insert(1, 1);
    let id = world.send(0, Send::note(1, "now")).unwrap().msg_id;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.step(0, |machine, step| machine.retry(id, step)).unwrap().unwrap();
    world.run_seconds(5);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn mail_from_the_future_is_held_until_the_clocks_agree() {
    let mut world = World::new(605, 2);
    world.nodes[0].skew_ms = i64::try_from(3 * DAY_MS).unwrap();
    let id = world.send(0, Send::note(1, "from the future")).unwrap().msg_id;
    world.run_seconds(5);
    assert_eq!(world.nodes[0].stage(id), Stage::Held);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("clock-ahead"));
    assert!(world.nodes[1].list(Selection::Unread(Mailbox::Desk)).is_empty());
    assert_eq!(world.nodes[1].machine().hidden_count(), 1);
    world.restart(1);
    world.run_seconds(2 * 24 * 3600 + 60);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["from the future"]);
}

#[test]
fn mail_of_a_contact_that_nobody_accepted_is_held_until_somebody_does() {
    let mut world = World::new(606, 2);
    let probation = info(peer(0), Standing::OnProbation);
    world.step(1, |machine, step| machine.set_contact(peer(0).account, probation, step));
    let id = world.send(0, Send::ask(1, "hello stranger")).unwrap().msg_id;
    world.run_seconds(5);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("awaiting-person"));
    assert!(world.nodes[1].list(Selection::Unread(Mailbox::Desk)).is_empty());
    let active = info(peer(0), Standing::Active);
    world.step(1, |machine, step| machine.set_contact(peer(0).account, active, step));
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["hello stranger"]);
}

#[test]
fn a_blocked_contact_is_stored_nowhere_and_answered_nothing() {
    let mut world = World::new(607, 2);
    let blocked = info(peer(0), Standing::Blocked);
    world.step(1, |machine, step| machine.set_contact(peer(0).account, blocked, step));
    let id = world.send(0, short_lived("let me in")).unwrap().msg_id;
    world.run_seconds(3500);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.run_seconds(200);
    assert_eq!(world.nodes[0].stage(id), Stage::Expired);
    assert_eq!(world.nodes[1].rows_of(penpal_delivery::Table::Mail), 0);
    assert_eq!(world.nodes[1].rows_of(penpal_delivery::Table::Content), 0);
    assert_eq!(world.relay.spooled(peer(1)), 0);
}

#[test]
fn an_unblocked_contact_gets_through_with_what_is_still_owed() {
    let mut world = World::new(608, 2);
    let blocked = info(peer(0), Standing::Blocked);
    world.step(1, |machine, step| machine.set_contact(peer(0).account, blocked, step));
    world.send(0, Send::note(1, "patience")).unwrap();
    world.run_seconds(100);
    let active = info(peer(0), Standing::Active);
    world.step(1, |machine, step| machine.set_contact(peer(0).account, active, step));
    world.heal();
    world.check_delivered();
}

#[test]
fn a_removed_contact_gets_and_gives_nothing() {
    let mut world = World::new(609, 2);
    world.offline.insert(1);
    world.cut(1);
    let id = world.send(0, Send::note(1, "too late")).unwrap().msg_id;
    world.run_seconds(5);
    world.step(0, |machine, step| machine.remove_contact(peer(1).account, step));
    world.nodes[0].contacts.clear();
    assert_eq!(world.nodes[0].stage(id), Stage::Refused);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("contact-removed"));
    let body = world.forge_letter(1, 0, "still here?", None);
    assert_eq!(world.deliver_forged(0, body), Some(Outcome::Dropped));
    world.offline.clear();
    world.run_for(Duration::from_secs(4 * 24 * 3600));
    // Keys made for its device are gone as well.
    let live = world.nodes[0].machine().live_keys().count();
    assert!(live <= 4, "{live} keys");
}

#[test]
fn what_is_under_way_to_a_device_that_was_revoked_ends() {
    let mut world = World::new(611, 2);
    world.offline.insert(1);
    world.cut(1);
    let id = world.send(0, Send::note(1, "too late")).unwrap().msg_id;
    world.run_seconds(5);
    let other = ContactInfo {
        devices: vec![penpal_protocol::ids::DeviceId::from_bytes([77; 16])],
        ..info(peer(1), Standing::Active)
    };
    world.step(0, |machine, step| machine.set_contact(peer(1).account, other.clone(), step));
    assert_eq!(world.nodes[0].stage(id), Stage::Refused);
    assert_eq!(world.nodes[0].report(id).reason.as_deref(), Some("device-revoked"));
    // The end is stored.
    world.nodes[0].contacts.insert(peer(1).account, other);
    world.restart(0);
    assert_eq!(world.nodes[0].stage(id), Stage::Refused);
}

#[test]
fn a_cancelled_message_is_neither_sent_nor_dead() {
    let mut world = World::new(610, 2);
    world.offline.insert(0);
    world.cut(0);
    let id = world
        .send(0, Send { kind: penpal_protocol::sealed::Kind::Control, ..Send::note(1, "") })
        .unwrap()
        .msg_id;
    world.step(0, |machine, step| machine.cancel(id, step));
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    assert_eq!(world.nodes[0].machine().outbox(&world.nodes[0].rows).unwrap(), []);
    world.offline.clear();
    let before = world.deposits;
    world.run_seconds(60);
    assert_eq!(world.deposits, before);
}

#[test]
fn only_what_completes_an_invite_goes_before_a_contact_is_open() {
    let mut world = World::new(611, 2);
    let mut shut = info(peer(1), Standing::Active);
    shut.open = false;
    world.step(0, |machine, step| machine.set_contact(peer(1).account, shut.clone(), step));
    let note = world.send(0, Send::note(1, "early")).unwrap().msg_id;
    let boot = Send { kind: penpal_protocol::sealed::Kind::Control, boot: true, ..Send::note(1, "") };
    let accept = world.send(0, boot).unwrap().msg_id;
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(note), Stage::Queued);
    assert_eq!(world.nodes[0].stage(accept), Stage::Delivered);
    shut.open = true;
    world.step(0, |machine, step| machine.set_contact(peer(1).account, shut, step));
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(note), Stage::Delivered);
}

#[test]
fn only_what_was_not_taken_gets_a_new_life_from_a_later_end() {
    let mut world = World::new(640, 2);
    let taken = world.forge_letter(0, 1, "taken", None);
    let longer = |body: &penpal_protocol::sealed::Body| penpal_protocol::sealed::Body {
        expires_ms: body.expires_ms + HOUR_MS,
        ..body.clone()
    };
    world.deliver_forged(1, taken.clone());
    assert_eq!(world.deliver_forged(1, longer(&taken)), Some(Outcome::Duplicate));
    let mut late = world.forge_letter(0, 1, "late", None);
    late.expires_ms = late.sent_ms;
    world.run_seconds(1);
    let refused = Outcome::Refused { reason: "expired".to_owned() };
    assert_eq!(world.deliver_forged(1, late.clone()), Some(refused));
    assert_eq!(world.deliver_forged(1, late.clone()), Some(Outcome::Duplicate));
    assert!(matches!(world.deliver_forged(1, longer(&late)), Some(Outcome::Stored { .. })));
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["taken", "late"]);
}
