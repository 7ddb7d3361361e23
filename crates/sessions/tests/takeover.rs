//! Who takes over a mailbox, and what is merged.

mod support;

use penpal_sessions::{Binding, Command, PlacedHow, ProcessModel, Registration, Sign, UnknownSession};
use support::{Shell, binding, claude, codex, gemini, id, process};

fn ended(shell: &mut Shell, folder: &str) -> penpal_sessions::Placed {
    let placed = shell.register(claude(1, "c1", folder));
    shell.gone(1);
    shell.take();
    placed
}

#[test]
fn a_new_conversation_in_the_same_place_gets_name_mailbox_and_mail() {
    let mut shell = Shell::new();
    let old = ended(&mut shell, "proj");
    let new = shell.register(claude(2, "c2", "proj"));
    assert_eq!((new.how, new.session, &new.name), (PlacedHow::TookOver, old.session, &old.name));
    let before_ms = shell.now.wall_ms;
    assert!(shell.take().contains(&Command::MarkEarlier { session: old.session, before_ms }));
    let row = shell.row(&new);
    assert_eq!(row.conversation, Some((id("c2"), true)));
    assert_eq!(row.earlier, [id("c1")]);
    assert_eq!(row.processes, [process(2)]);
}

#[test]
fn nothing_is_taken_over_by_another_agent_place_fork_or_live_session() {
    let mut shell = Shell::new();
    let old = ended(&mut shell, "proj");
    let others = [
        codex("t1", "proj"),
        claude(2, "c2", "other"),
        Registration { fork: true, ..claude(3, "c3", "proj") },
        Registration { headless: true, ..claude(4, "c4", "proj") },
    ];
    for other in others {
        let placed = shell.register(other);
        assert_eq!(placed.how, PlacedHow::Created);
        assert_ne!(placed.session, old.session);
    }
    // The fork and the headless run live; the ended one is still the only one.
    let heir = shell.register(claude(5, "c5", "proj"));
    assert_eq!((heir.how, heir.session), (PlacedHow::TookOver, old.session));
    let not_ended = shell.register(claude(6, "c6", "proj"));
    assert_eq!(not_ended.how, PlacedHow::Created);
}

#[test]
fn two_ended_sessions_are_not_chosen_between() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    let two = shell.register(claude(2, "c2", "proj"));
    shell.gone(1);
    shell.gone(2);
    let new = shell.register(claude(3, "c3", "proj"));
    assert_eq!(new.how, PlacedHow::Created);
    assert!(new.session != one.session && new.session != two.session);
}

#[test]
fn a_guess_that_turns_out_to_be_a_resume_marks_nothing() {
    let mut shell = Shell::new();
    let old = ended(&mut shell, "proj");
    // The MCP server of `claude --resume c1` comes first, with a stale id in its environment.
    let guess = shell
        .register(Registration { conversation: Some((id("stale"), false)), ..claude(2, "unused", "proj") });
    assert_eq!(guess.session, old.session);
    let bound = shell.bind(Binding { process: Some(process(2)), ..binding(&guess, "c1") });
    assert_eq!(bound.session, old.session);
    assert_eq!(shell.row(&bound).conversation, Some((id("c1"), true)));
    assert!(!shell.take().iter().any(|command| matches!(command, Command::MarkEarlier { .. })));
}

#[test]
fn a_guess_is_confirmed_by_a_hook_or_by_the_first_call() {
    for hook in [true, false] {
        let mut shell = Shell::new();
        let old = ended(&mut shell, "proj");
        let guess = Registration { conversation: Some((id("c2"), false)), ..claude(2, "unused", "proj") };
        let placed = shell.register(guess);
        let before_ms = shell.now.wall_ms;
        let mark = Command::MarkEarlier { session: old.session, before_ms };
        assert!(!shell.take().contains(&mark));
        shell.restart();
        shell.pass(std::time::Duration::from_secs(1));
        if hook {
            shell.bind(binding(&placed, "c2"));
        } else {
            shell.sign(&placed, Sign::Call);
        }
        assert!(shell.take().contains(&mark), "hook: {hook}");
        shell.sign(&placed, Sign::Call);
        assert!(!shell.take().contains(&mark), "once is enough");
    }
}

