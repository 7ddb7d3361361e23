//! The delivery machine in the world of its own tests.
//!
//! In *honest* histories everything that can go wrong by accident does, then it heals, and everything that was accepted must be
//! where it belongs, once and in order. In *hostile* ones every input comes at any time with any value; what must hold then is that the
//! machine goes on, that what it stored opens again as the same, and that nothing is said to be delivered that is not.

use std::{collections::BTreeSet, time::Duration};

use arbitrary::Arbitrary;
use penpal_delivery::{
    Arrival, Delivery, HeldReason, HistoryLimits, LeaseId, MailKey, Mailbox, Selection, SpoolRow, Stage,
    Standing, Step as MachineStep, Surfacing, Verdict,
};
use penpal_protocol::{
    ids::{DepositId, Fingerprint, KeyId, MsgId, SessionId, ShortHash, SpoolEpoch},
    sealed::{Body, Kind, Order, Stage as StatedStage},
    time::Now,
    wire::DepositOutcome,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use crate::steps::steps;

#[path = "../../crates/delivery/tests/delivery/world/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the machine, which use all of it")]
mod world;

use world::{Faults, Node, Send, World, info, peer};

const PEOPLE: usize = 2;
const MAX_STEPS: usize = 80;

/// The first byte chooses; the rest is steps.
pub fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let mut world = World::new(1, PEOPLE);
    if how & 1 == 0 {
        honest(&mut world, rest);
    } else {
        hostile(&mut world, rest);
    }
}

#[derive(Debug, Arbitrary)]
enum Act {
    Note(bool),
    Ask(bool),
    Answer(bool),
    TakeAll(bool),
    TakeAndForget(bool),
    Crash(bool),
    CrashAt(bool, u8, u8),
    Cut(bool),
    Leave(bool),
    Return(bool),
    RelayAway(bool),
    LoseKeys(bool),
    Defer(bool, bool),
    Faults(u8, u8, u8, u8),
    Rest(u16),
}

fn id(second: bool) -> usize {
    usize::from(second)
}

fn honest(world: &mut World, data: &[u8]) {
    let mut deferred = BTreeSet::new();
    for (number, act) in steps::<Act>(data, MAX_STEPS).enumerate() {
        honest_step(world, number, &act);
        deferred.extend(&world.defers);
        unharmed(world);
    }
    world.defers.clear();
    // What was put off comes again with the next connection, as the machine's contract says, and only then.
    for who in deferred {
        world.cut(who);
    }
    world.heal();
    for who in 0..PEOPLE {
        Node::take_all(world, who);
    }
    world.run_seconds(30 * 3600);
    world.check_delivered();
}

fn honest_step(world: &mut World, number: usize, act: &Act) {
    match *act {
        Act::Note(by) => drop(world.send(id(by), Send::note(id(!by), &format!("note {number}")))),
        Act::Ask(by) => drop(world.send(id(by), Send::ask(id(!by), &format!("ask {number}")))),
        Act::Answer(by) => {
            let all = world.nodes[id(by)].list(Selection::All(Mailbox::Desk));
            if let Some(view) = all.iter().find(|view| view.kind == Kind::Ask && !view.marks.answered) {
                drop(world.send(id(by), Send::reply(id(!by), &format!("reply {number}"), view.key)));
            }
        }
        Act::TakeAll(by) => drop(Node::take_all(world, id(by))),
        Act::TakeAndForget(by) => {
            drop(world.step(id(by), |machine, step| machine.take(Mailbox::Desk, None, 3, step)));
        }
        Act::Crash(who) => world.restart(id(who)),
        Act::CrashAt(who, steps, when) => {
            let mut faults = Faults::default();
            match when % 3 {
                0 => faults.crash_before_commit = 1000,
                1 => faults.crash_after_commit = 1000,
                _ => faults.crash_while_releasing = 1000,
            }
            world.nodes[id(who)].crash_at = Some((u64::from(steps % 16) + 1, faults));
        }
        Act::Cut(who) => world.cut(id(who)),
        Act::Leave(who) => {
            world.offline.insert(id(who));
            world.cut(id(who));
        }
        Act::Return(who) => drop(world.offline.remove(&id(who))),
        Act::RelayAway(away) => {
            world.relay.down = away;
            if away {
                (0..PEOPLE).for_each(|who| world.cut(who));
            }
        }
        Act::LoseKeys(who) => {
            world.nodes[id(who)].seeds.clear();
            world.restart(id(who));
        }
        Act::Defer(who, defers) => {
            if defers {
                world.defers.insert(id(who));
            } else {
                world.defers.remove(&id(who));
            }
        }
        Act::Faults(cut, full, twice, loses) => {
            let rate = |byte: u8| u64::from(byte % 64);
            world.faults = Faults {
                cut: rate(cut),
                full: rate(full),
                row_twice: rate(twice) * 4,
                relay_loses: rate(loses),
                clock_jump: rate(cut ^ full),
                ..Faults::default()
            };
        }
        Act::Rest(length) => rest(world, length),
    }
}

