//! `penpal-relay account …`

use std::io::IsTerminal;

use clap::{Args, Subcommand};

use super::output::Output;
use super::problem::Problem;
use super::words::{ago, bytes, count, plain};
use crate::admin::{AccountShape, Ask, Reply};
use crate::code::Code;

/// List, show, suspend and delete accounts
///
/// Works on a running relay and on the folder of a stopped one. The relay knows an account by its handle, its devices'
/// keys and its edges; it does not know what is written.
#[derive(Debug, Subcommand)]
pub(super) enum Account {
    List(List),
    Show(One),
    Suspend(Suspend),
    Resume(Resume),
    Delete(Delete),
}

/// List accounts by handle
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    place: super::Place,
    /// Print one line of JSON: {"v":1,"accounts":[…]}
    #[arg(long)]
    json: bool,
}

/// Show an account with its devices and what waits for them
#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    place: super::Place,
    /// The account's handle
    #[arg(value_name = "HANDLE")]
    handle: String,
    /// Print one line of JSON: {"v":1,"account":{…}}
    #[arg(long)]
    json: bool,
}

/// Stop an account: its devices, and its deposits with others here
///
/// What others have for it goes on waiting. resume takes it back.
#[derive(Debug, Args)]
pub(super) struct Suspend {
    #[command(flatten)]
    one: One,
}

/// Let a suspended account go on
#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    one: One,
}

/// Delete an account and every byte of it
///
/// Ends its devices, edges, invites and what waits for it, then writes the relay's files anew, so that nothing of it is left
/// there. This cannot be undone; copies made earlier still hold it. Contacts find it gone.
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    one: One,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Account {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::List(List { json, .. }) => *json,
            Self::Show(one)
            | Self::Suspend(Suspend { one })
            | Self::Resume(Resume { one })
            | Self::Delete(Delete { one, .. }) => one.json,
        }
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        match self {
            Self::List(list) => list.run(),
            Self::Show(one) => one.run(|handle| Ask::AccountShow { handle }),
            Self::Suspend(Suspend { one }) => {
                one.run(|handle| Ask::AccountSuspend { handle, suspended: true })
            }
            Self::Resume(Resume { one }) => {
                one.run(|handle| Ask::AccountSuspend { handle, suspended: false })
            }
            Self::Delete(delete) => delete.run(),
        }
    }
}

impl List {
    fn run(self) -> Result<(), Problem> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|account: &AccountShape| account.handle.clone());
            match self.place.ask(Ask::AccountList { after })? {
                Reply::Accounts { accounts, more, .. } => {
                    let end = !more || accounts.is_empty();
                    all.extend(accounts);
                    if end {
                        break;
                    }
                }
                Reply::Failed { error, .. } => return Err(error.into()),
                _ => return Err(Problem::unexpected()),
            }
        }
        let mut out = Output::stdout();
        if self.json {
            return out.json(&Reply::Accounts { v: 1, accounts: all, more: false });
        }
        if all.is_empty() {
            return Output::stderr()
                .line("there is no account; penpal-relay token new mints a token for one");
        }
        out.line(&format!("{:<24}{:<13}{:<9}{:<9}WAITING", "HANDLE", "STATE", "DEVICES", "ONLINE"))?;
        all.iter().try_for_each(|account| out.line(&row(account)))
    }
}

fn row(account: &AccountShape) -> String {
    let online = account.devices.iter().filter(|device| device.online).count();
    let waiting: u64 = account.devices.iter().map(|device| device.waiting).sum();
    let handle = plain(&account.handle);
    format!("{handle:<24}{:<13}{:<9}{online:<9}{waiting}", account.state, account.devices.len())
}

impl One {
    fn run(self, ask: impl FnOnce(String) -> Ask) -> Result<(), Problem> {
        let reply = self.place.ask(ask(self.handle))?;
        let mut out = Output::stdout();
        match reply {
            Reply::Failed { error, .. } => Err(error.into()),
            shape if self.json => out.json(&shape),
            Reply::Account { account, .. } => show(&mut out, &account),
            _ => Err(Problem::unexpected()),
        }
    }
}

fn show(out: &mut Output, account: &AccountShape) -> Result<(), Problem> {
    out.line(&format!("{} · {} · made {}", plain(&account.handle), account.state, ago(account.made_ms)))?;
    for device in &account.devices {
        let state = if device.online { "online" } else { "away" };
        let waits = match device.oldest_ms {
            Some(oldest) => format!(
                "{} ({}) waiting, the oldest from {}",
                count(device.waiting, "envelope", "envelopes"),
                bytes(device.waiting_bytes),
                ago(oldest)
            ),
            None => "nothing waiting".to_owned(),
        };
        out.line(&format!("  device   {state}, {waits}"))?;
    }
    out.line(&format!(
        "  edges    {} may write to it, it may write to {} here; {}",
        account.edges,
        account.links,
        count(account.invites, "invite", "invites")
    ))?;
    out.line(&format!("  files    {} ({})", account.blobs, bytes(account.blob_bytes)))
}

impl Delete {
    fn run(self) -> Result<(), Problem> {
        let handle = self.one.handle.clone();
        if !self.yes {
            let question = format!("delete the account {} and everything that waits for it?", plain(&handle));
            confirm(&question, "--yes")?;
        }
        let reply = self.one.place.ask(Ask::AccountDelete { handle })?;
        let mut out = Output::stdout();
        match reply {
            Reply::Failed { error, .. } => Err(error.into()),
            shape if self.one.json => out.json(&shape),
            Reply::Deleted { deleted, erased: true, .. } => out.line(&format!(
                "deleted {}; no byte of it is left in the relay's files",
                plain(&deleted.handle)
            )),
            Reply::Deleted { deleted, detail, .. } => {
                out.line(&format!("deleted {}", plain(&deleted.handle)))?;
                let why = detail.unwrap_or_default();
                Err(Problem::new(Code::NotErased, format!("its removed rows are still in the log: {why}")).hint(
                    "free some space and delete any account again, or wait: the log is written anew in time",
                ))
            }
            _ => Err(Problem::unexpected()),
        }
    }
}

/// Asks on a terminal; elsewhere says which flag decides.
pub(super) fn confirm(question: &str, flag: &str) -> Result<(), Problem> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Problem::new(Code::NeedsAPerson, format!("{question} Nobody is here to answer"))
            .hint(format!("say {flag} if you mean it")));
    }
    Output::stderr().line(&format!("{question} Type yes:"))?;
    let mut answer = String::new();
    stdin.read_line(&mut answer).map_err(|error| Problem::new(Code::Input, error.to_string()))?;
    if answer.trim().eq_ignore_ascii_case("yes") {
        return Ok(());
    }
    Err(Problem::new(Code::NotConfirmed, "nothing was done"))
}
