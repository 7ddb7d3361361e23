//! `penpal register`

use penpal_local_api::account::RegisterRequest;
use penpal_local_api::methods::Register;

use super::account;
use crate::cli::{Context, Done, caller};

/// Make an account at a relay
///
/// Somebody with an invite does not need this: `penpal contact add` registers too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the relay, with its pin: penpal://host[:port]/pin
    address: String,
    /// Handle at that relay; unique there and shown to your contacts
    #[arg(long)]
    handle: String,
    /// Name of this machine (default: its host name)
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Token from whoever runs the relay
    #[arg(long)]
    token: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let request = RegisterRequest {
        caller: caller::gather(),
        address: args.address.clone(),
        handle: args.handle.clone(),
        device: args.device.clone(),
        token: args.token.clone(),
    };
    let made = context.node().call::<Register>(&request)?;
    context.out.show(&made, |made| {
        account::print_made(context.out, made)?;
        context.out.line("  next: penpal contact invite")
    })?;
    Ok(())
}
