//! `penpal recover`, `penpal account recovery-code`.

use std::io::BufRead;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::{AccountRecoveryCode, Recover, Status};
use penpal_local_api::recovery::{Code, CodeRequest, RecoverRequest, Recovery, Revoke};
use penpal_local_api::status::StatusRequest;
use penpal_protocol::text::{RecoveryCode, RecoveryCodeError};
use zeroize::Zeroizing;

use super::account;
use crate::cli::output::{Output, Unprinted};
use crate::cli::{Context, Done, Failure, caller, parse};

/// Bring an account back on this machine, with its recovery code
///
/// Asks for the code, or reads it from standard input; never give it as an argument. Shows the account's devices and asks which of them to
/// revoke: they then get nothing and are nobody. Contacts come back and are told; history, files and rooms do not. On a machine that is a
/// device of the account already, it becomes the one that holds the root key.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Revoke this device; may be given several times; `all` for every one
    #[arg(long, value_name = "NAME")]
    revoke: Vec<String>,
    /// Revoke all devices but this one; may be given several times. An account's only device cannot be kept
    #[arg(long, value_name = "NAME", conflicts_with = "revoke")]
    keep: Vec<String>,
    /// Name of this machine (default: its host name)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Address of the relay, if it moved since the code was written down
    #[arg(long, value_name = "ADDRESS")]
    relay: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let (node, out) = (context.node(), context.out);
    caller::person_only()?;
    let code = read_code(out)?;
    let request = |revoke| RecoverRequest {
        caller: caller::gather(),
        code: code.as_str().to_owned(),
        relay: args.relay.clone(),
        name: args.name.clone(),
        revoke,
    };
    let choice = match given(args) {
        Some(choice) => choice,
        None => {
            let found = out.patiently("asking the relay", || node.call::<Recover>(&request(None)))?;
            choose(out, &found)?
        }
    };
    // What a device of the account has already stays on it.
    let was_device = node.call::<Status>(&StatusRequest { caller: caller::gather() })?.account.is_some();
    let done = out.patiently("asking the relay", || node.call::<Recover>(&request(Some(choice))))?;
    out.show(&done, |done| print(out, done, was_device))?;
    Ok(())
}

/// What the flags say.
fn given(args: &Args) -> Option<Revoke> {
    if !args.keep.is_empty() {
        return Some(Revoke::AllBut(args.keep.clone()));
    }
    match args.revoke.as_slice() {
        [] => None,
        names if names.iter().any(|name| name == "all") => Some(Revoke::All),
        names => Some(Revoke::Only(names.to_vec())),
    }
}

/// Shows the devices and asks.
fn choose(out: Output, found: &Recovery) -> Result<Revoke, Failure> {
    let others: Vec<_> = found.devices.iter().filter(|device| !device.this).collect();
    let names: Vec<String> = others.iter().map(|device| device.name.clone()).collect();
    if !out.interactive {
        let fact = format!("account {} has other devices, and it was not said which to revoke", found.handle);
        let error = ApiError::new(ErrorCode::NeedsAnswer, fact);
        return Err(error.hint("give --revoke all, --revoke NAME or --keep NAME").candidates(names).into());
    }
    out.remark(format_args!("  account {}, contacts: {}. Its devices:", found.handle, found.contacts));
    for device in &others {
        let mark = if device.primary { ", holds the root key" } else { "" };
        let added = parse::day_and_time(device.added_ms);
        out.remark(format_args!("    {}  added {added}{mark}", device.name));
    }
    out.remark("  A revoked device gets nothing and is nobody; what it has already stays on it.");
    match out.ask("Revoke all of them? [Y/n]").as_deref() {
        Some("" | "y" | "Y" | "yes") => Ok(Revoke::All),
        Some("n" | "N" | "no") => {
            let kept = out.ask("Which stay? Their names, with spaces between:").unwrap_or_default();
            Ok(Revoke::AllBut(kept.split_whitespace().map(str::to_owned).collect()))
        }
        Some(_) | None => {
            out.remark("  nothing was changed");
            Err(Failure::Status(4))
        }
    }
}

