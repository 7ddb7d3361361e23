//! Whom an address means.

mod support;

use penpal_protocol::cbor::List;
use penpal_protocol::ids::{DeviceId, Fingerprint, Incarnation, SessionId};
use penpal_protocol::sealed::{Presence, Reach, SessionEntry, SessionState, SessionTarget};
use penpal_protocol::text::Label;
use penpal_sessions::{
    Binding, Directory, DirectoryContact, Inbound, Registration, ResolveError, Target, Unchecked,
};
use support::{Shell, binding, claude, gemini};

const BOB: Fingerprint = Fingerprint::from_bytes([0xb0; 16]);
const CAROL: Fingerprint = Fingerprint::from_bytes([0xca; 16]);
const DESKTOP: DeviceId = DeviceId::from_bytes([0xde; 16]);
const LAPTOP: DeviceId = DeviceId::from_bytes([0x1a; 16]);
const OWN: DeviceId = DeviceId::from_bytes([0x0e; 16]);

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

fn directory() -> Directory {
    let devices = vec![(DESKTOP, label("desktop")), (LAPTOP, label("laptop"))];
    Directory {
        contacts: vec![
            DirectoryContact { account: BOB, name: label("bob"), devices },
            DirectoryContact { account: CAROL, name: label("carol"), devices: vec![(DESKTOP, label("mac"))] },
        ],
        own_devices: vec![(OWN, label("tower"))],
        rooms: vec![label("payments")],
    }
}

fn sid(byte: u8) -> SessionId {
    SessionId::from_bytes([byte; 16])
}

fn announce(shell: &mut Shell, device: DeviceId, names: &[(&str, u8)]) {
    let entry = |(name, byte): &(&str, u8)| SessionEntry {
        sid: sid(*byte),
        name: label(name),
        agent: label("codex"),
        state: SessionState::Idle,
        since_ms: 0,
        reach: Reach::Manual,
        folder: None,
        summary: None,
    };
    let sessions = List::new(names.iter().map(entry).collect()).expect("few");
    let presence = Presence { revision: 1, sent_ms: shell.now.wall_ms, ttl_ms: 1000, sessions };
    shell.machine.handle_presence(BOB, device, Incarnation::from_bytes([1; 8]), presence, shell.now);
    shell.drain();
}

fn resolve(shell: &Shell, address: &str) -> Result<Target, ResolveError> {
    shell.machine.resolve(address, &directory(), false)
}

fn bobs(device: DeviceId, byte: u8, name: &str) -> Target {
    Target::ContactSession { account: BOB, device, session: sid(byte), name: label(name) }
}

#[test]
fn every_form_of_address() {
    let mut shell = Shell::new();
    let api = shell.register(claude(1, "c1", "api"));
    announce(&mut shell, DESKTOP, &[("web", 1), ("infra", 2)]);
    announce(&mut shell, LAPTOP, &[("notes", 3)]);
    let local = Target::Local { session: api.session, name: label("api"), ended: false };
    let cases = [
        ("api", local.clone()),
        ("API", local.clone()),
        ("./api", local),
        ("desk", Target::LocalDesk),
        ("./desk", Target::LocalDesk),
        ("bob", Target::ContactDesk { account: BOB }),
        ("bob/", Target::ContactDesk { account: BOB }),
        ("bob/desk", Target::ContactDesk { account: BOB }),
        ("bob/web", bobs(DESKTOP, 1, "web")),
        ("bob/notes", bobs(LAPTOP, 3, "notes")),
        ("bob/desktop/infra", bobs(DESKTOP, 2, "infra")),
        ("me/tower/api", Target::OwnDevice { device: OWN, name: label("api") }),
        ("#payments", Target::Room { name: label("payments") }),
    ];
    for (address, target) in cases {
        assert_eq!(resolve(&shell, address), Ok(target), "{address}");
    }
}

#[test]
fn a_name_that_is_a_session_and_a_contact_is_an_error_with_both() {
    let mut shell = Shell::new();
    shell.register(claude(1, "c1", "bob"));
    let error = resolve(&shell, "bob").expect_err("ambiguous");
    assert!(matches!(error, ResolveError::Ambiguous { .. }));
    assert_eq!(error.candidates(), ["./bob", "bob/"]);
    for address in error.candidates() {
        assert!(resolve(&shell, address).is_ok(), "{address} tells them apart");
    }
}

#[test]
fn a_name_on_two_devices_is_an_error_with_both() {
    let mut shell = Shell::new();
    announce(&mut shell, DESKTOP, &[("web", 1)]);
    announce(&mut shell, LAPTOP, &[("web", 2)]);
    let error = resolve(&shell, "bob/web").expect_err("ambiguous");
    let mut candidates = error.candidates().to_vec();
    candidates.sort();
    assert_eq!(candidates, ["bob/desktop/web", "bob/laptop/web"]);
    assert_eq!(resolve(&shell, "bob/laptop/web"), Ok(bobs(LAPTOP, 2, "web")));
}

#[test]
fn the_second_part_is_never_a_device() {
    let mut shell = Shell::new();
    announce(&mut shell, DESKTOP, &[("web", 1)]);
    let error = resolve(&shell, "bob/desktop").expect_err("no such session");
    assert!(matches!(error, ResolveError::UnknownSession { .. }));
    assert_eq!(error.candidates(), ["bob/web", "bob/"]);
}

