//! Several devices of one account: linked, of one mind, and cut off, whoever dies when.

use std::time::Duration;

use penpal_contact::{
    At, ControlError, DeviceError, Heard, JoinFailure, KeyChange, LinkDeviceError, Notice, Opener, State,
    Trust, Via,
};
use penpal_protocol::{
    cbor::{Blob, List, Text},
    ids::{Capability, DeviceId, EdgeId, Fingerprint, ProfileKey, RelayPin, SharedKey, ShortHash, SlotId},
    limits::MAX_CONTACTS,
    sealed::{ContactEntry, Content, Control, ManifestRef, OwnState, Rekey, Stamp},
    text::{InviteCode, Label},
    wire::{Answer, Request},
};

use crate::{
    happy::label,
    support::{ALICE, BOB, CAROL, Crash, Faults, World},
};

/// Carol's machine: another one of Alice's.
pub(crate) const TOWER: usize = CAROL;

impl World {
    pub(crate) fn link(&mut self) -> Option<InviteCode> {
        self.on(ALICE, |node, step| node.link_device(step)).map(|made| made.unwrap().code)
    }

    pub(crate) fn join(&mut self, code: &InviteCode) {
        self.on(TOWER, |node, step| drop(node.join_account(code, label("tower"), step)));
    }

    /// Makes a machine a device of somebody.
    pub(crate) fn link_to(&mut self, whose: usize, machine: usize, name: &str) {
        let code = self.on(whose, |node, step| node.link_device(step)).unwrap().unwrap().code;
        self.run(Duration::from_secs(10));
        self.on(machine, |node, step| drop(node.join_account(&code, label(name), step)));
        self.calm();
    }

    /// Some minutes: a code lives a quarter of an hour. The little of delivery that people here have fetches no prekeys by itself.
    pub(crate) fn calm(&mut self) {
        for _ in 0..3 {
            self.run(Duration::from_secs(60));
            for who in 0..self.people.len() {
                let accounts =
                    self.people.iter().map(|person| person.fp()).collect::<std::collections::BTreeSet<_>>();
                for account in accounts {
                    self.on(who, |node, step| node.fetch(&account, step));
                }
            }
        }
        self.run(Duration::from_secs(60));
    }

    pub(crate) fn is_device(&self) -> bool {
        let account = |who: usize| self.people[who].node.account().map(|me| me.account);
        account(TOWER).is_some() && account(TOWER) == account(ALICE)
    }

    pub(crate) fn name_of_bob(&self, who: usize) -> Option<Label> {
        self.view(who, BOB).map(|view| view.name)
    }

    /// Alice, with Bob as a contact, and a second machine.
    pub(crate) fn of_two_devices(seed: u64) -> Self {
        let mut world = Self::new(seed, &[0, 0, 0]);
        assert!(world.pursue(20));
        world.settle();
        let code = world.link().unwrap();
        world.run(Duration::from_secs(10));
        world.join(&code);
        world.calm();
        assert!(world.is_device(), "{:?}", world.people[TOWER].notices);
        world
    }

    /// What a device says of contacts reaches another one of the same account.
    fn say(&mut self, from: usize, to: usize, entries: Vec<ContactEntry>) {
        let state = OwnState { contacts: Some(List::new(entries).unwrap()), read: None, sent: None };
        let control = Control { own: Some(Blob::new(state.encode()).unwrap()), ..Control::default() };
        let (me, device) = (self.people[ALICE].fp(), self.device(from));
        let opener = Opener { contact: me, via: Via::Link };
        let heard = self.on(to, |node, step| node.handle_control(opener, &device, &control, step).unwrap());
        assert_eq!(heard, Some(Heard::Applied));
    }

    fn device(&self, who: usize) -> DeviceId {
        self.people[who].node.account().unwrap().device
    }

    /// Bob's message shows a person another history of his key, or names a manifest of the person's account.
    fn bob_names(&mut self, who: usize, his: Option<ManifestRef>, ours: Option<ManifestRef>) {
        let bob = self.people[BOB].fp();
        let held = self.people[who].node.manifest(&bob).unwrap().reference();
        let (opener, device) = (Opener { contact: bob, via: Via::Link }, self.device(BOB));
        self.on(who, |node, step| {
            node.handle_message(opener, &device, &his.unwrap_or(held), ours.as_ref(), step);
        });
    }

