//! Files of messages, as an engine by itself moves, keeps and forgets them.

use penpal_local_api::artifact::{ListRequest, MAX_LISTED};
use penpal_local_api::methods::Call;
use penpal_protocol::cbor::Text;
use penpal_protocol::ids::Hash;

use super::alone::{Alone, answer, relay};
use super::artifacts::ContentRow;

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