#[test]
fn nothing_is_guessed_and_what_is_near_is_named_first() {
    let mut shell = Shell::new();
    shell.register(claude(1, "c1", "api"));
    announce(&mut shell, DESKTOP, &[("web", 1), ("infra", 2)]);
    let near = |address: &str| resolve(&shell, address).expect_err("unknown").candidates().to_vec();
    assert_eq!(near("bob/wen")[0], "bob/web");
    assert_eq!(near("bpb")[0], "bob");
    assert_eq!(near("apj")[0], "api");
    assert_eq!(near("./apj"), ["./api"]);
    assert_eq!(near("web")[0], "bob/web", "a session's name alone is not enough");
    assert_eq!(near("bpb/web"), ["bob", "carol"]);
    assert_eq!(near("bob/deskto/web")[0], "bob/desktop/web");
    assert_eq!(near("me/towel/api"), ["me/tower/api"]);
    assert_eq!(near("#payment"), ["#payments"]);
    assert!(matches!(resolve(&shell, "bob/desktop/x/y"), Err(ResolveError::Malformed(_))));
    assert!(matches!(resolve(&shell, ""), Err(ResolveError::Malformed(_))));
}

#[test]
fn a_contact_that_was_never_heard_gets_mail_under_an_unchecked_name() {
    let mut shell = Shell::new();
    let unchecked = |why| Target::ContactUnchecked { account: BOB, device: None, name: label("web"), why };
    assert_eq!(resolve(&shell, "bob/web"), Ok(unchecked(Unchecked::NoList)));
    announce(&mut shell, DESKTOP, &[]);
    let error = resolve(&shell, "bob/web").expect_err("an empty list was heard");
    assert_eq!(error.candidates(), ["bob/"]);
    let anyway = shell.machine.resolve("bob/web", &directory(), true);
    assert_eq!(anyway, Ok(unchecked(Unchecked::Anyway)));
    // One device was heard, the other not.
    let laptop = Target::ContactUnchecked {
        account: BOB,
        device: Some(LAPTOP),
        name: label("web"),
        why: Unchecked::NoList,
    };
    assert_eq!(resolve(&shell, "bob/laptop/web"), Ok(laptop));
    assert!(resolve(&shell, "bob/desktop/web").is_err());
}

#[test]
fn names_resolve_while_the_contact_is_away_and_after_a_restart() {
    let mut shell = Shell::new();
    announce(&mut shell, DESKTOP, &[("web", 1)]);
    shell.machine.handle_contact_down(BOB, shell.now);
    shell.restart();
    assert_eq!(resolve(&shell, "bob/web"), Ok(bobs(DESKTOP, 1, "web")));
}

#[test]
fn an_ended_session_still_takes_mail_and_says_so() {
    let mut shell = Shell::new();
    let api = shell.register(claude(1, "c1", "api"));
    shell.gone(1);
    let ended = Target::Local { session: api.session, name: label("api"), ended: true };
    assert_eq!(resolve(&shell, "api"), Ok(ended));
    let to = SessionTarget { sid: Some(api.session), name: label("api") };
    assert_eq!(shell.machine.inbound(Some(&to)), Inbound::Session { session: api.session, ended: true });
}

#[test]
fn arriving_mail_goes_to_the_mailbox_not_to_whoever_has_the_name_now() {
    let mut shell = Shell::new();
    let api = shell.register(claude(1, "c1", "api"));
    let to = |sid, name: &str| SessionTarget { sid, name: label(name) };
    let at = |placed: &penpal_sessions::Placed| Inbound::Session { session: placed.session, ended: false };
    assert_eq!(shell.machine.inbound(None), Inbound::Desk);
    assert_eq!(shell.machine.inbound(Some(&to(None, "desk"))), Inbound::Desk);
    assert_eq!(shell.machine.inbound(Some(&to(None, "api"))), at(&api));
    assert_eq!(shell.machine.inbound(Some(&to(Some(api.session), "old-name"))), at(&api));
    assert_eq!(shell.machine.inbound(Some(&to(Some(sid(9)), "api"))), Inbound::NoSuchSession);
    assert_eq!(shell.machine.inbound(Some(&to(None, "nobody"))), Inbound::NoSuchSession);
}

#[test]
fn mail_to_a_merged_mailbox_finds_the_one_it_became() {
    let mut shell = Shell::new();
    let known =
        shell.register(Registration { conversation: Some((support::id("g1"), true)), ..gemini(1, "proj") });
    let provisional = shell.register(gemini(2, "proj"));
    shell.bind(Binding { absorb: Some(provisional.session), ..binding(&known, "g1") });
    shell.restart();
    let to = SessionTarget { sid: Some(provisional.session), name: provisional.name };
    assert_eq!(shell.machine.inbound(Some(&to)), Inbound::Session { session: known.session, ended: false });
}

#[test]
fn what_a_revoked_device_announced_is_gone_with_it() {
    let mut shell = Shell::new();
    announce(&mut shell, DESKTOP, &[("web", 1)]);
    announce(&mut shell, LAPTOP, &[("api", 2)]);
    let mut directory = directory();
    directory.contacts[0].devices.retain(|(device, _)| *device == LAPTOP);
    let listed: Vec<String> = shell
        .machine
        .remote(&directory, shell.now)
        .into_iter()
        .filter(|row| row.account == BOB)
        .map(|row| row.address)
        .collect();
    assert_eq!(listed, ["bob/laptop/api"]);
    let refused = shell.machine.resolve("bob/web", &directory, false).unwrap_err();
    assert_eq!(refused.candidates(), ["bob/api", "bob/"]);
}
