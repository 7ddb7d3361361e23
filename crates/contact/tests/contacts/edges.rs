//! New edges after a revocation: asked for until they are used, and nothing that was left on one of them is lost.

use std::{collections::BTreeMap, time::Duration};

use penpal_contact::{Opener, Via};
use penpal_protocol::{
    cbor::Blob,
    ids::{Capability, EdgeId, SharedKey},
    sealed::{Content, Control, Rekey},
    wire::{Answer, RefusalCode, Request},
};

use crate::{
    devices::TOWER,
    flows::fell_back,
    happy::label,
    support::{ALICE, BOB, World},
};

/// One more machine of Alice's.
const ATTIC: usize = 3;

impl World {
    /// The edge on which a person writes to another.
    fn edge(&self, from: usize, to: usize) -> Option<EdgeId> {
        self.people[from].node.route(&self.people[to].fp()).map(|route| route.edge)
    }

    /// What was asked of Bob does not come to him, and ends.
    fn forget_what_bob_is_asked(&mut self) {
        let bob = self.people[BOB].transport();
        self.relays[0].spools.insert(bob, Vec::new());
        self.people[ALICE].disk.outbox.clear();
    }

    /// Alice and Bob are contacts, and Alice has a tower and an attic.
    fn of_three_devices(seed: u64) -> Self {
        let mut world = Self::new(seed, &[0, 0, 0, 0]);
        assert!(world.pursue(20));
        world.settle();
        world.link_to(ALICE, TOWER, "tower");
        world.link_to(ALICE, ATTIC, "attic");
        assert_eq!(world.people[ALICE].node.devices().len(), 3);
        world
    }

    /// Alice cut her tower off, and Bob heard nothing of it.
    fn revoked_unheard(seed: u64) -> (Self, EdgeId) {
        let mut world = Self::of_two_devices(seed);
        let old = world.edge(BOB, ALICE).unwrap();
        world.deaf = vec![BOB];
        world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
        world.run(Duration::from_secs(600));
        world.forget_what_bob_is_asked();
        world.deaf.clear();
        (world, old)
    }

    fn check_new_edge(&mut self, old: &EdgeId) {
        self.check_new_edge_with(old, "after");
    }

    fn check_new_edge_with(&mut self, old: &EdgeId, text: &str) {
        assert_ne!(self.edge(BOB, ALICE).as_ref(), Some(old));
        assert!(!self.relays[0].edges.contains_key(old), "the edge that the revoked device knows is gone");
        self.send(BOB, "alice", text);
        let bob = self.name_of_bob(ALICE).unwrap();
        self.send(ALICE, bob.as_str(), text);
        self.calm();
        assert_eq!((self.has_mail(ALICE, text), self.has_mail(BOB, text)), (1, 1));
        assert!(self.connected(ALICE, BOB));
    }
}

#[test]
fn a_contact_that_heard_nothing_of_its_new_edge_is_told_again_every_week() {
    let (mut world, old) = World::revoked_unheard(40);
    world.days(3);
    assert_eq!(world.edge(BOB, ALICE), Some(old), "nobody told him");
    // Lost once more, and the node was started in between.
    world.deaf = vec![BOB];
    world.days(6);
    world.forget_what_bob_is_asked();
    world.deaf.clear();
    world.start(ALICE);
    world.days(9);
    world.check_new_edge(&old);
}

#[test]
fn a_contact_that_writes_on_the_old_edge_is_told_of_the_new_one_at_once() {
    let (mut world, old) = World::revoked_unheard(41);
    world.days(2);
    assert_eq!(world.edge(BOB, ALICE), Some(old));
    world.send(BOB, "alice", "hello");
    world.calm();
    assert_eq!(world.has_mail(ALICE, "hello"), 1);
    world.check_new_edge(&old);
}

