//! Files of messages, as an engine by itself moves, keeps and forgets them.

use penpal_delivery::MailKey;
use penpal_local_api::artifact::{GetRequest, ListRequest, MAX_LISTED, hash_text};
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ErrorCode;
use penpal_local_api::methods::Call;
use penpal_protocol::cbor::{List, Text};
use penpal_protocol::ids::{BlobId, Capability, Fingerprint, Hash, MsgId};
use penpal_protocol::sealed::{ArtifactRef, Letter};
use penpal_protocol::text::RelayAddress;

use super::alone::{Alone, answer, begun, relay};
use super::artifacts::ContentRow;

fn letter(artifacts: Vec<ArtifactRef>) -> Letter {
    Letter {
        from: None,
        to: None,
        subject: None,
        text: Text::truncated("here it is"),
        reply_to: None,
        room: None,
        artifacts: Some(List::truncated(artifacts)),
        target_device: None,
    }
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
