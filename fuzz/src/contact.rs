//! The contact machine in the world of its own tests: people act as the fuzzer says, their relay's answers are taken from one
//! question and given to another, changed, lost, repeated; nodes die.

use std::{cell::RefCell, collections::VecDeque, time::Duration};

use arbitrary::Arbitrary;
use penpal_contact::{At, NewAccount, Opener, Via};
use penpal_protocol::{
    ids::{EdgeId, InviteId, MsgId, ShortHash},
    sealed::{Content, Kind, ManifestRef},
    text::Label,
    wire::{Answer, HelloAnswer, RefusalCode, Request, Verdict},
};

use crate::{edit::edited, steps::steps};

#[path = "../../crates/contact/tests/contacts/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests of the machine, which use all of it")]
mod support;

use support::{ALICE, BOB, Faults, World};

const MAX_STEPS: usize = 60;

/// Longest time in the world: what is asked for every five minutes takes seconds of ours for each month of it.
const MAX_TIME: Duration = Duration::from_secs(45 * 86_400);

#[derive(Debug, Arbitrary)]
enum Step {
    Register(bool),
    Invite(bool, bool),
    /// Uses the newest code of the other one.
    Add(bool),
    /// Uses one's own code.
    AddOwn(bool),
    Accept(bool),
    Decline(bool),
    Remove(bool),
    Block(bool, bool),
    Rename(bool, u8),
    Verify(bool),
    Revoke(bool),
    Cancel(bool),
    Write(bool, u8),
    Fetch(bool),
    Publish(bool),
    Crash(bool),
    RelayDown(bool),
    Run(u16),
    Days(u8),
    Faults(u8, u8, u8),
    /// What the relay does with answers from now on, one after the other.
    Lie(Vec<Lie>),
    Honest,
    Hello(bool, u8, u8),
    NotRegistered(bool),
    Redeemed(bool, bool, Vec<u8>),
    Control(bool, u8, Vec<u8>),
    Message(bool, u8, u8),
    Delivered(bool, u8, bool),
    Refused(bool, bool),
    Taken(bool),
    Connected(bool),
}

#[derive(Debug, Clone, Arbitrary)]
enum Lie {
    /// The answer to another question, asked earlier.
    Earlier(u8),
    Refuse(u8),
    Done,
    /// The bytes of the answer changed, when they are an answer still.
    Edit([u8; 4]),
    /// This one is true.
    True,
}

thread_local! {
    static LIES: RefCell<VecDeque<Lie>> = const { RefCell::new(VecDeque::new()) };
    static ANSWERS: RefCell<Vec<Answer>> = const { RefCell::new(Vec::new()) };
}

/// The world takes a plain function: what it has to do stands beside it.
fn tampered(_: &Request, answer: Answer) -> Answer {
    ANSWERS.with_borrow_mut(|answers| answers.push(answer.clone()));
    match LIES.with_borrow_mut(VecDeque::pop_front) {
        None | Some(Lie::True) => answer,
        Some(Lie::Done) => Answer::Done,
        Some(Lie::Refuse(code)) => {
            const CODES: [RefusalCode; 5] = [
                RefusalCode::No,
                RefusalCode::NotRegistered,
                RefusalCode::HandleTaken,
                RefusalCode::Conflict,
                RefusalCode::Used,
            ];
            Answer::refused(CODES[usize::from(code) % CODES.len()])
        }
        Some(Lie::Earlier(which)) => ANSWERS.with_borrow(|answers| {
            answers.get(usize::from(which) % answers.len()).cloned().unwrap_or(answer)
        }),
        Some(Lie::Edit(edit)) => {
            Answer::decode(answer.kind().number(), &edited(&answer.encode(), &edit)).unwrap_or(answer)
        }
    }
}

/// The first byte says whether the two have one relay or two, and whether they begin as contacts.
pub fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    LIES.with_borrow_mut(VecDeque::clear);
    ANSWERS.with_borrow_mut(Vec::clear);
    let homes: &[usize] = if how & 1 == 0 { &[0, 0] } else { &[0, 1] };
    let mut world = if how & 2 == 0 { World::new(1, homes) } else { World::of_contacts(1, homes) };
    world.tamper = Some(tampered);
    for step in steps::<Step>(rest, MAX_STEPS) {
        if world.now.mono > MAX_TIME {
            return;
        }
        act(&mut world, step);
        for who in [ALICE, BOB] {
            holds(&world, who);
        }
    }
}

fn who(bob: bool) -> usize {
    if bob { BOB } else { ALICE }
}