#[test]
fn a_provisional_session_becomes_the_one_its_hook_names() {
    let mut shell = Shell::new();
    let provisional = shell.register(gemini(1, "proj"));
    assert!(shell.row(&provisional).provisional);
    let bound = shell.bind(binding(&provisional, "g1"));
    assert_eq!((bound.session, bound.how), (provisional.session, PlacedHow::Known));
    let row = shell.row(&bound);
    assert!(!row.provisional && row.announced);
    assert_eq!(shell.machine.local().len(), 1);
}

#[test]
fn a_provisional_session_is_merged_into_the_ended_one_it_continues() {
    let mut shell = Shell::new();
    let first = shell.register(gemini(1, "proj"));
    let first = shell.bind(binding(&first, "g1"));
    shell.gone(1);
    let provisional = shell.register(gemini(2, "proj"));
    assert_eq!(provisional.name.as_str(), "proj-2");
    shell.take();
    let bound = shell.bind(binding(&provisional, "g2"));
    assert_eq!((bound.session, bound.name.as_str(), bound.how), (first.session, "proj", PlacedHow::TookOver));
    let commands = shell.take();
    assert!(commands.contains(&Command::MoveMail { from: provisional.session, into: first.session }));
    assert!(
        commands.iter().any(
            |command| matches!(command, Command::MarkEarlier { session, .. } if *session == first.session)
        )
    );
    assert_eq!(shell.machine.local().len(), 1);
    assert_eq!(shell.row(&bound).processes, [process(2)]);
    // Whoever got the provisional mailbox's id reaches the one it became, also after a restart.
    shell.restart();
    assert_eq!(shell.row(&provisional).session, first.session);
}

#[test]
fn a_provisional_session_whose_conversation_has_a_session_is_that_one() {
    let mut shell = Shell::new();
    let known = shell.register(Registration { process: None, ..claude(1, "c1", "proj") });
    let provisional = shell.register(Registration { conversation: None, ..claude(2, "unused", "proj") });
    assert_ne!(known.session, provisional.session);
    // By what the caller's decision said …
    let bound = shell.bind(Binding {
        absorb: Some(provisional.session),
        process: Some(process(2)),
        ..binding(&known, "c1")
    });
    assert_eq!(bound.session, known.session);
    assert_eq!(shell.machine.local().len(), 1);
    // … and also when the decision was made from an older view.
    let provisional = shell.register(Registration { conversation: None, ..claude(3, "unused", "proj") });
    let bound = shell.bind(Binding { process: Some(process(3)), ..binding(&provisional, "c1") });
    assert_eq!(bound.session, known.session);
    assert_eq!(shell.machine.local().len(), 1);
    assert_eq!(shell.row(&known).processes, [process(2), process(3)]);
}

#[test]
fn what_was_hidden_stays_hidden_in_a_merge_and_what_was_granted_is_not_passed_on() {
    let mut shell = Shell::new();
    let known = shell.register(Registration { process: None, ..claude(1, "c1", "proj") });
    let provisional = shell.register(Registration { conversation: None, ..claude(2, "unused", "proj") });
    shell.machine.handle_hide(provisional.session, true, shell.now).expect("known");
    shell.machine.handle_desk(provisional.session, true, shell.now).expect("known");
    shell.bind(Binding { absorb: Some(provisional.session), ..binding(&known, "c1") });
    let row = shell.row(&known);
    assert_eq!((row.hidden, row.announced, row.desk), (true, false, false));
}

#[test]
fn registering_what_is_known_makes_no_second_session() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    assert_eq!(shell.register(claude(1, "c1", "proj")).session, one.session);
    assert_eq!(
        shell.register(claude(2, "c1", "proj")).session,
        one.session,
        "one conversation in two terminals"
    );
    assert_eq!(shell.register(claude(1, "c7", "proj")).session, one.session, "one process, one session");
    assert_eq!(shell.machine.local().len(), 1);
    shell.gone(1);
    assert_ne!(
        shell.row(&one).state,
        penpal_protocol::sealed::SessionState::Ended,
        "the other terminal runs"
    );
    shell.gone(2);
    assert_eq!(shell.row(&one).state, penpal_protocol::sealed::SessionState::Ended);
}

