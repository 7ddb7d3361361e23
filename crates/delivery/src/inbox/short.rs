//! Short ids: the shortest prefix, of at least four characters, that no earlier message has.

use penpal_protocol::ids::MsgId;
use penpal_protocol::text::base32;

use crate::address::MailKey;
use crate::inbox::QueryError;
use crate::ledger::{ReadFailed, Records, Row, Table};
use crate::machine::Delivery;
use crate::record::{MailRecord, MailState, Record as _};

/// Fewest characters of a short id.
const MIN_SHORT: usize = 4;

/// Characters of a whole id.
const FULL: usize = 26;

/// Most candidates that an ambiguous id lists.
const MAX_CANDIDATES: usize = 8;

/// An id that was typed names no single message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Not characters of an id, or too many.
    #[error("{typed:?} is not an id")]
    NotAnId {
        /// What was typed.
        typed: String,
    },
    /// No message has it.
    #[error("no message has id {typed:?}")]
    Unknown {
        /// What was typed.
        typed: String,
    },
    /// Several messages have it.
    #[error("{} messages have an id that starts with {typed:?}", .candidates.len())]
    Ambiguous {
        /// What was typed.
        typed: String,
        /// Some of them.
        candidates: Vec<MailKey>,
    },
    /// One has it that is held where nobody sees it yet.
    #[error("the message with id {typed:?} is held here and shown to nobody yet: {reason}")]
    Held {
        /// What was typed.
        typed: String,
        /// Why.
        reason: String,
    },
    /// The records cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// Fewest characters by which senders are told apart.
const MIN_FROM: usize = 8;

/// Stands for this node among senders; no fingerprint has so few characters.
const FROM_HERE: &str = "me";

/// Names one message among several of the same id: the id, a dot, and the first characters of its sender's fingerprint, or `me`.
///
/// Ids are their senders' choice, so somebody may take that of another person's message.
#[must_use]
pub fn exact_id(key: &MailKey) -> String {
    let from = key
        .from
        .map_or_else(|| FROM_HERE.to_owned(), |account| account.to_text().chars().take(MIN_FROM).collect());
    format!("{}.{from}", base32::encode(key.msg_id.as_bytes()))
}

/// Whether the part behind the dot means the sender of a message.
fn is_from(key: &MailKey, typed: &str) -> bool {
    match key.from {
        None => typed == FROM_HERE,
        Some(account) => typed.len() >= MIN_FROM && account.to_text().starts_with(typed),
    }
}

/// The first bits that all ids with some characters in front share.
struct Prefix {
    /// Whole bytes.
    bytes: Vec<u8>,
    /// The rest, in the high bits, and the mask of those bits.
    rest: Option<(u8, u8)>,
}

impl Prefix {
    fn of(characters: &str) -> Option<Self> {
        let mut bits = Vec::new();
        for character in characters.chars() {
            let value = base32::value(character)?;
            bits.extend((0..5).rev().map(|bit| value >> bit & 1));
        }
        bits.truncate(128);
        let mut bytes = Vec::new();
        let mut rest = None;
        for chunk in bits.chunks(8) {
            let value = chunk.iter().fold(0_u8, |sum, bit| sum << 1 | bit);
            let missing = 8_usize.saturating_sub(chunk.len());
            if missing == 0 {
                bytes.push(value);
            } else {
                rest = Some((value << missing, 0xff << missing));
            }
        }
        Some(Self { bytes, rest })
    }

    fn matches(&self, key: &[u8]) -> bool {
        let next = key.get(self.bytes.len()).copied().unwrap_or_default();
        key.starts_with(&self.bytes) && self.rest.is_none_or(|(value, mask)| next & mask == value)
    }

    /// A key just before the first that matches.
    fn before(&self) -> Option<Vec<u8>> {
        let (value, _) = self.rest?;
        let mut key = self.bytes.clone();
        // Shorter than any key of the table, so smaller than those that begin with it.
        key.push(value);
        Some(key)
    }
}

