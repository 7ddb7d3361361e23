//! `penpal account …`

use penpal_local_api::account::{Account, AccountRequest};
use penpal_local_api::methods::AccountShow;

use crate::cli::output::{Output, Unprinted};
use crate::cli::{Context, Done, caller, parse};

/// Look after the account
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Show handle, fingerprint, device and relay
    Show,
    /// Show the code that brings the account back when this machine is lost
    ///
    /// Only on the device that holds the root key, and only to a person. Whoever has the code is the account: keep it on paper, away from the
    /// machine. It stays the same.
    RecoveryCode,
    /// Write keys, contacts, history and files into one file, sealed under a passphrase
    ///
    /// The node stands still meanwhile. The passphrase is asked for, or the first line of --passphrase-file; without it nobody opens the
    /// file, and nobody can make it anew.
    Export(super::portable::Export),
    /// Put such a file into a home without an account
    ///
    /// All of it is opened and checked before anything is replaced; what the home held is kept in its folder before-import. The node then
    /// takes fresh keys, and gets again what others sent in the last 48 hours. Never run two copies at once.
    Import(super::portable::Import),
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    match args {
        Args::Show => show(context),
        Args::RecoveryCode => super::recover::show_code(context),
        Args::Export(export) => super::portable::export(export, context),
        Args::Import(import) => super::portable::import(import, context),
    }
}

fn show(context: &Context) -> Done {
    let account = context.node().call::<AccountShow>(&AccountRequest { caller: caller::gather() })?;
    let out = context.out;
    out.show(&account, |account| {
        out.line(format_args!("  handle       {}", account.handle))?;
        out.line(format_args!("  fingerprint  {}", account.fingerprint))?;
        out.line(format_args!("  device       {}", account.device))?;
        out.line(format_args!("  relay        {}", account.relay))?;
        out.line(format_args!("  since        {}", parse::day_and_time(account.created_ms)))?;
        out.line(if account.primary {
            "  if this machine is lost: penpal recover, with the code that penpal account recovery-code shows"
        } else {
            "  the account's root key is on another device: penpal device list"
        })
    })?;
    Ok(())
}

/// What is said when an account was made, or came to this machine.
pub(super) fn print_named(out: Output, account: &Account) -> Result<(), Unprinted> {
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
    ))
}