/// From nothing to two hours.
fn rest(world: &mut World, length: u16) {
    let ms = u64::from(length) * u64::from(length) / 600;
    world.run_for(Duration::from_millis(ms));
}

#[derive(Debug, Arbitrary)]
enum Hostile {
    Honest(Act),
    /// What a relay or a confused shell may say.
    Seen(bool, u8, u64),
    Garbage(bool, Found, u8, u64),
    OtherRow(bool, u64),
    Defer(bool, u64),
    Acked(bool, u8, u64),
    Connected(bool, u8, u64),
    Disconnected(bool),
    RelayUp(bool, bool),
    RelayLost(bool, bool),
    AckLost(bool),
    Edge(bool, bool, bool),
    DepositAnswer(bool, u8, u8),
    Gone(bool, bool),
    RolledBack(bool),
    Prekeys(bool, bool, bool),
    PrekeyTaken(bool, u8),
    PrekeyWanted(bool),
    Seeds(bool, u8),
    SeedsDeleted(bool, u8),
    Timeout(bool),
    Jump(bool, i32),
    Contact(bool, u8, bool),
    RemoveContact(bool),
    History(bool, u32, u16),
    // What a hostile contact may sign.
    Letter(bool, Option<(u64, u8)>, u8),
    Reseal(bool, Vec<u8>),
    Receipt(bool, u8, u8),
    Body(bool, Vec<u8>),
    // What people and agents do.
    Local(bool, u8, bool),
    Surface(bool, u8, bool),
    Commit(bool, u8, bool),
    GiveBack(bool, u8),
    Hold(bool, u8, u8),
    Retarget(bool, u8, u8),
    Earlier(bool, u8),
    Retry(bool, u8),
    Dismiss(bool, u8),
    Cancel(bool, u8),
    Resolve(bool, String),
}

#[derive(Debug, Arbitrary)]
enum Found {
    Unreadable,
    Foreign,
    Ignored,
    Refused(bool, u8),
}

/// Leases in the order in which they were handed out.
#[derive(Default)]
struct Leases(Vec<(usize, LeaseId)>);

fn hostile(world: &mut World, data: &[u8]) {
    let mut leases = Leases::default();
    for (number, step) in steps::<Hostile>(data, MAX_STEPS).enumerate() {
        match step {
            Hostile::Honest(act) => honest_step(world, number, &act),
            other => relay_says(world, &mut leases, other),
        }
        unharmed(world);
    }
}

fn epoch(number: u8) -> SpoolEpoch {
    SpoolEpoch::from_bytes([number % 3; 8])
}

/// A row in a life that the spool never had: the present one's rows are checked against what is recorded.
fn row(seq: u64) -> SpoolRow {
    SpoolRow { epoch: epoch(1), seq }
}