impl Delivery {
    fn with_prefix(
        &self,
        prefix: &Prefix,
        limit: usize,
        records: &dyn Records,
    ) -> Result<Vec<Row>, ReadFailed> {
        let rows =
            self.ledger.scan(records, Table::Mail, &prefix.bytes, prefix.before().as_deref(), limit)?;
        Ok(rows.into_iter().take_while(|(key, _)| prefix.matches(key)).collect())
    }

    /// How many characters the short id of a new message has.
    pub(crate) fn short_len(&mut self, msg_id: &MsgId, records: &dyn Records) -> u8 {
        let text = base32::encode(msg_id.as_bytes());
        for length in MIN_SHORT..FULL {
            let Some(prefix) = text.get(..length).and_then(Prefix::of) else { break };
            match self.with_prefix(&prefix, 1, records) {
                Ok(rows) if rows.is_empty() => return u8::try_from(length).unwrap_or(u8::MAX),
                Ok(_) => {}
                Err(error) => {
                    self.ledger.blame(error.into());
                    break;
                }
            }
        }
        u8::try_from(FULL).unwrap_or(u8::MAX)
    }

    /// Finds the message that a person means: exact short id first, then unique prefix. What [`exact_id`] gives is understood.
    ///
    /// `within` says which messages the caller may name; others do not exist for it. What is held where nobody sees it, or was
    /// not taken, is passed over.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve(
        &self,
        typed: &str,
        within: impl Fn(&MailKey) -> bool,
        records: &dyn Records,
    ) -> Result<MailKey, ResolveError> {
        let whole: String = typed.trim().to_ascii_lowercase();
        let (folded, from) = match whole.split_once('.') {
            Some((id, from)) => (id.to_owned(), Some(from)),
            None => (whole.clone(), None),
        };
        let not_an_id = || ResolveError::NotAnId { typed: typed.to_owned() };
        if folded.is_empty() || folded.len() > FULL || !folded.is_ascii() {
            return Err(not_an_id());
        }
        let prefix = Prefix::of(&folded).ok_or_else(not_an_id)?;
        // Written as ids are: look-alikes were read as what they look like.
        let plain: String = folded.replace('o', "0").replace(['i', 'l'], "1");
        let (mut candidates, mut held) = (Vec::new(), None);
        let mut after = prefix.before();
        loop {
            const PAGE: usize = 64;
            let rows = self
                .ledger
                .scan(records, Table::Mail, &prefix.bytes, after.as_deref(), PAGE)
                .map_err(|error| QueryError::from(crate::LedgerError::from(error)))?;
            let more = rows.len() == PAGE;
            for (row, value) in rows.iter().take_while(|(row, _)| prefix.matches(row)) {
                let mail = MailRecord::from_bytes(value)
                    .map_err(|source| QueryError::from(crate::ledger::damaged(Table::Mail, row, source)))?;
                let key = mail.key();
                if !within(&key)
                    || !mail.kind.is_mail()
                    || from.is_some_and(|from| !is_from(&key, from))
                    || mail.received.as_ref().is_some_and(|received| !is_taken(received.state))
                {
                    continue;
                }
                if let Some(received) = mail.received.as_ref().filter(|received| received.hidden) {
                    held = held.or_else(|| received.reason.clone());
                    continue;
                }
                // A whole id says nothing about who chose it: of several that have it none is meant more than another.
                if plain.len() < FULL && mail.short() == plain {
                    return Ok(key);
                }
                if candidates.len() < MAX_CANDIDATES {
                    candidates.push(key);
                }
            }
            after = rows.into_iter().last().map(|(row, _)| row).filter(|row| more && prefix.matches(row));
            if after.is_none() {
                break;
            }
        }
        match candidates.as_slice() {
            [] => Err(match held {
                Some(reason) => ResolveError::Held { typed: typed.to_owned(), reason },
                None => ResolveError::Unknown { typed: typed.to_owned() },
            }),
            [key] => Ok(*key),
            _ => Err(ResolveError::Ambiguous { typed: typed.to_owned(), candidates }),
        }
    }
}

/// Whether more than the mark remains of a received message.
fn is_taken(state: MailState) -> bool {
    !matches!(state, MailState::Refused | MailState::Expired)
}
