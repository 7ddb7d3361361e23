//! What goes over the admin socket, one JSON object a line each way; replies are what `--json` prints.

use std::path::PathBuf;

use penpal_relay_core::{AccountInfo, AccountState, AdminAnswer, TokenInfo};
use serde::{Deserialize, Serialize};

use crate::code::Code;

/// Accounts in one reply.
pub(crate) const ACCOUNTS_PAGE: usize = 500;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// Mint a token.
    TokenNew { note: String, life_ms: u64, uses: u32 },
    /// List tokens.
    TokenList,
    /// Revoke tokens.
    TokenRevoke { which: String },
    /// List accounts, a page at a time.
    AccountList { after: Option<String> },
    /// Show an account.
    AccountShow { handle: String },
    /// Suspend an account, or end that.
    AccountSuspend { handle: String, suspended: bool },
    /// Remove an account, and every byte of it.
    AccountDelete { handle: String },
    /// Say how things stand.
    Stats,
    /// Write a copy.
    Backup { to: PathBuf, keys_to: PathBuf },
    /// Rebuild the index from the log.
    RebuildIndex,
}

/// A token, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenShape {
    pub(crate) id: String,
    pub(crate) note: String,
    pub(crate) made_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) uses_left: u32,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    /// A new token.
    Token { v: u32, token: String, id: String, expires_ms: u64, uses: u32 },
    /// Tokens that can be used.
    Tokens { v: u32, tokens: Vec<TokenShape> },
    /// Tokens that cannot be used any more.
    Revoked { v: u32, revoked: Vec<TokenShape> },
    /// Some accounts; `more` says that the next page begins after the last of them.
    Accounts { v: u32, accounts: Vec<AccountShape>, more: bool },
    /// One account.
    Account { v: u32, account: AccountShape },
    /// It is removed; `erased` says that no byte of it is left in the relay's files.
    Deleted { v: u32, deleted: AccountShape, erased: bool, detail: Option<String> },
    /// How things stand.
    Stats { v: u32, stats: Box<StatsShape> },
    /// A copy was written.
    Backup { v: u32, backup: BackupShape },
    /// The index was rebuilt.
    Rebuilt { v: u32, rebuilt_ms: u64 },
    /// Not done.
    Failed { v: u32, error: Failure },
}

/// An account, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountShape {
    pub(crate) handle: String,
    /// `active`, `provisional` or `suspended`.
    pub(crate) state: String,
    pub(crate) made_ms: u64,
    pub(crate) devices: Vec<DeviceShape>,
    pub(crate) edges: u64,
    pub(crate) links: u64,
    pub(crate) invites: u64,
    #[serde(default)]
    pub(crate) blobs: u64,
    #[serde(default)]
    pub(crate) blob_bytes: u64,
}

/// A device, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceShape {
    pub(crate) online: bool,
    pub(crate) waiting: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) oldest_ms: Option<u64>,
}

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatsShape {
    pub(crate) version: String,
    /// Zero when the relay does not run.
    pub(crate) up_seconds: u64,
    pub(crate) connections: u64,
    pub(crate) connections_opened: u64,
    pub(crate) handshakes_refused: u64,
    pub(crate) accounts: u64,
    pub(crate) accounts_online: u64,
    pub(crate) edges: u64,
    pub(crate) invites: u64,
    pub(crate) spools: u64,
    pub(crate) waiting: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) oldest_ms: Option<u64>,
    #[serde(default)]
    pub(crate) blobs: u64,
    #[serde(default)]
    pub(crate) blob_bytes: u64,
    pub(crate) deposits_accepted: u64,
    pub(crate) deposits_refused: u64,
    pub(crate) delivered: u64,
    pub(crate) commits: u64,
    pub(crate) commit_micros_mean: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) disk_full: bool,
    pub(crate) alarms: u64,
}

/// A copy that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupShape {
    pub(crate) data: PathBuf,
    pub(crate) keys: PathBuf,
    pub(crate) bytes: u64,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Reply {
    pub(crate) fn failed(code: Code, message: impl Into<String>, hint: &str) -> Self {
        let error =
            Failure { code: code.as_str().to_owned(), message: message.into(), hint: hint.to_owned() };
        Self::Failed { v: 1, error }
    }
}

