//! The three messages of an invite: from anybody, spoiled, and by somebody who knows the code and means harm.

use std::sync::{Arc, LazyLock};

use penpal_protocol::{
    limits::DAY_MS,
    sealed::{InviteAccept, InviteRequest},
};
use penpal_seal::{
    NewInvite, Offer, ReceiveKey, SealedInviteRequest, VerifiedRecord, offer, open_record, open_request,
    seal_request, sign_accept, verify_accept,
};

use crate::{
    edit::edited,
    people::{ALICE, BOB, NOW_MS, fresh, rng},
};

/// Alice invites, Bob answers.
struct World {
    offer: Offer,
    one_time: Arc<ReceiveKey>,
    record: VerifiedRecord,
    request: SealedInviteRequest,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let invite = NewInvite {
        manifest: &ALICE.manifest,
        name: &ALICE.name,
        expires_ms: NOW_MS + DAY_MS,
        signing: &ALICE.signing,
    };
    let offer = offer(&invite, &mut rng(3)).expect("a short manifest");
    let record =
        open_record(&offer.keys, &ALICE.root.fingerprint(), &offer.sealed_record, NOW_MS).expect("genuine");
    let request =
        seal_request(&offer.keys, &record, &BOB.request(), &BOB.sender(), fresh()).expect("a short request");
    let one_time = Arc::new(ReceiveKey::expand(offer.one_time.clone()));
    World { offer, one_time, record, request }
});

/// The first byte chooses what the rest is.
pub fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let world = &*WORLD;
    match how % 6 {
        0 => assert!(!world.opens_record(rest), "a record of nobody"),
        1 => {
            let record = edited(&world.offer.sealed_record, rest);
            assert_eq!(
                world.opens_record(&record),
                record == world.offer.sealed_record,
                "a spoiled record opened"
            );
        }
        2 => assert!(!world.opens_request(rest), "a request of nobody"),
        3 => {
            let request = edited(&world.request.sealed, rest);
            assert_eq!(
                world.opens_request(&request),
                request == world.request.sealed,
                "a spoiled request opened"
            );
        }
        4 => {
            let Ok(request) = InviteRequest::decode(rest) else { return };
            let sealed = seal_request(&world.offer.keys, &world.record, &request, &BOB.sender(), fresh());
            if let Ok(sealed) = sealed {
                world.opens_request(&sealed.sealed);
            }
        }
        _ => world.accept(rest),
    }
}

impl World {
    fn opens_record(&self, sealed: &[u8]) -> bool {
        open_record(&self.offer.keys, &ALICE.root.fingerprint(), sealed, NOW_MS).is_ok()
    }

    fn opens_request(&self, sealed: &[u8]) -> bool {
        open_request(&self.offer.keys, &self.offer.record_hash, &self.one_time, sealed, NOW_MS).is_ok()
    }

    fn accept(&self, bytes: &[u8]) {
        let accept = InviteAccept::decode(bytes).unwrap_or_else(|_| ALICE.accept());
        let transcript = &self.request.transcript;
        let Ok(mut signed) = sign_accept(&self.offer.keys, transcript, &accept, &ALICE.signing) else {
            return;
        };
        let verify = |accept: &_| {
            verify_accept(&self.offer.keys, transcript, self.record.manifest(), &ALICE.device, accept, NOW_MS)
        };
        if let Ok(verified) = verify(&signed.accept) {
            assert_eq!(*verified.accept(), accept);
        }
        let spoiled = edited(&signed.accept.body, bytes);
        if spoiled != *signed.accept.body
            && let Ok(body) = penpal_protocol::cbor::Blob::new(spoiled)
        {
            signed.accept.body = body;
            assert!(verify(&signed.accept).is_err(), "a spoiled acceptance was verified");
        }
    }
}
