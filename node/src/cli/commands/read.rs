//! `penpal read`

use penpal_local_api::contacts::Trust;
use penpal_local_api::mail::{Message, ReadRequest};
use penpal_local_api::methods::Read;

use crate::cli::output::{Closed, Output, clean, clean_lines};
use crate::cli::progress::size;
use crate::cli::{Context, Done, caller, parse};

/// Show one message and mark it as read
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the message
    id: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let answer =
        context.node().call::<Read>(&ReadRequest { caller: caller::gather(), id: args.id.clone() })?;
    context.out.show(&answer, |answer| print(context.out, &answer.message))?;
    Ok(())
}

fn print(out: Output, message: &Message) -> Result<(), Closed> {
    let trust = match message.trust {
        Trust::Local => "this machine",
        Trust::Invited => "contact by invite, signature ✓",
        Trust::Verified => "verified contact, signature ✓",
        Trust::Changed => "KEY CHANGED",
    };
    let device = message.device.as_ref().map(|device| format!(" on {}", clean(device))).unwrap_or_default();
    out.line(format_args!("  from     {}{device} ({trust})", clean(&message.from)))?;
    out.line(format_args!("  to       {}", clean(&message.to)))?;
    out.line(format_args!(
        "  sent     {} ({} ago)",
        parse::day_and_time(message.sent_ms),
        parse::ago(message.sent_ms)
    ))?;
    if let Some(subject) = &message.subject {
        out.line(format_args!("  subject  {}", clean(subject)))?;
    }
    if let Some(reply_to) = &message.reply_to {
        out.line(format_args!("  answers  {reply_to}"))?;
    }
    for mark in message.marks.iter().chain(&message.held) {
        out.line(format_args!("  note     {}", clean(mark)))?;
    }
    for file in &message.artifacts {
        let digits: String = file.hash.chars().take(12).collect();
        out.line(format_args!(
            "  file     {}  {}  penpal artifact get {digits}",
            clean(&file.name),
            size(file.bytes)
        ))?;
    }
    out.line("")?;
    for line in clean_lines(&message.body).lines() {
        out.line(format_args!("  {line}"))?;
    }
    out.line("")?;
    out.line(out.dim(&format!("  answer: penpal reply {} TEXT", message.short)))
}
