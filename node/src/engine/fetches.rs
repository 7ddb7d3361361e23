//! Files that are fetched: from which relay, and what comes of them.

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::status::RelayState;
use penpal_protocol::blob::BlobShape;
use penpal_protocol::ids::{BlobId, Fingerprint, RelayPin};
use penpal_protocol::text::RelayAddress;
use penpal_transfer::Direction;
use penpal_transport::TransportKey;

use super::artifacts::{ContentRow, Reference};
use super::links::LinkState;
use super::machines::{Engine, random};
use crate::daemon::transfer::{Failed, TransferJob};

impl Engine {
    /// Begins to fetch an artifact, or goes on; gives the blob that is fetched. The newest message's blob first, then others: while a relay
    /// is away too.
    ///
    /// Only the relays of the account and of the contact that sent a message are ever asked, where we know them: a message cannot make this
    /// machine knock elsewhere.
    pub(super) fn fetch(&mut self, references: &[Reference]) -> Result<BlobId, ApiError> {
        let home = self.contacts.home_relay().map(|home| home.pin);
        let (mut last, mut waits) = (None, None);
        for reference in references {
            let artifact = &reference.row.artifact;
            if BlobShape::of_content(artifact.bytes).is_none() {
                let message =
                    format!("it is said to have {} bytes, which no file here may have", artifact.bytes);
                last.get_or_insert(ApiError::new(ErrorCode::BadFile, message));
                continue;
            }
            let Ok(named) = artifact.relay.as_str().parse::<RelayAddress>() else { continue };
            let Some(relay) = self.relay_to_ask(&named.pin, reference.mail.from) else {
                last.get_or_insert(ApiError::new(
                    ErrorCode::UnknownArtifact,
                    format!("it is at {}, which is not the relay of whoever sent it", named.host()),
                ));
                continue;
            };
            let is_home = home == Some(relay.pin);
            if let Some(failed) = self.moving.failed.get(&artifact.blob) {
                last = Some(fetch_error(failed));
                continue;
            }
            let progress = self.progress(&artifact.blob);
            let waits_for_it = progress.is_some_and(|progress| progress.waits);
            let job = self.moving.jobs.get(&artifact.blob).filter(|job| job.direction == Direction::Down);
            let has_moved = job.is_some_and(|job| job.relay != relay);
            if waits_for_it && !has_moved {
                waits.get_or_insert(artifact.blob);
                continue;
            }
            if progress.is_none() || waits_for_it {
                let identity = if is_home {
                    self.own_identity()
                } else {
                    TransportKey::from_seed(&random(&mut self.rng))
                };
                let job = TransferJob {
                    blob: artifact.blob,
                    direction: Direction::Down,
                    relay,
                    identity,
                    token: artifact.token.clone(),
                    key: artifact.key.clone(),
                    hash: artifact.hash,
                    bytes: artifact.bytes,
                    expires_ms: 0,
                    path: self.shelf.partial(&artifact.blob),
                };
                self.begin_job(job);
            }
            return Ok(artifact.blob);
        }
        if let Some(blob) = waits {
            return Ok(blob);
        }
        for reference in references {
            self.moving.failed.remove(&reference.row.artifact.blob);
        }
        Err(last
            .unwrap_or_else(|| ApiError::new(ErrorCode::UnknownArtifact, "the content is not here any more")))
    }

    /// Where the relay of a file is asked. It is known by its key; where it is, our own home or the contact says, and never the message.
    /// `None` when it is neither's.
    fn relay_to_ask(&self, pin: &RelayPin, from: Option<Fingerprint>) -> Option<RelayAddress> {
        if let Some(home) = self.contacts.home_relay().filter(|home| home.pin == *pin) {
            return Some(home.clone());
        }
        let sender = self.contacts.view(&from?).filter(|view| view.relay.pin == *pin)?;
        // Contacts may name several addresses for one relay. Mail finds out which of them answers.
        let link = self.links.to(pin).and_then(|link| self.links.get(link));
        let answers = link.filter(|link| link.state == LinkState::Up);
        Some(answers.map_or(sender.relay, |link| link.address.clone()))
    }

    /// Bytes that are fetched of a content, and what is in the way.
    pub(super) fn fetched(&self, blob: &BlobId, bytes: u64) -> (u64, Option<String>) {
        let waits = self.progress(blob).is_some_and(|progress| progress.waits);
        let said = self.moving.said.get(blob).filter(|_| waits).map(|failed| failed.text.clone());
        (self.bytes_moved(blob, bytes), said.or_else(|| self.relay_is_away(blob)))
    }

    /// Why nothing comes from our own relay before a try has failed: the node is not connected to it.
    fn relay_is_away(&self, blob: &BlobId) -> Option<String> {
        let pin = self.moving.jobs.get(blob)?.relay.pin;
        let line =
            self.contacts.home_relay().filter(|home| home.pin == pin).and_then(|_| self.relay_line())?;
        let away = line.state != RelayState::Connected;
        away.then(|| line.trouble.unwrap_or_else(|| "the relay cannot be reached".to_owned()))
    }

    /// Whether fetching a blob failed.
    pub(super) fn fetch_failed(&self, blob: &BlobId) -> bool {
        self.moving.failed.contains_key(blob)
    }

    /// Puts a fetched content on the shelf.
    pub(super) fn take_fetched(&mut self, blob: &BlobId) -> Result<(), Failed> {
        let Some(job) = self.moving.jobs.get(blob).filter(|job| job.direction == Direction::Down).cloned()
        else {
            return Ok(());
        };
        self.shelf.take(&job.path, &job.hash, job.bytes).map_err(|error| Failed {
            trouble: penpal_transfer::Trouble::DiskFull,
            text: format!("the content cannot be kept: {error}"),
        })?;
        let now_ms = self.now.wall_ms;
        let name = self.references(job.hash.as_bytes(), |_| true).ok().and_then(|all| all.into_iter().next());
        let name = name.map(|reference| reference.row.artifact.name).unwrap_or_default();
        self.save_content_row(
            &job.hash,
            &ContentRow { bytes: job.bytes, name, since_ms: now_ms, used_ms: now_ms },
        );
        // It may have been on its way from another relay too.
        let same = |other: &TransferJob| other.hash == job.hash && other.direction == Direction::Down;
        let others: Vec<BlobId> =
            self.moving.jobs.values().filter(|other| same(other)).map(|other| other.blob).collect();
        for other in others.iter().filter(|other| *other != blob) {
            self.end_job(other);
            self.shelf.discard_partial(other);
        }
        Ok(())
    }
}

fn fetch_error(failed: &Failed) -> ApiError {
    use penpal_transfer::Trouble as T;
    let code = match failed.trouble {
        T::Damaged => ErrorCode::ArtifactDamaged,
        T::DiskFull => ErrorCode::DiskFull,
        T::Away => ErrorCode::RelayAway,
        T::Refused => ErrorCode::RelayRefused,
        T::Gone | T::SourceGone => ErrorCode::UnknownArtifact,
    };
    ApiError::new(code, failed.text.clone())
}