#[test]
fn what_was_left_on_a_new_edge_is_found_after_the_next_revocation() {
    let mut world = World::of_three_devices(42);
    let old = world.edge(BOB, ALICE).unwrap();
    // Bob goes over to the first new edge and writes there; Alice does not hear it yet.
    world.deaf = vec![ALICE, ATTIC];
    world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
    world.run(Duration::from_secs(600));
    let first = world.edge(BOB, ALICE).unwrap();
    assert_ne!(first, old);
    world.send(BOB, "alice", "on the first");
    world.run(Duration::from_secs(30));
    // What he would leave again is no part of this.
    world.people[BOB].disk.outbox.clear();
    world.on(ALICE, |node, step| node.revoke_device(&label("attic"), step).unwrap());
    world.run(Duration::from_secs(600));
    let second = world.edge(BOB, ALICE).unwrap();
    assert!(![old, first].contains(&second));
    assert!(world.relays[0].edges.contains_key(&first), "it stands until the newest is used");
    world.start(ALICE);
    let foreign = world.people[ALICE].foreign;
    world.deaf.clear();
    world.calm();
    assert_eq!((world.has_mail(ALICE, "on the first"), world.people[ALICE].foreign), (1, foreign));
    world.days(2);
    for over in [old, first] {
        assert!(!world.relays[0].edges.contains_key(&over), "both edges before it end");
    }
    world.check_new_edge(&old);
}

#[test]
fn an_edge_that_a_device_heard_of_before_it_was_revoked_is_replaced() {
    let mut world = World::of_three_devices(48);
    let old = world.edge(BOB, ALICE).unwrap();
    // The attic hears which edge Bob made after the first revocation; Alice does not, and Bob hears nothing over it.
    let before = world.edge(ATTIC, BOB);
    world.deaf = vec![ALICE];
    world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
    while world.edge(BOB, ALICE) == Some(old) {
        world.run(Duration::from_millis(100));
    }
    world.deaf = vec![ALICE, BOB];
    world.run(Duration::from_secs(60));
    assert_ne!(world.edge(ATTIC, BOB), before);
    world.people[ATTIC].disk.outbox.clear();
    world.forget_what_bob_is_asked();
    world.deaf = vec![ALICE];
    let known = world.edge(ATTIC, BOB);
    assert_ne!(known, world.edge(ALICE, BOB));
    world.on(ALICE, |node, step| node.revoke_device(&label("attic"), step).unwrap());
    world.run(Duration::from_secs(600));
    world.deaf.clear();
    world.calm();
    assert_ne!(world.edge(ALICE, BOB), known);
    world.check_new_edge(&old);
    assert!(!world.relays[0].edges.contains_key(&known.unwrap()), "the edge that the attic knows is gone");
}

/// A word on an edge of its own.
fn rekey(number: u64, byte: u8) -> Rekey {
    Rekey {
        edge: EdgeId::from_bytes([byte; 16]),
        cap: Capability::from_bytes([byte; 32]),
        pair: SharedKey::from_bytes([byte; 32]),
        both: false,
        number: Some(number),
        turn: None,
    }
}

#[test]
fn a_repetition_of_an_older_word_changes_nothing() {
    let mut world = World::of_two_devices(43);
    let say = |world: &mut World, rekey: &Rekey| {
        let control = Control { rekey: Blob::new(rekey.encode()).ok(), ..Control::default() };
        let (contact, device) =
            (world.people[ALICE].fp(), world.people[ALICE].node.account().unwrap().device);
        let opener = Opener { contact, via: Via::Link };
        world.on(BOB, |node, step| node.handle_control(opener, &device, &control, step).unwrap());
    };
    let alice = world.people[ALICE].fp();
    let newest = world.people[BOB].node.manifest(&alice).unwrap().version();
    let before = world.edge(BOB, ALICE);
    say(&mut world, &rekey(newest + 1, 4));
    assert_eq!(world.edge(BOB, ALICE), before, "above every list: nothing could follow it");
    say(&mut world, &rekey(newest, 2));
    assert_eq!(world.edge(BOB, ALICE), Some(EdgeId::from_bytes([2; 16])));
    say(&mut world, &rekey(newest - 1, 1));
    assert_eq!(world.edge(BOB, ALICE), Some(EdgeId::from_bytes([2; 16])), "an older word");
    world.start(BOB);
    say(&mut world, &rekey(newest - 1, 1));
    assert_eq!(world.edge(BOB, ALICE), Some(EdgeId::from_bytes([2; 16])), "and after a restart");
    say(&mut world, &rekey(newest, 3));
    assert_eq!(world.edge(BOB, ALICE), Some(EdgeId::from_bytes([3; 16])), "asked anew under one list");
    // Under one list they are told apart by when they were made.
    let turn = |byte, turn| Rekey { turn: Some(turn), ..rekey(newest, byte) };
    say(&mut world, &turn(5, 2_000));
    say(&mut world, &turn(4, 1_999));
    world.start(BOB);
    say(&mut world, &turn(4, 1_999));
    assert_eq!(world.edge(BOB, ALICE), Some(EdgeId::from_bytes([5; 16])), "an edge before");
    say(&mut world, &turn(6, 2_001));
    assert_eq!(world.edge(BOB, ALICE), Some(EdgeId::from_bytes([6; 16])), "a later edge");
    // What it asks for is done all the same.
    let bob = world.people[BOB].fp();
    let before = world.people[BOB].disk.outbox.len();
    say(&mut world, &Rekey { both: true, ..turn(4, 1_999) });
    world.run(Duration::from_secs(40));
    assert_eq!(world.edge(BOB, ALICE), Some(EdgeId::from_bytes([6; 16])));
    assert!(world.people[BOB].disk.outbox.len() > before, "{bob:?} makes a new edge");
}

