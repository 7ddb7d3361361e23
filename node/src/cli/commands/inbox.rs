//! `penpal inbox`

use std::time::Duration;

use penpal_local_api::mail::{Inbox as Listed, InboxRequest, Message, ReadState};
use penpal_local_api::methods::Inbox;

use crate::cli::output::{self, Output, Unprinted, clean};
use crate::cli::{Context, Done, caller, parse};

/// How long one request of `--follow` waits; then it asks again.
const FOLLOW_WAIT: Duration = Duration::from_secs(50);

/// List mail that nobody saw yet, oldest first
///
/// Listing changes nothing; `penpal read` does. Inside an agent only its own session's mail is listed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only mail of this session; `desk` for your own, `#room` for all that was said in a room
    session: Option<String>,
    /// Mail that was seen, too
    #[arg(long)]
    all: bool,
    /// Both directions of the conversation with this contact or session
    #[arg(long, value_name = "NAME")]
    with: Option<String>,
    /// Stay and print what comes, one line (or JSON line) a message
    #[arg(long)]
    follow: bool,
    /// At most so many, the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let request = InboxRequest {
        caller: caller::gather(),
        session: args.session.clone(),
        all: args.all,
        with: args.with.clone(),
        limit: args.limit,
        after: None,
        wait_ms: 0,
    };
    let (out, node) = (context.out, context.node());
    let first = node.call::<Inbox>(&request)?;
    if !args.follow {
        let in_room = args.session.iter().chain(&args.with).any(|name| name.starts_with('#'));
        show(out, &first, if in_room { "nothing was said there yet" } else { "nothing unread" })?;
        return Ok(());
    }
    output::end_when_unread();
    let mut last = first.messages.last().map(|message| message.id.clone());
    follow(out, &first.messages)?;
    loop {
        let next =
            InboxRequest { after: last.clone(), wait_ms: parse::millis(FOLLOW_WAIT), ..request.clone() };
        let more = node.call_within::<Inbox>(&next, FOLLOW_WAIT.saturating_add(Duration::from_secs(10)))?;
        follow(out, &more.messages)?;
        last = more.messages.last().map(|message| message.id.clone()).or(last);
    }
}

/// A listing as a table.
pub(super) fn show(out: Output, inbox: &Listed, nothing: &str) -> Result<(), Unprinted> {
    out.show(inbox, |inbox| {
        if inbox.messages.is_empty() {
            return out.line(format_args!("  {nothing}"));
        }
        let rows = inbox.messages.iter().map(row).collect();
        out.table(["ID", "FROM", "TO", "KIND", "AGE", "TEXT"], rows)
    })
}

fn follow(out: Output, messages: &[Message]) -> Result<(), Unprinted> {
    for message in messages {
        if out.json {
            out.json(&serde_json::json!({ "v": penpal_local_api::SHAPE_VERSION, "message": message }))?;
        } else {
            let [id, from, to, kind, _, text] = row(message);
            out.line(format_args!(
                "  {id}  {}  {from} → {to}  {kind}  {text}",
                parse::time_of_day(message.received_ms)
            ))?;
        }
    }
    Ok(())
}

fn row(message: &Message) -> [String; 6] {
    let kind = match message.kind {
        penpal_local_api::mail::Kind::Note => "note",
        penpal_local_api::mail::Kind::Ask => "ask",
        penpal_local_api::mail::Kind::Reply => "reply",
    };
    let seen = match message.state {
        ReadState::Unread => "",
        ReadState::Surfaced => " (surfaced)",
        ReadState::Read => " (read)",
        ReadState::History => " (for another)",
    };
    let first_line =
        message.subject.as_deref().unwrap_or_else(|| message.body.lines().next().unwrap_or_default());
    let mut text: String = clean(first_line).chars().take(60).collect();
    if message.body.lines().nth(1).is_some() || first_line.chars().count() > 60 {
        text.push('…');
    }
    if let Some(answered) = &message.answers {
        text.push_str(&format!(" ↳ answer to {answered}"));
    }
    match message.artifacts.as_slice() {
        [] => {}
        [one] => text.push_str(&format!(" [file: {}]", clean(&one.name))),
        several => text.push_str(&format!(" [{} files]", several.len())),
    }
    if let Some(held) = &message.held {
        text.push_str(&format!(" [held: {}]", clean(held)));
    }
    [
        message.short.clone(),
        clean(&message.from),
        clean(&message.to),
        format!("{kind}{seen}"),
        parse::ago(message.sent_ms),
        text,
    ]
}