fn relay_says(world: &mut World, leases: &mut Leases, said: Hostile) {
    let present = |world: &World, who: bool| world.relay.hello(peer(id(who))).0;
    match said {
        Hostile::Seen(who, mark, seq) => {
            let enc = ShortHash::from_bytes([mark; 16]);
            world.step(id(who), |machine, step| machine.handle_seen(Some(row(seq)), &enc, step));
        }
        Hostile::Garbage(who, found, mark, seq) => {
            let mark = ShortHash::from_bytes([mark; 16]);
            let from = peer(id(!who));
            let verdict = match found {
                Found::Unreadable => Verdict::Unreadable { account: from.account },
                Found::Foreign => Verdict::Foreign,
                Found::Ignored => Verdict::Ignored,
                Found::Refused(known, msg) => Verdict::Refused {
                    from: known.then_some(from),
                    msg_id: MsgId::from_bytes([msg; 16]),
                    expires_ms: world.now(id(who)).wall_ms + 1000,
                    reason: "malformed".to_owned(),
                },
            };
            let row = (seq % 4 > 0).then(|| row(seq));
            let arrival = Arrival { row, enc: mark, envelope: mark, verdict };
            world.step(id(who), |machine, step| machine.handle_arrival(arrival, step));
        }
        Hostile::OtherRow(who, seq) => {
            world.step(id(who), |machine, step| machine.handle_other_row(row(seq), step));
        }
        Hostile::Defer(who, seq) => {
            let epoch = present(world, who);
            world.step(id(who), |machine, step| machine.defer_row(SpoolRow { epoch, seq }, step));
        }
        Hostile::Acked(who, number, newest) => {
            let epoch = if number % 2 == 0 { present(world, who) } else { epoch(number) };
            world.step(id(who), |machine, step| machine.handle_acked(epoch, newest, step));
        }
        Hostile::Connected(who, number, newest) => {
            let epoch = if number % 2 == 0 { present(world, who) } else { epoch(number) };
            world.step(id(who), |machine, step| machine.handle_connected(epoch, newest, step));
        }
        Hostile::Disconnected(who) => {
            world.step(id(who), |machine, step| machine.handle_disconnected(step));
        }
        Hostile::RelayUp(who, right) => {
            world.step(id(who), |machine, step| machine.handle_relay_up(pin(right), step));
        }
        Hostile::RelayLost(who, right) => {
            world.step(id(who), |machine, step| machine.handle_relay_lost(pin(right), step));
        }
        Hostile::AckLost(who) => {
            world.step(id(who), |machine, step| machine.handle_ack_lost(step));
        }
        Hostile::Edge(who, known, up) => {
            let account = account(who, known);
            world.step(id(who), |machine, step| machine.handle_edge(account, up, step));
        }
        Hostile::DepositAnswer(who, deposit, outcome) => {
            let outcome = [
                DepositOutcome::Accepted,
                DepositOutcome::RecipientFull,
                DepositOutcome::No,
                DepositOutcome::Quota,
                DepositOutcome::Full,
            ][usize::from(outcome) % 5];
            let deposit = DepositId::from_bytes([deposit; 16]);
            world.step(id(who), |machine, step| machine.handle_deposit_answer(deposit, outcome, step));
        }
        Hostile::Gone(who, known) => {
            world.step(id(who), |machine, step| machine.handle_gone(account(who, known), step));
        }
        Hostile::RolledBack(who) => {
            world.step(id(who), |machine, step| machine.handle_rolled_back(step));
        }
        Hostile::Prekeys(who, known, fetched) => {
            world.step(id(who), |machine, step| machine.handle_prekeys(account(who, known), fetched, step));
        }
        Hostile::PrekeyTaken(who, which) => {
            let key = key(world, who, which);
            world.step(id(who), |machine, step| machine.handle_prekey_taken(key, step));
        }
        Hostile::PrekeyWanted(who) => {
            world.step(id(who), |machine, step| machine.handle_prekey_wanted(step));
        }
        Hostile::Seeds(who, count) => {
            let keys: Vec<KeyId> = (0..count % 8).map(|_| world.nodes[id(who)].new_key()).collect();
            world.nodes[id(who)].seeds.extend(&keys);
            world.step(id(who), |machine, step| machine.handle_seeds(&keys, step));
        }
        Hostile::SeedsDeleted(who, which) => {
            // Only of keys that are not there: the file is what it says.
            let key = KeyId::from_bytes([which; 8]);
            world.step(id(who), |machine, step| machine.handle_seeds_deleted(&[key], step));
        }
        Hostile::Timeout(who) => {
            world.step(id(who), |machine, step| machine.handle_timeout(step));
        }
        Hostile::Jump(who, seconds) => {
            world.nodes[id(who)].skew_ms = i64::from(seconds) * 1000;
            world.step(id(who), |machine, step| machine.handle_timeout(step));
        }
        Hostile::Contact(who, standing, open) => {
            let standing =
                [Standing::Active, Standing::OnProbation, Standing::Blocked][usize::from(standing) % 3];
            let mut contact = info(peer(id(!who)), standing);
            contact.open = open;
            world.nodes[id(who)].contacts.insert(peer(id(!who)).account, contact.clone());
            let other = peer(id(!who)).account;
            world.step(id(who), |machine, step| machine.set_contact(other, contact, step));
        }
        Hostile::RemoveContact(who) => {
            let other = peer(id(!who)).account;
            world.nodes[id(who)].contacts.remove(&other);
            world.step(id(who), |machine, step| machine.remove_contact(other, step));
        }
        Hostile::History(who, max_age_ms, max_bytes) => {
            let (max_age_ms, max_bytes) = (u64::from(max_age_ms), u64::from(max_bytes));
            world.step(id(who), |machine, _| machine.set_history(HistoryLimits { max_age_ms, max_bytes }));
        }
        contact => contact_signs(world, leases, contact),
    }
}

