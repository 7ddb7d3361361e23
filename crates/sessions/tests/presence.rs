//! Presence: what goes out when, and what is made of what comes in.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use penpal_protocol::cbor::Text;
use penpal_protocol::ids::{DeviceId, Fingerprint, Incarnation};
use penpal_protocol::sealed::{Presence, Reach, SessionState};
use penpal_sessions::{
    ANNOUNCE_INTERVAL, Command, Directory, DirectoryContact, GREET_INTERVAL, PresenceOutcome, REFRESH_AFTER,
    Registration, RemoteView, Sign, Whereabouts,
};
use support::{Shell, claude, gemini};

const BOB: Fingerprint = Fingerprint::from_bytes([0xb0; 16]);
const CAROL: Fingerprint = Fingerprint::from_bytes([0xca; 16]);
const DESKTOP: DeviceId = DeviceId::from_bytes([0xde; 16]);
const LIFE: Incarnation = Incarnation::from_bytes([1; 8]);
const OTHER_LIFE: Incarnation = Incarnation::from_bytes([2; 8]);

fn announced(shell: &mut Shell) -> Vec<(Presence, Vec<Fingerprint>)> {
    let commands = shell.take().into_iter();
    commands
        .filter_map(|command| match command {
            Command::Announce { presence, to } => Some((presence, to.into_iter().collect())),
            Command::Change(_)
            | Command::MoveMail { .. }
            | Command::MarkEarlier { .. }
            | Command::MailToDesk { .. }
            | Command::Watch(_)
            | Command::Unwatch(_) => None,
        })
        .collect()
}

fn names(presence: &Presence) -> Vec<&str> {
    presence.sessions.iter().map(|entry| entry.name.as_str()).collect()
}

fn directory() -> Directory {
    let contact = DirectoryContact {
        account: BOB,
        name: "bob".parse().expect("a label"),
        devices: vec![(DESKTOP, "desktop".parse().expect("a label"))],
    };
    Directory { contacts: vec![contact], own_devices: Vec::new(), rooms: Vec::new() }
}

#[test]
fn a_contact_that_comes_up_is_told_at_once_and_nobody_else() {
    let mut shell = Shell::new();
    shell.register(claude(1, "c1", "proj"));
    assert_eq!(announced(&mut shell), [], "nobody is there");
    shell.machine.handle_contact_up(BOB, shell.now);
    let told = announced(&mut shell);
    let [(presence, to)] = told.as_slice() else { panic!("one list: {told:?}") };
    assert_eq!((names(presence), to.as_slice()), (vec!["proj"], [BOB].as_slice()));
    assert_eq!(presence.sent_ms, shell.now.wall_ms);
    shell.pass(Duration::from_secs(5));
    assert_eq!(announced(&mut shell), [], "nothing changed");
    shell.machine.handle_contact_up(CAROL, shell.now);
    let told = announced(&mut shell);
    let [(later, to)] = told.as_slice() else { panic!("one list: {told:?}") };
    assert_eq!(to.as_slice(), [CAROL]);
    assert!(later.revision > presence.revision);
}

#[test]
fn changes_of_one_moment_make_one_list_and_lists_keep_their_distance() {
    let mut shell = Shell::new();
    shell.machine.handle_contact_up(BOB, shell.now);
    announced(&mut shell);
    shell.pass(Duration::from_secs(60));
    let one = shell.register(claude(1, "c1", "proj"));
    shell.sign(&one, Sign::Prompt);
    shell.register(claude(2, "c2", "proj"));
    assert_eq!(announced(&mut shell), []);
    shell.pass(Duration::from_millis(100));
    let told = announced(&mut shell);
    let [(presence, _)] = told.as_slice() else { panic!("one list: {told:?}") };
    assert_eq!(names(presence), ["proj", "proj-2"]);
    // A turn that ends at once is told later; one that is over before that is not told at all.
    shell.sign(&one, Sign::Stop);
    shell.pass(ANNOUNCE_INTERVAL - Duration::from_millis(200));
    assert_eq!(announced(&mut shell), []);
    shell.pass(Duration::from_millis(200));
    assert_eq!(announced(&mut shell).len(), 1);
    for _ in 0..50 {
        shell.sign(&one, Sign::Prompt);
        shell.pass(Duration::from_millis(20));
        shell.sign(&one, Sign::Stop);
        shell.pass(Duration::from_millis(20));
    }
    assert!(announced(&mut shell).len() <= 2);
}

