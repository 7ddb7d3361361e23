//! Bare `penpal`: one screen, and the next step.

use penpal_local_api::methods::Status as StatusMethod;
use penpal_local_api::status::{RelayState, Status, StatusRequest};

use crate::cli::{Context, Done, caller};

pub(crate) fn run(context: &Context) -> Done {
    let status = context.node().call::<StatusMethod>(&StatusRequest { caller: caller::gather() })?;
    context.out.show(&status, |status| {
        super::status::print(context.out, status)?;
        context.out.line(format_args!("  next      {}", next_step(status)))
    })?;
    Ok(())
}

fn next_step(status: &Status) -> &str {
    let relay_is_down = status.relay.as_ref().is_some_and(|relay| relay.state == RelayState::Offline);
    if let Some(remedy) = status.relay.as_ref().and_then(|relay| relay.remedy.as_deref()) {
        remedy
    } else if status.requests > 0 {
        "somebody asks to be a contact: penpal contact list"
    } else if !status.invitations.is_empty() {
        "somebody invites you into a room: penpal room list"
    } else if status.unread > 0 && status.dead > 0 {
        "penpal inbox; some messages did not get through: penpal outbox"
    } else if status.unread > 0 {
        "penpal inbox"
    } else if status.dead > 0 {
        "some messages did not get through: penpal outbox"
    } else if relay_is_down {
        "penpal doctor"
    } else if status.account.is_none() {
        "penpal contact add CODE, or penpal register ADDRESS --handle NAME"
    } else if status.asked > 0 {
        "your request waits for the other person: penpal contact list"
    } else {
        "penpal contact invite, or penpal send NAME TEXT"
    }
}

#[cfg(test)]
mod tests {
    use penpal_local_api::status::{AccountLine, Node, Relay};

    use super::*;

    #[test]
    fn the_next_step_is_one_that_can_be_taken() {
        let account = AccountLine {
            handle: String::new(),
            fingerprint: String::new(),
            device: String::new(),
            recovery: None,
        };
        let relay =
            Relay { address: String::new(), state: RelayState::Connected, trouble: None, remedy: None };
        let node = Node { pid: 1, version: String::new(), started_ms: 0, home: String::new() };
        let quiet = Status {
            v: 1,
            node,
            account: Some(account),
            relay: Some(relay.clone()),
            unread: 0,
            requests: 0,
            asked: 0,
            invitations: Vec::new(),
            held: 0,
            dead: 0,
            queued: 0,
            sessions: 0,
            notices: Vec::new(),
        };
        let next = |status: Status| next_step(&status).to_owned();
        assert_eq!(next(quiet.clone()), "penpal contact invite, or penpal send NAME TEXT");
        assert!(next(Status { asked: 1, ..quiet.clone() }).starts_with("your request waits"));
        assert!(next(Status { asked: 1, dead: 1, ..quiet.clone() }).contains("penpal outbox"));
        let revoked = Relay { remedy: Some("another home".to_owned()), state: RelayState::Offline, ..relay };
        assert_eq!(next(Status { relay: Some(revoked), unread: 3, ..quiet.clone() }), "another home");
        assert!(next(Status { account: None, relay: None, ..quiet }).contains("penpal register"));
    }
}
