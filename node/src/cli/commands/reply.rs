//! `penpal reply`

use std::path::PathBuf;
use std::time::Duration;

use penpal_local_api::mail::SendRequest;

use super::send;
use crate::cli::{Context, Done, caller, parse};

/// Answer a message, as the mailbox that received it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the message
    id: String,
    /// The text; - or nothing reads standard input
    text: Option<String>,
    /// Wait so long until the answer is surfaced
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    wait: Option<Duration>,
    /// Send although whoever wrote it is gone: it waits here then
    #[arg(long)]
    anyway: bool,
    /// A file that goes with it; may be given up to 16 times
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let caller = caller::gather();
    let (text, artifacts) = send::text_and_files(args.text.as_deref(), &args.files, &caller, context)?;
    send::send(
        SendRequest {
            caller,
            to: None,
            text,
            subject: None,
            ask: false,
            reply_to: Some(args.id.clone()),
            from_session: None,
            anyway: args.anyway,
            artifacts,
            life_ms: None,
            wait_ms: args.wait.map(parse::millis),
            mechanism: Some("cli".to_owned()),
        },
        context,
    )
}