    /// Mail goes to and from both machines.
    pub(crate) fn check_both_write(&mut self, text: &str) {
        let bob = self.name_of_bob(TOWER).unwrap();
        self.send(TOWER, bob.as_str(), &format!("{text} from the tower"));
        self.calm();
        self.send(BOB, "alice", &format!("{text} to both"));
        self.calm();
        assert_eq!(self.has_mail(BOB, &format!("{text} from the tower")), 1);
        for who in [ALICE, TOWER] {
            assert_eq!(self.has_mail(who, &format!("{text} to both")), 1, "person {who}");
        }
    }
}

#[test]
fn a_machine_with_the_code_becomes_a_device_with_all_contacts() {
    let mut world = World::of_two_devices(1);
    assert_eq!(world.state(TOWER, BOB), Some(State::Active));
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::DeviceAdded { .. })), 1);
    assert_eq!(world.noticed(BOB, |n| matches!(n, Notice::NewDevices { .. })), 1);
    let names: Vec<_> = world.people[TOWER].node.devices().into_iter().map(|device| device.name).collect();
    assert_eq!(names, [label("desktop"), label("tower")]);
    assert!(world.people[TOWER].node.list().iter().all(|view| view.name != label("me")));
    world.check_both_write("one");
    for person in &world.people {
        assert!(person.disk.secrets.is_empty(), "secrets are erased");
        assert!(person.disk.outbox.is_empty(), "{:?}", person.disk.outbox);
    }
    assert!(world.relays[0].invites.is_empty(), "both mailboxes are gone");
}

#[test]
fn only_the_device_with_the_root_key_changes_the_list() {
    let mut world = World::of_two_devices(2);
    let refused = world.on(TOWER, |node, step| node.link_device(step).unwrap_err()).unwrap();
    assert_eq!(refused, LinkDeviceError::NoRoot { primary: Some(label("desktop")) });
    let refused = world.on(TOWER, |node, step| node.revoke_device(&label("desktop"), step).unwrap_err());
    assert!(matches!(refused.unwrap(), DeviceError::NoRoot { .. }));
    let refused = world.on(ALICE, |node, step| node.revoke_device(&label("desktop"), step).unwrap_err());
    assert!(matches!(refused.unwrap(), DeviceError::This { .. }));
    world.on(ALICE, |node, step| node.rename_device(&label("tower"), &label("attic"), step).unwrap());
    world.calm();
    for who in [ALICE, TOWER] {
        let names: Vec<_> = world.people[who].node.devices().into_iter().map(|device| device.name).collect();
        assert_eq!(names, [label("attic"), label("desktop")], "person {who}");
    }
    let bob_sees = world.view(BOB, ALICE).unwrap().devices;
    assert!(bob_sees.iter().any(|device| device.name == label("attic")), "{bob_sees:?}");
}

#[test]
fn a_code_is_used_once_and_in_time() {
    let mut world = World::new(3, &[0, 0, 0]);
    assert!(world.pursue(20));
    let code = world.link().unwrap();
    world.run(Duration::from_secs(20 * 60));
    world.join(&code);
    world.settle();
    assert!(!world.is_device());
    let late = |n: &Notice| matches!(n, Notice::JoinFailed(JoinFailure::NotFound | JoinFailure::Used));
    assert_eq!(world.noticed(TOWER, late), 1);
    // Another code ends the one before.
    let (first, second) = (world.link().unwrap(), world.link().unwrap());
    world.run(Duration::from_secs(10));
    world.join(&first);
    world.run(Duration::from_secs(60));
    assert!(!world.is_device());
    world.join(&second);
    world.run(Duration::from_secs(60));
    assert!(world.is_device(), "{:?}", world.people[TOWER].notices);
}

