//! `penpal contact add`

use std::time::Duration;

use penpal_local_api::contacts::{AddRequest, Added, ContactState};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::{ContactAdd, Status};
use penpal_local_api::status::StatusRequest;

use crate::cli::commands::{account, recover};
use crate::cli::output::{Output, Unprinted};
use crate::cli::{Context, Done, Failure, caller, parse};

/// Use somebody's code; registers first when there is no account
///
/// The code may be bare, a link, broken over lines or inside other text; - reads standard input. Can always be run again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code
    #[arg(required = true, num_args = 1.., value_name = "CODE")]
    code: Vec<String>,
    /// Handle for the new account, when there is none
    #[arg(long)]
    handle: Option<String>,
    /// Name of this machine for the new account (default: its host name)
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Wait so long for the other side's decision
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    wait: Option<Duration>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let code = match args.code.as_slice() {
        [only] if only == "-" => parse::read_stdin()?,
        parts => parts.join(" "),
    };
    let (node, out) = (context.node(), context.out);
    let caller = caller::gather();
    let handle = match &args.handle {
        Some(handle) => Some(handle.clone()),
        None if node.call::<Status>(&StatusRequest { caller: caller.clone() })?.account.is_some() => None,
        None => Some(ask_handle(out)?),
    };
    let wait_ms = args.wait.map(parse::millis).unwrap_or_default();
    let request = AddRequest { caller, code, handle, device: args.device.clone(), wait_ms };
    let limit = Duration::from_millis(wait_ms).saturating_add(Duration::from_secs(60));
    let word = if args.wait.is_some() { "waiting" } else { "asking the relay" };
    let added = out.patiently(word, || node.call_within::<ContactAdd>(&request, limit))?;
    let failure = failure(&added, args.wait.is_some());
    out.show_failed(&added, failure.as_ref(), |added| print(out, added, args.wait.is_some()))?;
    if added.account.is_some() {
        recover::offer_code(context)?;
    }
    let Some(error) = failure else { return Ok(()) };
    out.explain(&error);
    Err(Failure::Status(error.code.exit_status()))
}

/// Why this made no contact, and none is coming.
fn failure(added: &Added, waited: bool) -> Option<ApiError> {
    match added.contact.state {
        ContactState::Declined => {
            Some(ApiError::new(ErrorCode::InviteGone, "the other side declined, or the invite is over"))
        }
        ContactState::PendingOut if waited => Some(
            ApiError::new(ErrorCode::NotInTime, "the other side did not decide in time")
                .hint("nothing more to do here: penpal contact list shows when they have"),
        ),
        ContactState::PendingOut
        | ContactState::PendingIn
        | ContactState::Active
        | ContactState::Blocked
        | ContactState::Gone => None,
    }
}

fn ask_handle(out: Output) -> Result<String, ApiError> {
    let login = std::env::var("USER").ok().filter(|name| !name.is_empty());
    let question = match &login {
        Some(login) => format!("Handle for your account at that relay [{login}]:"),
        None => "Handle for your account at that relay:".to_owned(),
    };
    let needs = || {
        let message = "there is no account yet, and no handle for one was given";
        ApiError::new(ErrorCode::NeedsAnswer, message).hint("penpal contact add CODE --handle NAME")
    };
    let answer = out.ask(&question).ok_or_else(needs)?;
    if answer.is_empty() { login.ok_or_else(needs) } else { Ok(answer) }
}

fn print(out: Output, added: &Added, waited: bool) -> Result<(), Unprinted> {
    if let Some(made) = &added.account {
        account::print_named(out, made)?;
    }
    let name = &added.contact.name;
    match added.contact.state {
        ContactState::PendingOut => {
            let hint = if waited { "" } else { " (--wait 10m waits)" };
            out.line(format_args!(
                "  {} request sent. {name} must accept; nothing more to do here{hint}",
                out.good("✓")
            ))?;
        }
        ContactState::Active => out.line(format_args!("  {} {name} is a contact", out.good("✓")))?,
        ContactState::Declined => out.line(format_args!("  {name} declined, or the invite is over"))?,
        ContactState::PendingIn | ContactState::Blocked | ContactState::Gone => {
            out.line(format_args!("  {name}: {}", super::state(added.contact.state)))?;
        }
    }
    match &added.contact.safety_number {
        Some(number) => out.line(format_args!("    safety number {number}")),
        None => Ok(()),
    }
}
