//! `penpal read`

use std::collections::BTreeMap;

use penpal_local_api::contacts::Trust;
use penpal_local_api::mail::{Kind, Message, ReadRequest};
use penpal_local_api::methods::Read;

use crate::cli::output::{Output, Unprinted, clean, clean_lines};
use crate::cli::progress::size;
use crate::cli::{Context, Done, caller, parse};

/// Steps that a thread goes in, at most.
const MAX_DEPTH: usize = 8;

/// Show one message and mark it as read
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the message
    id: String,
    /// With what it answers and the answers to it, oldest first
    #[arg(long)]
    thread: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let request = ReadRequest { caller: caller::gather(), id: args.id.clone(), thread: args.thread };
    let answer = context.node().call::<Read>(&request)?;
    context.out.show(&answer, |answer| {
        if args.thread {
            return print_thread(context.out, &answer.thread, &answer.message.id);
        }
        print(context.out, &answer.message)
    })?;
    Ok(())
}

/// A thread: each message under the one that it answers is a step further in, and the one that was asked for is marked.
fn print_thread(out: Output, thread: &[Message], wanted: &str) -> Result<(), Unprinted> {
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    for message in thread {
        let before = message.reply_to.as_deref().and_then(|id| depths.get(id)).copied();
        let depth = before.map_or(0, |before| (before + 1).min(MAX_DEPTH));
        depths.insert(&message.id, depth);
        let indent = "  ".repeat(depth + 1);
        let mark = if message.id == wanted { " ◀" } else { "" };
        let kind = match message.kind {
            Kind::Note => "note",
            Kind::Ask => "ask",
            Kind::Reply => "reply",
        };
        let answers = message.answers.as_ref().map(|short| format!(" ↳ {short}")).unwrap_or_default();
        out.line(format_args!(
            "{indent}{}  {} → {}  {kind}{answers}  {}{mark}",
            message.short,
            clean(&message.from),
            clean(&message.to),
            parse::day_and_time(message.sent_ms),
        ))?;
        for line in clean_lines(&message.body).lines() {
            out.line(format_args!("{indent}  | {line}"))?;
        }
    }
    Ok(())
}

fn print(out: Output, message: &Message) -> Result<(), Unprinted> {
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
        let answers = message.answers.as_ref().unwrap_or(reply_to);
        out.line(format_args!("  answers  {answers} (penpal read {} --thread)", message.short))?;
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
