//! `penpal send`, and what sending and replying print.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use penpal_local_api::caller::Caller;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::{Attached, CommitRequest, SendRequest, Sent, Stage};
use penpal_local_api::methods::{Commit, Send};

use super::follow::{self, Parting};
use crate::cli::output::{Output, Unprinted, clean, clean_lines};
use crate::cli::{Context, Done, Failure, caller, parse};
use crate::interrupt::{self, Guard};

/// How long the node may take to accept a message, and to wait a moment for news of it.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Send a note, or an ask
///
/// Returns once the message is durable on this machine, after waiting up to two seconds for news. Exit status: 0 durable and not refused, 1
/// refused, 5 accepted but what --wait waited for did not come: do not send again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// To whom: SESSION, CONTACT, CONTACT/SESSION, CONTACT/DEVICE/SESSION, '#ROOM', '#ROOM @CONTACT/SESSION'
    to: String,
    /// The text; - or nothing reads standard input
    text: Option<String>,
    /// One line above the text
    #[arg(long)]
    subject: Option<String>,
    /// Ask: the answer comes to your inbox, and an idle session may be woken
    #[arg(long)]
    ask: bool,
    /// Wait so long: a note until it is surfaced, an ask until its answer (0s: not at all)
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    wait: Option<Duration>,
    /// Id of the message that this answers
    #[arg(long, value_name = "ID")]
    reply_to: Option<String>,
    /// Session that sends, instead of the one this command runs in
    #[arg(long = "as", value_name = "SESSION")]
    from_session: Option<String>,
    /// Send although the contact announced no such session, or is gone: it waits here then
    #[arg(long)]
    anyway: bool,
    /// A file that goes with it; may be given up to 16 times
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let caller = caller::gather();
    let (text, artifacts) = text_and_files(args.text.as_deref(), &args.files, &caller, context)?;
    send(
        SendRequest {
            caller,
            to: Some(args.to.clone()),
            text,
            subject: args.subject.clone(),
            ask: args.ask,
            reply_to: args.reply_to.clone(),
            from_session: args.from_session.clone(),
            anyway: args.anyway,
            artifacts,
            life_ms: None,
            wait_ms: args.wait.map(parse::millis),
            mechanism: Some("cli".to_owned()),
        },
        context,
    )
}

/// The text, and the files as they are kept now. A file alone is a message.
pub(super) fn text_and_files(
    text: Option<&str>,
    files: &[PathBuf],
    caller: &Caller,
    context: &Context,
) -> Result<(String, Vec<Attached>), Failure> {
    let text = match (text, files.is_empty()) {
        (None, false) => String::new(),
        (text, _) => parse::text(text, context.out.interactive)?,
    };
    if files.is_empty() {
        return Ok((text, Vec::new()));
    }
    let node = context.node();
    let _guard = Guard::asking();
    let put = |file: &PathBuf| {
        let put = super::artifact::put_file(&node, file, caller)?;
        Ok(Attached { hash: put.hash, name: put.name })
    };
    let artifacts = files.iter().map(put).collect::<Result<Vec<_>, ApiError>>()?;
    interrupt::check("nothing was sent")?;
    Ok((text, artifacts))
}

/// Sends, prints what became of it and turns that into the exit status.
pub(super) fn send(request: SendRequest, context: &Context) -> Done {
    let (ask, wait_ms) = (request.ask, request.wait_ms);
    let (node, out) = (context.node(), context.out);
    let has_files = !request.artifacts.is_empty();
    let begun = Instant::now();
    let parting = Parting::begin(&request, context);
    // It is waited for what has an id: whoever ends the waiting is told which.
    let accepted = node
        .call_within::<Send>(&SendRequest { wait_ms: wait_ms.map(|_| 0), ..request.clone() }, ANSWER_LIMIT)?;
    parting.accepted(&accepted);
    let mut sent = match wait_ms {
        Some(0) => accepted,
        None if !has_files || accepted.stage != Stage::Queued => accepted,
        Some(_) | None => follow::follow(&node, accepted, begun, &request, context),
    };
    parting.over();
    // These are for programs that show a model what was answered, and then say so.
    let lease = sent.lease.take();
    sent.reply_quote = None;
    let failure = failure(&sent, has_files);
    show(out, &sent, failure.as_ref(), ask, wait_ms.is_some())?;
    if let Some(lease) = lease {
        node.call::<Commit>(&CommitRequest { lease })?;
    }
    failed(failure, out)
}