#[test]
fn clear_keeps_the_name_and_marks_older_mail() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    shell.take();
    shell.pass(std::time::Duration::from_secs(5));
    let before_ms = shell.now.wall_ms;
    let bound = shell.bind(Binding { fresh: true, process: Some(process(1)), ..binding(&one, "c2") });
    assert_eq!((bound.session, &bound.name), (one.session, &one.name));
    assert_eq!(shell.take(), [Command::MarkEarlier { session: one.session, before_ms }]);
    // A resume of what it was before marks nothing.
    shell.bind(binding(&one, "c1"));
    assert_eq!(shell.take(), []);
    assert_eq!(shell.row(&one).earlier, [id("c2")]);
}

#[test]
fn a_process_that_goes_on_with_another_session_leaves_the_one_it_had() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    let two = shell.register(claude(2, "c2", "proj"));
    shell.gone(2);
    // `/resume c2` inside process 1.
    let bound = shell.bind(Binding { process: Some(process(1)), ..binding(&two, "c2") });
    assert_eq!(bound.session, two.session);
    assert_eq!(shell.row(&two).processes, [process(1)]);
    assert_eq!(shell.row(&one).state, penpal_protocol::sealed::SessionState::Ended);
    assert_eq!(shell.row(&two).state, penpal_protocol::sealed::SessionState::Idle);
}

#[test]
fn threads_of_a_shared_process_share_it() {
    let mut shell = Shell::new();
    let shared = |thread: &str| Registration { process: Some(process(1)), ..codex(thread, "proj") };
    let one = shell.register(shared("t1"));
    let two = shell.register(shared("t2"));
    assert_ne!(one.session, two.session);
    assert_eq!(shell.row(&one).processes, shell.row(&two).processes);
    assert_eq!(shell.row(&one).model, ProcessModel::Shared);
    shell.gone(1);
    for placed in [&one, &two] {
        assert_eq!(shell.row(placed).state, penpal_protocol::sealed::SessionState::Ended);
    }
}

#[test]
fn a_wanted_name_survives_a_merge() {
    let mut shell = Shell::new();
    let known = shell.register(Registration { process: None, ..claude(1, "c1", "proj") });
    let wanted = Some("api".parse().expect("a label"));
    let other = shell.register(Registration {
        conversation: Some((id("guess"), false)),
        wanted,
        fork: true,
        ..claude(2, "unused", "proj")
    });
    let bound = shell.bind(Binding { absorb: Some(other.session), ..binding(&known, "c1") });
    assert_eq!((bound.session, bound.name.as_str()), (known.session, "api"));
}

#[test]
fn an_unknown_session_is_an_error_not_a_guess() {
    let mut shell = Shell::new();
    let nobody = penpal_protocol::ids::SessionId::from_bytes([9; 16]);
    let unknown = Binding { session: nobody, conversation: None, process: None, absorb: None, fresh: false };
    assert_eq!(shell.machine.handle_bind(unknown, shell.now), Err(UnknownSession));
    assert_eq!(shell.machine.handle_sign(nobody, Sign::Call, shell.now), Err(UnknownSession));
}

#[test]
fn a_wanted_name_is_taken_over_when_the_id_comes_after_the_name() {
    let mut shell = Shell::new();
    let wanted = |registration| Registration { wanted: "work".parse().ok(), headless: true, ..registration };
    let old = shell.register(wanted(claude(1, "c1", "proj")));
    shell.gone(1);
    for (pid, conversation) in [(2, "c2"), (3, "c3")] {
        // Its MCP server comes first and says no id; then its hook does.
        let server =
            shell.register(wanted(Registration { conversation: None, ..claude(pid, "none", "proj") }));
        assert_eq!((server.how, server.name.as_str()), (PlacedHow::Created, "work"));
        let hook = shell.bind(binding(&server, conversation));
        assert_eq!((hook.how, hook.session, hook.name.as_str()), (PlacedHow::TookOver, old.session, "work"));
        assert_eq!(shell.names(), ["work"]);
        shell.gone(pid);
    }
}
