//! Files of messages, as an engine by itself moves, keeps and forgets them.

use std::time::Duration;

use penpal_delivery::{Destination, MailKey, Peer};
use penpal_local_api::artifact::{GcRequest, GetRequest, ListRequest, MAX_LISTED, hash_text};
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ErrorCode;
use penpal_local_api::mail::{Attached, IdRequest, SendRequest};
use penpal_local_api::methods::Call;
use penpal_protocol::blob::PartSet;
use penpal_protocol::cbor::Text;
use penpal_protocol::ids::{BlobId, Capability, DeviceId, Fingerprint, Hash, MsgId};
use penpal_protocol::limits::{BLOB_GRACE_MS, DAY_MS, DEFAULT_MESSAGE_LIFE_MS};
use penpal_protocol::sealed::{ArtifactRef, Kind, Letter};
use penpal_protocol::text::RelayAddress;

use super::Input;
use super::alone::{Alone, answer, begun, message, relay};
use super::artifacts::{ContentRow, FIRST_LOOK, FORGOTTEN_AT_ONCE};
use super::machines::delivery_step;
use super::storage::{REFERENCES, UPLOADS};
use crate::daemon::transfer::{TransferJob, TransferReport};

const HOUR: Duration = Duration::from_secs(3600);

fn letter(artifacts: Vec<ArtifactRef>) -> Letter {
    super::alone::letter("here it is", Some(artifacts))
}

fn attached(hash: &Hash) -> Attached {
    Attached { hash: hash_text(hash), name: "x.bin".to_owned() }
}

/// A reference such as a contact may make up.
fn reference(hash: Hash, blob: u16, relay: &RelayAddress) -> ArtifactRef {
    let mut id = [0; BlobId::BYTES];
    id[..2].copy_from_slice(&blob.to_be_bytes());
    ArtifactRef {
        hash,
        bytes: 3,
        name: Text::truncated("x.bin"),
        media: None,
        blob: BlobId::from_bytes(id),
        relay: Text::truncated(&relay.to_string()),
        token: Capability::from_bytes([1; 32]),
        key: Capability::from_bytes([2; 32]),
    }
}

fn mail(number: u16, from: u8) -> MailKey {
    let mut id = [0; MsgId::BYTES];
    id[..2].copy_from_slice(&number.to_be_bytes());
    MailKey::from_contact(MsgId::from_bytes(id), Fingerprint::from_bytes([from; Fingerprint::BYTES]))
}

impl Alone {
    fn rows(&self, table: penpal_store::Table) -> usize {
        let mut rows = 0;
        let counted = self.engine.storage.each::<penpal_store::ReadError>(table, |_, _| {
            rows += 1;
            Ok(())
        });
        counted.unwrap();
        rows
    }

    /// Sends a file to a device that is never there; gives the message, and the upload that it waits for.
    fn send_away(&mut self, hash: &Hash) -> (MsgId, TransferJob) {
        let engine = &mut self.engine;
        engine.now = engine.clock.now();
        let until_ms = engine.now.wall_ms + DEFAULT_MESSAGE_LIFE_MS;
        let (list, uploads) = engine.attach(&[attached(hash)], Some(until_ms)).unwrap();
        let letter = letter(list.unwrap().into_vec());
        let away = Peer::new(Fingerprint::from_bytes([8; 16]), DeviceId::from_bytes([9; 16]));
        let message = message(Kind::Note, &letter, "bob", Destination::Device(away));
        let sent = engine.delivery.send(message, &mut delivery_step!(engine)).unwrap();
        engine.begin_uploads(uploads);
        engine.note_references(MailKey::own(sent.msg_id), &letter);
        engine.wait_for_files(sent.msg_id, &letter);
        (sent.msg_id, begun(self.step(vec![])).remove(0))
    }

    /// The relay has all of a blob.
    fn finish(&mut self, blob: BlobId) {
        let mut there = PartSet::default();
        there.insert(0);
        self.step(vec![Input::Transfer(TransferReport::Opened { blob, there: Ok(there) })]);
        self.step(vec![Input::Transfer(TransferReport::Finished { blob, outcome: Ok(()) })]);
        assert!(self.engine.progress(&blob).is_none(), "it is done");
    }
}