fn contact_signs(world: &mut World, leases: &mut Leases, said: Hostile) {
    match said {
        Hostile::Letter(who, order, text) => {
            let order = order.map(|(seq, hash)| Order { seq, prev_hash: ShortHash::from_bytes([hash; 16]) });
            let body = world.forge_letter(id(!who), id(who), &format!("forged {text}"), order);
            forged(world, who, body);
        }
        Hostile::Reseal(who, hashes) => {
            let hashes: Vec<ShortHash> =
                hashes.into_iter().take(16).map(|byte| ShortHash::from_bytes([byte; 16])).collect();
            let body = world.forge_need_reseal(id(!who), id(who), &hashes);
            forged(world, who, body);
        }
        Hostile::Receipt(who, which, stage) => {
            const STAGES: [StatedStage; 4] =
                [StatedStage::Delivered, StatedStage::Held, StatedStage::Refused, StatedStage::Expired];
            let own = own(world, who, which);
            let stage = STAGES[usize::from(stage) % STAGES.len()];
            // A contact may say what it likes of a message that it got: it is its statement.
            world.nodes[id(!who)].ever_stored.insert((peer(id(who)).account, own));
            let body = world.forge_receipt(id(!who), id(who), own, stage);
            forged(world, who, body);
        }
        Hostile::Body(who, bytes) => {
            let Ok(mut body) = Body::decode(&bytes) else { return };
            let (from, to) = (peer(id(!who)), peer(id(who)));
            (body.from, body.from_device) = (from.account, from.device);
            (body.to, body.to_device) = (to.account, to.device);
            if body.parse_content().is_ok() {
                let stated = body.receipts.iter().flat_map(|batch| batch.list.iter());
                let stated: Vec<MsgId> = stated.map(|receipt| receipt.msg_id).collect();
                for msg_id in stated {
                    world.nodes[id(!who)].ever_stored.insert((to.account, msg_id));
                }
                forged(world, who, body);
            }
        }
        people => people_do(world, leases, people),
    }
}

fn forged(world: &mut World, who: bool, body: Body) {
    if world.nodes[id(!who)].machine.is_some() {
        drop(world.deliver_forged(id(who), body));
    }
}

fn people_do(world: &mut World, leases: &mut Leases, step: Hostile) {
    match step {
        Hostile::Local(who, box_, held) => {
            let mut send = Send::local(mailbox(box_), "to myself");
            if held {
                let held = Some(HeldReason::NoSuchSession);
                send.to = vec![penpal_delivery::Destination::Local { mailbox: mailbox(box_), held }];
            }
            drop(world.send(id(who), send));
        }
        Hostile::Surface(who, which, read) => {
            let Some(key) = mail(world, who, which) else { return };
            let surfacing = Surfacing { mechanism: "mcp".to_owned(), session: None, read };
            world.step(id(who), |machine, step| machine.surface(key, &surfacing, step));
            note_surfaced(world, who, key);
        }
        Hostile::Commit(who, which, whole) => {
            let lease = world.step(id(who), |machine, step| machine.take(mailbox(which), None, 4, step));
            let Some(lease) = lease else { return };
            leases.0.push((id(who), lease.id));
            if !whole {
                return;
            }
            let surfacing = Surfacing { mechanism: "hook".to_owned(), session: None, read: false };
            world.step(id(who), |machine, step| machine.commit(lease.id, None, &surfacing, step));
            for view in lease.messages {
                note_surfaced(world, who, view.key);
            }
        }
        Hostile::GiveBack(who, which) => {
            let Some((of, lease)) = leases.0.get(usize::from(which) % leases.0.len().max(1)).copied() else {
                return;
            };
            if of == id(who) {
                world.step(of, |machine, step| machine.give_back(lease, step));
            }
        }
        Hostile::Hold(who, which, reason) => {
            let Some(key) = mail(world, who, which) else { return };
            let reason = [HeldReason::WakeBudget, HeldReason::AwaitingPerson, HeldReason::ClockAhead]
                [usize::from(reason) % 3];
            world.step(id(who), |machine, step| machine.hold(key, reason, step));
        }
        Hostile::Retarget(who, from, into) => {
            let held = (from > 127).then_some(HeldReason::SessionGone);
            world.step(id(who), |machine, step| machine.retarget(mailbox(from), mailbox(into), held, step));
        }
        Hostile::Earlier(who, box_) => {
            world.step(id(who), |machine, step| machine.mark_earlier(mailbox(box_), step));
        }
        Hostile::Retry(who, which) => {
            let own = own(world, who, which);
            world.step(id(who), |machine, step| machine.retry(own, step));
        }
        Hostile::Dismiss(who, which) => {
            let own = own(world, who, which);
            world.step(id(who), |machine, step| machine.dismiss(own, step));
        }
        Hostile::Cancel(who, which) => {
            let own = own(world, who, which);
            world.step(id(who), |machine, step| machine.cancel(own, step));
        }
        Hostile::Resolve(who, typed) => {
            let node = &world.nodes[id(who)];
            if let Some(machine) = &node.machine
                && let Ok(key) = machine.resolve(&typed, |_| true, &node.rows)
            {
                let found = machine.view(key, &node.rows).expect("rows can be read");
                assert!(found.is_some() || machine.content(key, &node.rows).is_ok());
            }
        }
        _ => {}
    }
}

