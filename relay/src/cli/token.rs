//! `penpal-relay token …`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::output::Output;
use super::problem::Problem;
use super::words::{plain, rough};
use crate::admin::{Ask, Reply, TokenShape};
use crate::code::Code;

/// Mint, list and revoke registration tokens
///
/// A token makes an account whatever the registration policy. Works on a running relay and on the folder of a stopped one.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    New(New),
    List(List),
    Revoke(Revoke),
}

/// Mint a token and print it
///
/// It is stored only as a hash: this is the one time it can be seen.
#[derive(Debug, Args)]
pub(super) struct New {
    #[command(flatten)]
    place: super::Place,
    /// How long it may be used, such as 30m or 7d
    #[arg(long, value_name = "TIME", default_value = "72h", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// How many accounts it makes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    /// Words to know it by in the list, at most 64 bytes
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Print one line of JSON: {"v":1,"token":…,"id":…,"expires_ms":…,"uses":…}
    #[arg(long)]
    json: bool,
}

/// List the tokens that can be used
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    place: super::Place,
    /// Print one line of JSON: {"v":1,"tokens":[…]}
    #[arg(long)]
    json: bool,
}

/// Revoke tokens
#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    place: super::Place,
    /// A token, or at least 4 characters of its id in the list
    #[arg(value_name = "TOKEN")]
    which: String,
    /// Print one line of JSON: {"v":1,"revoked":[…]}
    #[arg(long)]
    json: bool,
}

impl Token {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::New(New { json, .. })
            | Self::List(List { json, .. })
            | Self::Revoke(Revoke { json, .. }) => *json,
        }
    }

    pub(super) fn run(self) -> Result<(), Problem> {
        let json = self.json();
        let (place, ask) = match self {
            Self::New(New { place, expires, uses, note, .. }) => {
                let life_ms = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
                (place, Ask::TokenNew { note, life_ms, uses })
            }
            Self::List(List { place, .. }) => (place, Ask::TokenList),
            Self::Revoke(Revoke { place, which, .. }) => (place, Ask::TokenRevoke { which }),
        };
        let reply = place.ask(ask)?;
        print(&reply, json)
    }
}

fn print(reply: &Reply, json: bool) -> Result<(), Problem> {
    let mut out = Output::stdout();
    match reply {
        Reply::Failed { error, .. } => Err(error.clone().into()),
        Reply::Revoked { revoked, .. } if revoked.is_empty() => {
            Err(Problem::new(Code::NoToken, "no token like this can be used").hint("penpal-relay token list"))
        }
        shape if json => out.json(shape),
        Reply::Token { token, .. } => out.line(token),
        Reply::Tokens { tokens, .. } if tokens.is_empty() => {
            Output::stderr().line("no token can be used; penpal-relay token new mints one")
        }
        Reply::Tokens { tokens, .. } => {
            out.line(&format!("{:<10}{:<6}{:<16}NOTE", "ID", "USES", "EXPIRES"))?;
            tokens.iter().try_for_each(|token| out.line(&row(token)))
        }
        Reply::Revoked { revoked, .. } => revoked
            .iter()
            .try_for_each(|token| out.line(&format!("revoked {} {}", token.id, plain(&token.note)))),
        _ => Err(Problem::unexpected()),
    }
}

fn row(token: &TokenShape) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = format!("in {}", rough(Duration::from_millis(token.expires_ms).saturating_sub(now)));
    let note = if token.note.is_empty() { "–".to_owned() } else { plain(&token.note) };
    format!("{:<10}{:<6}{left:<16}{note}", token.id, token.uses_left)
}
