//! State and reach.

mod support;

use std::time::Duration;

use penpal_protocol::sealed::{Reach, SessionState};
use penpal_sessions::{Command, DeliveryMode, ENDED_AFTER, Registration, SHARED_SILENCE, Sign};
use support::{Shell, binding, claude, codex, gemini, process};

#[test]
fn a_session_lives_as_long_as_its_process() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    assert!(shell.take().contains(&Command::Watch(process(1))));
    shell.pass(Duration::from_secs(3 * 24 * 3600));
    assert_eq!(shell.row(&one).state, SessionState::Idle, "silence says nothing while the process is there");
    shell.gone(1);
    assert_eq!(shell.row(&one).state, SessionState::Ended);
    assert_eq!(shell.row(&one).since_ms, shell.now.wall_ms);
    shell.gone(1);
    assert_eq!(shell.take(), [], "it was no longer watched");
}

#[test]
fn processes_are_watched_again_after_a_restart() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    shell.restart();
    assert_eq!(shell.take(), [Command::Watch(process(1))]);
    assert_eq!(shell.row(&one).state, SessionState::Unknown, "nothing was heard yet");
    shell.sign(&one, Sign::Seen);
    assert_eq!(shell.row(&one).state, SessionState::Idle);
    shell.gone(1);
    assert_eq!(shell.row(&one).state, SessionState::Ended);
    shell.restart();
    assert_eq!(shell.row(&one).state, SessionState::Ended);
}

#[test]
fn turns_are_told_by_hooks() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    let expect = |shell: &mut Shell, sign, state| {
        shell.now = shell.now.plus(Duration::from_secs(1));
        shell.sign(&one, sign);
        assert_eq!(shell.row(&one).state, state, "{sign:?}");
    };
    expect(&mut shell, Sign::Start, SessionState::Idle);
    expect(&mut shell, Sign::Prompt, SessionState::Busy);
    let busy_since = shell.row(&one).since_ms;
    expect(&mut shell, Sign::Tool, SessionState::Busy);
    expect(&mut shell, Sign::Call, SessionState::Busy);
    assert_eq!(shell.row(&one).since_ms, busy_since);
    expect(&mut shell, Sign::Stop, SessionState::Idle);
    expect(&mut shell, Sign::Call, SessionState::Idle);
    // Grok's prompt hook can come before its start hook.
    expect(&mut shell, Sign::Prompt, SessionState::Busy);
    expect(&mut shell, Sign::Start, SessionState::Busy);
}

#[test]
fn without_hooks_a_call_stands_for_its_turn() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    shell.sign(&one, Sign::Call);
    assert_eq!(shell.row(&one).state, SessionState::Busy);
    shell.pass(Duration::from_secs(31));
    assert_eq!(shell.row(&one).state, SessionState::Idle);
}

#[test]
fn an_ended_session_is_revived_by_work_only() {
    let mut shell = Shell::new();
    let one = shell.register(claude(1, "c1", "proj"));
    shell.end(&one);
    // Grok sends a stop after its end.
    for sign in [Sign::Stop, Sign::Seen] {
        shell.sign(&one, sign);
        assert_eq!(shell.row(&one).state, SessionState::Ended, "{sign:?}");
    }
    for sign in [Sign::Start, Sign::Prompt, Sign::Tool, Sign::Call] {
        shell.sign(&one, sign);
        assert_ne!(shell.row(&one).state, SessionState::Ended, "{sign:?}");
        shell.end(&one);
    }
}

#[test]
fn a_session_of_a_shared_process_is_unknown_after_ten_silent_minutes_and_ended_after_a_day() {
    let mut shell = Shell::new();
    let one = shell.register(codex("t1", "proj"));
    shell.pass(SHARED_SILENCE - Duration::from_secs(1));
    assert_eq!(shell.row(&one).state, SessionState::Idle);
    shell.pass(Duration::from_secs(2));
    assert_eq!(shell.row(&one).state, SessionState::Unknown);
    shell.sign(&one, Sign::Call);
    assert_eq!(shell.row(&one).state, SessionState::Busy);
    shell.pass(ENDED_AFTER - Duration::from_secs(1));
    assert_eq!(shell.row(&one).state, SessionState::Unknown);
    shell.pass(Duration::from_secs(2));
    assert_eq!(shell.row(&one).state, SessionState::Ended);
}

#[test]
fn silence_counts_from_the_start_of_the_node_after_a_restart() {
    let mut shell = Shell::new();
    let one = shell.register(codex("t1", "proj"));
    shell.restart();
    shell.pass(ENDED_AFTER - Duration::from_secs(1));
    assert_eq!(shell.row(&one).state, SessionState::Unknown);
    shell.pass(Duration::from_secs(2));
    assert_eq!(shell.row(&one).state, SessionState::Ended);
}

#[test]
fn a_machine_with_nothing_to_do_asks_for_no_wake_up() {
    let mut shell = Shell::new();
    assert_eq!(shell.machine.poll_timeout(), None);
    let one = shell.register(claude(1, "c1", "proj"));
    shell.sign(&one, Sign::Start);
    assert_eq!(shell.machine.poll_timeout(), None, "a session with its process needs no timer");
}

#[test]
fn reach_is_never_better_than_true() {
    let mut shell = Shell::new();
    let provisional = shell.register(gemini(1, "proj"));
    let reach = |shell: &mut Shell, reach| {
        shell.machine.handle_reach(provisional.session, reach, shell.now).expect("known");
        shell.row(&provisional).reach
    };
    assert_eq!(reach(&mut shell, Reach::Wakes), Reach::Manual, "provisional");
    shell.bind(binding(&provisional, "g1"));
    assert_eq!(shell.row(&provisional).reach, Reach::Wakes);
    let mute = |shell: &mut Shell, mode| {
        shell.machine.handle_mute(provisional.session, mode, shell.now).expect("known");
        shell.row(&provisional).reach
    };
    assert_eq!(mute(&mut shell, DeliveryMode::Quiet), Reach::NextPrompt);
    assert_eq!(mute(&mut shell, DeliveryMode::Off), Reach::Manual);
    assert_eq!(mute(&mut shell, DeliveryMode::Wake), Reach::Wakes);
    shell.gone(1);
    assert_eq!(shell.row(&provisional).reach, Reach::Manual, "ended");
    // A new conversation has to be probed again.
    let heir =
        shell.register(Registration { conversation: Some((support::id("g2"), true)), ..gemini(2, "proj") });
    assert_eq!(heir.session, provisional.session);
    assert_eq!(shell.row(&heir).reach, Reach::Manual);
}

#[test]
fn a_session_in_which_nothing_happened_leaves_nothing() {
    // `claude mcp list` and its like start the server, list its tools and go.
    let mut shell = Shell::new();
    let probe = shell.register(gemini(1, "proj"));
    shell.sign(&probe, Sign::Seen);
    shell.gone(1);
    assert_eq!(shell.machine.local(), []);
    // What was used, or got mail, is kept.
    let used = shell.register(gemini(2, "proj"));
    shell.sign(&used, Sign::Call);
    shell.gone(2);
    let written_to = shell.register(gemini(3, "other"));
    shell.machine.handle_mail(written_to.session, shell.now).expect("known");
    shell.gone(3);
    shell.restart();
    assert_eq!(shell.names(), ["other", "proj"]);
    // And the next of the same kind continues it.
    assert_eq!(shell.register(gemini(4, "proj")).session, used.session);
}
