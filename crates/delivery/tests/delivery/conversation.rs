//! Two people write to each other, and nothing goes wrong.

use std::time::Duration;

use penpal_delivery::{MailKey, Mailbox, Selection, Stage, Surfacing, Table};

use crate::world::{Node, Send, World, peer};

#[test]
fn a_note_is_delivered_surfaced_and_every_stage_is_told() {
    let mut world = World::new(1, 2);
    let id = world.send(0, Send::note(1, "hello")).unwrap().msg_id;
    assert_eq!(world.nodes[0].stage(id), Stage::Queued);
    world.run_seconds(1);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["hello"]);
    let taken = Node::take_all(&mut world, 1);
    assert_eq!(taken.len(), 1);
    world.run_seconds(1);
    assert_eq!(world.nodes[0].stage(id), Stage::Surfaced);
    assert_eq!(world.nodes[0].trail(id), [Stage::Queued, Stage::Relayed, Stage::Delivered, Stage::Surfaced]);
    let report = world.nodes[0].report(id);
    assert_eq!(report.mechanism.as_deref(), Some("hook"));
    assert!(report.signed);
    assert!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)).is_empty());
    assert_eq!(world.nodes[1].texts(Selection::All(Mailbox::Desk)), ["hello"]);
}

#[test]
fn an_answer_makes_the_question_answered_without_a_receipt_that_says_so() {
    let mut world = World::new(2, 2);
    let ask = world.send(0, Send::ask(1, "ready?")).unwrap().msg_id;
    world.run_seconds(1);
    let question = MailKey::from_contact(ask, peer(0).account);
    let reply = world.send(1, Send::reply(0, "yes", question)).unwrap().msg_id;
    world.run_seconds(1);
    assert_eq!(world.nodes[0].stage(ask), Stage::Answered);
    assert_eq!(world.nodes[0].report(ask).reply, Some(MailKey::from_contact(reply, peer(1).account)));
    let view = world.nodes[1].list(Selection::All(Mailbox::Desk)).remove(0);
    assert!(view.marks.answered);
    let answer = world.nodes[0].list(Selection::Unread(Mailbox::Desk)).remove(0);
    assert_eq!(answer.reply_to, Some(ask));
    assert_eq!(answer.conversation, view.conversation);
    let thread = world.nodes[0].texts(Selection::With(peer(1).account));
    assert_eq!(thread, ["ready?", "yes"]);
}

#[test]
fn the_newest_are_the_end_of_all_and_what_is_answered_is_found() {
    let mut world = World::new(2, 2);
    for number in 0..300 {
        world.send(0, Send::note(1, &format!("message {number}"))).unwrap();
    }
    let ask = world.send(0, Send::ask(1, "ready?")).unwrap().msg_id;
    world.run_seconds(20);
    let question = MailKey::from_contact(ask, peer(0).account);
    world.send(1, Send::reply(0, "yes", question)).unwrap();
    world.run_seconds(1);
    let node = &world.nodes[1];
    for selection in [Selection::All(Mailbox::Desk), Selection::With(peer(0).account)] {
        let all = node.list(selection);
        assert!(all.len() > 300, "{}", all.len());
        for limit in [0, 1, 5, 200, 1000] {
            let newest = node.newest(selection, None, limit);
            assert_eq!(newest, all[all.len().saturating_sub(limit)..], "{limit}");
        }
        let after = all[all.len() - 3].ordinal;
        assert_eq!(node.newest(selection, Some(after), 9), all[all.len() - 2..]);
    }
    let view = node.list(Selection::With(peer(0).account)).pop().unwrap();
    let answered = node.said_in(view.conversation, ask).unwrap();
    assert_eq!(answered.key, question);
    assert_eq!(node.said_in(view.conversation, penpal_protocol::ids::MsgId::from_bytes([1; 16])), None);
}

