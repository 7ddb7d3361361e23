//! What an operator does.

use penpal_protocol::cbor::Text;
use penpal_protocol::hash::labelled16;
use penpal_protocol::ids::ShortHash;
use penpal_protocol::text::base32;

use crate::command::{AdminAnswer, AdminRequest, TokenInfo};
use crate::core::{Cx, RelayCore};
use crate::db;
use crate::error::Fault;
use crate::rows::records::Token;
use crate::rows::{Rows, Table};

/// Random bytes of a token: 80 bits, 16 characters.
const TOKEN_BYTES: usize = 10;

/// Most tokens that are listed.
const MAX_TOKENS: usize = 10_000;

/// Characters of a token's hash that name it to the operator.
const TOKEN_ID_CHARACTERS: usize = 8;

/// Where a token is stored; `None` for a text that is none. Case, dashes and look-alike letters do not matter.
pub(crate) fn token_key(text: &str) -> Option<ShortHash> {
    let plain: Vec<u8> = text
        .chars()
        .filter(|character| *character != '-' && !character.is_whitespace())
        .map(base32::value)
        .collect::<Option<_>>()?;
    Some(ShortHash::from_bytes(labelled16("token", &[&plain])))
}

fn info(key: &ShortHash, token: &Token) -> TokenInfo {
    let id: String = base32::encode(key.as_bytes()).chars().take(TOKEN_ID_CHARACTERS).collect();
    TokenInfo {
        id,
        note: token.note.as_str().to_owned(),
        made_ms: token.made_ms,
        expires_ms: token.expires_ms,
        uses_left: token.uses_left,
    }
}

impl RelayCore {
    /// Does what an operator asks.
    pub(crate) fn admin(&mut self, what: AdminRequest, cx: &mut Cx<'_>) -> Result<AdminAnswer, Fault> {
        match what {
            AdminRequest::TokenNew { .. } if self.is_full(cx.now) => Ok(AdminAnswer::Full),
            AdminRequest::TokenNew { note, life_ms, uses } => Ok(self.new_token(&note, life_ms, uses, cx)),
            AdminRequest::TokenList => Ok(AdminAnswer::Tokens(
                self.tokens(cx)?.iter().map(|(key, token)| info(key, token)).collect(),
            )),
            AdminRequest::TokenRevoke { which } => self.revoke_tokens(&which, cx),
            AdminRequest::Accounts { after, limit } => self.accounts(after.as_ref(), limit, cx.rows),
            AdminRequest::Account { handle } => self.account(&handle, cx.rows),
            AdminRequest::Suspend { handle, suspended } => self.suspend(&handle, suspended, cx),
            AdminRequest::Delete { handle } => self.delete_account(&handle, cx.rows),
            AdminRequest::Census => self.census(cx.rows),
        }
    }

    fn new_token(&mut self, note: &str, life_ms: u64, uses: u32, cx: &mut Cx<'_>) -> AdminAnswer {
        let plain = base32::encode(&db::random::<TOKEN_BYTES>(cx.rng)).to_ascii_uppercase();
        let mut text = String::new();
        for (position, character) in plain.chars().enumerate() {
            if position > 0 && position % 4 == 0 {
                text.push('-');
            }
            text.push(character);
        }
        let token = Token {
            made_ms: cx.now.wall_ms,
            expires_ms: cx.now.wall_ms.saturating_add(life_ms),
            uses_left: uses.max(1),
            note: Text::truncated(note),
        };
        let Some(key) = token_key(&text) else { return AdminAnswer::Failed };
        let info = info(&key, &token);
        self.db.tokens.put(key, token, &mut self.db.changes);
        AdminAnswer::TokenNew { token: text, info }
    }

    /// Usable tokens, oldest first. Those of this very step are not among them.
    fn tokens(&mut self, cx: &Cx<'_>) -> Result<Vec<(ShortHash, Token)>, Fault> {
        let mut found = self.all_tokens(cx.rows)?;
        found.retain(|(_, token)| cx.now.wall_ms < token.expires_ms);
        found.sort_by_key(|(key, token)| (token.made_ms, *key));
        Ok(found)
    }

    pub(crate) fn all_tokens(&mut self, rows: &dyn Rows) -> Result<Vec<(ShortHash, Token)>, Fault> {
        let mut found = Vec::new();
        for key in rows.keys(Table::Token, &[], None, MAX_TOKENS)? {
            let Some(key) = ShortHash::from_slice(&key) else { continue };
            if let Some(token) = self.db.tokens.get(&key, rows)? {
                found.push((key, token.clone()));
            }
        }
        Ok(found)
    }

    fn revoke_tokens(&mut self, which: &str, cx: &Cx<'_>) -> Result<AdminAnswer, Fault> {
        let exact = token_key(which);
        let prefix = which.trim().to_ascii_lowercase();
        let mut revoked = Vec::new();
        for (key, token) in self.tokens(cx)? {
            let info = info(&key, &token);
            if exact == Some(key) || (prefix.len() >= 4 && info.id.starts_with(&prefix)) {
                self.db.tokens.delete(key, &mut self.db.changes);
                revoked.push(info);
            }
        }
        Ok(AdminAnswer::TokensRevoked(revoked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_forgive_typing() {
        let key = token_key("K4XD-0101-ABCD-EFGH").unwrap();
        assert_eq!(token_key("k4xdoiolabcdefgh"), Some(key));
        assert_eq!(token_key(" k4xd oiol abcd efgh "), Some(key));
        assert_ne!(token_key("K4XD-0101-ABCD-EFGJ"), Some(key));
        assert_eq!(token_key("K4XD-0101-ABCD-EFGU"), None);
    }
}
