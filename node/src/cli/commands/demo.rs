//! `penpal demo`

use crate::cli::{Context, Done, Failure};

/// Prove on this machine, in temporary folders, that everything works
///
/// Starts a relay and two nodes as real processes, connects two people, sends, goes offline, kills everything in mid-flight, and looks for
/// message texts in the relay's files. Exits 1 when one line does not hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the temporary folders and print where they are
    #[arg(long)]
    keep: bool,
    /// Act as the relay of a demo, with these arguments of penpal-relay (used by the demo itself)
    #[arg(long, hide = true)]
    relay_role: bool,
    #[arg(last = true, hide = true)]
    relay_args: Vec<std::ffi::OsString>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    if args.relay_role {
        return Err(Failure::Exit(crate::demo::relay_role(&args.relay_args)));
    }
    crate::demo::run(args.keep, context.out)
}
