//! What the engine knows of artifacts: which contents are on the shelf, and which messages refer to what.
//!
//! Both are rows, read when they are asked for: a node at rest holds nothing of them in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minicbor::{Decode, Encode};
use penpal_delivery::{MailKey, Mailbox};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::cbor::{self, Text};
use penpal_protocol::ids::{Fingerprint, Hash};
use penpal_protocol::limits::DAY_MS;
use penpal_protocol::sealed::{ArtifactRef, Content, Letter};

use super::machines::Engine;
use super::storage::{CONTENTS, REFERENCES};

/// Longest value of both tables, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// How long a content is kept that no message refers to, when nobody says otherwise.
pub(super) const KEEP_MS: u64 = 7 * DAY_MS;

/// When contents that nobody needs are looked for: after a start, and then again and again.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(600);
const NEXT_LOOK: Duration = Duration::from_secs(24 * 3600);

/// The same, when a look did not come to the end of what there is to forget.
const SOON: Duration = Duration::from_secs(60);

/// References to one content, or to contents whose hashes begin alike, that are looked at for fetching it. No sender's hide another's: of
/// each the newest few count, and the newest of all come first.
const NEWEST: usize = 256;
const NEWEST_OF_ONE: usize = 16;

/// References of messages that are no more which one look forgets.
pub(super) const FORGOTTEN_AT_ONCE: usize = 4096;

/// A content on the shelf.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct ContentRow {
    /// Its length.
    #[n(0)]
    pub(super) bytes: u64,
    /// The name that it was first put or fetched under.
    #[n(1)]
    pub(super) name: Text<255>,
    /// When that was, Unix milliseconds.
    #[n(2)]
    pub(super) since_ms: u64,
    /// When it was put, fetched or read last, Unix milliseconds.
    #[n(3)]
    pub(super) used_ms: u64,
}

/// That a message refers to an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct ReferenceRow {
    /// What the message says of it.
    #[n(0)]
    pub(super) artifact: ArtifactRef,
    /// When the message was stored here, Unix milliseconds.
    #[n(1)]
    pub(super) since_ms: u64,
}

/// One reference, read.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) hash: Hash,
    pub(super) mail: MailKey,
    pub(super) row: ReferenceRow,
}

/// What a look for contents that nobody needs found.
#[derive(Debug, Default)]
pub(super) struct Unneeded {
    pub(super) gone: Vec<(Hash, ContentRow)>,
    pub(super) kept: u64,
    pub(super) kept_bytes: u64,
    /// There are more references to forget.
    pub(super) more: bool,
}

fn reference_key(hash: &Hash, mail: MailKey) -> Vec<u8> {
    [hash.as_bytes().as_slice(), &mail.to_key()].concat()
}

fn unreadable(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::HomeUnusable, format!("artifacts cannot be read: {error}"))
}

impl Engine {
    /// A content on the shelf.
    pub(super) fn content_row(&self, hash: &Hash) -> Result<Option<ContentRow>, ApiError> {
        let row = self.storage.get_now(CONTENTS, hash.as_bytes()).map_err(|error| unreadable(&error))?;
        row.map(|row| cbor::decode(&row, MAX_VALUE_BYTES)).transpose().map_err(|error| unreadable(&error))
    }

    pub(super) fn save_content_row(&mut self, hash: &Hash, row: &ContentRow) {
        self.storage.change(CONTENTS, hash.as_bytes().to_vec(), Some(cbor::encode(row)));
    }

    /// Every content on the shelf.
    pub(super) fn content_rows(&self) -> Result<BTreeMap<Hash, ContentRow>, ApiError> {
        let mut all = BTreeMap::new();
        self.storage
            .each(CONTENTS, |key, value| {
                let row = cbor::decode(value, MAX_VALUE_BYTES).map_err(|error| unreadable(&error))?;
                all.extend(Hash::from_slice(key).map(|hash| (hash, row)));
                Ok::<(), Unreadable>(())
            })
            .map_err(|Unreadable(error)| error)?;
        Ok(all)
    }

    /// Looks at the references to artifacts whose hash begins like this, one after another: contacts decide how many there are.
    pub(super) fn each_reference(
        &self,
        prefix: &[u8],
        mut look: impl FnMut(Reference) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        self.storage
            .each_under(REFERENCES, prefix, |key, value| {
                let row = cbor::decode(value, MAX_VALUE_BYTES).map_err(|error| unreadable(&error))?;
                let hash = key.get(..Hash::BYTES).and_then(Hash::from_slice);
                let mail = key.get(Hash::BYTES..).and_then(MailKey::from_key);
                let Some((hash, mail)) = hash.zip(mail) else { return Ok(()) };
                look(Reference { hash, mail, row }).map_err(Unreadable)
            })
            .map_err(|Unreadable(error)| error)
    }

    /// The newest references to artifacts whose hash begins like this and that are wanted, newest first.
    pub(super) fn references(
        &self,
        prefix: &[u8],
        is_wanted: impl Fn(&Reference) -> bool,
    ) -> Result<Vec<Reference>, ApiError> {
        let mut newest = Newest::default();
        self.each_reference(prefix, |reference| {
            if is_wanted(&reference) {
                newest.add(reference);
            }
            Ok(())
        })?;
        Ok(newest.into_vec())
    }

    /// Notes which artifacts a message refers to, once.
    pub(super) fn note_references(&mut self, mail: MailKey, letter: &Letter) {
        for artifact in letter.artifacts.as_deref().unwrap_or_default() {
            // Mail is told of anew when it is shown or moved, much of it in one step.
            if self
                .storage
                .get_now(REFERENCES, &reference_key(&artifact.hash, mail))
                .is_ok_and(|row| row.is_some())
            {
                continue;
            }
            let row = ReferenceRow { artifact: artifact.clone(), since_ms: self.now.wall_ms };
            let key = reference_key(&artifact.hash, mail);
            self.storage.change(REFERENCES, key, Some(cbor::encode(&row)));
        }
    }

