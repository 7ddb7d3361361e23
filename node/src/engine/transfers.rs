//! Files on their way to and from relays: which blob a message's file has, what waits for it, and what the transfer machine wants done.
//!
//! ```text
//! send ─▶ an upload for each file (row) ─▶ the message waits (row) ─▶ all parts at the relay ─▶ it goes
//! get  ─▶ a download, half of it on disk ─▶ whole and right ─▶ the shelf
//! ```

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use penpal_delivery::MailKey;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::blob::BlobShape;
use penpal_protocol::cbor::{self, List, Text};
use penpal_protocol::ids::{BlobId, Capability, Hash, MsgId};
use penpal_protocol::limits::{BLOB_GRACE_MS, MAX_ARTIFACTS};
use penpal_protocol::sealed::{ArtifactRef, Content, Letter};
use penpal_protocol::text::RelayAddress;
use penpal_transfer::{Direction, Outcome, Progress, Transfers};
use penpal_transport::TransportKey;

use super::Output;
use super::artifacts::ContentRow;
use super::discards::{DiscardRow, Discards};
use super::machines::{Engine, delivery_step, random};
use super::storage::{DISCARDS, UPLOADS, WAITING};
use crate::daemon::transfer::{Failed, TransferJob, TransferOrder, TransferReport};
use crate::files::size;

/// Longest value of both tables, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// A blob of ours at our relay.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct UploadRow {
    #[n(0)]
    hash: Hash,
    #[n(1)]
    bytes: u64,
    #[n(2)]
    key: Capability,
    #[n(3)]
    token: Capability,
    #[n(4)]
    relay: Text<320>,
    /// Unix milliseconds.
    #[n(5)]
    expires_ms: u64,
    /// All of it is there.
    #[n(6)]
    done: bool,
    /// It was there once: a message that went may name it.
    #[n(7)]
    was_there: Option<bool>,
}

/// Uploads that a message will need, not begun.
#[derive(Debug, Default)]
pub(super) struct Uploads(BTreeMap<BlobId, UploadRow>);

/// Blobs that a message waits for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct WaitRow {
    #[n(0)]
    blobs: List<BlobId, MAX_ARTIFACTS>,
}

/// What is in memory of transfers.
#[derive(Debug, Default)]
pub(super) struct Moving {
    machine: Transfers,
    pub(super) jobs: BTreeMap<BlobId, TransferJob>,
    uploads: BTreeMap<BlobId, UploadRow>,
    waits: BTreeMap<MsgId, WaitRow>,
    pub(super) discards: Discards,
    /// What was last said of each.
    pub(super) said: BTreeMap<BlobId, Failed>,
    /// Downloads that failed, until somebody was told.
    pub(super) failed: BTreeMap<BlobId, Failed>,
}

impl Moving {
    /// When something is due next, on the monotonic clock.
    pub(super) fn timeout(&self) -> Option<std::time::Duration> {
        self.machine.poll_timeout()
    }
}

impl Engine {
    /// Takes up what was under way, from rows.
    pub(super) fn resume_transfers(&mut self) {
        let under_way: Vec<BlobId> = self.moving.machine.active().map(|(blob, _)| blob).collect();
        let ended = under_way.into_iter().map(|blob| Output::Transfer(TransferOrder::End(blob)));
        self.outputs.extend(ended);
        self.moving = Moving {
            uploads: self.stored(UPLOADS, BlobId::from_slice),
            waits: self.stored(WAITING, MsgId::from_slice),
            discards: self.stored(DISCARDS, BlobId::from_slice),
            ..Moving::default()
        };
        for (blob, row) in self.upload_rows() {
            if !row.done {
                self.begin_upload(blob, &row);
            }
        }
        for (msg_id, _) in self.wait_rows() {
            self.delivery.hold_back(msg_id);
        }
        let waiting: Vec<MsgId> = self.wait_rows().into_keys().collect();
        for msg_id in waiting {
            self.let_go_when_ready(msg_id);
        }
    }

    fn upload_rows(&self) -> BTreeMap<BlobId, UploadRow> {
        self.moving.uploads.clone()
    }

    fn wait_rows(&self) -> BTreeMap<MsgId, WaitRow> {
        self.moving.waits.clone()
    }