#[test]
fn an_unchanged_list_is_refreshed_before_it_runs_out() {
    let mut shell = Shell::new();
    shell.register(claude(1, "c1", "proj"));
    shell.machine.handle_contact_up(BOB, shell.now);
    let (first, _) = announced(&mut shell).remove(0);
    shell.pass(REFRESH_AFTER - Duration::from_secs(1));
    assert_eq!(announced(&mut shell), []);
    shell.pass(Duration::from_secs(2));
    let (second, _) = announced(&mut shell).remove(0);
    assert!(second.revision > first.revision);
    assert!(REFRESH_AFTER < Duration::from_millis(first.ttl_ms));
    shell.machine.handle_contact_down(BOB, shell.now);
    assert_eq!(shell.machine.poll_timeout(), None, "nobody listens");
}

#[test]
fn a_flapping_contact_is_not_greeted_each_time() {
    let mut shell = Shell::new();
    shell.machine.handle_contact_up(BOB, shell.now);
    shell.machine.handle_contact_up(CAROL, shell.now);
    announced(&mut shell);
    for _ in 0..20 {
        shell.machine.handle_contact_down(BOB, shell.now);
        shell.pass(Duration::from_millis(100));
        shell.machine.handle_contact_up(BOB, shell.now);
    }
    assert_eq!(announced(&mut shell), []);
    shell.pass(GREET_INTERVAL);
    assert_eq!(announced(&mut shell).len(), 1);
    // This node's own connection is another matter: everyone is told as soon as it is back.
    shell.machine.handle_disconnected(shell.now);
    shell.machine.handle_contact_up(BOB, shell.now);
    assert_eq!(announced(&mut shell).len(), 1);
}

#[test]
fn only_what_may_be_told_is_told() {
    let mut shell = Shell::new();
    let hidden = shell.register(claude(1, "c1", "secret"));
    shell.machine.handle_hide(hidden.session, true, shell.now).expect("known");
    shell.register(gemini(2, "provisional"));
    shell.register(Registration { headless: true, ..claude(3, "c3", "headless") });
    let wanted = Some("ci".parse().expect("a label"));
    shell.register(Registration { headless: true, wanted, ..claude(4, "c4", "headless") });
    let shown = shell.register(claude(5, "c5", "proj"));
    let summary = Text::new("tests green").expect("short");
    shell.machine.handle_summary(shown.session, Some(summary), shell.now).expect("known");
    let ended = shell.register(claude(6, "c6", "old"));
    shell.end(&ended);
    shell.machine.handle_contact_up(BOB, shell.now);
    let (presence, _) = announced(&mut shell).remove(0);
    assert_eq!(names(&presence), ["ci", "old", "proj"]);
    let [_, old, proj] = &*presence.sessions else { panic!("three: {presence:?}") };
    assert_eq!((old.state, old.reach), (SessionState::Ended, Reach::Manual));
    assert_eq!(proj.folder.as_deref(), Some("src"), "the last part of the folder and nothing else");
    assert_eq!(proj.summary.as_deref(), Some("tests green"));
    let bytes = penpal_protocol::cbor::encode(&presence);
    for secret in ["alice", "home", "c5", "headless", "secret"] {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} is told");
    }
}