    /// As [`Self::note_arrived`], of mail that was just stored and is not hidden.
    pub(super) fn note_stored(&mut self, mail: MailKey) {
        let view = self.delivery.view(mail, &self.storage).ok().flatten();
        if view.is_some_and(|view| !view.hidden) {
            self.note_arrived(mail);
        }
    }

    /// As [`Self::note_references`], of mail that came.
    pub(super) fn note_arrived(&mut self, mail: MailKey) {
        let Ok(Some(view)) = self.delivery.view(mail, &self.storage) else { return };
        let Ok(Some(bytes)) = self.delivery.content(mail, &self.storage) else { return };
        if let Ok(Content::Letter(letter)) = Content::decode(view.kind, &bytes)
            && letter.artifacts.is_some()
        {
            self.note_references(mail, &letter);
        }
    }

    /// Whether a message is in one mailbox, as sent or received.
    pub(super) fn concerns(&self, mail: MailKey, mailbox: Mailbox) -> bool {
        let view = self.delivery.view(mail, &self.storage).ok().flatten();
        view.is_some_and(|view| view.mailbox == Some(mailbox) || view.sent_from == Some(mailbox))
    }

    /// Forgets references of messages that are no more, and finds contents that nobody refers to and nobody used within `keep_ms`.
    pub(super) fn unneeded(&mut self, keep_ms: u64) -> Result<Unneeded, ApiError> {
        // What is referred to since the last step, too.
        let just_now = self.storage.put_in_this_step(REFERENCES);
        let just_now = just_now.filter_map(|key| key.get(..Hash::BYTES).and_then(Hash::from_slice));
        let (mut needed, mut over): (BTreeSet<Hash>, Vec<_>) = (just_now.collect(), Vec::new());
        let mut found = Unneeded::default();
        self.each_reference(&[], |reference| {
            let view = self.delivery.view(reference.mail, &self.storage);
            if view.map_err(|error| unreadable(&error))?.is_some() {
                needed.insert(reference.hash);
            } else if over.len() < FORGOTTEN_AT_ONCE {
                over.push(reference_key(&reference.hash, reference.mail));
            } else {
                found.more = true;
            }
            Ok(())
        })?;
        for key in over {
            self.storage.change(REFERENCES, key, None);
        }
        for (hash, row) in self.content_rows()? {
            let old = |row: &ContentRow| row.used_ms.saturating_add(keep_ms) <= self.now.wall_ms;
            // It may have been put or read in this very step.
            let old = old(&row) && self.content_row(&hash)?.is_some_and(|row| old(&row));
            if old && !needed.contains(&hash) {
                found.gone.push((hash, row));
            } else {
                found.kept += 1;
                found.kept_bytes = found.kept_bytes.saturating_add(row.bytes);
            }
        }
        Ok(found)
    }

    /// Removes a content once the step is durable.
    pub(super) fn remove_content(&mut self, hash: &Hash) {
        self.storage.change(CONTENTS, hash.as_bytes().to_vec(), None);
        self.erase_contents.push(*hash);
    }

    /// Removes what nobody needs, now and then.
    pub(super) fn collect_when_due(&mut self) {
        if self.now.mono < self.collect_at {
            return;
        }
        self.collect_at = self.now.mono.saturating_add(NEXT_LOOK);
        self.forget_old_uploads();
        self.ask_discards();
        let moving = self.moving_blobs();
        self.shelf.sweep_partial(Duration::MAX, |blob| moving.contains(blob));
        self.shelf.sweep_incoming();
        match self.unneeded(KEEP_MS) {
            Ok(found) => {
                if found.more {
                    self.collect_at = self.now.mono.saturating_add(SOON);
                }
                for (hash, _) in found.gone {
                    self.remove_content(&hash);
                }
            }
            Err(error) => tracing::error!(%error, "artifacts cannot be looked through"),
        }
    }

    /// After a start, or a step that did not happen: what lies on the shelf without a row goes.
    pub(super) fn sweep_shelf(&self) {
        let known = self.content_rows();
        match known {
            Ok(known) => self.shelf.sweep(|hash| known.contains_key(hash)),
            Err(error) => tracing::error!(%error, "artifacts cannot be looked through"),
        }
    }
}

/// References, the newest of each sender of those that were added.
#[derive(Debug, Default)]
struct Newest(Vec<Reference>);

impl Newest {
    fn add(&mut self, reference: Reference) {
        self.0.push(reference);
        if self.0.len() >= 2 * NEWEST {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.sort();
        let mut of_sender: BTreeMap<(Hash, Option<Fingerprint>), usize> = BTreeMap::new();
        let ranked = self.0.drain(..).map(|reference| {
            let rank = of_sender.entry((reference.hash, reference.mail.from)).or_default();
            *rank += 1;
            (*rank, reference)
        });
        let mut ranked: Vec<_> = ranked.filter(|(rank, _)| *rank <= NEWEST_OF_ONE).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.truncate(NEWEST);
        self.0 = ranked.into_iter().map(|(_, reference)| reference).collect();
    }

    fn sort(&mut self) {
        self.0.sort_by_key(|reference| std::cmp::Reverse(reference.row.since_ms));
    }

    fn into_vec(mut self) -> Vec<Reference> {
        self.cut();
        self.sort();
        self.0
    }
}

/// A row, or the store, cannot be read.
struct Unreadable(ApiError);

impl From<ApiError> for Unreadable {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<penpal_store::ReadError> for Unreadable {
    fn from(error: penpal_store::ReadError) -> Self {
        Self(unreadable(&error))
    }
}