/// The name under which one has the other, or any.
fn name(world: &World, of: usize) -> Label {
    let first = world.people[of].node.list().into_iter().next();
    first.map_or_else(|| Label::new("nobody").expect("a label"), |view| view.name)
}

fn act(world: &mut World, step: Step) {
    match step {
        Step::Register(bob) => world.register(who(bob)),
        Step::Invite(bob, auto_accept) => {
            world.on(who(bob), |node, step| drop(node.invite(1, 72 * 3_600_000, auto_accept, step)));
        }
        Step::Add(bob) | Step::AddOwn(bob) => {
            let from = if matches!(step, Step::AddOwn(_)) { who(bob) } else { who(!bob) };
            let Some(code) = world.open_code(from) else { return };
            world.act(who(bob), |person, _, step| {
                let device_name = Label::new("desktop").expect("a label");
                let account = NewAccount { handle: person.handle.clone(), device_name };
                drop(person.node.add(&code, Some(account), step));
            });
        }
        Step::Accept(bob) => with_name(world, bob, |node, name, step| drop(node.accept(name, step))),
        Step::Decline(bob) => with_name(world, bob, |node, name, step| drop(node.decline(name, step))),
        Step::Remove(bob) => with_name(world, bob, |node, name, step| drop(node.remove(name, step))),
        Step::Block(bob, true) => with_name(world, bob, |node, name, step| drop(node.block(name, step))),
        Step::Block(bob, false) => with_name(world, bob, |node, name, step| drop(node.unblock(name, step))),
        Step::Rename(bob, number) => with_name(world, bob, |node, name, step| {
            let new =
                Label::new(["alice", "bob", "other", "desk"][usize::from(number) % 4]).expect("a label");
            drop(node.rename(name, &new, step));
        }),
        Step::Verify(bob) => {
            let Some(safety) =
                world.people[who(bob)].node.list().first().and_then(|view| view.safety.clone())
            else {
                return;
            };
            with_name(world, bob, |node, name, step| drop(node.verify(name, &safety, step)));
        }
        Step::Revoke(bob) => {
            world.on(who(bob), |node, step| {
                for invite in node.invites() {
                    node.revoke_invite(&invite.invite, step);
                }
            });
        }
        Step::Cancel(bob) => {
            world.on(who(bob), |node, step| node.cancel_registration(step));
        }
        Step::Write(bob, number) => {
            let name = name(world, who(bob));
            if world.people[who(bob)].node.resolve(&name).is_ok() {
                world.send(who(bob), name.as_str(), &format!("text {number}"));
            }
        }
        Step::Fetch(bob) => {
            let Some(contact) = first(world, bob) else { return };
            world.on(who(bob), |node, step| node.fetch(&contact, step));
        }
        Step::Publish(bob) => {
            if world.ready(who(bob)) {
                world.bundle(who(bob));
            }
        }
        Step::Crash(bob) => world.start(who(bob)),
        Step::RelayDown(down) => world.relays.iter_mut().for_each(|relay| relay.down = down),
        Step::Run(seconds) => world.run(Duration::from_secs(u64::from(seconds))),
        Step::Days(days) => world.days(u64::from(days % 40)),
        Step::Faults(lose_request, lose_answer, crash) => {
            let crash = crash % 16;
            world.faults =
                Faults { lose_request, lose_answer, repeat_answer: lose_answer, crash, shuffle: crash > 8 };
            // Nobody waits for ever for a relay that answers nothing.
            world.faults.lose_request %= 128;
            world.faults.lose_answer %= 128;
        }
        Step::Lie(lies) => LIES.with_borrow_mut(|all| all.extend(lies.into_iter().take(16))),
        Step::Honest => LIES.with_borrow_mut(VecDeque::clear),
        direct => told(world, direct),
    }
}