    fn stored<K: Ord, V: for<'b> Decode<'b, ()>>(
        &self,
        table: penpal_store::Table,
        key: impl Fn(&[u8]) -> Option<K>,
    ) -> BTreeMap<K, V> {
        let mut all = BTreeMap::new();
        let read = self.storage.each::<penpal_store::ReadError>(table, |name, value| {
            if let (Some(name), Ok(value)) = (key(name), cbor::decode(value, MAX_VALUE_BYTES)) {
                all.insert(name, value);
            }
            Ok(())
        });
        if let Err(error) = read {
            tracing::error!(%error, "rows of transfers cannot be read");
        }
        all
    }

    fn save_upload(&mut self, blob: &BlobId, row: Option<UploadRow>) {
        self.storage.change(UPLOADS, blob.as_bytes().to_vec(), row.as_ref().map(cbor::encode));
        match row {
            Some(row) => drop(self.moving.uploads.insert(*blob, row)),
            None => drop(self.moving.uploads.remove(blob)),
        }
    }

    fn save_wait(&mut self, msg_id: &MsgId, row: Option<WaitRow>) {
        self.storage.change(WAITING, msg_id.as_bytes().to_vec(), row.as_ref().map(cbor::encode));
        match row {
            Some(row) => drop(self.moving.waits.insert(*msg_id, row)),
            None => drop(self.moving.waits.remove(msg_id)),
        }
    }

    pub(super) fn own_identity(&self) -> TransportKey {
        TransportKey::from_seed(self.vault.identity.transport.expose())
    }

    fn begin_upload(&mut self, blob: BlobId, row: &UploadRow) {
        let Ok(relay) = row.relay.as_str().parse::<RelayAddress>() else { return };
        self.forget_discard(&blob);
        let job = TransferJob {
            blob,
            direction: Direction::Up,
            relay,
            identity: self.own_identity(),
            token: row.token.clone(),
            key: row.key.clone(),
            hash: row.hash,
            bytes: row.bytes,
            expires_ms: row.expires_ms,
            path: self.shelf.path(&row.hash),
        };
        self.begin_job(job);
    }

    pub(super) fn begin_job(&mut self, job: TransferJob) {
        let Some(shape) = BlobShape::of_content(job.bytes) else { return };
        let (blob, direction) = (job.blob, job.direction);
        // A blob that is to live longer is asked for anew.
        self.moving.machine.cancel(&blob);
        self.moving.jobs.insert(blob, job.clone());
        self.outputs.push(Output::Transfer(TransferOrder::Begin(Box::new(job))));
        self.moving.machine.add(blob, direction, shape.parts(), self.now.mono);
    }

    /// The reference to a content at our relay, for a message that lives until then. The same content is sent there once, as long as its
    /// blob lives long enough. Nothing is begun: that is for when the message is taken, [`Self::begin_uploads`].
    pub(super) fn upload(
        &mut self,
        hash: Hash,
        content: &ContentRow,
        name: &str,
        until_ms: u64,
        uploads: &mut Uploads,
    ) -> Result<ArtifactRef, ApiError> {
        let relay = self.contacts.home_relay().cloned();
        let relay = relay.ok_or_else(|| ApiError::new(ErrorCode::NoAccount, "there is no account"))?;
        if BlobShape::of_content(content.bytes).is_none() {
            let most = penpal_protocol::blob::MAX_CONTENT_BYTES;
            let message = format!("{name} has {} bytes, at most {most} can be sent", content.bytes);
            return Err(ApiError::new(ErrorCode::BadFile, message));
        }
        let relay: Text<320> = Text::truncated(&relay.to_string());
        let expires_ms = until_ms.saturating_add(BLOB_GRACE_MS);
        let twice = uploads.0.iter().find(|(_, row)| row.hash == hash);
        let twice = twice.map(|(blob, row)| (*blob, row.clone()));
        let known = twice.or_else(|| {
            self.upload_rows().into_iter().find(|(_, row)| {
                row.hash == hash
                    && row.relay == relay
                    && row.expires_ms > self.now.wall_ms.saturating_add(BLOB_GRACE_MS)
            })
        });
        let (blob, row) = match known {
            Some((blob, row)) if row.expires_ms >= expires_ms => (blob, row),
            Some((blob, row)) => (blob, UploadRow { expires_ms, done: false, ..row }),
            None => {
                let row = UploadRow {
                    hash,
                    bytes: content.bytes,
                    key: Capability::from_bytes(random(&mut self.rng)),
                    token: Capability::from_bytes(random(&mut self.rng)),
                    relay,
                    expires_ms,
                    done: false,
                    was_there: None,
                };
                (BlobId::from_bytes(random(&mut self.rng)), row)
            }
        };
        uploads.0.insert(blob, row.clone());
        Ok(ArtifactRef {
            hash,
            bytes: row.bytes,
            name: Text::truncated(name),
            media: None,
            blob,
            relay: row.relay,
            token: row.token,
            key: row.key,
        })
    }