fn note_surfaced(world: &mut World, who: bool, key: MailKey) {
    if let Some(from) = key.from {
        world.nodes[id(who)].ever_surfaced.insert((from, key.msg_id));
    }
}

fn mailbox(number: u8) -> Mailbox {
    match number % 3 {
        0 => Mailbox::Desk,
        other => Mailbox::Session(SessionId::from_bytes([other; 16])),
    }
}

fn pin(right: bool) -> penpal_protocol::ids::RelayPin {
    if right { world::RELAY } else { penpal_protocol::ids::RelayPin::from_bytes([9; 16]) }
}

fn account(who: bool, known: bool) -> Fingerprint {
    if known { peer(id(!who)).account } else { Fingerprint::from_bytes([9; 16]) }
}

fn key(world: &World, who: bool, which: u8) -> KeyId {
    let keys = &world.nodes[id(who)].seeds;
    keys.iter().nth(usize::from(which)).copied().unwrap_or_else(|| KeyId::from_bytes([which; 8]))
}

fn own(world: &World, who: bool, which: u8) -> MsgId {
    let sent = &world.nodes[id(who)].sent;
    let own = sent.get(usize::from(which) % sent.len().max(1)).map(|(msg_id, _)| *msg_id);
    own.unwrap_or_else(|| MsgId::from_bytes([which; 16]))
}

fn mail(world: &World, who: bool, which: u8) -> Option<MailKey> {
    let node = &world.nodes[id(who)];
    node.machine.as_ref()?;
    let all = node.list(Selection::All(Mailbox::Desk));
    all.get(usize::from(which) % all.len().max(1)).map(|view| view.key)
}

/// What holds after every step, whoever lies.
fn unharmed(world: &World) {
    for node in &world.nodes {
        let Some(machine) = &node.machine else { continue };
        // Nothing is twice in a mailbox.
        let all = node.list(Selection::All(Mailbox::Desk));
        let keys: BTreeSet<MailKey> = all.iter().map(|view| view.key).collect();
        assert_eq!(keys.len(), all.len(), "a message is twice in the desk");
        // No stage says more than the other side knows.
        for (msg_id, send) in &node.sent {
            let Some(to) = send.to_node() else { continue };
            let Ok(Some(report)) = machine.report(*msg_id, &node.rows) else { continue };
            let arrived = matches!(report.stage, Stage::Delivered | Stage::Surfaced);
            let stored = world.nodes[to].ever_stored.contains(&(node.me().account, *msg_id));
            assert!(!arrived || stored, "{:?} without being stored", report.stage);
        }
        restored(world, node, machine);
    }
}

/// What is stored opens, and is the same.
fn restored(world: &World, node: &Node, machine: &Delivery) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let now: Now = world.now(node.id);
    let mut step = MachineStep { now, records: &node.rows, rng: &mut rng };
    let again = Delivery::open(&mut step).expect("own rows can be read");
    assert_eq!(again.incarnation(), machine.incarnation());
    for selection in [Selection::All(Mailbox::Desk), Selection::Unread(Mailbox::Desk)] {
        let list =
            |machine: &Delivery| machine.list(selection, None, usize::MAX, &node.rows).expect("own rows");
        let (mut stored, shown) = (list(&again), list(machine));
        // A message that waits two seconds for an earlier one does so in memory: a restart shows it, marked as it is stored.
        stored.retain(|view| !view.marks.gap || shown.contains(view));
        assert_eq!(stored, shown);
    }
    assert_eq!(again.outbox(&node.rows), machine.outbox(&node.rows));
    assert_eq!(again.dead(&node.rows), machine.dead(&node.rows));
    // Those that wait are not counted either.
    assert!(again.hidden_count() >= machine.hidden_count());
}