/// Reads a question as the socket of a running relay does.
pub(super) fn parse_question(line: &str) -> Result<Ask, serde_json::Error> {
    serde_json::from_str(line)
}

/// Whether a line is a question to a running relay.
///
/// # Errors
/// The parser's: it is no question, or one of another version.
pub fn check_question(line: &str) -> Result<(), serde_json::Error> {
    parse_question(line).map(drop)
}

/// Milliseconds of a minute that rows carry.
pub(crate) fn minute_ms(minute: u32) -> u64 {
    u64::from(minute) * 60_000
}

impl From<AccountInfo> for AccountShape {
    fn from(info: AccountInfo) -> Self {
        let state = match info.state {
            AccountState::Active => "active",
            AccountState::Provisional => "provisional",
            AccountState::Suspended => "suspended",
        };
        let devices = info.devices.into_iter().map(|device| DeviceShape {
            online: device.receiving,
            waiting: device.waiting.rows,
            waiting_bytes: device.waiting.bytes,
            oldest_ms: device.waiting.oldest_minute.map(minute_ms),
        });
        Self {
            handle: info.handle.to_string(),
            state: state.to_owned(),
            made_ms: minute_ms(info.made_minute),
            devices: devices.collect(),
            edges: info.edges,
            links: info.links,
            invites: info.invites,
            blobs: info.blobs,
            blob_bytes: info.blob_bytes,
        }
    }
}

impl From<TokenInfo> for TokenShape {
    fn from(info: TokenInfo) -> Self {
        let TokenInfo { id, note, made_ms, expires_ms, uses_left } = info;
        Self { id, note, made_ms, expires_ms, uses_left }
    }
}

impl From<AdminAnswer> for Reply {
    fn from(answer: AdminAnswer) -> Self {
        match answer {
            AdminAnswer::TokenNew { token, info } => {
                Self::Token { v: 1, token, id: info.id, expires_ms: info.expires_ms, uses: info.uses_left }
            }
            AdminAnswer::Tokens(tokens) => {
                Self::Tokens { v: 1, tokens: tokens.into_iter().map(Into::into).collect() }
            }
            AdminAnswer::TokensRevoked(revoked) => {
                Self::Revoked { v: 1, revoked: revoked.into_iter().map(Into::into).collect() }
            }
            AdminAnswer::Accounts(accounts) => {
                let more = accounts.len() >= ACCOUNTS_PAGE;
                Self::Accounts { v: 1, accounts: accounts.into_iter().map(Into::into).collect(), more }
            }
            AdminAnswer::Account(info) => Self::Account { v: 1, account: info.into() },
            AdminAnswer::NoAccount => Self::failed(
                Code::NoAccount,
                "no account has this handle",
                "penpal-relay account list shows them",
            ),
            // Asked for together with what the store and the counters say.
            AdminAnswer::Census(_) => Self::failed(Code::Internal, "half an answer", "please report this"),
            AdminAnswer::Full => Self::failed(Code::DiskFull, "the relay's disk is full", "free some space"),
            AdminAnswer::Failed => {
                Self::failed(Code::DataUnusable, "stored data is unusable", "look at the relay's log")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_fixed() {
        let ask = Ask::TokenNew { note: "for bob".into(), life_ms: 5, uses: 1 };
        let text = r#"{"do":"token-new","note":"for bob","life_ms":5,"uses":1}"#;
        assert_eq!(serde_json::to_string(&ask).unwrap(), text);
        assert_eq!(serde_json::from_str::<Ask>(text).unwrap(), ask);
        assert_eq!(serde_json::to_string(&Ask::TokenList).unwrap(), r#"{"do":"token-list"}"#);
        for (reply, text) in [
            (
                Reply::Token { v: 1, token: "K4XD".into(), id: "a".into(), expires_ms: 2, uses: 1 },
                r#"{"v":1,"token":"K4XD","id":"a","expires_ms":2,"uses":1}"#,
            ),
            (Reply::Tokens { v: 1, tokens: vec![] }, r#"{"v":1,"tokens":[]}"#),
            (Reply::Revoked { v: 1, revoked: vec![] }, r#"{"v":1,"revoked":[]}"#),
            (
                Reply::failed(Code::Keys, "m", "h"),
                r#"{"v":1,"error":{"code":"keys","message":"m","hint":"h"}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&reply).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reply>(text).unwrap(), reply);
        }
    }
}
