//! `penpal status`

use penpal_local_api::methods::Status as StatusMethod;
use penpal_local_api::status::{RelayState, Status, StatusRequest};

use crate::cli::output::{Output, Unprinted, clean};
use crate::cli::{Context, Done, caller};

/// Show node, account, relay and what waits
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: &Args, context: &Context) -> Done {
    let status = context.node().call::<StatusMethod>(&StatusRequest { caller: caller::gather() })?;
    context.out.show(&status, |status| {
        print(context.out, status)?;
        match status.relay.as_ref().and_then(|relay| relay.remedy.as_deref()) {
            Some(remedy) => context.out.line(format_args!("  next      {}", clean(remedy))),
            None => Ok(()),
        }
    })?;
    Ok(())
}

/// The lines that `status` and the overview share.
pub(super) fn print(out: Output, status: &Status) -> Result<(), Unprinted> {
    out.line(format_args!(
        "  node      {} (pid {}) in {}",
        status.node.version, status.node.pid, status.node.home
    ))?;
    match &status.account {
        Some(account) => {
            out.line(format_args!(
                "  account   {} on {}, fingerprint {}",
                account.handle, account.device, account.fingerprint
            ))?;
        }
        None => out.line("  account   none: sessions on this machine can write to each other")?,
    }
    let recovery = status.account.as_ref().and_then(|account| account.recovery);
    if recovery.is_some_and(|recovery| !recovery.shown) {
        let mark = out.warn("!");
        out.line(format_args!(
            "  {mark} losing this machine loses the account until you write its code down: penpal account recovery-code"
        ))?;
    }
    if let Some(relay) = &status.relay {
        let state = match relay.state {
            RelayState::Connected => out.good("connected"),
            RelayState::Connecting => out.warn("connecting"),
            RelayState::Offline => out.warn("offline"),
        };
        out.line(format_args!("  relay     {state}  {}", relay.address))?;
        if let Some(trouble) = &relay.trouble {
            out.line(format_args!("            {}", clean(trouble)))?;
        }
    }
    out.line(format_args!(
        "  mail      {} unread, {} on the way, {} held, {} dead",
        status.unread, status.queued, status.held, status.dead
    ))?;
    out.line(format_args!("  sessions  {} live", status.sessions))?;
    for invitation in &status.invitations {
        out.line(format_args!("  room      {}", clean(invitation)))?;
    }
    let said = status.relay.as_ref().and_then(|relay| relay.trouble.as_ref());
    for notice in status.notices.iter().filter(|notice| Some(*notice) != said) {
        out.line(format_args!("  {} {}", out.warn("!"), clean(notice)))?;
    }
    Ok(())
}