#[test]
fn a_contact_put_back_to_before_new_edges_finds_them_at_its_relay() {
    let mut world = World::of_two_devices(44);
    let old = world.edge(BOB, ALICE).unwrap();
    let backup = (world.people[BOB].disk.clone(), world.people[BOB].keys.clone());
    world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
    world.calm();
    world.check_new_edge(&old);
    assert!(world.people[BOB].node.is_kept());
    (world.people[BOB].disk, world.people[BOB].keys) = backup;
    world.start(BOB);
    assert_eq!(world.edge(BOB, ALICE), Some(old), "nobody repeats what he confirmed");
    fell_back(&mut world, BOB);
    world.calm();
    world.check_new_edge_with(&old, "found again");
}

#[test]
fn a_device_that_missed_a_contacts_new_edge_is_told_by_another_one() {
    let mut world = World::of_two_devices(45);
    let (bob, device) = (world.people[BOB].fp(), world.people[BOB].node.account().unwrap().device);
    let tower = world.people[TOWER].node.account().unwrap().device;
    let newest = world.people[ALICE].node.manifest(&bob).unwrap().version();
    let old = world.edge(TOWER, BOB);
    let control =
        |number, byte| Control { rekey: Blob::new(rekey(number, byte).encode()).ok(), ..Control::default() };
    let opener = Opener { contact: bob, via: Via::Link };
    world.on(ALICE, |node, step| {
        node.handle_control(opener, &device, &control(newest, 5), step).unwrap();
    });
    assert_eq!(world.edge(TOWER, BOB), old);
    world.on(ALICE, |node, step| node.handle_device_fell_back(&tower, step)).unwrap();
    world.run(Duration::from_secs(30));
    assert_eq!(world.edge(TOWER, BOB), Some(EdgeId::from_bytes([5; 16])));
    // An older card, or one of the same number, changes nothing that it heard since.
    world.on(TOWER, |node, step| {
        node.handle_control(opener, &device, &control(newest, 6), step).unwrap();
    });
    world.on(ALICE, |node, step| node.rename(&label("bob"), &label("bert"), step).unwrap());
    world.run(Duration::from_secs(30));
    assert_eq!(world.name_of_bob(TOWER), Some(label("bert")));
    assert_eq!(world.edge(TOWER, BOB), Some(EdgeId::from_bytes([6; 16])));
}