#[test]
fn linking_is_completed_whoever_dies_at_which_step() {
    for who in [ALICE, TOWER] {
        for how in [Crash::BeforeCommit, Crash::AfterCommit] {
            for at in 0.. {
                let mut world = World::new(4, &[0, 0, 0]);
                assert!(world.pursue(20));
                world.settle();
                world.plan = Some((who, at, how));
                let mut code = None;
                for _ in 0..40 {
                    if world.is_device() {
                        break;
                    }
                    match &code {
                        Some(code) => world.join(code),
                        None => code = world.link(),
                    }
                    // A code that died with the step that made it was never shown.
                    if world.crashes > 0 && who == ALICE && !world.people[ALICE].node.is_linking() {
                        code = code.filter(|_| world.people[TOWER].node.is_joining());
                    }
                    world.run(Duration::from_secs(5));
                }
                let happened = world.plan.take().is_none();
                assert!(
                    world.is_device(),
                    "person {who}, step {at}, {how:?}: {:?}",
                    world.people[TOWER].notices
                );
                world.calm();
                world.check_both_write("after");
                if !happened {
                    assert!(at > 5, "{at} steps");
                    break;
                }
            }
        }
    }
}

#[test]
fn devices_agree_on_contacts_whatever_comes_first() {
    for seed in 0..12 {
        let mut world = World::of_two_devices(100 + seed);
        world.faults = Faults { lose_answer: 30, lose_request: 30, shuffle: true, ..Faults::default() };
        // Both decide before either has heard of the other.
        world.relays[0].down = true;
        let (here, there) = (world.name_of_bob(ALICE).unwrap(), world.name_of_bob(TOWER).unwrap());
        world.on(ALICE, |node, step| node.rename(&here, &label("robert"), step).unwrap());
        world.on(TOWER, |node, step| node.rename(&there, &label("bobby"), step).unwrap());
        world.on(TOWER, |node, step| node.block(&label("bobby"), step).unwrap());
        world.relays[0].down = false;
        world.faults = Faults::default();
        world.calm();
        world.run(Duration::from_secs(2 * 86_400));
        assert_eq!(world.name_of_bob(ALICE), world.name_of_bob(TOWER), "seed {seed}");
        assert_eq!(world.state(ALICE, BOB), world.state(TOWER, BOB), "seed {seed}");
    }
}

#[test]
fn a_removed_contact_is_removed_on_both_and_an_older_word_does_not_bring_it_back() {
    let mut world = World::of_two_devices(6);
    let bob = world.name_of_bob(TOWER).unwrap();
    world.on(TOWER, |node, step| node.remove(&bob, step).unwrap());
    world.calm();
    assert_eq!((world.state(ALICE, BOB), world.state(TOWER, BOB)), (None, None));
    let aside = |world: &World, who: usize| world.people[who].node.was_put_aside(&world.people[BOB].fp());
    assert!(aside(&world, ALICE) && aside(&world, TOWER));
    world.start(ALICE);
    world.start(TOWER);
    world.days(1);
    assert_eq!((world.state(ALICE, BOB), world.state(TOWER, BOB)), (None, None));
    // A new agreement on one machine is one on both.
    world.connect(ALICE, BOB);
    world.calm();
    assert_eq!(world.state(TOWER, BOB), Some(State::Active));
    assert!(!aside(&world, ALICE) && !aside(&world, TOWER));
    world.check_both_write("again");
}

#[test]
fn a_revoked_device_is_nobody_and_everybody_else_writes_on() {
    for (at, how) in (0..12).flat_map(|at| [(at, Crash::BeforeCommit), (at, Crash::AfterCommit)]) {
        let mut world = World::of_two_devices(7);
        let edges = world.relays[0].edges.clone();
        world.plan = Some((ALICE, at, how));
        let mut done = false;
        for _ in 0..20 {
            if !done {
                world.on(ALICE, |node, step| drop(node.revoke_device(&label("tower"), step)));
                done = world.people[ALICE].node.devices().len() == 1;
            }
            world.run(Duration::from_secs(60));
        }
        world.plan = None;
        assert!(done, "step {at}");
        world.calm();
        world.days(2);
        let relay = &world.relays[0];
        let tower = world.people[TOWER].transport();
        assert_eq!(relay.owner(&tower), None, "the relay does not know its key");
        let bob = world.people[BOB].fp();
        let old = world.people[TOWER].node.route(&bob).map(|route| route.edge).unwrap();
        assert!(
            edges.contains_key(&old) && !relay.edges.contains_key(&old),
            "the edge that it knows is gone"
        );
        assert_eq!(world.view(BOB, ALICE).unwrap().devices.len(), 1);
        world.send(BOB, "alice", "after");
        let name = world.name_of_bob(ALICE).unwrap();
        world.send(ALICE, name.as_str(), "still me");
        world.calm();
        assert_eq!((world.has_mail(ALICE, "after"), world.has_mail(TOWER, "after")), (1, 0), "step {at}");
        assert_eq!(world.has_mail(BOB, "still me"), 1, "step {at}");
        assert!(world.connected(ALICE, BOB));
    }
}