/// The blob of a message that is tried again after its end lives as long as the message does from then on, whether the row of the upload is
/// still there or not.
#[test]
fn the_files_of_a_message_that_is_tried_again_live_as_long_as_it_does() {
    for days in [14, 40] {
        let mut alone = Alone::with_home(&relay(1, 4000));
        let hash = alone.keep(b"abc");
        let (msg_id, first) = alone.send_away(&hash);
        alone.finish(first.blob);
        for _ in 0..days {
            alone.pass(24 * HOUR);
        }
        assert_eq!(alone.rows(UPLOADS), usize::from(days == 14), "{days}");
        let retry = Call::Retry(IdRequest { caller: Caller::default(), id: msg_id.to_text() });
        let again = begun(alone.call(retry));
        let [again] = again.as_slice() else { panic!("{days}: {again:?}") };
        assert_eq!(again.blob, first.blob, "the one that the message names");
        let least = alone.engine.now.wall_ms + DEFAULT_MESSAGE_LIFE_MS + BLOB_GRACE_MS;
        assert!((least - 1_000..=least).contains(&again.expires_ms), "{days}: {} {least}", again.expires_ms);
        let view = alone.engine.delivery.view(MailKey::own(msg_id), &alone.engine.storage).unwrap().unwrap();
        assert_eq!(again.expires_ms, view.expires_ms + BLOB_GRACE_MS);
    }
}

#[test]
fn what_a_relay_lost_is_sent_again_even_after_a_restart() {
    let mut alone = Alone::with_home(&relay(1, 4000));
    let hash = alone.keep(b"abc");
    let (_, first) = alone.send_away(&hash);
    alone.finish(first.blob);
    alone.engine.resume_transfers();
    assert!(begun(alone.step(vec![])).is_empty(), "it is there");
    alone.engine.look_after_uploads();
    let again = begun(alone.step(vec![]));
    assert_eq!(again.iter().map(|job| job.blob).collect::<Vec<_>>(), [first.blob]);
    // As after a start: only what is stored is known.
    alone.engine.resume_transfers();
    let resumed = begun(alone.step(vec![]));
    assert_eq!(resumed.iter().map(|job| job.blob).collect::<Vec<_>>(), [first.blob]);
    // Another message that names it is given up: the first one has gone, and may be read.
    let (other, _) = alone.send_away(&hash);
    let engine = &mut alone.engine;
    engine.delivery.give_up(other, "no time", &mut delivery_step!(engine));
    alone.step(vec![]);
    assert!(alone.engine.moving_blobs().contains(&first.blob));
    alone.finish(first.blob);
    alone.engine.resume_transfers();
    assert!(begun(alone.step(vec![])).is_empty(), "once is enough");
}

#[test]
fn a_message_that_is_refused_leaves_nothing_on_its_way() {
    let mut alone = Alone::with_home(&relay(1, 4000));
    let hash = alone.keep(b"abc");
    let unknown = Hash::from_bytes([7; 32]);
    let until_ms = alone.engine.now.wall_ms + DAY_MS;
    let refused = alone.engine.attach(&[attached(&hash), attached(&unknown)], Some(until_ms)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::UnknownArtifact);
    // Whoever attached it may be refused after that.
    let (list, uploads) = alone.engine.attach(&[attached(&hash), attached(&hash)], Some(until_ms)).unwrap();
    assert!(begun(alone.step(vec![])).is_empty());
    assert_eq!((alone.rows(UPLOADS), alone.engine.moving_blobs().len()), (0, 0));
    let list = list.unwrap().into_vec();
    assert_eq!(list[0].blob, list[1].blob, "one content, one blob");
    alone.engine.begin_uploads(uploads);
    assert_eq!(begun(alone.step(vec![])).len(), 1);
    assert_eq!(alone.rows(UPLOADS), 1);
}

/// A message says which key the relay has, never where to look for it.
#[test]
fn a_file_is_fetched_where_its_relay_is_known_to_be() {
    let home = relay(1, 4000);
    let mut alone = Alone::with_home(&home);
    let hash = Hash::from_bytes([7; 32]);
    let elsewhere = relay(1, 5000);
    alone.engine.note_references(mail(1, 8), &letter(vec![reference(hash, 1, &elsewhere)]));
    alone.step(vec![]);
    let get = GetRequest { caller: Caller::default(), hash: hash_text(&hash), wait_ms: 0 };
    let jobs = begun(alone.call(Call::ArtifactGet(get.clone())));
    assert_eq!(jobs.iter().map(|job| job.relay.clone()).collect::<Vec<_>>(), [home]);
    // Another key than ours, and nobody's whom we know: nothing is asked.
    let other = Hash::from_bytes([6; 32]);
    alone.engine.note_references(mail(2, 8), &letter(vec![reference(other, 2, &relay(2, 4000))]));
    alone.step(vec![]);
    let said = alone.call(Call::ArtifactGet(GetRequest { hash: hash_text(&other), ..get }));
    assert!(matches!(answer(said), Some(Err(error)) if error.code == ErrorCode::UnknownArtifact));
    assert_eq!(alone.engine.moving_blobs().len(), 1);
}

