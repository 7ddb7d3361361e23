//! The index for searching: made from history when nothing else is to be done, and brought up to date before a question.
//!
//! The index is never the truth. It knows words and places; whether a message is still there, and who may see it, is asked of the history
//! at every hit. An index that is damaged, or of another history, is made again.

use std::path::PathBuf;
use std::time::Duration;

use penpal_delivery::{MailView, QueryError};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::Message;
use penpal_protocol::ids::Fingerprint;
use penpal_search::{Document, Index, SearchError};

use super::machines::Engine;
use super::views::unreadable;

/// Messages that are added at once, and the bytes of their texts, at most.
const BITE: usize = 1024;
const BITE_BYTES: usize = 1024 * 1024;

/// Between two looks for messages that history no longer has.
const PURGE_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// The index, and what is known of it.
#[derive(Debug)]
pub(super) struct Searching {
    /// `None` where the host keeps none.
    file: Option<PathBuf>,
    index: Option<Index>,
    /// Place that no message had when the machines were opened: an index that knows later ones is of another history.
    opened_at: u64,
    /// Whether the index was held against that.
    compared: bool,
    /// Up to which place messages are in it; `None` before it was opened.
    done: Option<u64>,
    /// It failed and is left alone until somebody asks.
    resting: bool,
    /// When messages that went are looked for next, on the monotonic clock, and behind which place.
    purge_at: Duration,
    purge_after: Option<u64>,
}