#[test]
fn a_device_that_a_contact_hears_of_after_new_edges_is_told_them() {
    const ATTIC: usize = 3;
    let mut world = World::new(31, &[0, 1, 0, 1]);
    assert!(world.pursue(20));
    world.settle();
    world.link_to(BOB, ATTIC, "attic");
    world.on(BOB, |node, step| node.revoke_device(&label("attic"), step).unwrap());
    world.calm();
    // Alice's new machine may have got what she knew of Bob before he made them: he cannot know. He hears of it last.
    world.relays[1].down = true;
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    world.join(&code);
    let alice = world.people[ALICE].fp();
    for _ in 0..3 {
        world.run(Duration::from_secs(60));
        for who in [ALICE, TOWER] {
            world.on(who, |node, step| node.fetch(&alice, step));
        }
    }
    assert!(world.is_device());
    assert_eq!(world.view(BOB, ALICE).unwrap().devices.len(), 1);
    let manifest = world.people[ALICE].node.own_manifest().unwrap().signed().to_vec();
    let control = Control { manifest: Blob::new(manifest).ok(), ..Control::default() };
    let (opener, device) = (Opener { contact: alice, via: Via::Link }, world.device(ALICE));
    world.on(BOB, |node, step| node.handle_control(opener, &device, &control, step).unwrap());
    let tower = Some(vec![world.device(TOWER)]);
    let to_it = world.people[BOB].disk.outbox.values().filter(|out| out.devices == tower);
    let edges = to_it.filter_map(|out| match Content::decode(out.kind, &out.content) {
        Ok(Content::Control(control)) => Rekey::decode(&control.rekey?).ok().map(|rekey| rekey.edge),
        _ => None,
    });
    let edges: Vec<_> = edges.collect();
    assert_eq!(edges, [world.people[ALICE].node.route(&world.people[BOB].fp()).unwrap().edge]);
}

#[test]
fn a_device_that_is_refused_is_no_contact_that_is_gone() {
    let mut world = World::of_two_devices(33);
    let alice = world.people[ALICE].fp();
    let edge = world.people[BOB].node.route(&alice).unwrap().edge;
    // The place of a revoked device is refused by the edge that the others are reached by.
    world.on(BOB, |node, step| node.handle_refused(&alice, &edge, step));
    world.calm();
    assert!(world.connected(ALICE, BOB));
    assert_eq!(world.noticed(BOB, |notice| matches!(notice, Notice::Gone { .. })), 0);
    // Without the edge, its contact is.
    world.relays[0].edges.remove(&edge);
    world.on(BOB, |node, step| node.handle_refused(&alice, &edge, step));
    world.calm();
    assert_eq!(world.state(BOB, ALICE), Some(State::Gone));
    assert_eq!(world.noticed(BOB, |notice| matches!(notice, Notice::Gone { .. })), 1);
}

/// A stolen device that could make contacts block its account would do so for longer than until it is revoked.
#[test]
fn only_the_device_that_signs_can_say_that_there_is_another_list() {
    let mut world = World::of_two_devices(8);
    let alice = world.people[ALICE].fp();
    let held = world.people[BOB].node.manifest(&alice).unwrap().reference();
    let forked = ManifestRef { hash: ShortHash::from_bytes([9; 16]), ..held };
    let opener = Opener { contact: alice, via: Via::Link };
    for (device, shut) in [(world.device(TOWER), false), (world.device(ALICE), true)] {
        world.on(BOB, |node, step| node.handle_message(opener, &device, &forked, None, step));
        world.calm();
        assert_eq!(world.people[BOB].node.peer(&opener).unwrap().shut, shut);
    }
}