    /// The message that names them is taken.
    pub(super) fn begin_uploads(&mut self, uploads: Uploads) {
        for (blob, row) in uploads.0 {
            if !row.done {
                self.save_upload(&blob, Some(row.clone()));
            }
            // One that is there is asked for as well, beside the message: a relay may have lost it.
            self.begin_upload(blob, &row);
        }
    }

    /// Keeps a message back until its files are at the relay.
    pub(super) fn wait_for_files(&mut self, msg_id: MsgId, letter: &Letter) {
        let list = letter.artifacts.as_deref().unwrap_or_default();
        let blobs: Vec<BlobId> = list.iter().map(|one| one.blob).collect();
        let row = WaitRow { blobs: List::truncated(blobs) };
        self.save_wait(&msg_id, Some(row));
        self.delivery.hold_back(msg_id);
        self.let_go_when_ready(msg_id);
    }

    /// A message that failed is tried again, with its new end: so are its files.
    pub(super) fn retry_files(&mut self, msg_id: MsgId) -> Result<(), ApiError> {
        let Some(letter) = self.own_letter(msg_id) else { return Ok(()) };
        let list = letter.artifacts.clone().map(List::into_vec).unwrap_or_default();
        let remote: Vec<ArtifactRef> =
            list.into_iter().filter(|one| !one.relay.as_str().is_empty()).collect();
        if remote.is_empty() {
            return Ok(());
        }
        let expires_ms = self.view_of(MailKey::own(msg_id))?.expires_ms.saturating_add(BLOB_GRACE_MS);
        let rows = self.upload_rows();
        for one in remote {
            let row = match rows.get(&one.blob) {
                Some(row) if row.done && row.expires_ms >= expires_ms => continue,
                Some(row) => {
                    UploadRow { expires_ms: expires_ms.max(row.expires_ms), done: false, ..row.clone() }
                }
                None => UploadRow {
                    hash: one.hash,
                    bytes: one.bytes,
                    key: one.key,
                    token: one.token,
                    relay: one.relay,
                    expires_ms,
                    done: false,
                    was_there: None,
                },
            };
            self.save_upload(&one.blob, Some(row.clone()));
            self.begin_upload(one.blob, &row);
        }
        self.wait_for_files(msg_id, &letter);
        Ok(())
    }

    fn own_letter(&self, msg_id: MsgId) -> Option<Letter> {
        let key = MailKey::own(msg_id);
        let view = self.delivery.view(key, &self.storage).ok().flatten()?;
        let bytes = self.delivery.content(key, &self.storage).ok().flatten()?;
        match Content::decode(view.kind, &bytes) {
            Ok(Content::Letter(letter)) => Some(*letter),
            Ok(_) | Err(_) => None,
        }
    }

    fn let_go_when_ready(&mut self, msg_id: MsgId) {
        let Some(wait) = self.wait_rows().remove(&msg_id) else { return };
        let uploads = self.upload_rows();
        if wait.blobs.iter().all(|blob| uploads.get(blob).is_none_or(|row| row.done)) {
            self.save_wait(&msg_id, None);
            self.delivery.let_go(msg_id, &mut delivery_step!(self));
        }
    }

