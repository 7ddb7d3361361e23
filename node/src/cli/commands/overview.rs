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
