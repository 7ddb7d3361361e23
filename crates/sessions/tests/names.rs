//! Names as leases.

mod support;

use penpal_protocol::text::Label;
use penpal_sessions::{CloseError, Command, NameError, Place, PlacedHow, Registration};
use support::{Shell, claude, codex, gemini, place};

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

#[test]
fn the_default_name_is_the_worktree_folder_as_a_label() {
    let named =
        |folder: &str, worktree: Option<&str>| Place::new(folder, worktree, None).default_name().to_string();
    assert_eq!(named("/home/alice/Shop Web/src", Some("/home/alice/Shop Web")), "shop-web");
    assert_eq!(named("/home/alice/proj-fix/a/b", Some("/home/alice/proj-fix/")), "proj-fix");
    assert_eq!(named("/home/alice/notes", None), "notes");
    assert_eq!(named("/", None), "session");
    assert_eq!(named("/home/alice/日本", None), "session");
    assert_eq!(named("/home/alice/desk", None), "desk-session");
    assert_eq!(named("/home/alice/ME", None), "me-session");
    assert_eq!(named(&format!("/home/{}", "x".repeat(300)), None).len(), 64);
}

#[test]
fn a_number_is_given_only_while_a_live_session_holds_the_name() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    let two = shell.register(claude(2, "c2", "proj"));
    let three = shell.register(codex("t1", "proj"));
    assert_eq!([one.name.as_str(), two.name.as_str(), three.name.as_str()], ["proj", "proj-2", "proj-3"]);
    shell.gone(2);
    shell.gone(1);
    // Two ended ones: nothing says which is meant, so none is taken over, but the name is free.
    let four = shell.register(claude(4, "c4", "proj"));
    assert_eq!((four.how, four.name.as_str()), (PlacedHow::Created, "proj"));
    assert_ne!(shell.row(&one).name, four.name);
    assert_eq!(shell.row(&one).session, one.session, "the mailbox is the same under its number");
}

#[test]
fn a_silent_session_that_may_be_live_keeps_its_name() {
    let mut shell = Shell::new();
    let one = shell.register(codex("t1", "proj"));
    shell.pass(std::time::Duration::from_secs(3600));
    let two = shell.register(codex("t2", "proj"));
    assert_eq!((two.how, two.name.as_str()), (PlacedHow::Created, "proj-2"));
    assert_eq!(shell.row(&one).name.as_str(), "proj");
}

#[test]
fn a_wanted_name_wins_over_the_folder() {
    let mut shell = Shell::new();
    let api = shell.register(Registration { wanted: Some(label("api")), ..claude(1, "c1", "proj") });
    assert_eq!(api.name.as_str(), "api");
    // A live session is never pushed off its name.
    let again = shell.register(Registration { wanted: Some(label("api")), ..claude(2, "c2", "proj") });
    assert_eq!(again.name.as_str(), "api-2");
    // Reserved words are no wish.
    let desk = shell.register(Registration { wanted: Some(label("desk")), ..claude(3, "c3", "proj") });
    assert_eq!(desk.name.as_str(), "proj");
    shell.gone(1);
    // A folder called the same does not take the name that a person gave.
    let folder = shell.register(codex("t1", "api"));
    assert_eq!(folder.name.as_str(), "api-3");
    // The same wish in the same place gets its own mailbox back, although another session ended there.
    shell.gone(3);
    let back = shell.register(Registration { wanted: Some(label("api")), ..claude(9, "c9", "proj") });
    assert_eq!((back.how, back.session), (PlacedHow::TookOver, api.session));
}

#[test]
fn renaming_respects_live_sessions_and_reserved_words() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    let two = shell.register(claude(2, "c2", "proj"));
    let rename = |shell: &mut Shell, name: &str| {
        let now = shell.now;
        shell.machine.handle_rename(two.session, label(name), now)
    };
    assert_eq!(rename(&mut shell, "desk"), Err(NameError::Reserved { name: label("desk") }));
    assert_eq!(rename(&mut shell, "proj"), Err(NameError::Taken { name: label("proj") }));
    assert_eq!(rename(&mut shell, "web"), Ok(()));
    assert_eq!(rename(&mut shell, "web"), Ok(()), "its own name is no conflict");
    shell.gone(1);
    assert_eq!(rename(&mut shell, "proj"), Ok(()));
    assert_eq!(shell.row(&one).name.as_str(), "proj-2");
    shell.restart();
    assert_eq!(shell.row(&two).name.as_str(), "proj");
}