/// Bringing the index up to date failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// The host keeps none.
    #[error("this node keeps no search index")]
    None,
    /// The index.
    #[error(transparent)]
    Index(#[from] SearchError),
    /// The history.
    #[error("messages cannot be read: {0}")]
    History(#[from] QueryError),
    /// A message.
    #[error(transparent)]
    Message(#[from] ApiError),
}

impl IndexError {
    pub(super) fn api(self) -> ApiError {
        match self {
            Self::History(error) => unreadable(&error),
            Self::Message(error) => error,
            Self::Index(SearchError::Full) => {
                ApiError::new(ErrorCode::DiskFull, "the disk is full: the search index cannot grow")
            }
            error @ (Self::None | Self::Index(_)) => {
                ApiError::new(ErrorCode::HomeUnusable, error.to_string())
            }
        }
    }
}

impl Searching {
    pub(super) fn new(file: Option<PathBuf>, opened_at: u64) -> Self {
        Self {
            file,
            index: None,
            opened_at,
            compared: false,
            done: None,
            resting: false,
            purge_at: Duration::ZERO,
            purge_after: None,
        }
    }

    /// The machines were opened again: places that were given since may be given to other messages.
    pub(super) fn reopened(&mut self) {
        *self = Self::new(self.file.take(), 0);
    }

    /// Throws a damaged index away; tells whether it was the damage that failed.
    pub(super) fn mend(&mut self, error: &IndexError) -> bool {
        let (IndexError::Index(SearchError::Damaged(reason)), Some(file)) = (error, &self.file) else {
            return false;
        };
        tracing::warn!(reason, "the search index is damaged and is made again");
        self.index = None;
        self.done = Some(0);
        match Index::remake(file) {
            Ok(index) => self.index = Some(index),
            Err(error) => tracing::warn!(%error, "it cannot be made again"),
        }
        self.index.is_some()
    }

    /// The open index of this history.
    pub(super) fn index(&mut self, owner: &[u8]) -> Result<&mut Index, IndexError> {
        let file = self.file.as_ref().ok_or(IndexError::None)?;
        let mut index = match self.index.take() {
            Some(index) => index,
            None => Index::open(file)?,
        };
        let fits =
            |(done, whose): &(u64, Vec<u8>)| whose == owner && (self.compared || *done < self.opened_at);
        let known = index.done()?;
        if known.as_ref().is_some_and(|known| !fits(known)) {
            tracing::info!("the search index is of another history and is made again");
            drop(index);
            index = Index::remake(file)?;
            self.done = Some(0);
        } else {
            self.done = Some(known.map_or(0, |(done, _)| done));
        }
        self.compared = true;
        Ok(self.index.insert(index))
    }
}

impl Engine {
    /// Whose history the index is of.
    fn search_owner(&self) -> Vec<u8> {
        self.delivery.incarnation().as_bytes().to_vec()
    }

    /// The index, open.
    pub(super) fn search_index(&mut self) -> Result<&mut Index, IndexError> {
        let owner = self.search_owner();
        self.searching.index(&owner)
    }

    /// Whether messages are not in the index yet.
    pub(super) fn search_is_behind(&self) -> bool {
        self.searching.done.is_none_or(|done| done.saturating_add(1) < self.delivery.next_ordinal())
    }

    /// Adds the next messages; tells whether there are more.
    pub(super) fn index_some(&mut self) -> Result<bool, IndexError> {
        let owner = self.search_owner();
        self.searching.index(&owner)?;
        let after = self.searching.done.unwrap_or_default();
        let newest = self.delivery.next_ordinal().saturating_sub(1);
        let views = self.delivery.newer(after, BITE, &self.storage)?;
        let mut documents = Vec::with_capacity(views.len());
        let mut bytes = 0;
        let mut done = if views.len() < BITE { newest.max(after) } else { after };
        for (view, contact) in &views {
            if bytes > BITE_BYTES {
                break;
            }
            let message = self.message(view)?;
            bytes += message.body.len();
            documents.push(document(view, *contact, message));
        }
        if documents.len() < views.len() || views.len() == BITE {
            done = documents.last().map_or(after, |document| document.ordinal);
        }
        self.searching.index(&owner)?.add_up_to(&documents, done, &owner)?;
        self.searching.done = Some(done);
        Ok(self.search_is_behind())
    }

    /// Removes from the index what history no longer has, some of it; tells whether there may be more.
    fn purge_some(&mut self) -> Result<bool, IndexError> {
        let after = self.searching.purge_after;
        let known = self.search_index()?.list(after, BITE)?;
        let mut gone = Vec::new();
        for found in &known {
            if self.found_view(found)?.is_none() {
                gone.push(found.ordinal);
            }
        }
        self.search_index()?.remove(&gone)?;
        let more = known.len() == BITE;
        self.searching.purge_after = known.last().map(|found| found.ordinal).filter(|_| more);
        if !more {
            self.searching.purge_at = self.now.mono.saturating_add(PURGE_PERIOD);
        }
        Ok(more)
    }

    /// Work on the index in a quiet moment; tells whether there is more. What fails is left until somebody asks.
    pub(super) fn tidy_search(&mut self) -> bool {
        if self.searching.file.is_none() || self.searching.resting {
            return false;
        }
        let purges = self.now.mono >= self.searching.purge_at;
        let worked = match (self.search_is_behind(), purges) {
            (true, _) => self.index_some().map(|more| more || purges),
            (false, true) => self.purge_some(),
            (false, false) => Ok(false),
        };
        let more = worked.unwrap_or_else(|error| {
            if self.searching.mend(&error) {
                return true;
            }
            tracing::warn!(%error, "the search index waits until somebody searches");
            self.searching.resting = true;
            false
        });
        if !more {
            // It is opened again when it is needed; until then it takes no memory.
            self.searching.index = None;
        }
        more
    }

    /// Somebody asks: what failed is tried again.
    pub(super) fn wake_search(&mut self) {
        self.searching.resting = false;
    }

    /// The message that was found; `None` when it is gone, or has another place by now.
    pub(super) fn found_view(&self, found: &penpal_search::Found) -> Result<Option<MailView>, IndexError> {
        let Some(key) = penpal_delivery::MailKey::from_key(&found.reference) else { return Ok(None) };
        let view = self.delivery.view(key, &self.storage)?;
        let Some(view) = view.filter(|view| view.ordinal == found.ordinal) else { return Ok(None) };
        let content = self.delivery.content(key, &self.storage)?;
        Ok(content.map(|_| view))
    }
}

fn document(view: &MailView, contact: Option<Fingerprint>, message: Message) -> Document {
    let key = |mailbox: penpal_delivery::Mailbox| mailbox.to_key().to_vec();
    let files: Vec<String> = message.artifacts.into_iter().map(|file| file.name).collect();
    Document {
        ordinal: view.ordinal,
        reference: view.key.to_key().to_vec(),
        contact: contact.map(|account| account.as_bytes().to_vec()),
        place: view.mailbox.map(key),
        author: view.sent_from.map(key),
        room: view.room.map(|room| room.as_bytes().to_vec()),
        sent_ms: view.sent_ms,
        subject: message.subject.unwrap_or_default(),
        text: message.body,
        files: files.join(" "),
        people: format!("{} {}", message.from, message.to),
    }
}
