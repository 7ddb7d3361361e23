//! `artifact/put`, `artifact/list`, `artifact/get`, `artifact/gc`.

use std::collections::BTreeSet;

use penpal_delivery::Mailbox;
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::artifact::{
    ArtifactRow, Artifacts, Collected, GcRequest, GetRequest, Got, LEAST_HASH_CHARACTERS, ListRequest,
    MAX_LISTED, Put, PutRequest, Removed, Sending, SendingRequest, hash_text, parse_hash,
};
use penpal_local_api::caller::Caller;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::Attached;
use penpal_protocol::cbor::{List, Text};
use penpal_protocol::ids::{BlobId, Capability, Hash};
use penpal_protocol::limits::MAX_ARTIFACTS;
use penpal_protocol::sealed::ArtifactRef;

use super::{Outcome, Reply, json, now};
use crate::engine::artifacts::{ContentRow, KEEP_MS, Reference};
use crate::engine::machines::Engine;
use crate::engine::transfers::Uploads;
use crate::engine::views::count;
use crate::engine::waiting::Wait;

impl Engine {
    pub(super) fn artifact_put(&mut self, request: &PutRequest) -> Outcome {
        let hash = parse_hash(&request.hash)
            .ok_or_else(|| ApiError::new(ErrorCode::Usage, "the hash has not 64 hexadecimal digits"))?;
        let known = self.content_row(&hash)?;
        self.shelf.adopt(&request.incoming, &hash, request.bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ApiError::new(ErrorCode::DiskFull, "no space is left for the content")
            }
            _ => ApiError::new(ErrorCode::BadFile, format!("the copy cannot be taken: {error}")),
        })?;
        let name: Text<255> = Text::truncated(&request.name);
        let now_ms = self.now.wall_ms;
        let row = match &known {
            Some(row) => ContentRow { used_ms: now_ms, ..row.clone() },
            None => {
                ContentRow { bytes: request.bytes, name: name.clone(), since_ms: now_ms, used_ms: now_ms }
            }
        };
        self.save_content_row(&hash, &row);
        now(&Put {
            v: SHAPE_VERSION,
            hash: hash_text(&hash),
            name: name.as_str().to_owned(),
            bytes: row.bytes,
            new: known.is_none(),
        })
    }

    pub(super) fn artifact_list(&mut self, request: &ListRequest) -> Outcome {
        let own = self.own_mailbox(&request.caller)?;
        let mut contents = self.content_rows()?;
        let kept_bytes = contents.values().map(|row| row.bytes).sum();
        let mut listed = Listed::default();
        // References to one content stand together.
        let mut present: Option<(Hash, ArtifactRow)> = None;
        self.each_reference(&[], |reference| {
            let Ok(view) = self.view_of(reference.mail) else { return Ok(()) };
            let concerns = |own| view.mailbox == Some(own) || view.sent_from == Some(own);
            if own.is_some_and(|own| !concerns(own)) {
                return Ok(());
            }
            if present.as_ref().is_none_or(|(hash, _)| *hash != reference.hash) {
                let here = contents.remove(&reference.hash).is_some();
                let next = (reference.hash, row_of(&reference, here));
                listed.extend(present.replace(next).map(|(_, row)| row));
            }
            let Some((_, row)) = &mut present else { return Ok(()) };
            row.messages += 1;
            row.since_ms = row.since_ms.min(reference.row.since_ms);
            let from = self.sender_name(&view);
            if !row.from.contains(&from) {
                row.from.push(from);
            }
            Ok(())
        })?;
        listed.extend(present.map(|(_, row)| row));
        if own.is_none() {
            listed.extend(contents.into_iter().map(|(hash, content)| ArtifactRow {
                hash: hash_text(&hash),
                name: content.name.as_str().to_owned(),
                bytes: content.bytes,
                here: true,
                messages: 0,
                from: Vec::new(),
                since_ms: content.since_ms,
            }));
        }
        let (artifacts, older) = listed.into_newest();
        now(&Artifacts { v: SHAPE_VERSION, kept_bytes, older, artifacts })
    }

    pub(super) fn artifact_get(&mut self, request: &GetRequest) -> Outcome {
        let (hash, references) = self.find_artifact(&request.hash, &request.caller)?;
        let name = references.first().map(|reference| reference.row.artifact.name.as_str().to_owned());
        if let Some(content) = self.content_row(&hash)? {
            self.save_content_row(&hash, &ContentRow { used_ms: self.now.wall_ms, ..content.clone() });
            let name = name.unwrap_or_else(|| content.name.as_str().to_owned());
            return now(&self.got(&hash, name, content.bytes));
        }
        let blob = self.fetch(&references)?;
        let chosen = references.iter().find(|reference| reference.row.artifact.blob == blob);
        let bytes = chosen.map_or(0, |reference| reference.row.artifact.bytes);
        let wait = Wait::Fetched { hash, blob, name: name.unwrap_or_default(), bytes };
        Ok(Reply::Later(wait, super::wait(request.wait_ms)))
    }

    fn got(&self, hash: &Hash, name: String, bytes: u64) -> Got {
        let path = Some(self.shelf.path(hash).to_string_lossy().into_owned());
        Got { v: SHAPE_VERSION, hash: hash_text(hash), name, bytes, path, here_bytes: bytes, waits_for: None }
    }

    /// Looks at a content that is fetched: whole, or how far it is. After a failure whoever asks again tries the next message's blob, or is told.
    pub(super) fn look_fetched(
        &mut self,
        hash: &Hash,
        blob: &BlobId,
        name: &str,
        bytes: u64,
        late: bool,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        if self.content_row(hash)?.is_some() {
            return json(&self.got(hash, name.to_owned(), bytes)).map(Some);
        }
        if !late && !self.fetch_failed(blob) {
            return Ok(None);
        }
        let (here_bytes, waits_for) = self.fetched(blob, bytes);
        let got = self.got(hash, name.to_owned(), bytes);
        json(&Got { path: None, here_bytes, waits_for, ..got }).map(Some)
    }

    pub(super) fn artifact_sending(&mut self, request: &SendingRequest) -> Outcome {
        let key = self.own_message_key(&request.id, &request.caller)?;
        let progress = self.files_progress(key.msg_id);
        let (sent_bytes, bytes, waits_for) = progress.clone().unwrap_or_default();
        now(&Sending { v: SHAPE_VERSION, waits: progress.is_some(), sent_bytes, bytes, waits_for })
    }

    pub(super) fn artifact_gc(&mut self, request: &GcRequest) -> Outcome {
        let found = self.unneeded(request.keep_ms.unwrap_or(KEEP_MS))?;
        let removed: Vec<Removed> = found
            .gone
            .iter()
            .map(|(hash, row)| Removed {
                hash: hash_text(hash),
                name: row.name.as_str().to_owned(),
                bytes: row.bytes,
            })
            .collect();
        if !request.dry_run {
            for (hash, _) in &found.gone {
                self.remove_content(hash);
            }
            let moving = self.moving_blobs();
            let keep = std::time::Duration::from_millis(request.keep_ms.unwrap_or(KEEP_MS));
            self.shelf.sweep_partial(keep, |blob| moving.contains(blob));
        }
        now(&Collected {
            v: SHAPE_VERSION,
            removed_bytes: removed.iter().map(|one| one.bytes).sum(),
            removed,
            kept: found.kept,
            kept_bytes: found.kept_bytes,
        })
    }

    /// The mailbox that a caller inside an agent is bound to; nothing for a person.
    fn own_mailbox(&mut self, caller: &Caller) -> Result<Option<Mailbox>, ApiError> {
        if !self.acts_in_agent(caller) {
            return Ok(None);
        }
        self.acting_mailbox(caller, None).map(Some)
    }

    /// An artifact by what was typed, with the messages that refer to it, newest first.
    ///
    /// Inside an agent the beginning of a hash means only what its own session's mail refers to; a whole hash is known by whoever had the
    /// content or the message.
    fn find_artifact(&mut self, typed: &str, caller: &Caller) -> Result<(Hash, Vec<Reference>), ApiError> {
        let unknown = || ApiError::new(ErrorCode::UnknownArtifact, format!("no artifact is {typed:?}"));
        let own = self.own_mailbox(caller)?;
        let whole = parse_hash(typed);
        let digits = typed.to_ascii_lowercase();
        if whole.is_none()
            && (digits.len() < LEAST_HASH_CHARACTERS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(unknown().hint(format!(
                "give at least {LEAST_HASH_CHARACTERS} digits of its hash: penpal artifact list"
            )));
        }
        let prefix: Vec<u8> = match whole {
            Some(hash) => hash.as_bytes().to_vec(),
            None => digits
                .as_bytes()
                .chunks_exact(2)
                .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect(),
        };
        let mut references = self.references(&prefix, |reference| {
            let shown = own.is_none_or(|own| whole.is_some() || self.concerns(reference.mail, own));
            shown && hash_text(&reference.hash).starts_with(&digits)
        })?;
        let mut hashes: BTreeSet<Hash> = references.iter().map(|reference| reference.hash).collect();
        if own.is_none() || whole.is_some() {
            let contents = self.content_rows()?;
            hashes.extend(contents.into_keys().filter(|hash| hash_text(hash).starts_with(&digits)));
        }
        let mut found = hashes.iter();
        match (found.next(), found.next()) {
            (None, _) => Err(unknown()),
            (Some(hash), None) => {
                references.sort_by_key(|reference| std::cmp::Reverse(reference.row.since_ms));
                Ok((*hash, references))
            }
            (Some(_), Some(_)) => {
                let message = format!("{} artifacts begin with {digits}", count(hashes.len()));
                let candidates = hashes.iter().take(8).map(hash_text).collect();
                Err(ApiError::new(ErrorCode::AmbiguousArtifact, message).candidates(candidates))
            }
        }
    }

    /// References for a message: to a mailbox on this machine, which shares the shelf, or to a contact, by way of the relay until the
    /// message's life is over. What is to be sent there is begun by whoever has sent the message: one that is refused leaves nothing.
    pub(in crate::engine) fn attach(
        &mut self,
        attached: &[Attached],
        remote_until_ms: Option<u64>,
    ) -> Result<(Option<List<ArtifactRef, MAX_ARTIFACTS>>, Uploads), ApiError> {
        let mut uploads = Uploads::default();
        if attached.is_empty() {
            return Ok((None, uploads));
        }
        if attached.len() > MAX_ARTIFACTS {
            let message = format!(
                "{} files are too many for one message, at most {MAX_ARTIFACTS} can go",
                attached.len()
            );
            return Err(ApiError::new(ErrorCode::Usage, message));
        }
        let mut list = Vec::new();
        for one in attached {
            let hash = parse_hash(&one.hash);
            let hash = hash.ok_or_else(|| {
                ApiError::new(ErrorCode::Usage, format!("{:?} is no hash of 64 hexadecimal digits", one.hash))
            })?;
            let content = self.content_row(&hash)?.ok_or_else(|| {
                let message = format!("the content of {} is not here", one.hash);
                ApiError::new(ErrorCode::UnknownArtifact, message)
            })?;
            if let Some(until_ms) = remote_until_ms {
                list.push(self.upload(hash, &content, &one.name, until_ms, &mut uploads)?);
                continue;
            }
            list.push(ArtifactRef {
                hash,
                bytes: content.bytes,
                name: Text::truncated(&one.name),
                media: None,
                blob: BlobId::from_bytes([0; 16]),
                relay: Text::default(),
                token: Capability::from_bytes([0; 32]),
                key: Capability::from_bytes([0; 32]),
            });
        }
        Ok((Some(List::truncated(list)), uploads))
    }
}