#[test]
fn weak_sessions_push_nobody_off_a_name() {
    let mut shell = Shell::new();
    let one = shell.register(codex("t1", "proj"));
    shell.end(&one);
    let provisional = shell.register(gemini(5, "proj"));
    assert_eq!(provisional.name.as_str(), "proj-2");
    let headless = shell.register(Registration { headless: true, ..claude(6, "c6", "proj") });
    assert_eq!(headless.name.as_str(), "proj-3");
    assert_eq!(shell.row(&one).name.as_str(), "proj");
}

#[test]
fn a_session_opened_by_hand_lives_until_it_is_closed() {
    let mut shell = Shell::new();
    let (now, agent) = (shell.now, label("by-hand"));
    let open = |shell: &mut Shell, name: &str| {
        shell.machine.handle_open(label(name), agent.clone(), now, &mut shell.rng)
    };
    assert_eq!(open(&mut shell, "me"), Err(NameError::Reserved { name: label("me") }));
    let notes = open(&mut shell, "notes").expect("free");
    assert_eq!(open(&mut shell, "notes").expect("its own").session, notes.session);
    shell.pass(std::time::Duration::from_secs(3 * 24 * 3600));
    assert_eq!(shell.row(&notes).state, penpal_protocol::sealed::SessionState::Idle);
    assert!(shell.row(&notes).announced);
    shell.machine.handle_close(notes.session, shell.now).expect("by hand");
    assert_eq!(shell.row(&notes).state, penpal_protocol::sealed::SessionState::Ended);
    // No agent takes over what was opened by hand, and opening it again gives the same mailbox.
    let agent_there = shell.register(claude(1, "c1", "notes"));
    assert_ne!(agent_there.session, notes.session);
    assert_eq!(agent_there.name.as_str(), "notes-2", "a person chose that name");
    assert_eq!(open(&mut shell, "notes").expect("again").session, notes.session);
    let not_by_hand = shell.machine.handle_close(agent_there.session, shell.now);
    assert_eq!(not_by_hand, Err(CloseError::NotByHand { name: label("notes-2") }));
    assert_eq!(open(&mut shell, "notes-2"), Err(NameError::Taken { name: label("notes-2") }));
    shell.restart();
    assert_eq!(shell.row(&notes).state, penpal_protocol::sealed::SessionState::Idle);
}

#[test]
fn an_ended_session_keeps_its_name_thirty_days_then_its_mail_goes_to_the_desk() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    shell.gone(1);
    shell.take();
    let day = std::time::Duration::from_secs(24 * 3600);
    shell.pass(day * 15);
    shell.restart();
    shell.pass(day * 14);
    assert_eq!(shell.names(), ["proj"]);
    assert!(!shell.take().contains(&Command::MailToDesk { session: one.session }));
    shell.pass(day * 2);
    assert_eq!(shell.take(), [Command::MailToDesk { session: one.session }]);
    assert_eq!(shell.names(), [""; 0]);
    assert!(!shell.records.keys().any(|(table, _)| *table == penpal_sessions::Table::Session));
}

#[test]
fn when_there_are_too_many_the_longest_ended_goes_first() {
    let mut shell = Shell::new();
    for number in 0..penpal_sessions::MAX_SESSIONS {
        shell.register(codex(&format!("t{number}"), "proj"));
    }
    let refused = shell.machine.handle_register(codex("one-more", "proj"), shell.now, &mut shell.rng);
    assert!(refused.is_err());
    let first = shell.machine.by_name(&label("proj")).expect("the first");
    shell.machine.handle_end(first, shell.now).expect("known");
    shell.take();
    shell.register(Registration { place: place("elsewhere"), ..codex("one-more", "elsewhere") });
    assert!(shell.take().contains(&Command::MailToDesk { session: first }));
}
