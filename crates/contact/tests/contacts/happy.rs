//! What happens when nothing goes wrong.

use penpal_contact::{Notice, State};
use penpal_protocol::text::Label;

use crate::support::{ALICE, BOB, World};

pub(crate) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

#[test]
fn two_people_become_contacts_and_write_to_each_other() {
    let mut world = World::new(1, &[0, 0]);
    world.register(ALICE);
    world.settle();
    assert!(world.ready(ALICE));
    let code = world.invite(ALICE).unwrap();
    world.settle();
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::InviteOpen { .. })), 1);

    world.add(BOB, &code).unwrap().unwrap();
    world.settle();
    assert!(world.ready(BOB), "bob was registered by the code");
    assert_eq!(world.state(BOB, ALICE), Some(State::PendingOut));
    assert_eq!(world.state(ALICE, BOB), Some(State::PendingIn));
    assert_eq!(world.noticed(BOB, |n| matches!(n, Notice::RequestStored { .. })), 1);

    world.on(ALICE, |node, step| node.accept(&label("bob"), step).unwrap());
    assert_eq!(world.state(ALICE, BOB), Some(State::Active));
    world.settle();
    assert!(world.connected(ALICE, BOB));
    for who in [ALICE, BOB] {
        assert_eq!(world.people[who].disk.secrets.len(), 0, "secrets are erased");
        assert_eq!(world.people[who].disk.outbox.len(), 0);
        assert_eq!(world.people[who].foreign, 0);
        assert_eq!(world.noticed(who, |n| matches!(n, Notice::Connected { .. })), 1);
    }
    assert!(world.relays[0].invites.is_empty());

    world.send(ALICE, "bob", "hello bob");
    world.send(BOB, "alice", "hello alice");
    world.settle();
    assert_eq!((world.has_mail(BOB, "hello bob"), world.has_mail(ALICE, "hello alice")), (1, 1));
}
