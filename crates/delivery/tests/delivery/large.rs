//! What concerns thousands of messages at once is done in several steps, each of which a store takes.

use std::time::Duration;

use penpal_delivery::{Arrival, Mailbox, Opened, Placement, Selection, Verdict};
use penpal_protocol::ids::{KeyId, SessionId, ShortHash};
use penpal_protocol::limits::{HOUR_MS, MAX_CLOCK_AHEAD_MS};

use crate::world::{Send, World};

const SESSION: Mailbox = Mailbox::Session(SessionId::from_bytes([1; 16]));

/// Half of what a store takes at once.
const MOST: usize = 4 * 1024 * 1024;

/// Puts so many messages into a session's mailbox.
fn fill(world: &mut World, count: usize) {
    for first in (0..count).step_by(500) {
        let sends = (first..count.min(first + 500)).map(|number| Send::local(SESSION, &number.to_string()));
        let messages: Vec<_> = sends.map(|send| send.message(&world.nodes[0])).collect();
        world.step(0, |machine, step| {
            for message in messages {
                machine.send(message, step).unwrap();
            }
        });
    }
}

fn waiting(world: &World, mailbox: Mailbox) -> usize {
    world.nodes[0].machine().unread(mailbox).unread
}

#[test]
fn a_mailbox_with_thousands_of_messages_is_moved_in_several_steps_and_in_order() {
    const COUNT: usize = 6_000;
    let mut world = World::new(1_100, 1);
    fill(&mut world, COUNT);
    let moved = world.step(0, |machine, step| machine.retarget(SESSION, Mailbox::Desk, None, step));
    assert_eq!(moved, Some(COUNT));
    let first = waiting(&world, Mailbox::Desk);
    assert!((500..COUNT).contains(&first), "{first}");
    // It goes on at once, without anybody asking.
    world.run_for(Duration::from_millis(10));
    assert_eq!((waiting(&world, SESSION), waiting(&world, Mailbox::Desk)), (0, COUNT));
    let order: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(world.nodes[0].texts(Selection::Unread(Mailbox::Desk)), order);
    assert!(world.nodes[0].most_changed < MOST, "{}", world.nodes[0].most_changed);
}

#[test]
fn marks_go_on_after_a_step_that_had_no_room_for_all() {
    const COUNT: usize = 14_000;
    let mut world = World::new(1_101, 1);
    fill(&mut world, COUNT);
    world.step(0, |machine, step| machine.mark_earlier(SESSION, step));
    world.run_for(Duration::from_millis(10));
    let views = world.nodes[0].list(Selection::Unread(SESSION));
    assert_eq!(views.iter().filter(|view| view.marks.earlier).count(), COUNT);
    assert!(world.nodes[0].most_changed < MOST, "{}", world.nodes[0].most_changed);
}

#[test]
fn mail_from_the_future_is_shown_in_several_steps() {
    const COUNT: usize = 1_000;
    let mut world = World::new(1_102, 2);
    // As many bytes as a contact may write, and what is noted of them may be more.
    let text = "x".repeat(8_000);
    let bodies: Vec<_> = (0..COUNT)
        .map(|_| {
            let mut body = world.forge_letter(0, 1, &text, None);
            body.sent_ms += MAX_CLOCK_AHEAD_MS + 60_000;
            body.expires_ms = body.sent_ms + HOUR_MS;
            body
        })
        .collect();
    for part in bodies.chunks(100) {
        let arrivals: Vec<Arrival> = part.iter().map(|body| arrival(body.clone())).collect();
        world.step(1, |machine, step| {
            for arrival in arrivals {
                machine.handle_arrival(arrival, step);
            }
        });
    }
    assert_eq!(world.nodes[1].machine().hidden_count(), COUNT);
    world.run_seconds(61);
    assert!(world.nodes[1].most_changed < MOST, "{}", world.nodes[1].most_changed);
    assert_eq!(world.nodes[1].machine().hidden_count(), 0);
    assert_eq!(world.nodes[1].list(Selection::Unread(Mailbox::Desk)).len(), COUNT);
}

fn arrival(body: penpal_protocol::sealed::Body) -> Arrival {
    let content = body.parse_content().unwrap();
    let envelope = ShortHash::from_bytes(*body.msg_id.as_bytes());
    let placement = Placement { mailbox: Mailbox::Desk, held: None, quiet: false };
    let opened = Opened { key: KeyId::from_bytes([0; 8]), body, content, placement };
    Arrival { row: None, enc: envelope, envelope, verdict: Verdict::Opened(Box::new(opened)) }
}

#[test]
fn no_more_than_hundreds_wait_for_a_message_that_does_not_come() {
    let mut world = World::new(1_103, 2);
    let order = |seq| {
        let prev_hash = ShortHash::from_bytes([0; 16]);
        Some(penpal_protocol::sealed::Order { seq, prev_hash })
    };
    // The first one is missing.
    let bodies: Vec<_> = (2..600).map(|seq| world.forge_letter(0, 1, "later", order(seq))).collect();
    let mut shown = Vec::new();
    for body in bodies {
        world.step(1, |machine, step| machine.handle_arrival(arrival(body), step));
        shown.push(world.nodes[1].machine().unread(Mailbox::Desk).unread);
    }
    assert_eq!(shown[400], 0);
    assert_eq!(*shown.last().unwrap(), shown.len());
}
