//! Mail between mailboxes of one machine, with no relay and no account.

use penpal_delivery::{
    Destination, Event, HeldReason, MailKey, Mailbox, Selection, SendError, Stage, Surfacing,
};
use penpal_protocol::ids::SessionId;
use penpal_protocol::limits::MAX_MESSAGE_LIFE_MS;
use penpal_protocol::sealed::{Kind, SessionRef};

use crate::world::{Send, World};

const API: Mailbox = Mailbox::Session(SessionId::from_bytes([1; 16]));
const WEB: Mailbox = Mailbox::Session(SessionId::from_bytes([2; 16]));

#[test]
fn local_mail_has_the_same_trail_unsigned() {
    let mut world = World::new(800, 1);
    let ask = Send { kind: Kind::Ask, ..Send::local(WEB, "ready?") };
    let mut message = ask.message(&world.nodes[0]);
    message.from = API;
    let accepted = world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap();
    assert_eq!(accepted.stage, Stage::Delivered);
    let waiting = world.nodes[0].machine().unread(WEB);
    assert_eq!((waiting.unread, waiting.asks), (1, 1));
    let lease = world.step(0, |machine, step| machine.take(WEB, None, 10, step)).unwrap();
    let surfacing = Surfacing { mechanism: "mcp".to_owned(), session: None, read: false };
    world.step(0, |machine, step| machine.commit(lease.id, None, &surfacing, step)).unwrap().unwrap();
    assert_eq!(world.nodes[0].stage(accepted.msg_id), Stage::Surfaced);
    let key = MailKey::own(accepted.msg_id);
    let reply = Send { kind: Kind::Reply, reply_to: Some(key), ..Send::local(API, "yes") };
    let mut message = reply.message(&world.nodes[0]);
    message.from = WEB;
    let answer = world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap();
    let report = world.nodes[0].report(accepted.msg_id);
    assert_eq!(
        (report.stage, report.reply, report.signed),
        (Stage::Answered, Some(MailKey::own(answer.msg_id)), false)
    );
    assert_eq!(
        world.nodes[0].trail(accepted.msg_id),
        [Stage::Queued, Stage::Delivered, Stage::Surfaced, Stage::Answered]
    );
    let told = |event: &Event| matches!(event, Event::Stage { msg_id, stage: Stage::Answered, reply: Some(_) } if *msg_id == accepted.msg_id);
    assert!(world.nodes[0].events.iter().any(told));
    let answered =
        |event: &Event| matches!(event, Event::Arrived { answers: Some(Kind::Ask), mailbox: API, .. });
    assert!(world.nodes[0].events.iter().any(answered));
    world.restart(0);
    assert_eq!(world.nodes[0].stage(accepted.msg_id), Stage::Answered);
    assert_eq!(world.nodes[0].texts(Selection::Unread(API)), ["yes"]);
    assert_eq!(world.deposits, 0);
}

#[test]
fn local_mail_for_nobody_waits_in_the_desk_and_says_so() {
    let mut world = World::new(801, 1);
    let held = Some(HeldReason::NoSuchSession);
    let to = vec![Destination::Local { mailbox: Mailbox::Desk, held }];
    let message = Send { to, ..Send::local(Mailbox::Desk, "anyone?") }.message(&world.nodes[0]);
    let accepted = world.step(0, |machine, step| machine.send(message, step)).unwrap().unwrap();
    assert_eq!(accepted.stage, Stage::Held);
    assert_eq!(world.nodes[0].report(accepted.msg_id).reason.as_deref(), Some("no-such-session"));
    assert_eq!(world.nodes[0].texts(Selection::Unread(Mailbox::Desk)), ["anyone?"]);
    let trace = |world: &World| {
        world.nodes[0].machine().trace(accepted.msg_id, &world.nodes[0].rows).unwrap().unwrap().pop().unwrap()
    };
    assert_eq!(trace(&world).reason.as_deref(), Some("no-such-session"));
    // It finds its session, which is gone again before it looks.
    world.step(0, |machine, step| machine.retarget(Mailbox::Desk, API, Some(HeldReason::SessionGone), step));
    assert_eq!(trace(&world).reason.as_deref(), Some("session-gone"));
    let name = penpal_protocol::text::Label::new("api").unwrap();
    let session = Some(SessionRef { sid: SessionId::from_bytes([1; 16]), name });
    let surfacing = Surfacing { mechanism: "hook".to_owned(), session, read: false };
    world
        .step(0, |machine, step| machine.surface(MailKey::own(accepted.msg_id), &surfacing, step))
        .unwrap()
        .unwrap();
    let last = trace(&world);
    assert_eq!(
        (last.stage, last.session.as_deref(), last.mechanism.as_deref()),
        (Stage::Surfaced, Some("api"), Some("hook"))
    );
}

#[test]
fn what_cannot_be_sent_is_refused_by_name_and_leaves_nothing() {
    let mut world = World::new(802, 2);
    let before = world.nodes[0].rows.0.len();
    let good = Send::note(1, "x").message(&world.nodes[0]);
    let mut nowhere = good.clone();
    nowhere.destinations.clear();
    let mut twice = good.clone();
    twice.destinations = vec![Destination::Local { mailbox: API, held: None }; 2];
    let mut kind = good.clone();
    kind.kind = Kind::Receipts;
    let mut life = good;
    life.life_ms = Some(MAX_MESSAGE_LIFE_MS + 1);
    for message in [nowhere, twice, kind, life] {
        let result = world.step(0, |machine, step| machine.send(message, step)).unwrap();
        assert!(
            matches!(
                result,
                Err(SendError::NoDestination
                    | SendError::TwoLocal
                    | SendError::Kind { .. }
                    | SendError::Life { .. })
            ),
            "{result:?}"
        );
    }
    assert_eq!(world.nodes[0].rows.0.len(), before);
}
