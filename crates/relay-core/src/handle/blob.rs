//! Blobs: sealed contents of artifacts. Their bytes lie in files beside the log, which the shell writes and reads; here stands who may.
//!
//! A part counts as there only after the shell has said that it is durable, and that stands in the same commit as the answer to it.

use penpal_protocol::blob::{BlobShape, PartSet};
use penpal_protocol::cbor::Blob as Bytes;
use penpal_protocol::ids::{AccountId, BlobId};
use penpal_protocol::limits::{BLOB_GRACE_MS, DAY_MS, MAX_MESSAGE_LIFE_MS};
use penpal_protocol::wire::{Answer, BlobCreate, BlobDelete, BlobGet, BlobPut, BlobState, RefusalCode};
use subtle::ConstantTimeEq;

use crate::command::{ConnId, Grant, RequestId};
use crate::core::{CallerDevice, Cx, RelayCore, refused};
use crate::effect::Effect;
use crate::error::Fault;
use crate::minute;
use crate::rows::records::Blob;
use crate::rows::{Rows, RowsError, Table, keys};

/// Longest life that a blob may ask for: that of a message and what follows it, with a day for clocks that differ.
const MAX_BLOB_LIFE_MS: u64 = MAX_MESSAGE_LIFE_MS + BLOB_GRACE_MS + DAY_MS;

/// Blobs removed in one slice.
const SLICE_BLOBS: usize = 64;

/// What is answered to whoever wants to move a part.
#[derive(Debug)]
pub(crate) enum May {
    /// It may move.
    Do(Grant),
    /// It may not, or need not.
    Not(Answer),
}

impl RelayCore {
    /// Makes room for a blob, or makes it live longer; answers which parts are there.
    pub(crate) fn blob_create(
        &mut self,
        device: CallerDevice,
        what: &BlobCreate,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        if device.provisional {
            return Ok(refused(RefusalCode::No, "this account's own invite is not redeemed yet"));
        }
        let now_ms = cx.now.wall_ms;
        if what.expires_ms <= now_ms || what.expires_ms > now_ms.saturating_add(MAX_BLOB_LIFE_MS) {
            return Ok(refused(RefusalCode::Malformed, "a blob ends in the future, within 32 days"));
        }
        if let Some(blob) = self.db.blobs.get(&what.blob, cx.rows)?.cloned() {
            let same = blob.owner == device.account
                && blob.bytes == what.bytes
                && bool::from(blob.token_hash.as_bytes().ct_eq(what.token_hash.as_bytes()));
            if !same {
                return Ok(Answer::refused(RefusalCode::No));
            }
            let state = state(&blob);
            if what.expires_ms > blob.expires_ms {
                self.db.delete_blob(what.blob, &blob);
                self.db.put_blob(what.blob, Blob { expires_ms: what.expires_ms, ..blob });
            }
            return Ok(state);
        }
        if BlobShape::of_sealed(what.bytes).is_none() {
            return Ok(refused(RefusalCode::Malformed, "no content has a blob of this length"));
        }
        if let Some(no) = self.no_room(&device.account, what.bytes, cx.rows)? {
            return Ok(no);
        }
        let blob = Blob {
            owner: device.account,
            bytes: what.bytes,
            token_hash: what.token_hash,
            expires_ms: what.expires_ms,
            there: Bytes::default(),
        };
        self.db.put_blob(what.blob, blob);
        Ok(Answer::Blob(BlobState { there: Bytes::default() }))
    }

    /// Why an account may not leave so many bytes more; each answer names what is too much. What ends by itself makes room, so only what is too
    /// long for ever is refused for good.
    fn no_room(&self, account: &AccountId, bytes: u64, rows: &dyn Rows) -> Result<Option<Answer>, Fault> {
        let limits = &self.config.limits;
        if bytes > limits.longest_blob() {
            // Of the sizes that people know: the one that the operator set. Whoever sends knows the other.
            let detail = format!("files of up to {} are taken here", size(limits.artifact_bytes));
            return Ok(Some(refused(RefusalCode::Quota, &detail)));
        }
        let (count, used) = self.blobs_of(account, rows)?;
        if count >= limits.blobs_per_account {
            let detail = format!("the account has {count} files here, at most {}", limits.blobs_per_account);
            return Ok(Some(refused(RefusalCode::Full, &detail)));
        }
        if used.saturating_add(bytes) > limits.blob_account_bytes {
            let detail = format!(
                "{bytes} bytes more would make {} of this account, at most {} are kept",
                used.saturating_add(bytes),
                limits.blob_account_bytes
            );
            return Ok(Some(refused(RefusalCode::Full, &detail)));
        }
        let total = self.db.blob_bytes().saturating_add(bytes);
        if total > limits.blob_total_bytes {
            let detail = format!("{total} bytes would be kept here, at most {} are", limits.blob_total_bytes);
            return Ok(Some(refused(RefusalCode::Full, &detail)));
        }
        Ok(None)
    }

