//! Envelopes as a device with keys meets them.

use std::sync::LazyLock;

use penpal_protocol::sealed::Body;
use penpal_seal::{Arrived, PairKey, Recipient, VerifiedMessage, reseal_hash, seal};

use crate::{
    edit::edited,
    people::{ALICE, ALICE_TO_BOB, BOB, NOW_MS, fresh, note},
};

static GENUINE: LazyLock<Vec<u8>> = LazyLock::new(|| sealed(&note()).expect("a note fits"));

/// Some other contact, who is asked first.
static OTHER: LazyLock<PairKey> = LazyLock::new(|| PairKey::from_bytes([8; 32]));

/// The first byte chooses: any bytes, a genuine envelope that was spoiled, or one that a contact sealed around any body.
pub fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    match how % 4 {
        0 => assert!(opened(rest).is_none(), "bytes of nobody were verified"),
        1 => {
            // Of a length that an envelope has.
            let mut envelope = rest.to_vec();
            envelope.resize(penpal_protocol::envelope::ladder_step(rest.len()).unwrap_or(4096), 0);
            assert!(opened(&envelope).is_none(), "bytes of nobody were verified");
        }
        2 => {
            let envelope = edited(&GENUINE, rest);
            assert_eq!(opened(&envelope).is_some(), envelope == *GENUINE, "a spoiled envelope was verified");
        }
        _ => {
            let Ok(mut body) = Body::decode(rest) else { return };
            let genuine = how & 4 != 0;
            if genuine {
                (body.from, body.from_device) = (ALICE.root.fingerprint(), ALICE.device);
                (body.to, body.to_device) = (BOB.root.fingerprint(), BOB.device);
            }
            let Some(envelope) = sealed(&body) else { return };
            let message = opened(&envelope);
            assert!(message.is_some() || !genuine, "a message of Alice is refused");
            if let Some(message) = message {
                assert_eq!(message.body, body);
                assert_eq!((body.from, body.to), (ALICE.root.fingerprint(), BOB.root.fingerprint()));
            }
        }
    }
}

fn sealed(body: &Body) -> Option<Vec<u8>> {
    let recipient = Recipient { key_id: BOB.key_id, key: BOB.prekey.public(), pair_key: &ALICE_TO_BOB };
    seal(body, &recipient, &ALICE.sender(), fresh()).ok()
}

fn opened(envelope: &[u8]) -> Option<VerifiedMessage<&'static str>> {
    let arrived = Arrived::parse(envelope).ok()?;
    assert_eq!(arrived.reseal_hash(), reseal_hash(envelope));
    let from = arrived.find_contact([("other", &*OTHER), ("alice", &*ALICE_TO_BOB)])?;
    if from.key_id() != BOB.key_id {
        return None;
    }
    let parsed = from.open(&BOB.prekey, &BOB.device).ok()?.parse().ok()?;
    drop(parsed.claims().parse_content());
    parsed.verify(&BOB.root.fingerprint(), &ALICE.manifest, NOW_MS).ok()
}
