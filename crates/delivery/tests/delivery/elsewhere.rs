//! What other devices of the account sent and read.

use std::time::Duration;

use penpal_delivery::{
    DismissError, Event, MailKey, MailState, Mailbox, Peer, RetryError, Selection, SentElsewhere, Stage,
    Witness,
};
use penpal_protocol::ids::{ConversationId, DeviceId, MsgId};
use penpal_protocol::sealed::{Content, Kind, Stage as Stated};

use crate::world::{Send, World, peer};

fn sent_elsewhere(world: &World, text: &str) -> SentElsewhere {
    let letter = Send::note(1, text).letter();
    let content = Content::Letter(Box::new(letter.clone())).encode();
    let sent_ms = world.now(0).wall_ms - 1000;
    SentElsewhere {
        by: Peer::new(peer(0).account, DeviceId::from_bytes([9; 16])),
        msg_id: MsgId::from_bytes([9; 16]),
        conversation: ConversationId::from_bytes([9; 16]),
        kind: Kind::Note,
        letter,
        content,
        to: "bob".to_owned(),
        accounts: vec![peer(1).account],
        sent_ms,
        expires_ms: sent_ms + 1000 * 3600,
    }
}

#[test]
fn what_another_device_sent_is_listed_and_nothing_is_sent_for_it() {
    let mut world = World::new(1200, 2);
    let sent = sent_elsewhere(&world, "from my laptop");
    let (id, by, sent_ms) = (sent.msg_id, sent.by, sent.sent_ms);
    let before = world.deposits;
    assert_eq!(world.step(0, |machine, step| machine.sent_elsewhere(sent.clone(), step)), Some(true));
    assert_eq!(world.step(0, |machine, step| machine.sent_elsewhere(sent, step)), Some(false));
    let node = &world.nodes[0];
    assert_eq!(node.texts(Selection::With(peer(1).account)), ["from my laptop"]);
    let trace = node.machine().trace(id, &node.rows).unwrap().unwrap();
    let [queued] = trace.as_slice() else { panic!("{trace:?}") };
    assert_eq!((queued.stage, queued.by, queued.device), (Stage::Queued, Witness::Device, Some(by)));
    assert_eq!((queued.at_ms, queued.signed), (sent_ms, true));
    world.run_seconds(4000);
    assert_eq!(world.deposits, before);
    assert_eq!(world.nodes[0].stage(id), Stage::Queued);
    assert!(!world.nodes[0].machine().is_owed_to_anybody(id));
}

#[test]
fn what_became_of_it_is_that_devices_business() {
    let mut world = World::new(1201, 2);
    let sent = sent_elsewhere(&world, "from my laptop");
    let id = sent.msg_id;
    world.step(0, |machine, step| machine.sent_elsewhere(sent, step));
    // Whoever it went to says the wrong device that it refused it.
    let receipt = world.forge_receipt(1, 0, id, Stated::Refused);
    world.deliver_forged(0, receipt);
    assert_eq!(world.nodes[0].machine().dead_count(), 0);
    assert!(!world.nodes[0].events.iter().any(|event| matches!(event, Event::FailedFor { .. })));
    let retried = world.step(0, |machine, step| machine.retry(id, step)).unwrap();
    assert!(matches!(retried, Err(RetryError::Done { .. })), "{retried:?}");
    let unknown = MsgId::from_bytes([1; 16]);
    assert_eq!(
        world.step(0, |machine, step| machine.dismiss(unknown, step)),
        Some(Err(DismissError::Unknown))
    );
}

#[test]
fn what_another_device_read_or_answered_is_so_here_and_nobody_is_told() {
    let mut world = World::new(1202, 2);
    for text in ["read", "answered", "read first"] {
        world.send(0, Send::note(1, text)).unwrap();
    }
    world.run_seconds(2);
    let keys: Vec<MailKey> =
        world.nodes[1].list(Selection::All(Mailbox::Desk)).iter().map(|view| view.key).collect();
    let read = |world: &mut World, key, answered| {
        let before = world.nodes[1].machine().changes();
        let unread = world.step(1, |machine, step| machine.read_elsewhere(key, answered, step)).unwrap();
        let view = world.nodes[1]
            .list(Selection::All(Mailbox::Desk))
            .into_iter()
            .find(|view| view.key == key)
            .unwrap();
        assert_eq!(view.state, Some(MailState::Read));
        (unread, world.nodes[1].machine().changes() > before, view.marks.answered)
    };
    assert_eq!(read(&mut world, keys[0], false), (true, true, false));
    assert_eq!(read(&mut world, keys[0], false), (false, false, false));
    assert_eq!(read(&mut world, keys[1], true), (true, true, true));
    // What was answered is so for good.
    assert_eq!(read(&mut world, keys[1], false), (false, false, true));
    assert_eq!(read(&mut world, keys[2], false), (true, true, false));
    assert_eq!(read(&mut world, keys[2], true), (false, true, true));
    world.run_seconds(5);
    for (id, _) in world.nodes[0].sent.clone() {
        assert_eq!(world.nodes[0].stage(id), Stage::Delivered);
    }
    assert_eq!(world.nodes[1].machine().unread(Mailbox::Desk).unread, 0);
}

#[test]
fn whether_it_was_answered_there_is_known_when_it_comes_later() {
    for answered in [false, true] {
        let mut world = World::new(1203, 2);
        let body = world.forge_letter(0, 1, "slow", None);
        let key = MailKey::from_contact(body.msg_id, peer(0).account);
        world.step(1, |machine, step| machine.read_elsewhere(key, answered, step));
        world.run_for(Duration::from_secs(60));
        world.deliver_forged(1, body).unwrap();
        let view = world.nodes[1].list(Selection::All(Mailbox::Desk)).remove(0);
        assert_eq!((view.state, view.marks.answered), (Some(MailState::Read), answered));
    }
}