#[test]
fn what_does_not_add_up_here_is_not_settled_by_a_rename_elsewhere() {
    let mut world = World::of_two_devices(8);
    let bob = world.people[BOB].fp();
    let held = world.people[ALICE].node.manifest(&bob).unwrap().reference();
    let safety = world.view(TOWER, BOB).unwrap().safety.unwrap();
    let name = world.name_of_bob(TOWER).unwrap();
    world.on(TOWER, |node, step| node.verify(&name, &safety, step).unwrap());
    world.calm();
    world.bob_names(ALICE, Some(ManifestRef { hash: ShortHash::from_bytes([9; 16]), ..held }), None);
    let forked = |n: &Notice| matches!(n, Notice::KeyChanged { why: KeyChange::Fork, .. });
    assert_eq!(world.noticed(ALICE, forked), 1);
    world.on(TOWER, |node, step| node.rename(&name, &label("robert"), step).unwrap());
    world.calm();
    let view = world.view(ALICE, BOB).unwrap();
    assert_eq!((view.name, view.trust, view.state), (label("robert"), Trust::Changed, State::Blocked));
    assert_eq!(view.changed, Some(KeyChange::Fork));
    world.on(ALICE, |node, step| node.verify(&label("robert"), &safety, step).unwrap());
    assert_eq!(world.view(ALICE, BOB).unwrap().trust, Trust::Verified);
}

#[test]
fn no_device_ends_what_devices_tell_each_other() {
    let mut world = World::of_two_devices(9);
    let bob = world.people[BOB].fp();
    let removal =
        |contact, counter, device| ContactEntry { contact, stamp: Stamp { counter, device }, card: None };
    let tower = world.device(TOWER);
    let nobody = DeviceId::from_bytes([0xff; 16]);
    for (counter, device) in [(u64::MAX, tower), (u64::MAX / 2, tower), (900, nobody)] {
        world.say(TOWER, ALICE, vec![removal(bob, counter, device)]);
        assert_eq!(world.state(ALICE, BOB), Some(State::Active), "{counter} of {device:?}");
    }
    // As far ahead as linked devices let each other go, on one of them only.
    let stranger = Fingerprint::from_bytes([7; 16]);
    world.say(TOWER, ALICE, vec![removal(stranger, 1 << 20, tower)]);
    world.say(ALICE, TOWER, vec![removal(stranger, 1 << 21, tower)]);
    for (who, name) in [(ALICE, "robert"), (TOWER, "bobby"), (ALICE, "rob")] {
        let held = world.name_of_bob(who).unwrap();
        world.on(who, |node, step| node.rename(&held, &label(name), step).unwrap());
        world.calm();
        let names = [ALICE, TOWER].map(|who| world.name_of_bob(who));
        assert_eq!(names, [Some(label(name)), Some(label(name))]);
    }
    // Removals are remembered up to a bound.
    for part in 0..20_u8 {
        let entry = |n: u8| {
            let mut contact = [part; 16];
            contact[1] = n;
            removal(Fingerprint::from_bytes(contact), 10, tower)
        };
        world.say(TOWER, ALICE, (0..=255).map(entry).collect());
    }
    let removed =
        world.people[ALICE].disk.rows.keys().filter(|(_, key)| key.first() == Some(&b'c') && key.len() == 17);
    assert_eq!(removed.count(), 2 * MAX_CONTACTS);
    let name = world.name_of_bob(ALICE).unwrap();
    world.on(ALICE, |node, step| node.remove(&name, step).unwrap());
    world.calm();
    assert_eq!((world.state(ALICE, BOB), world.state(TOWER, BOB)), (None, None));
}

thread_local! {
    static SLOT: std::cell::Cell<Option<SlotId>> = const { std::cell::Cell::new(None) };
}

#[test]
fn a_machine_that_gets_the_place_of_another_is_not_added_and_the_next_one_is() {
    let mut world = World::new(10, &[0, 0, 0]);
    assert!(world.pursue(20));
    world.settle();
    SLOT.set(Some(world.people[ALICE].node.account().unwrap().slot));
    world.tamper = Some(|request, mut answer| {
        if let (Request::DeviceAdd(_), Answer::Registered(registered)) = (request, &mut answer) {
            registered.slot = SLOT.get().unwrap();
        }
        answer
    });
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    world.join(&code);
    world.run(Duration::from_secs(60));
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::DeviceNotAdded)), 1);
    assert!(!world.is_device() && !world.people[ALICE].node.is_linking());
    assert_eq!(world.people[ALICE].node.devices().len(), 1);
    world.tamper = None;
    world.on(TOWER, |node, step| node.cancel_joining(step));
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    world.join(&code);
    world.calm();
    assert!(world.is_device(), "{:?}", world.people[TOWER].notices);
}

