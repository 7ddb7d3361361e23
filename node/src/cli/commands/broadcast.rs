//! `penpal broadcast`

use std::time::Duration;

use penpal_local_api::mail::BroadcastRequest;
use penpal_local_api::methods::Broadcast;

use crate::cli::output::clean;
use crate::cli::{Context, Done, caller, parse};

/// Tell all sessions on this machine something
///
/// Each sees it at its next prompt; nobody is woken. Whoever has not seen it when its time is over never does. It does not leave this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The text, at most 4 KiB; - or nothing reads standard input
    text: Option<String>,
    /// How long it waits to be seen, at most a day
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "1h")]
    ttl: Duration,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let text = parse::text(args.text.as_deref(), context.out.interactive)?;
    let request = BroadcastRequest { caller: caller::gather(), text, life_ms: Some(parse::millis(args.ttl)) };
    let told = context.node().call::<Broadcast>(&request)?;
    let out = context.out;
    out.show(&told, |told| {
        if told.sessions.is_empty() {
            return out.line("  no other sessions here");
        }
        let names: Vec<String> = told.sessions.iter().map(|one| clean(&one.session)).collect();
        out.line(format_args!("  {} told at their next prompt: {}", out.good("✓"), names.join(", ")))
    })?;
    Ok(())
}
