//! `penpal contact invite`

use std::time::Duration;

use penpal_local_api::contacts::{InviteRequest, Invites};
use penpal_local_api::methods::ContactInvite;

use crate::cli::commands::qr;
use crate::cli::output::{Output, Unprinted};
use crate::cli::{Context, Done, caller, parse};

/// Make a one-time code that turns into a contact
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long it works, at most 29 days
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "72h")]
    expires: Duration,
    /// How many codes, one a person
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    count: u32,
    /// Accept whoever uses it; their mail is held until you write to them or verify them
    #[arg(long)]
    auto_accept: bool,
    #[command(flatten)]
    qr: qr::QrArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let request = InviteRequest {
        caller: caller::gather(),
        life_ms: Some(parse::millis(args.expires)),
        count: Some(args.count),
        auto_accept: args.auto_accept,
    };
    let made =
        context.out.patiently("asking the relay", || context.node().call::<ContactInvite>(&request))?;
    context.out.show(&made, |made| print(context.out, args, made))?;
    Ok(())
}

fn print(out: Output, args: &Args, made: &Invites) -> Result<(), Unprinted> {
    let until = parse::day_and_time(made.expires_ms);
    let many = made.invites.len() > 1;
    let each = if many {
        "Send each to one person. Each works once"
    } else {
        "Send this to one person. It works once"
    };
    out.line(format_args!("  {each}, until {until}."))?;
    for invite in &made.invites {
        out.line(format_args!("    penpal contact add {}", invite.code))?;
    }
    qr::print(out, &args.qr, &made.code, !many)
}