fn print(out: Output, done: &Recovery, was_device: bool) -> Result<(), Unprinted> {
    if let Some(made) = &done.account {
        account::print_named(out, made)?;
    }
    if done.contacts > 0 {
        out.line(format_args!(
            "    contacts: {}. They are told, and mail goes on with new keys",
            done.contacts
        ))?;
    }
    let others: Vec<&str> =
        done.devices.iter().filter(|device| !device.this).map(|device| device.name.as_str()).collect();
    if !others.is_empty() {
        out.line(format_args!("    other devices: {}", others.join(", ")))?;
    }
    if was_device {
        return Ok(());
    }
    out.line("    earlier mail, files and rooms were on the other machines only")
}

/// The code: asked for line by line, or all of standard input.
fn read_code(out: Output) -> Result<Zeroizing<String>, Failure> {
    if !out.interactive {
        let text = Zeroizing::new(parse::read_stdin()?);
        text.parse::<RecoveryCode>().map_err(|error| bad(&error))?;
        return Ok(text);
    }
    out.remark("  Type the recovery code, line by line; case and dashes do not matter.");
    let mut lines: Vec<Zeroizing<String>> = Vec::new();
    loop {
        let number = lines.len().saturating_add(1);
        out.remark(format_args!("  line {number}:"));
        let mut line = Zeroizing::new(String::new());
        let read = std::io::stdin().lock().read_line(&mut line);
        let typed = read.is_ok_and(|bytes| bytes > 0) && !line.trim().is_empty();
        if typed {
            lines.push(line);
        }
        let text = Zeroizing::new(lines.iter().map(|line| line.as_str()).collect::<String>());
        match text.parse::<RecoveryCode>() {
            Ok(_) => return Ok(text),
            Err(error) if !typed => return Err(bad(&error).into()),
            Err(error @ (RecoveryCodeError::Line { .. } | RecoveryCodeError::Character { .. })) => {
                out.remark(format_args!("  {error}; type it again"));
                lines.pop();
            }
            Err(error @ (RecoveryCodeError::Newer { .. } | RecoveryCodeError::Relay(_))) => {
                return Err(bad(&error).into());
            }
            // Not all of it yet.
            Err(_) => {}
        }
    }
}

fn bad(error: &RecoveryCodeError) -> ApiError {
    let shown = ApiError::new(ErrorCode::BadRecoveryCode, error.to_string());
    match error {
        RecoveryCodeError::Empty => shown.hint(
            "type it in a terminal: penpal recover; or give it on standard input: penpal recover < FILE",
        ),
        _ => shown,
    }
}

/// Shows the recovery code, which a person asked for.
pub(super) fn show_code(context: &Context) -> Done {
    let request = CodeRequest { caller: caller::gather(), seen: true };
    let code = context.node().call::<AccountRecoveryCode>(&request)?;
    context.out.show(&code, |code| print_code(context.out, code))?;
    Ok(())
}

fn print_code(out: Output, code: &Code) -> Result<(), Unprinted> {
    out.line("  Write this down and keep it where no machine of yours is. Whoever has it is you.")?;
    for line in &code.lines {
        out.line(format_args!("    {line}"))?;
    }
    out.line("  With it, on any machine: penpal recover")?;
    if code.kept {
        return Ok(());
    }
    out.line("  The relay does not keep your contacts yet; it will within a minute: penpal account show")
}

/// An account was just made: on a terminal its code is shown once, and asked about. Otherwise `penpal status` reminds.
pub(super) fn offer_code(context: &Context) -> Done {
    let (node, out) = (context.node(), context.out);
    let account = node.call::<Status>(&StatusRequest { caller: caller::gather() })?.account;
    if account.and_then(|account| account.recovery).is_none_or(|recovery| recovery.shown) {
        return Ok(());
    }
    if out.json || !out.interactive || caller::in_agent() {
        out.remark(
            "  losing this machine loses the account, unless you have its code: penpal account recovery-code",
        );
        return Ok(());
    }
    let code = node.call::<AccountRecoveryCode>(&CodeRequest { caller: caller::gather(), seen: false })?;
    print_code(out, &code)?;
    if let Some("y" | "Y" | "yes") = out.ask("Written down? [y/N]").as_deref() {
        node.call::<AccountRecoveryCode>(&CodeRequest { caller: caller::gather(), seen: true })?;
    } else {
        out.remark("  later: penpal account recovery-code");
    }
    Ok(())
}