#[test]
fn a_machine_that_the_relay_gives_no_place_is_given_up_after_a_day() {
    let mut world = World::new(11, &[0, 0, 0]);
    assert!(world.pursue(20));
    world.settle();
    world.tamper = Some(|request, answer| match request {
        Request::DeviceAdd(_) => Answer::refused(penpal_protocol::wire::RefusalCode::Busy),
        _ => answer,
    });
    let code = world.link().unwrap();
    world.run(Duration::from_secs(10));
    world.join(&code);
    world.run(Duration::from_secs(60 * 60));
    assert!(world.people[ALICE].node.is_linking());
    world.start(ALICE);
    world.days(2);
    assert!(!world.people[ALICE].node.is_linking());
    assert_eq!(world.noticed(ALICE, |n| matches!(n, Notice::DeviceNotAdded)), 1);
}

#[test]
fn what_the_primary_signed_since_is_no_alarm_at_a_linked_device() {
    let mut world = World::of_two_devices(12);
    let newer = |who: usize, by: u64, world: &World| {
        let mine = world.people[who].node.own_manifest().unwrap().reference();
        ManifestRef {
            version: mine.version + by,
            hash: if by == 0 { ShortHash::from_bytes([3; 16]) } else { mine.hash },
        }
    };
    let alarms = |world: &World, who| world.noticed(who, |n| matches!(n, Notice::ForeignManifest { .. }));
    let asked = world.requests.len();
    let named = newer(TOWER, 1, &world);
    world.bob_names(TOWER, None, Some(named));
    assert_eq!(alarms(&world, TOWER), 0);
    let fetches =
        |(who, request): &(usize, Request)| *who == TOWER && matches!(request, Request::GetContactState(_));
    assert!(world.requests[asked..].iter().any(fetches), "it asks what there is");
    // Two lists of one version are one too many, and the primary knows what it signed.
    let named = newer(TOWER, 0, &world);
    world.bob_names(TOWER, None, Some(named));
    let named = newer(ALICE, 1, &world);
    world.bob_names(ALICE, None, Some(named));
    assert_eq!((alarms(&world, TOWER), alarms(&world, ALICE)), (1, 1));
}

#[test]
fn a_list_that_a_stolen_device_froze_at_the_relay_goes_on_once_it_is_revoked() {
    let mut world = World::of_two_devices(13);
    let alice = world.people[ALICE].transport();
    world.relays[0].accounts.get_mut(&alice).unwrap().revision = u64::MAX;
    world.people[ALICE].hello = false;
    world.settle();
    let stuck = world.on(ALICE, |node, step| node.rename_device(&label("tower"), &label("attic"), step));
    assert_eq!(stuck, Some(Ok(())));
    world.settle();
    assert_eq!(world.relays[0].accounts[&alice].revision, u64::MAX, "nothing is put above it");
    world.on(ALICE, |node, step| node.revoke_device(&label("attic"), step).unwrap());
    world.calm();
    let version = world.people[ALICE].node.own_manifest().unwrap().version();
    assert_eq!(world.relays[0].accounts[&alice].revision, version);
    assert!(world.relays[0].accounts[&alice].manifest.is_some());
}