/// What became of a message so far.
pub(super) fn show(
    out: Output,
    sent: &Sent,
    failure: Option<&ApiError>,
    ask: bool,
    waited: bool,
) -> Result<(), Unprinted> {
    let shown = out.show_failed(sent, failure, |sent| {
        out.line(format_args!("  {}  {}", sent.short, describe(sent, ask, waited)))?;
        for remark in &sent.remarks {
            out.line(format_args!("        {}", clean(remark)))?;
        }
        if let Some(reply) = &sent.reply {
            out.line(format_args!("  {}  {} answers:", reply.short, clean(&reply.from)))?;
            for line in clean_lines(&reply.body).lines() {
                out.line(format_args!("  | {line}"))?;
            }
        }
        Ok(())
    });
    shown.map_err(|unprinted| {
        unprinted.hint(format!("it was accepted, so do not send again: penpal trace {}", sent.short))
    })
}

/// A message that ended without getting there is a failure, and so is one that did not get there in time; both with a next step.
pub(super) fn failure(sent: &Sent, has_files: bool) -> Option<ApiError> {
    if matches!(sent.stage, Stage::Refused | Stage::Expired) {
        let error = ApiError::new(ErrorCode::Refused, format!("the message was {}", stage_word(sent.stage)));
        let forget = format!("penpal dismiss {} takes it off the outbox", sent.short);
        return Some(match has_files {
            true => error.hint(format!("smaller files, or another way for them; {forget}")),
            false => {
                error.hint(format!("penpal trace {0}; penpal retry {0} tries again; {forget}", sent.short))
            }
        });
    }
    sent.timed_out.then(|| {
        ApiError::new(ErrorCode::NotInTime, "accepted, but what was waited for did not come in time")
            .hint(format!("do not send again; penpal trace {}", sent.short))
    })
}

/// Says a failure that was printed with the data already, and gives its status.
pub(super) fn failed(failure: Option<ApiError>, out: Output) -> Done {
    let Some(error) = failure else { return Ok(()) };
    out.explain(&error);
    Err(Failure::Status(error.code.exit_status()))
}

/// One line: stage, where, how, and what comes next.
pub(super) fn describe(sent: &Sent, ask: bool, waited: bool) -> String {
    let several = {
        let mut contacts: Vec<_> = sent.copies.iter().map(|copy| &copy.contact).collect();
        contacts.dedup();
        contacts.len() > 1 || sent.to.starts_with('#')
    };
    let mut parts: Vec<String> = sent.copies.iter().map(|one| copy(one, several)).collect();
    if parts.is_empty() {
        parts.push(stage_word(sent.stage).to_owned());
    }
    let mut line = parts.join(", ");
    if let Some(reason) = sent.reason.as_ref().filter(|_| sent.copies.len() != 1) {
        line.push_str(&format!(" ({})", why(reason)));
    }
    let answer_is_due = ask && sent.reply.is_none() && !matches!(sent.stage, Stage::Refused | Stage::Expired);
    if answer_is_due && !waited {
        line.push_str(" · the answer will come to your inbox (--wait 5m waits)");
    }
    line
}

fn copy(copy: &penpal_local_api::mail::CopyStage, several: bool) -> String {
    let device = match copy.contact.as_ref().filter(|_| several) {
        Some(contact) => format!("{}/{}", clean(contact), clean(&copy.device)),
        None => clean(&copy.device),
    };
    let place = match (copy.stage, &copy.session) {
        (Stage::Queued | Stage::Relayed | Stage::Refused | Stage::Expired, _) => {
            format!(" for {device}")
        }
        (_, Some(session)) => format!(" in {} on {device}", clean(session)),
        (_, None) => format!(" on {device}"),
    };
    let mut line = format!("{}{place}", stage_word(copy.stage));
    if let Some(mechanism) = &copy.mechanism {
        line.push_str(&format!(" ({})", clean(&mechanism.replace('-', " "))));
    }
    if let Some(reason) = &copy.reason {
        line.push_str(&format!(": {}", why(reason)));
    }
    line
}

/// Why a message is where it is, in words: those of penpal are short names.
pub(super) fn why(reason: &str) -> String {
    match reason {
        "gone" => "gone (you were removed there, or the account ended)".to_owned(),
        "device-revoked" => "that device is none of theirs any more".to_owned(),
        "contact-removed" => "the contact was removed here".to_owned(),
        "given-up" => "given up here".to_owned(),
        "recipient-full" => "their mailbox at the relay is full".to_owned(),
        "relay-full" => "the relay's disk is full".to_owned(),
        "quota" => "the relay takes no more of yours for them now; it goes on by itself".to_owned(),
        other => clean(other),
    }
}

/// The word for a stage.
pub(super) fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Queued => "queued",
        Stage::Relayed => "relayed",
        Stage::Delivered => "delivered",
        Stage::Held => "held",
        Stage::Surfaced => "surfaced",
        Stage::Answered => "answered",
        Stage::Refused => "refused",
        Stage::Expired => "expired",
    }
}