/// Artifacts to be listed, no more of them than twice as many as are shown: contacts decide how many there are.
#[derive(Default)]
struct Listed {
    rows: Vec<ArtifactRow>,
    all: usize,
}

impl Listed {
    fn extend(&mut self, rows: impl IntoIterator<Item = ArtifactRow>) {
        for row in rows {
            self.all += 1;
            self.rows.push(row);
            if self.rows.len() >= 2 * MAX_LISTED {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        self.rows.sort_by(|one, other| {
            (other.since_ms, other.hash.as_str()).cmp(&(one.since_ms, one.hash.as_str()))
        });
        self.rows.truncate(MAX_LISTED);
    }

    /// The newest first, and how many there are beside them.
    fn into_newest(mut self) -> (Vec<ArtifactRow>, u64) {
        self.cut();
        let older = count(self.all.saturating_sub(self.rows.len()));
        (self.rows, older)
    }
}

fn row_of(reference: &Reference, here: bool) -> ArtifactRow {
    let artifact = &reference.row.artifact;
    ArtifactRow {
        hash: hash_text(&reference.hash),
        name: artifact.name.as_str().to_owned(),
        bytes: artifact.bytes,
        here,
        messages: 0,
        from: Vec::new(),
        since_ms: reference.row.since_ms,
    }
}