#[test]
fn a_stolen_device_turns_nothing_of_what_devices_tell_each_other() {
    let mut world = World::of_two_devices(20);
    let (me, tower) = (world.people[ALICE].fp(), world.device(TOWER));
    let opener = Opener { contact: me, via: Via::Link };
    let evil = {
        let mut relay = world.people[ALICE].node.account().unwrap().relay.clone();
        relay.pin = RelayPin::from_bytes([9; 16]);
        Text::new(relay.to_string()).unwrap()
    };
    let rekey = Rekey {
        edge: EdgeId::from_bytes([9; 16]),
        cap: Capability::from_bytes([9; 32]),
        pair: SharedKey::from_bytes([9; 32]),
        both: true,
        number: None,
        turn: None,
    };
    for control in [
        Control { relay: Some(evil.clone()), ..Control::default() },
        Control { goodbye: Some(true), ..Control::default() },
        Control { profile_key: Some(ProfileKey::from_bytes([9; 32])), ..Control::default() },
        Control { rekey: Blob::new(rekey.encode()).ok(), ..Control::default() },
    ] {
        let heard = world.on(ALICE, |node, step| node.handle_control(opener, &tower, &control, step));
        assert!(matches!(heard, Some(Err(ControlError::Misplaced))), "{control:?}: {heard:?}");
        let route = world.people[ALICE].node.route(&me).unwrap();
        assert!(route.open && route.relay == At::Home, "{control:?}");
    }
    // Nor anything that contacts write.
    for control in [
        Control { relay: Some(evil), ..Control::default() },
        Control { profile_key: Some(ProfileKey::from_bytes([9; 32])), ..Control::default() },
        Control { rekey: Blob::new(rekey.encode()).ok(), ..Control::default() },
    ] {
        let heard = world.on(BOB, |node, step| node.handle_control(opener, &tower, &control, step));
        assert!(matches!(heard, Some(Err(ControlError::Misplaced))), "{control:?}: {heard:?}");
        assert_eq!(world.people[BOB].node.route(&me).unwrap().relay, At::Home, "{control:?}");
    }
    // What only the device that signs may say is taken from it.
    let alice = world.device(ALICE);
    let control = Control { profile_key: Some(ProfileKey::from_bytes([8; 32])), ..Control::default() };
    let heard = world.on(TOWER, |node, step| node.handle_control(opener, &alice, &control, step));
    assert!(matches!(heard, Some(Ok(Heard::Applied))), "{heard:?}");
}

#[test]
fn a_device_that_fell_back_is_told_again_what_was_decided_meanwhile() {
    let mut world = World::of_two_devices(21);
    let backup = world.people[TOWER].disk.clone();
    world.on(ALICE, |node, step| node.block(&label("bob"), step).unwrap());
    world.calm();
    assert_eq!(world.state(TOWER, BOB), Some(State::Blocked));
    world.people[TOWER].disk = backup;
    world.start(TOWER);
    world.calm();
    assert_eq!(world.state(TOWER, BOB), Some(State::Active));
    let tower = world.device(TOWER);
    world.on(ALICE, |node, step| node.handle_device_fell_back(&tower, step)).unwrap();
    world.calm();
    assert_eq!(world.state(TOWER, BOB), Some(State::Blocked));
}

#[test]
fn new_edges_alone_do_not_bring_a_removed_contact_back() {
    let mut world = World::of_two_devices(14);
    let (bob, tower) = (world.people[BOB].fp(), world.device(TOWER));
    let removal =
        |contact, counter| ContactEntry { contact, stamp: Stamp { counter, device: tower }, card: None };
    world.say(TOWER, ALICE, vec![removal(Fingerprint::from_bytes([7; 16]), 1000)]);
    world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
    world.calm();
    assert!(world.connected(ALICE, BOB));
    world.say(TOWER, ALICE, vec![removal(bob, 500)]);
    assert_eq!(world.state(ALICE, BOB), None, "what people decided before the new edges still counts");
    world.connect(ALICE, BOB);
    world.say(TOWER, ALICE, vec![removal(bob, 900)]);
    assert_eq!(world.state(ALICE, BOB), Some(State::Active), "a new agreement is newer");
}

#[test]
fn a_machine_that_never_came_is_told_and_can_be_revoked() {
    for revoked in [false, true] {
        let mut world = World::new(15, &[0, 0, 0]);
        assert!(world.pursue(20));
        world.settle();
        // The answer never reaches the new machine.
        world.tamper = Some(|request, answer| match request {
            Request::InviteFetch(_)
                if matches!(&answer, Answer::Invite(answer) if answer.record.is_some())
                    && SLOT.get().is_some() =>
            {
                Answer::refused(penpal_protocol::wire::RefusalCode::Busy)
            }
            _ => answer,
        });
        SLOT.set(None);
        let code = world.link().unwrap();
        world.run(Duration::from_secs(10));
        world.join(&code);
        for _ in 0..10_000 {
            if world.people[ALICE].node.devices().len() == 2 || !world.happen() {
                break;
            }
        }
        SLOT.set(Some(SlotId::from_bytes([1; 16])));
        world.run(Duration::from_secs(60));
        assert_eq!(world.people[ALICE].node.devices().len(), 2);
        assert!(!world.is_device());
        if revoked {
            world.on(ALICE, |node, step| node.revoke_device(&label("tower"), step).unwrap());
            assert!(!world.people[ALICE].node.is_linking());
        }
        world.days(2);
        assert!(!world.people[ALICE].node.is_linking());
        let told = world.noticed(ALICE, |n| matches!(n, Notice::DeviceNeverCame { .. }));
        assert_eq!(told, usize::from(!revoked));
    }
}