    /// A message ended before its files were there: they are not sent any further, unless another one waits for them.
    pub(super) fn files_unneeded(&mut self, msg_id: MsgId) {
        let mut waits = self.wait_rows();
        let Some(wait) = waits.remove(&msg_id) else { return };
        self.save_wait(&msg_id, None);
        let needed: BTreeSet<BlobId> = waits.values().flat_map(|row| row.blobs.iter().copied()).collect();
        let uploads = self.upload_rows();
        for blob in wait.blobs.iter().filter(|blob| !needed.contains(*blob)) {
            let Some(row) = uploads.get(blob) else { continue };
            // Another message may name it: then whoever got that one may fetch it.
            let named = self.is_blob_named(&row.hash, blob, &[msg_id]);
            if !named || !(row.done || row.was_there == Some(true)) {
                self.drop_upload(blob, row, named);
            }
        }
    }

    /// Forgets an upload. What the relay has of it goes, unless a message names it.
    fn drop_upload(&mut self, blob: &BlobId, row: &UploadRow, named: bool) {
        self.save_upload(blob, None);
        self.end_job(blob);
        if !named {
            self.discard_blob(
                *blob,
                DiscardRow { relay: row.relay.clone(), expires_ms: row.expires_ms, once: false },
            );
        }
    }

    pub(super) fn end_job(&mut self, blob: &BlobId) {
        self.moving.machine.cancel(blob);
        self.moving.said.remove(blob);
        if self.moving.jobs.remove(blob).is_some() {
            self.outputs.push(Output::Transfer(TransferOrder::End(*blob)));
        }
    }

    /// How far the files of an own message are: bytes there, bytes in all, and what is in the way. `None` when it waits for none.
    pub(super) fn files_progress(&self, msg_id: MsgId) -> Option<(u64, u64, Option<String>)> {
        let wait = self.wait_rows().remove(&msg_id)?;
        let uploads = self.upload_rows();
        let (mut there, mut all, mut trouble) = (0, 0, None);
        for blob in wait.blobs.iter() {
            let Some(row) = uploads.get(blob) else { continue };
            all += row.bytes;
            there += if row.done { row.bytes } else { self.bytes_moved(blob, row.bytes) };
            if self.progress(blob).is_some_and(|progress| progress.waits) {
                trouble = self.moving.said.get(blob).map(|failed| failed.text.clone()).or(trouble);
            }
        }
        Some((there, all, trouble))
    }

    pub(super) fn progress(&self, blob: &BlobId) -> Option<Progress> {
        self.moving.machine.progress(blob)
    }

    /// Bytes of a content that are moved, as far as parts tell.
    pub(super) fn bytes_moved(&self, blob: &BlobId, bytes: u64) -> u64 {
        let Some(progress) = self.progress(blob) else { return 0 };
        u64::try_from(u128::from(bytes) * u128::from(progress.done) / u128::from(progress.parts.max(1)))
            .unwrap_or(bytes)
    }

    /// Takes what became of a command.
    pub(super) fn transfer_report(&mut self, report: TransferReport) {
        let now = self.now.mono;
        match report {
            TransferReport::Opened { blob, there } => {
                let there = there.map_err(|failed| self.say(blob, failed));
                self.moving.machine.handle_opened(blob, there, now);
            }
            TransferReport::Moved { blob, part, outcome } => {
                let outcome = outcome.map_err(|failed| self.say(blob, failed));
                self.moving.machine.handle_moved(blob, part, outcome, now);
            }
            TransferReport::Finished { blob, outcome } => {
                let outcome = outcome.and_then(|()| self.take_fetched(&blob));
                let outcome = outcome.map_err(|failed| self.say(blob, failed));
                self.moving.machine.handle_finished(blob, outcome, now);
            }
        }
    }

    fn say(&mut self, blob: BlobId, failed: Failed) -> penpal_transfer::Trouble {
        let trouble = failed.trouble;
        if self.moving.jobs.contains_key(&blob) {
            self.moving.said.insert(blob, failed);
        }
        trouble
    }

    /// The relay began another life: it may lack parts that it had. What it lacks of blobs that somebody may still fetch is sent again.
    pub(super) fn look_after_uploads(&mut self) {
        for (blob, row) in self.upload_rows() {
            let wanted = row.done && row.expires_ms > self.now.wall_ms;
            if wanted && self.shelf.path(&row.hash).exists() {
                // Kept, so that it goes on after a restart.
                let row = UploadRow { done: false, was_there: Some(true), ..row };
                self.save_upload(&blob, Some(row.clone()));
                self.begin_upload(blob, &row);
            }
        }
    }