/// Alice is put back to before her tower was linked, as her first other machine or a further one, and Bob asks for new edges before she has
/// read that it was.
#[test]
fn a_device_that_was_forgotten_is_told_of_new_edges_that_were_made_without_it() {
    const LOFT: usize = 4;
    for further in [false, true] {
        let mut world = World::new(50, &[0, 0, 0, 0, 0]);
        assert!(world.pursue(20));
        world.settle();
        world.link_to(BOB, ATTIC, "attic");
        if further {
            world.link_to(ALICE, LOFT, "loft");
            world.unplug(LOFT);
        }
        let known = world.people[ALICE].node.devices().len();
        let backup = (world.people[ALICE].disk.clone(), world.people[ALICE].keys.clone());
        world.link_to(ALICE, TOWER, "tower");
        let old = world.edge(BOB, ALICE).unwrap();
        world.deaf = vec![ALICE];
        world.on(BOB, |node, step| node.revoke_device(&label("attic"), step).unwrap());
        world.run(Duration::from_secs(60));
        (world.people[ALICE].disk, world.people[ALICE].keys) = backup;
        world.tamper = Some(|request, answer| match request {
            Request::GetState(_) | Request::GetContactState(_) => Answer::refused(RefusalCode::Busy),
            _ => answer,
        });
        world.start(ALICE);
        world.deaf.clear();
        for _ in 0..120 {
            if world.edge(BOB, ALICE) != Some(old) {
                break;
            }
            world.run(Duration::from_secs(1));
        }
        assert_eq!(
            world.people[ALICE].node.devices().len(),
            known,
            "she made an edge before she read the list"
        );
        // Where her other machine is known the list comes by their edge, before what the relay keeps.
        world.tamper = Some(|request, answer| match request {
            Request::GetState(_) => Answer::refused(RefusalCode::Busy),
            _ => answer,
        });
        world.run(Duration::from_secs(60));
        world.tamper = None;
        world.calm();
        world.check_new_edge(&old);
        world.check_both_write("later");
    }
}

/// Alice cuts her tower off; after `heard_ms` the machine of `who` is put back to a copy of before.
fn put_back_soon(seed: u64, who: usize, heard_ms: u64) {
    let mut world = World::of_two_devices(seed);
    let old = world.edge(BOB, ALICE).unwrap();
    let backup = (world.people[who].disk.clone(), world.people[who].keys.clone());
    world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
    world.run(Duration::from_millis(heard_ms));
    (world.people[who].disk, world.people[who].keys) = backup;
    world.start(who);
    fell_back(&mut world, who);
    world.calm();
    world.days(2);
    let bob = world.name_of_bob(ALICE).unwrap();
    world.send(BOB, "alice", "still there");
    world.send(ALICE, bob.as_str(), "still there");
    world.calm();
    let came = (world.has_mail(ALICE, "still there"), world.has_mail(BOB, "still there"));
    assert_eq!(came, (1, 1), "put back after {heard_ms} ms");
    assert!(world.connected(ALICE, BOB), "put back after {heard_ms} ms");
    let _ = old;
}

#[test]
fn nobody_put_back_to_before_new_edges_is_without_one_however_soon() {
    for heard_ms in (0..12_000).step_by(600) {
        put_back_soon(46, BOB, heard_ms);
        put_back_soon(47, ALICE, heard_ms);
    }
}

/// What waits for its receipt and tells of an edge: the edges with their turns.
fn waiting_words(world: &World, who: usize) -> BTreeMap<EdgeId, Option<u64>> {
    let words = world.people[who].disk.outbox.values();
    let words = words.filter_map(|out| match Content::decode(out.kind, &out.content) {
        Ok(Content::Control(control)) => Rekey::decode(&control.rekey?).ok(),
        _ => None,
    });
    words.map(|word| (word.edge, word.turn)).collect()
}

#[test]
fn a_later_edge_has_a_later_turn_whatever_the_clock_says() {
    let mut world = World::of_three_devices(49);
    // The attic does not hear of the edge that Bob makes after the tower is cut off; Alice uses it.
    world.deaf = vec![ATTIC];
    world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
    world.run(Duration::from_secs(600));
    let first = world.edge(ALICE, BOB).unwrap();
    let first_turn = waiting_words(&world, BOB)[&first];
    assert!(first_turn.is_some());
    // Under the same list of his devices Bob makes another one.
    world.start(BOB);
    world.now.wall_ms -= 1_000_000;
    let alice = world.people[ALICE].fp();
    let newest = world.people[BOB].node.manifest(&alice).unwrap().version();
    let word = Rekey { both: true, ..rekey(newest, 7) };
    let control = Control { rekey: Blob::new(word.encode()).ok(), ..Control::default() };
    let device = world.people[ALICE].node.account().unwrap().device;
    let opener = Opener { contact: alice, via: Via::Link };
    world.on(BOB, |node, step| node.handle_control(opener, &device, &control, step).unwrap());
    world.run(Duration::from_secs(40));
    let words = waiting_words(&world, BOB);
    let second = words.iter().find(|(edge, _)| **edge != first).unwrap();
    assert!(*second.1 > first_turn, "{first_turn:?} {words:?}");
}