#[test]
fn after_a_restored_relay_the_proof_is_there_again_at_once() {
    let mut world = World::of_two_devices(16);
    let alice = world.people[ALICE].transport();
    let account = world.relays[0].accounts.get_mut(&alice).unwrap();
    (account.revision, account.manifest, account.proof) = (0, None, None);
    world.people[ALICE].hello = false;
    world.settle();
    assert!(
        world.relays[0].accounts[&alice].proof.is_some() && world.relays[0].accounts[&alice].revision > 0
    );
}

#[test]
fn a_block_and_a_rename_made_apart_both_stay() {
    for (blocks, renames) in [(ALICE, TOWER), (TOWER, ALICE)] {
        let mut world = World::of_two_devices(21);
        world.relays[0].down = true;
        let bob = world.name_of_bob(blocks).unwrap();
        world.on(blocks, |node, step| node.block(&bob, step).unwrap());
        // The later one, and by more than one change.
        for (from, to) in [(bob.clone(), label("bert")), (label("bert"), label("robert"))] {
            world.on(renames, |node, step| node.rename(&from, &to, step).unwrap());
        }
        world.relays[0].down = false;
        world.calm();
        for who in [ALICE, TOWER] {
            let view = world.view(who, BOB).unwrap();
            assert_eq!((view.state, view.name), (State::Blocked, label("robert")), "person {who}");
        }
        world.on(renames, |node, step| node.unblock(&label("robert"), step).unwrap());
        world.calm();
        for who in [ALICE, TOWER] {
            assert_eq!(world.state(who, BOB), Some(State::Active), "person {who}");
        }
    }
}

/// Another device signs by now, and somebody names its list before that list is here: nothing is signed above it at once.
#[test]
fn a_list_that_is_only_named_has_time_to_come() {
    let mut world = World::of_two_devices(31);
    let me = world.people[ALICE].fp();
    let version = |world: &World| world.people[ALICE].node.manifest(&me).unwrap().version();
    let held = version(&world);
    let named = ManifestRef { version: held + 1000, hash: ShortHash::from_bytes([9; 16]) };
    world.bob_names(ALICE, None, Some(named));
    world.run(Duration::from_secs(15));
    assert_eq!(version(&world), held, "it is looked for, and waited for");
    world.run(Duration::from_secs(15));
    assert_eq!(version(&world), held + 1001, "then what it names is overtaken");
}

/// A contact names ever newer lists of ours: that delays neither what a person asks for nor, for long, that they are overtaken.
#[test]
fn lists_that_a_contact_makes_up_hold_nothing_back() {
    let mut world = World::of_two_devices(32);
    let me = world.people[ALICE].fp();
    let version = |world: &World| world.people[ALICE].node.manifest(&me).unwrap().version();
    let held = version(&world);
    let name_one = |world: &mut World, ahead: u64| {
        let named = ManifestRef { version: version(world) + ahead, hash: ShortHash::from_bytes([9; 16]) };
        world.bob_names(ALICE, None, Some(named));
        world.run(Duration::from_secs(4));
    };
    name_one(&mut world, 1);
    let renamed =
        world.on(ALICE, |node, step| node.rename_device(&label("desktop"), &label("attic"), step).is_ok());
    assert_eq!(renamed, Some(true));
    let renamed = version(&world);
    assert!(renamed > held);
    for ahead in 1..=6 {
        name_one(&mut world, ahead);
    }
    assert!(version(&world) > renamed, "after twenty seconds, whatever was named since");
}