    /// How many blobs an account has, and their bytes.
    pub(crate) fn blobs_of(&self, account: &AccountId, rows: &dyn Rows) -> Result<(usize, u64), Fault> {
        let most = self.config.limits.blobs_per_account.saturating_add(1);
        let owned = self.db.index_keys(Table::OwnedBlob, account.as_bytes(), most, rows)?;
        let bytes = owned.iter().filter_map(|key| keys::read_owned_blob(key)).map(|(_, bytes)| bytes);
        Ok((owned.len(), bytes.fold(0, u64::saturating_add)))
    }

    pub(crate) fn let_move(&mut self, conn: ConnId, request: RequestId, grant: Grant) -> Result<(), Fault> {
        self.effects.push(Effect::Grant { conn, request, grant });
        Ok(())
    }

    /// Whether a part may be written; a state says that it is there already.
    pub(crate) fn blob_put(
        &mut self,
        device: CallerDevice,
        what: &BlobPut,
        cx: &mut Cx<'_>,
    ) -> Result<May, Fault> {
        let Some(blob) = self.db.blobs.get(&what.blob, cx.rows)?.filter(|blob| blob.owner == device.account)
        else {
            return Ok(May::Not(Answer::refused(RefusalCode::No)));
        };
        let length = BlobShape::of_sealed(blob.bytes).and_then(|shape| shape.part(what.part));
        if length.is_none_or(|(_, length)| u32::try_from(length) != Ok(what.bytes)) {
            return Ok(May::Not(refused(RefusalCode::Malformed, "the blob has no such part")));
        }
        let there = parts(blob).is_some_and(|there| there.contains(what.part));
        let account = device.account;
        Ok(if there { May::Not(state(blob)) } else { May::Do(Grant::Write { account }) })
    }

