//! Sessions that come and go, as an engine by itself places, wakes and forgets them.

use std::time::Duration;

use penpal_delivery::{Destination, Mailbox};
use penpal_local_api::caller::{Caller, Conversation, ConversationSource};
use penpal_local_api::hook::{HookEvent, HookRequest, HookShows};
use penpal_local_api::mail::TakeRequest;
use penpal_local_api::methods::Call;
use penpal_local_api::wake::{WakeOffer, WakeTakeRequest, WakeWaitRequest};
use penpal_protocol::ids::SessionId;
use penpal_protocol::sealed::{Kind, SessionState};

use super::alone::{Alone, answer, letter, message, relay};
use super::machines::delivery_step;

/// A conversation in a place of its own.
fn caller(agent: &str, id: &str) -> Caller {
    Caller {
        agent: Some(agent.to_owned()),
        conversation: Some(Conversation { id: id.to_owned(), source: ConversationSource::Hook }),
        folder: Some(format!("/nowhere/{id}")),
        ..Caller::default()
    }
}

impl Alone {
    fn hook(&mut self, caller: &Caller, event: HookEvent) {
        let (caller, shows) = (caller.clone(), HookShows::Nothing);
        let request = HookRequest { caller, event, shows, held_before: false, nonces: Vec::new() };
        answer(self.call(Call::Hook(request))).unwrap().unwrap();
    }

    fn session(&self, name: &str) -> Option<SessionId> {
        let rows = self.engine.sessions.local();
        rows.iter().find(|row| row.name.as_str() == name).map(|row| row.session)
    }

    fn state(&self, name: &str) -> Option<SessionState> {
        self.engine.sessions.session(self.session(name)?).map(|view| view.state)
    }

    /// An ask of the person here.
    fn ask(&mut self, name: &str) {
        let mailbox = Mailbox::Session(self.session(name).unwrap());
        let engine = &mut self.engine;
        engine.now = engine.clock.now();
        let letter = letter("does it run?", None);
        let message = message(Kind::Ask, &letter, name, Destination::Local { mailbox, held: None });
        engine.delivery.send(message, &mut delivery_step!(engine)).unwrap();
        engine.waking.look_again();
        self.step(vec![]);
    }

    /// A waiter of the session; gives whether it is told to wake at once.
    fn wait(&mut self, caller: &Caller) -> Option<serde_json::Value> {
        let (caller, by) = (caller.clone(), "plugin".to_owned());
        let request = WakeWaitRequest { caller, by, run: None, wait_ms: 600_000 };
        answer(self.call(Call::WakeWait(request))).map(Result::unwrap)
    }
}

#[test]
fn a_waiting_call_does_not_keep_its_session_alive_and_ends_with_it() {
    let mut alone = Alone::with_home(&relay(1, 1));
    let agent = caller("claude-code", "c1");
    alone.hook(&agent, HookEvent::Startup);
    alone.hook(&agent, HookEvent::Prompt);
    let request = TakeRequest { caller: agent.clone(), wait_ms: 60_000, ..TakeRequest::default() };
    assert!(answer(alone.call(Call::Take(request))).is_none(), "it waits");
    let end = HookRequest {
        caller: agent,
        event: HookEvent::End,
        shows: HookShows::Nothing,
        held_before: false,
        nonces: Vec::new(),
    };
    let said = alone.call(Call::Hook(end));
    assert_eq!(said.iter().filter(|output| matches!(output, super::Output::Answer { .. })).count(), 2);
    alone.pass(Duration::from_secs(1));
    assert_eq!(alone.state("c1"), Some(SessionState::Ended));
}

#[test]
fn a_waiter_that_began_no_turn_with_what_it_took_failed() {
    let mut alone = Alone::with_home(&relay(1, 1));
    let agent = caller("opencode", "c1");
    alone.hook(&agent, HookEvent::Startup);
    alone.hook(&agent, HookEvent::Stop);
    assert_eq!(alone.wait(&agent), None);
    alone.ask("c1");
    let session = alone.session("c1").unwrap();
    assert!(alone.engine.waking.ladder.under_way(session).is_some(), "it is told to wake");
    let request = WakeTakeRequest { session: "c1".to_owned(), by: "plugin".to_owned() };
    let taken = answer(alone.call(Call::WakeTake(request))).unwrap().unwrap();
    assert!(taken["lease"].is_string(), "{taken}");
    assert_eq!(alone.wait(&agent), None);
    for _ in 0..60 {
        alone.pass(Duration::from_secs(1));
        assert_eq!(alone.engine.waking.ladder.under_way(session), None, "it is not woken again");
    }
}

#[test]
fn a_turn_that_is_silent_for_long_is_not_woken_into() {
    let mut alone = Alone::with_home(&relay(1, 1));
    let mut agent = caller("codex", "c1");
    agent.wakes = vec![WakeOffer::Queue { program: "codex".to_owned(), folder: None }];
    alone.hook(&agent, HookEvent::Startup);
    alone.hook(&agent, HookEvent::Tool);
    alone.pass(Duration::from_secs(11 * 60));
    alone.ask("c1");
    assert_eq!(alone.state("c1"), Some(SessionState::Unknown));
    let session = alone.session("c1").unwrap();
    assert_eq!(alone.engine.waking.ladder.under_way(session), None);
    alone.hook(&agent, HookEvent::Stop);
    assert!(alone.engine.waking.ladder.under_way(session).is_some(), "the turn is over");
}

#[test]
fn terminals_of_sessions_that_ended_leave_room_for_new_ones() {
    let mut alone = Alone::with_home(&relay(1, 1));
    for number in 0..300 {
        let mut agent = caller("claude-code", &format!("c{number}"));
        let run = format!("run{number}");
        agent.wakes = vec![WakeOffer::Terminal { run: run.clone() }];
        alone.hook(&agent, HookEvent::Startup);
        alone.hook(&agent, HookEvent::Prompt);
        assert!(alone.engine.waking.session_of_run(&run).is_some(), "{run}");
        alone.hook(&agent, HookEvent::End);
        assert_eq!(alone.engine.waking.session_of_run(&run), None, "{run}");
    }
}
