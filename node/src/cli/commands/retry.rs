//! `penpal retry`

use penpal_local_api::mail::IdRequest;
use penpal_local_api::methods::Retry;

use super::send;
use crate::cli::{Context, Done, caller};

/// Try a message again now
///
/// It keeps its id: whoever has it already takes it once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the message
    id: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let sent = context.node().call::<Retry>(&IdRequest { caller: caller::gather(), id: args.id.clone() })?;
    let out = context.out;
    let failure = send::failure(&sent, false);
    out.show_failed(&sent, failure.as_ref(), |sent| {
        out.line(format_args!("  {}  {}", sent.short, send::describe(sent, false, true)))
    })?;
    send::failed(failure, out)
}