#[test]
fn a_list_has_room_for_sixty_four_and_live_ones_come_first() {
    let mut shell = Shell::new();
    for number in 0..80 {
        let placed = shell.register(claude(number, &format!("c{number}"), &format!("p{number}")));
        if number < 40 {
            shell.end(&placed);
        }
        shell.pass(Duration::from_secs(1));
    }
    shell.machine.handle_contact_up(BOB, shell.now);
    let (presence, _) = announced(&mut shell).remove(0);
    let live = presence.sessions.iter().filter(|entry| entry.state != SessionState::Ended).count();
    assert_eq!((presence.sessions.len(), live), (64, 40));
}

#[test]
fn revisions_rise_across_restarts_and_clock_changes() {
    let mut shell = Shell::new();
    let mut last = 0;
    for round in 0..4 {
        for _ in 0..3 {
            shell.machine.handle_disconnected(shell.now);
            shell.machine.handle_contact_up(BOB, shell.now);
            let (presence, _) = announced(&mut shell).remove(0);
            assert!(presence.revision > last, "round {round}");
            last = presence.revision;
        }
        shell.restart();
        shell.now.wall_ms -= 1_000_000;
    }
}

/// Alice's machine, told by Bob's.
fn told(alice: &mut Shell, life: Incarnation, presence: Presence) -> PresenceOutcome {
    let outcome = alice.machine.handle_presence(BOB, DESKTOP, life, presence, alice.now);
    alice.drain();
    outcome
}

fn lists() -> Vec<Presence> {
    let mut bob = Shell::seeded(2);
    bob.machine.handle_contact_up(CAROL, bob.now);
    announced(&mut bob);
    let web = bob.register(claude(1, "c1", "web"));
    bob.machine.handle_reach(web.session, Reach::Wakes, bob.now).expect("known");
    bob.pass(Duration::from_secs(3));
    bob.sign(&web, Sign::Prompt);
    bob.pass(Duration::from_secs(3));
    bob.register(claude(2, "c2", "infra"));
    bob.pass(Duration::from_secs(3));
    announced(&mut bob).into_iter().map(|(presence, _)| presence).collect()
}

fn only(rows: Vec<RemoteView>) -> RemoteView {
    let [row] = <[RemoteView; 1]>::try_from(rows).expect("one row");
    row
}

#[test]
fn a_contacts_list_tells_the_present_until_it_runs_out() {
    let mut alice = Shell::new();
    let lists = lists();
    assert_eq!(lists.len(), 3);
    alice.machine.handle_contact_up(BOB, alice.now);
    assert_eq!(told(&mut alice, LIFE, lists[0].clone()), PresenceOutcome::Taken);
    let row = only(alice.machine.remote(&directory(), alice.now));
    assert_eq!(
        (row.address.as_str(), row.state, row.reach, row.online()),
        ("bob/desktop/web", SessionState::Idle, Reach::Wakes, true)
    );
    assert_eq!(row.last_seen_ms, alice.now.wall_ms);
    alice.now = alice.now.plus(Duration::from_millis(lists[0].ttl_ms));
    let row = only(alice.machine.remote(&directory(), alice.now));
    assert_eq!(
        (row.state, row.reach, row.whereabouts),
        (SessionState::Unknown, Reach::Manual, Whereabouts::Unknown)
    );
    assert_eq!(told(&mut alice, LIFE, lists[1].clone()), PresenceOutcome::Taken);
    assert_eq!(only(alice.machine.remote(&directory(), alice.now)).state, SessionState::Busy);
}

#[test]
fn an_older_list_never_wins() {
    let mut alice = Shell::new();
    let lists = lists();
    told(&mut alice, LIFE, lists[2].clone());
    for old in [&lists[0], &lists[1], &lists[2]] {
        assert_eq!(told(&mut alice, LIFE, (*old).clone()), PresenceOutcome::Older);
    }
    assert_eq!(alice.machine.remote(&directory(), alice.now).len(), 2);
    // A list of another life counts by when it was sent, while the one that is known still holds.
    assert_eq!(told(&mut alice, OTHER_LIFE, lists[0].clone()), PresenceOutcome::Older);
    let newer = Presence { revision: 1, sent_ms: lists[2].sent_ms + 1, ..lists[0].clone() };
    assert_eq!(told(&mut alice, OTHER_LIFE, newer), PresenceOutcome::Taken);
    assert_eq!(alice.machine.remote(&directory(), alice.now).len(), 1);
}

