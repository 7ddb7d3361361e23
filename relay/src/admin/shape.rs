//! What goes over the admin socket, one JSON object a line each way; replies are what `--json` prints.

use penpal_relay_core::{AdminAnswer, AdminRequest, TokenInfo};
use serde::{Deserialize, Serialize};

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(clippy::enum_variant_names, reason = "names say on what a command acts; tokens are only the first")]
pub(crate) enum Ask {
    /// Mint a token.
    TokenNew { note: String, life_ms: u64, uses: u32 },
    /// List tokens.
    TokenList,
    /// Revoke tokens.
    TokenRevoke { which: String },
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
    /// Not done.
    Failed { v: u32, error: Failure },
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Reply {
    pub(crate) fn failed(code: &str, message: impl Into<String>, hint: &str) -> Self {
        let error = Failure { code: code.to_owned(), message: message.into(), hint: hint.to_owned() };
        Self::Failed { v: 1, error }
    }
}

/// Reads a question as the socket of a running relay does.
///
/// # Errors
/// The parser's: it is no question, or one of another version.
pub fn parse_question(line: &str) -> Result<AdminRequest, serde_json::Error> {
    serde_json::from_str::<Ask>(line).map(Into::into)
}

impl From<Ask> for AdminRequest {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::TokenNew { note, life_ms, uses } => Self::TokenNew { note, life_ms, uses },
            Ask::TokenList => Self::TokenList,
            Ask::TokenRevoke { which } => Self::TokenRevoke { which },
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
            AdminAnswer::Full => Self::failed("disk-full", "the relay's disk is full", "free some space"),
            AdminAnswer::Failed => {
                Self::failed("data-unusable", "stored data is unusable", "look at the relay's log")
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
            (Reply::failed("c", "m", "h"), r#"{"v":1,"error":{"code":"c","message":"m","hint":"h"}}"#),
        ] {
            assert_eq!(serde_json::to_string(&reply).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reply>(text).unwrap(), reply);
        }
    }
}
