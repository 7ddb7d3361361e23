//! `penpal account …`

use penpal_local_api::account::{Account, AccountRequest};
use penpal_local_api::methods::AccountShow;

use crate::cli::output::{Closed, Output};
use crate::cli::{Context, Done, caller, parse};

/// Look after the account
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Show handle, fingerprint, device and relay
    Show,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let Args::Show = args;
    let account = context.node().call::<AccountShow>(&AccountRequest { caller: caller::gather() })?;
    let out = context.out;
    out.show(&account, |account| {
        out.line(format_args!("  handle       {}", account.handle))?;
        out.line(format_args!("  fingerprint  {}", account.fingerprint))?;
        out.line(format_args!("  device       {}", account.device))?;
        out.line(format_args!("  relay        {}", account.relay))?;
        out.line(format_args!("  since        {}", parse::day_and_time(account.created_ms)))?;
        out.line("  losing this machine loses the account: there is no recovery code yet")
    })?;
    Ok(())
}

/// What is said when an account was made.
pub(super) fn print_made(out: Output, account: &Account) -> Result<(), Closed> {
    let host = account
        .relay
        .strip_prefix("penpal://")
        .and_then(|rest| rest.split('/').next())
        .unwrap_or(&account.relay);
    out.line(format_args!(
        "  {} account {} at {host}, this machine is \"{}\"",
        out.good("✓"),
        account.handle,
        account.device
    ))?;
    out.line("    losing this machine loses the account")
}