#[test]
fn after_a_reconnect_everything_is_unknown_until_refreshed() {
    let mut alice = Shell::new();
    let lists = lists();
    alice.machine.handle_contact_up(BOB, alice.now);
    told(&mut alice, LIFE, lists[0].clone());
    let look = |alice: &Shell| {
        let row = only(alice.machine.remote(&directory(), alice.now));
        (row.whereabouts, row.state, row.reach)
    };
    alice.machine.handle_disconnected(alice.now);
    assert_eq!(look(&alice), (Whereabouts::Unknown, SessionState::Unknown, Reach::WhenBack));
    alice.machine.handle_contact_up(BOB, alice.now);
    assert_eq!(look(&alice), (Whereabouts::Unknown, SessionState::Unknown, Reach::Manual));
    told(&mut alice, LIFE, lists[1].clone());
    assert_eq!(look(&alice), (Whereabouts::Online, SessionState::Busy, Reach::Wakes));
    alice.machine.handle_contact_down(BOB, alice.now);
    assert_eq!(look(&alice), (Whereabouts::Offline, SessionState::Offline, Reach::WhenBack));
    assert!(!alice.machine.contact_online(BOB, alice.now));
}

#[test]
fn names_are_kept_across_a_restart_and_forgotten_with_the_contact() {
    let mut alice = Shell::new();
    let lists = lists();
    told(&mut alice, LIFE, lists[0].clone());
    alice.now = alice.now.plus(Duration::from_secs(60));
    told(&mut alice, LIFE, lists[1].clone());
    let heard = alice.now.wall_ms;
    alice.machine.handle_disconnected(alice.now);
    alice.restart();
    let row = only(alice.machine.remote(&directory(), alice.now));
    assert_eq!((row.name.as_str(), row.state, row.online()), ("web", SessionState::Unknown, false));
    assert_eq!(row.last_seen_ms, heard);
    alice.machine.handle_contact_gone(BOB, alice.now);
    alice.drain();
    alice.restart();
    assert_eq!(alice.machine.remote(&directory(), alice.now), []);
}

#[test]
fn a_change_of_state_alone_is_not_written() {
    let mut alice = Shell::new();
    let lists = lists();
    told(&mut alice, LIFE, lists[0].clone());
    let before = alice.records.clone();
    told(&mut alice, LIFE, lists[1].clone());
    assert_eq!(alice.records, before, "busy is not worth a write");
    told(&mut alice, LIFE, lists[2].clone());
    assert_ne!(alice.records, before, "a new name is");
}

#[test]
fn a_hostile_list_gives_one_row_a_name_and_a_mailbox() {
    let mut alice = Shell::new();
    let list = lists().pop().expect("a list");
    let mut entries = list.sessions.to_vec();
    let twice = entries[0].clone();
    entries.push(twice);
    let mut same_name = entries[0].clone();
    same_name.sid = penpal_protocol::ids::SessionId::from_bytes([7; 16]);
    entries.push(same_name);
    let mut reserved = entries[0].clone();
    reserved.sid = penpal_protocol::ids::SessionId::from_bytes([8; 16]);
    reserved.name = "desk".parse().expect("a label");
    entries.push(reserved);
    let sessions = penpal_protocol::cbor::List::new(entries).expect("few");
    told(&mut alice, LIFE, Presence { sessions, ..list });
    let rows = alice.machine.remote(&directory(), alice.now);
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!((rows.len(), names), (2, BTreeSet::from(["infra", "web"])));
}
