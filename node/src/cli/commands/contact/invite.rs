//! `penpal contact invite`

use std::time::Duration;

use penpal_local_api::contacts::{InviteRequest, Invites};
use penpal_local_api::methods::ContactInvite;

use crate::cli::output::{Closed, Output};
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
    /// Print a QR code even when the terminal looks too narrow
    #[arg(long, overrides_with = "no_qr")]
    qr: bool,
    /// Print no QR code
    #[arg(long)]
    no_qr: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let request = InviteRequest {
        caller: caller::gather(),
        life_ms: Some(parse::millis(args.expires)),
        count: Some(args.count),
        auto_accept: args.auto_accept,
    };
    let made = context.node().call::<ContactInvite>(&request)?;
    context.out.show(&made, |made| print(context.out, args, made))?;
    Ok(())
}

fn print(out: Output, args: &Args, made: &Invites) -> Result<(), Closed> {
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
    let wanted = args.qr || (out.terminal && !args.no_qr && !many);
    if !wanted {
        return Ok(());
    }
    let Ok(code) = qrcode::QrCode::new(format!("penpal://i/{}", made.code)) else { return Ok(()) };
    let fits = terminal_columns().is_some_and(|columns| columns >= code.width().saturating_add(8));
    if !(fits || args.qr) {
        return Ok(());
    }
    let picture = code.render::<qrcode::render::unicode::Dense1x2>().quiet_zone(true).build();
    for line in picture.lines() {
        out.line(format_args!("    {line}"))?;
    }
    Ok(())
}

fn terminal_columns() -> Option<usize> {
    rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col))
}