#[test]
fn a_hundred_messages_keep_their_order_and_leave_nothing_behind() {
    let mut world = World::new(3, 2);
    let texts: Vec<String> = (0..100).map(|n| format!("message {n}")).collect();
    for text in &texts {
        world.send(0, Send::note(1, text)).unwrap();
    }
    world.run_seconds(5);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), texts);
    world.check_delivered();
    assert_eq!(world.nodes[0].rows_of(Table::Receipt), 0);
    // The receiver's receipts are confirmed by the next message, whatever it is.
    world.send(0, Send::note(1, "one more")).unwrap();
    world.run_seconds(5);
    assert!(world.nodes[1].rows_of(Table::Receipt) <= 1);
}

#[test]
fn a_delivery_receipt_costs_one_round_trip_and_no_fetch_in_a_live_conversation() {
    let mut world = World::new(4, 2);
    for _ in 0..3 {
        world.send(0, Send::note(1, "warm up")).unwrap();
        world.run_seconds(1);
        world.send(1, Send::note(0, "warm up")).unwrap();
        world.run_seconds(1);
    }
    let before = world.mono;
    let deposits = world.deposits;
    let id = world.send(0, Send::note(1, "timed")).unwrap().msg_id;
    while world.nodes[0].stage(id) < Stage::Delivered {
        world.run_for(Duration::from_micros(100));
        assert!(world.mono - before < Duration::from_millis(10), "the receipt takes too long");
    }
    world.run_seconds(1);
    // One envelope there, one back; each sealed to a key that was on offer.
    assert_eq!(world.deposits - deposits, 2);
}

#[test]
fn receipts_ride_in_messages_and_are_confirmed_by_them() {
    let mut world = World::new(5, 2);
    world.send(0, Send::note(1, "a")).unwrap();
    world.run_seconds(1);
    assert_eq!(world.nodes[1].rows_of(Table::Receipt), 1);
    world.send(1, Send::note(0, "b")).unwrap();
    world.run_seconds(1);
    world.send(0, Send::note(1, "c")).unwrap();
    world.run_seconds(1);
    // a's receipt is confirmed by c; c's is on its way to be.
    assert_eq!(world.nodes[1].rows_of(Table::Receipt), 1);
}

#[test]
fn what_a_person_reads_by_id_is_read() {
    let mut world = World::new(6, 2);
    let id = world.send(0, Send::note(1, "hello")).unwrap();
    world.run_seconds(1);
    let key = world.nodes[1].machine().resolve(&id.short, |_| true, &world.nodes[1].rows).unwrap();
    let surfacing = Surfacing { mechanism: "cli".to_owned(), session: None, read: true };
    world.step(1, |machine, step| machine.surface(key, &surfacing, step)).unwrap().unwrap();
    world.run_seconds(1);
    assert_eq!(world.nodes[0].stage(id.msg_id), Stage::Surfaced);
    assert_eq!(world.nodes[0].report(id.msg_id).mechanism.as_deref(), Some("cli"));
}

#[test]
fn an_absent_recipient_gets_its_mail_when_it_comes_back() {
    let mut world = World::new(7, 2);
    world.offline.insert(1);
    world.cut(1);
    let id = world.send(0, Send::note(1, "while you were out")).unwrap().msg_id;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Relayed);
    world.offline.clear();
    world.run_seconds(10);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    assert_eq!(world.nodes[1].texts(Selection::Unread(Mailbox::Desk)), ["while you were out"]);
}

#[test]
fn a_relay_that_is_away_is_no_error() {
    let mut world = World::new(8, 2);
    world.relay.down = true;
    world.cut(0);
    let id = world.send(0, Send::note(1, "later")).unwrap().msg_id;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Queued);
    world.relay.down = false;
    world.run_seconds(60);
    assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
}

#[test]
fn an_idle_node_sleeps() {
    let mut world = World::new(9, 2);
    world.send(0, Send::note(1, "hello")).unwrap();
    world.send(1, Send::note(0, "hello")).unwrap();
    world.run_for(Duration::from_secs(5 * 24 * 3600));
    let before = world.wakes;
    world.run_for(Duration::from_secs(24 * 3600));
    // A new prekey, the daily sweep in its bites, and little else.
    assert!(world.wakes - before < 2 * 20, "{} wakes of two nodes in a day", world.wakes - before);
}