    /// A part is durable in the blob's file. Exactly one [`Command::Answer`](crate::Command::Answer) follows, unless the connection ends
    /// first.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn handle_blob_written(
        &mut self,
        conn: ConnId,
        request: RequestId,
        blob: BlobId,
        part: u32,
        rows: &dyn Rows,
    ) -> Result<(), RowsError> {
        match self.blob_written(blob, part, rows) {
            Ok(answer) => {
                self.answer(conn, request, answer);
                Ok(())
            }
            Err(fault) => {
                self.answer(conn, request, Answer::refused(RefusalCode::Busy));
                self.fault(fault)
            }
        }
    }

    fn blob_written(&mut self, id: BlobId, part: u32, rows: &dyn Rows) -> Result<Answer, Fault> {
        let Some(mut blob) = self.db.blobs.get(&id, rows)?.cloned() else {
            // Deleted meanwhile: the file came back with the part.
            self.effects.push(Effect::RemoveBlob { blob: id });
            return Ok(Answer::refused(RefusalCode::No));
        };
        if BlobShape::of_sealed(blob.bytes).is_none_or(|shape| part >= shape.parts()) {
            // Another blob took its id meanwhile.
            return Ok(Answer::refused(RefusalCode::No));
        }
        let mut there = parts(&blob).unwrap_or_default();
        if there.insert(part) {
            blob.there = Bytes::new(there.to_bytes()).unwrap_or_default();
            self.db.blobs.put(id, blob, &mut self.db.changes);
        }
        Ok(Answer::Done)
    }

    /// So many bytes are in the file of a blob, fewer than its parts need: some are lost, or never were in the copy that was put back.
    /// They are no longer said to be there, so whoever sends them sends them again. Unknown blobs are ignored.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn handle_blob_kept(&mut self, id: BlobId, bytes: u64, rows: &dyn Rows) -> Result<(), RowsError> {
        let blob = match self.db.blobs.get(&id, rows) {
            Ok(Some(blob)) => blob.clone(),
            Ok(None) => return Ok(()),
            Err(fault) => return self.fault(fault),
        };
        let (Some(shape), Some(there)) = (BlobShape::of_sealed(blob.bytes), parts(&blob)) else {
            return Ok(());
        };
        let mut kept = PartSet::default();
        for part in (0..shape.parts()).filter(|part| there.contains(*part)) {
            let end = shape.part(part).map(|(begin, length)| begin.saturating_add(length as u64));
            if end.is_some_and(|end| end <= bytes) {
                kept.insert(part);
            }
        }
        if kept.len() < there.len() {
            let there = Bytes::new(kept.to_bytes()).unwrap_or_default();
            self.db.blobs.put(id, Blob { there, ..blob }, &mut self.db.changes);
        }
        Ok(())
    }

    /// Whether a part may be read, by whoever shows the token.
    pub(crate) fn blob_get(&mut self, what: &BlobGet, cx: &mut Cx<'_>) -> Result<May, Fault> {
        let found = self.db.blobs.get(&what.blob, cx.rows)?;
        let length = found.and_then(|blob| {
            let shown = blob.token_hash.as_bytes().ct_eq(what.token.hash().as_bytes());
            let may = bool::from(shown)
                && cx.now.wall_ms < blob.expires_ms
                && parts(blob).is_some_and(|there| there.contains(what.part));
            BlobShape::of_sealed(blob.bytes)?.part(what.part).filter(|_| may)
        });
        Ok(match length {
            Some((_, bytes)) => May::Do(Grant::Read { bytes }),
            None => May::Not(Answer::refused(RefusalCode::No)),
        })
    }

    /// Removes a blob. Afterwards the account has none of this id, and that is all the answer says.
    pub(crate) fn blob_delete(
        &mut self,
        device: CallerDevice,
        what: &BlobDelete,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, Fault> {
        if let Some(blob) = self.db.blobs.get(&what.blob, cx.rows)?.cloned()
            && blob.owner == device.account
        {
            self.remove_blob(what.blob, &blob);
        }
        Ok(Answer::Done)
    }

    /// Removes every blob of an account that is removed.
    pub(crate) fn remove_blobs(&mut self, id: &AccountId, rows: &dyn Rows) -> Result<(), Fault> {
        let most = self.config.limits.blobs_per_account.saturating_add(1);
        for key in self.db.index_keys(Table::OwnedBlob, id.as_bytes(), most, rows)? {
            let Some((blob_id, _)) = keys::read_owned_blob(&key) else { continue };
            if let Some(blob) = self.db.blobs.get(&blob_id, rows)?.cloned() {
                self.remove_blob(blob_id, &blob);
            }
        }
        Ok(())
    }

    fn remove_blob(&mut self, id: BlobId, blob: &Blob) {
        self.db.delete_blob(id, blob);
        self.effects.push(Effect::RemoveBlob { blob: id });
    }

    /// Removes some of the blobs that have ended; tells whether there may be more.
    pub(crate) fn expire_blobs(&mut self, rows: &dyn Rows, now_ms: u64) -> Result<bool, Fault> {
        let keys = self.db.index_keys(Table::BlobEnd, &[], SLICE_BLOBS, rows)?;
        let more = keys.len() >= SLICE_BLOBS;
        let mut removed = false;
        for key in keys {
            let Some((end_minute, id)) = keys::read_blob_end(&key) else { continue };
            if end_minute > minute(now_ms) {
                return Ok(removed && more);
            }
            match self.db.blobs.get(&id, rows)?.cloned() {
                Some(blob) if blob.expires_ms <= now_ms => self.remove_blob(id, &blob),
                Some(_) | None => self.db.remove_index(Table::BlobEnd, key),
            }
            removed = true;
        }
        Ok(removed && more)
    }
}

fn parts(blob: &Blob) -> Option<PartSet> {
    PartSet::from_bytes(&blob.there, BlobShape::of_sealed(blob.bytes)?.parts())
}

fn state(blob: &Blob) -> Answer {
    Answer::Blob(BlobState { there: blob.there.clone() })
}

/// A limit in words, and as it was set where these are not the same: `100 MiB`, `976.5 KiB (1000000 bytes)`.
fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} bytes");
    };
    if bytes.is_multiple_of(unit) {
        return format!("{} {name}", bytes / unit);
    }
    format!("{}.{} {name} ({bytes} bytes)", bytes / unit, u128::from(bytes % unit) * 10 / u128::from(unit))
}
