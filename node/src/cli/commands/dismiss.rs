//! `penpal dismiss`

use penpal_local_api::mail::IdRequest;
use penpal_local_api::methods::Dismiss;

use crate::cli::{Context, Done, caller};

/// Forget a message that was refused or expired
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
