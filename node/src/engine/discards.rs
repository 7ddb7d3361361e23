//! Blobs at our relay that nobody needs any more: it is asked to remove them until it says that it did, so that they stop counting.
//!
//! What a message may still be fetched by stays until it ends; here is only what was never told to anybody.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use penpal_protocol::cbor::{self, Text};
use penpal_protocol::ids::{BlobId, Hash, MsgId};
use penpal_protocol::wire::{Answer, BlobDelete, Request};

use super::LinkId;
use super::links::Asked;
use super::machines::Engine;
use super::storage::DISCARDS;

/// Requests of this kind that are made at a time, once the relay is there.
const AT_ONCE: usize = 64;

/// A blob that is to go.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct DiscardRow {
    /// The relay that has it.
    #[n(0)]
    pub(super) relay: Text<320>,
    /// When it ends by itself, Unix milliseconds.
    #[n(1)]
    pub(super) expires_ms: u64,
    /// The relay said once that it is gone. What was on its way to it then may have come later: it is asked once more.
    #[n(2)]
    pub(super) once: bool,
}

/// All of them.
pub(super) type Discards = BTreeMap<BlobId, DiscardRow>;

impl Engine {
    /// Notes that a blob is not needed, and says so to the relay when it is there.
    pub(super) fn discard_blob(&mut self, blob: BlobId, row: DiscardRow) {
        self.storage.change(DISCARDS, blob.as_bytes().to_vec(), Some(cbor::encode(&row)));
        self.moving.discards.insert(blob, row);
        if self.greeting.greeted {
            self.ask_discard(blob);
        }
    }

    /// It is needed after all, or gone.
    pub(super) fn forget_discard(&mut self, blob: &BlobId) {
        if self.moving.discards.remove(blob).is_some() {
            self.storage.change(DISCARDS, blob.as_bytes().to_vec(), None);
        }
    }

    /// The relay is there: asks it for all that is due.
    pub(super) fn ask_discards(&mut self) {
        if !self.greeting.greeted {
            return;
        }
        let now_ms = self.now.wall_ms;
        let over: Vec<BlobId> = self.discards_that(|row| row.expires_ms <= now_ms);
        for blob in over {
            self.forget_discard(&blob);
        }
        let home = self.contacts.home_relay().map(ToString::to_string).unwrap_or_default();
        let due = self.discards_that(|row| row.relay.as_str() == home);
        for blob in due.into_iter().take(AT_ONCE) {
            self.ask_discard(blob);
        }
    }

    fn discards_that(&self, is_meant: impl Fn(&DiscardRow) -> bool) -> Vec<BlobId> {
        let meant = self.moving.discards.iter().filter(|(_, row)| is_meant(row));
        meant.map(|(blob, _)| *blob).collect()
    }

    fn ask_discard(&mut self, blob: BlobId) {
        self.ask(LinkId::HOME, Asked::Discard(blob), Request::BlobDelete(BlobDelete { blob }));
    }

    /// What the relay said. Without an answer it is asked when it is there again.
    pub(super) fn discarded(&mut self, blob: BlobId, answer: Option<&Answer>) {
        if !matches!(answer, Some(Answer::Done)) {
            return;
        }
        match self.moving.discards.get(&blob).cloned() {
            Some(row) if !row.once => {
                let row = DiscardRow { once: true, ..row };
                self.storage.change(DISCARDS, blob.as_bytes().to_vec(), Some(cbor::encode(&row)));
                self.moving.discards.insert(blob, row);
            }
            Some(_) | None => self.forget_discard(&blob),
        }
    }

    /// Whether a blob is named by a message, apart from own ones that never went.
    pub(super) fn is_blob_named(&self, hash: &Hash, blob: &BlobId, apart: &[MsgId]) -> bool {
        let mut named = false;
        let read = self.each_reference(hash.as_bytes(), |reference| {
            let is_apart = reference.mail.from.is_none() && apart.contains(&reference.mail.msg_id);
            named |= reference.row.artifact.blob == *blob && !is_apart;
            Ok(())
        });
        // What cannot be known is taken to be so.
        named || read.is_err()
    }
}