    /// Relays can be reached again, perhaps.
    pub(super) fn transfers_online(&mut self) {
        self.moving.machine.handle_online();
    }

    /// Does what is due.
    pub(super) fn transfers_timeout(&mut self) {
        if self.moving.timeout().is_some_and(|at| at <= self.now.mono) {
            self.moving.machine.handle_timeout(self.now.mono);
        }
    }

    /// Hands on what the transfer machine wants; tells whether there was anything.
    pub(super) fn settle_transfers(&mut self) -> bool {
        let mut busy = false;
        while let Some(outcome) = self.moving.machine.poll_outcome() {
            busy = true;
            let (Outcome::Done { blob } | Outcome::Failed { blob, .. }) = outcome;
            let said = self.moving.said.get(&blob).cloned();
            let direction = self.moving.jobs.get(&blob).map(|job| job.direction);
            self.end_job(&blob);
            match (outcome, direction) {
                (Outcome::Done { .. }, Some(Direction::Up)) => self.uploaded(blob),
                (Outcome::Failed { trouble, .. }, Some(Direction::Up)) => {
                    let failed =
                        said.unwrap_or(Failed { trouble, text: "the file cannot be sent".to_owned() });
                    self.upload_failed(blob, &failed);
                }
                (Outcome::Failed { trouble, .. }, Some(Direction::Down)) => {
                    let failed =
                        said.unwrap_or(Failed { trouble, text: "the file cannot be fetched".to_owned() });
                    // What may still be fetched stays for another time.
                    let is_for_later = trouble == penpal_transfer::Trouble::DiskFull;
                    if !is_for_later || self.shelf.has_no_part(&blob) {
                        self.shelf.discard_partial(&blob);
                    }
                    self.moving.failed.insert(blob, failed);
                }
                (Outcome::Done { .. }, Some(Direction::Down)) | (_, None) => {}
            }
        }
        while let Some(command) = self.moving.machine.poll_command(self.now.mono) {
            busy = true;
            self.outputs.push(Output::Transfer(TransferOrder::Do(command)));
        }
        busy
    }

    fn uploaded(&mut self, blob: BlobId) {
        let Some(row) = self.upload_rows().remove(&blob) else { return };
        self.save_upload(&blob, Some(UploadRow { done: true, ..row }));
        for msg_id in self.waiting_for(&blob) {
            self.let_go_when_ready(msg_id);
        }
    }

    fn upload_failed(&mut self, blob: BlobId, failed: &Failed) {
        tracing::warn!(reason = failed.text, "a file cannot be sent");
        let waiting = self.waiting_for(&blob);
        if let Some(row) = self.upload_rows().remove(&blob) {
            let named = self.is_blob_named(&row.hash, &blob, &waiting);
            self.drop_upload(&blob, &row, named);
        }
        for msg_id in waiting {
            let letter = self.own_letter(msg_id);
            let list = letter.as_ref().and_then(|letter| letter.artifacts.as_deref()).unwrap_or_default();
            let file = list.iter().find(|one| one.blob == blob);
            let reason = match file {
                Some(file) => format!("{} ({}): {}", file.name.as_str(), size(file.bytes), failed.text),
                None => failed.text.clone(),
            };
            // The event of the refusal takes the rest of its files back.
            self.delivery.give_up(msg_id, &reason, &mut delivery_step!(self));
        }
    }

    fn waiting_for(&self, blob: &BlobId) -> Vec<MsgId> {
        let waits = self.wait_rows().into_iter().filter(|(_, row)| row.blobs.contains(blob));
        waits.map(|(msg_id, _)| msg_id).collect()
    }

    /// Blobs that are under way.
    pub(super) fn moving_blobs(&self) -> BTreeSet<BlobId> {
        self.moving.jobs.keys().copied().collect()
    }

    /// Forgets blobs that are not at the relay any more.
    pub(super) fn forget_old_uploads(&mut self) {
        for (blob, row) in self.upload_rows() {
            if row.expires_ms <= self.now.wall_ms {
                self.save_upload(&blob, None);
                self.end_job(&blob);
            }
        }
    }
}