/// Inputs that do not come from a relay's answers.
fn told(world: &mut World, step: Step) {
    match step {
        Step::Hello(bob, verdict, revision) => {
            let verdict = [Verdict::Known, Verdict::RolledBack, Verdict::Clone][usize::from(verdict) % 3];
            let answer = HelloAnswer {
                verdict,
                epoch: penpal_protocol::ids::SpoolEpoch::from_bytes([1; 8]),
                newest: 0,
                handle: world.people[who(bob)].handle.clone(),
                manifest_revision: u64::from(revision % 4),
            };
            world.on(who(bob), |node, step| node.handle_hello(&answer, step));
        }
        Step::NotRegistered(bob) => {
            world.on(who(bob), |node, step| {
                if node.account().is_some() {
                    node.handle_not_registered(step);
                }
            });
            // Its shell publishes for accounts only.
            if world.people[who(bob)].node.account().is_none() {
                world.people[who(bob)].bundle_wanted = false;
            }
        }
        Step::Redeemed(bob, known, bytes) => {
            let invites = world.people[who(bob)].node.invites();
            let invite = invites.first().filter(|_| known).map(|view| view.invite);
            let invite = invite.unwrap_or_else(|| InviteId::from_bytes([9; 16]));
            // Of another invite, or of this one with a fault, or nothing at all.
            let sealed = world.requests.iter().rev().find_map(|(_, request)| match request {
                Request::InviteRedeem(redeem) => Some(redeem.request.to_vec()),
                _ => None,
            });
            let sealed = edited(&sealed.unwrap_or_else(|| bytes.clone()), &bytes);
            world.on(who(bob), |node, step| node.handle_redeemed(&invite, &sealed, step));
        }
        Step::Control(bob, via, bytes) => {
            let Ok(Content::Control(control)) = Content::decode(Kind::Control, &bytes) else { return };
            let Some(opener) = opener(world, bob, via) else { return };
            let Some(device) = device(world, bob, &opener) else { return };
            world.on(who(bob), |node, step| drop(node.handle_control(opener, &device, &control, step)));
        }
        Step::Message(bob, via, version) => {
            let Some(opener) = opener(world, bob, via) else { return };
            let theirs =
                ManifestRef { version: u64::from(version % 4), hash: ShortHash::from_bytes([version; 16]) };
            let ours = (version > 127).then_some(theirs);
            let Some(device) = device(world, bob, &opener) else { return };
            world.on(who(bob), |node, step| {
                node.handle_message(opener, &device, &theirs, ours.as_ref(), step)
            });
        }
        Step::Delivered(bob, which, delivered) => {
            let ids: Vec<MsgId> = world.people[who(bob)].disk.outbox.keys().copied().collect();
            let id = ids.get(usize::from(which) % ids.len().max(1)).copied();
            let id = id.unwrap_or_else(|| MsgId::from_bytes([which; 16]));
            world.act(who(bob), |person, batch, step| {
                batch.outbox.remove(&id);
                if delivered {
                    person.node.handle_delivered(&id, step);
                } else {
                    person.node.handle_undelivered(&id, step);
                }
            });
        }
        Step::Refused(bob, right) => {
            let Some(contact) = first(world, bob) else { return };
            world.on(who(bob), |node, step| {
                let edge = node.route(&contact).map(|route| route.edge).filter(|_| right);
                let edge = edge.unwrap_or_else(|| EdgeId::from_bytes([9; 16]));
                node.handle_refused(&contact, &edge, step);
            });
        }
        Step::Taken(bob) => {
            let Some(contact) = first(world, bob) else { return };
            world.on(who(bob), |node, step| node.handle_accepted(&contact, step));
        }
        Step::Connected(bob) => {
            world.on(who(bob), |node, step| node.handle_connected(&At::Home, step));
        }
        _ => {}
    }
}

fn with_name(
    world: &mut World,
    bob: bool,
    act: impl FnOnce(&mut penpal_contact::Contacts, &Label, &mut penpal_contact::Step<'_>),
) {
    let name = name(world, who(bob));
    world.on(who(bob), |node, step| act(node, &name, step));
}

fn first(world: &World, bob: bool) -> Option<penpal_protocol::ids::Fingerprint> {
    world.people[who(bob)].node.list().first().map(|view| view.contact)
}

fn opener(world: &World, bob: bool, via: u8) -> Option<Opener> {
    let node = &world.people[who(bob)].node;
    let openers: Vec<Opener> = node.openers().map(|(opener, _)| opener).collect();
    openers.get(usize::from(via) % openers.len().max(1)).copied()
}

fn device(world: &World, bob: bool, opener: &Opener) -> Option<penpal_protocol::ids::DeviceId> {
    let peer = world.people[who(bob)].node.peer(opener)?;
    peer.manifest.manifest().devices.first().map(|device| device.id)
}

/// What holds after every step, whatever the relay says.
fn holds(world: &World, who: usize) {
    let node = &world.people[who].node;
    let list = node.list();
    for view in &list {
        assert_eq!(node.resolve(&view.name), Ok(view.contact), "a name in the list is unknown");
        // Nobody is a contact whom this world has not got: no key is swapped.
        let known = world
            .people
            .iter()
            .any(|person| person.keys.root.as_ref().is_some_and(|root| root.fingerprint() == view.contact));
        assert!(known, "a contact that is nobody");
    }
    let mut names: Vec<_> = list.iter().map(|view| &view.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), list.len(), "two contacts have one name");
    for (opener, _) in node.openers() {
        assert!(node.peer(&opener).is_some() || matches!(opener.via, Via::Boot(_) | Via::BootAgain));
    }
}
