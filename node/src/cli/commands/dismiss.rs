//! `penpal dismiss`

use penpal_local_api::mail::IdRequest;
use penpal_local_api::methods::Dismiss;

use crate::cli::{Context, Done, caller};

/// Forget a message that was refused or expired, or give up one that waits for a contact who is gone
///
/// What is given up is not tried any more; `penpal retry` takes it up again. Where a relay may have it already it is called expired, and may
/// still arrive.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the message
    id: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let gone =
        context.node().call::<Dismiss>(&IdRequest { caller: caller::gather(), id: args.id.clone() })?;
    context.out.show(&gone, |_| context.out.line("  dismissed"))?;
    Ok(())
}