#[test]
fn no_sender_hides_what_another_one_sent() {
    let mut alone = Alone::with_home(&relay(1, 4000));
    let (home, hash) = (relay(1, 4000), Hash::from_bytes([7; 32]));
    let (bob, mallory) = (3, 4);
    alone.engine.note_references(mail(0, bob), &letter(vec![reference(hash, 0, &home)]));
    alone.pass(HOUR);
    for number in 1..=600 {
        alone.engine.note_references(mail(number, mallory), &letter(vec![reference(hash, number, &home)]));
    }
    alone.step(vec![]);
    let found = alone.engine.references(hash.as_bytes(), |_| true).unwrap();
    assert_eq!(found.last().map(|one| one.mail), Some(mail(0, bob)), "the newest first, and each sender's");
    assert!(found.len() <= 256, "{}", found.len());
}

#[test]
fn what_is_attached_in_the_very_step_stays() {
    let mut alone = Alone::with_home(&relay(1, 4000));
    let (sent, unneeded) = (alone.keep(b"abc"), alone.keep(b"def"));
    for _ in 0..30 {
        alone.pass(HOUR);
    }
    let send: SendRequest = serde_json::from_value(serde_json::json!({
        "to": "desk", "text": "kept", "wait_ms": 0,
        "artifacts": [{"hash": hash_text(&sent), "name": "x.bin"}],
    }))
    .unwrap();
    let gc = GcRequest { keep_ms: Some(0), ..GcRequest::default() };
    let inputs = [Call::Send(send), Call::ArtifactGc(gc)].map(|call| alone.input(call));
    for output in alone.step(inputs.into()) {
        if let super::Output::Answer { outcome, .. } = output {
            outcome.unwrap();
        }
    }
    assert!(alone.engine.content_row(&sent).unwrap().is_some() && alone.engine.shelf.path(&sent).exists());
    assert!(alone.engine.content_row(&unneeded).unwrap().is_none());
}

#[test]
fn what_there_is_to_forget_is_forgotten_soon_however_much_it_is() {
    let mut alone = Alone::with_home(&relay(1, 4000));
    let home = relay(1, 4000);
    let all = u16::try_from(2 * FORGOTTEN_AT_ONCE + 1).unwrap();
    for number in 0..all {
        let hash = Hash::from_bytes([u8::try_from(number % 256).unwrap(); 32]);
        alone.engine.note_references(mail(number, 3), &letter(vec![reference(hash, number, &home)]));
    }
    alone.step(vec![]);
    assert_eq!(alone.rows(REFERENCES), usize::from(all));
    alone.pass(FIRST_LOOK);
    for left in [FORGOTTEN_AT_ONCE + 1, 1, 0] {
        assert_eq!(alone.rows(REFERENCES), left);
        alone.pass(Duration::from_secs(60));
    }
    assert!(alone.engine.collect_at > alone.engine.now.mono + 23 * HOUR, "then it rests for a day");
}

#[test]
fn the_newest_artifacts_are_listed_and_the_others_counted() {
    let mut alone = Alone::with_home(&relay(1, 4000));
    let beyond = 1_500;
    for number in 0..MAX_LISTED + beyond {
        let since_ms = u64::try_from(number).unwrap();
        let row = ContentRow { bytes: 1, name: Text::default(), since_ms, used_ms: since_ms };
        let hash = Hash::from_bytes(*blake3::hash(&since_ms.to_be_bytes()).as_bytes());
        alone.engine.save_content_row(&hash, &row);
    }
    alone.step(vec![]);
    let said = answer(alone.call(Call::ArtifactList(ListRequest::default()))).unwrap().unwrap();
    let rows = said["artifacts"].as_array().unwrap();
    assert_eq!((rows.len(), said["older"].as_u64()), (MAX_LISTED, Some(1_500)));
    assert_eq!(said["kept_bytes"].as_u64(), Some(2_500));
    assert_eq!(rows[0]["since_ms"].as_u64(), Some(2_499));
    assert_eq!(rows[MAX_LISTED - 1]["since_ms"].as_u64(), Some(1_500));
}
