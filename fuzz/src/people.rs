//! Two people who are contacts, always the same.

use std::sync::{Arc, LazyLock};

use penpal_protocol::{
    cbor::{Blob, List, Text},
    ids::{
        Capability, ConversationId, DeviceId, EdgeId, HalfSecret, Incarnation, KeyId, MsgId, ProfileKey,
        ShortHash, SlotId, TraceId,
    },
    limits::DAY_MS,
    sealed::{
        Body, Bundle, Content, DeviceEntry, InviteAccept, InviteRequest, Kind, Letter, Manifest, Order,
    },
    text::Label,
};
use penpal_seal::{
    DeviceSigningKey, FreshBytes, HedgeSecret, MAX_BUNDLE_LIFE_MS, MAX_MANIFEST_LIFE_MS, PairKey, ReceiveKey,
    ReceiveSeed, RootKey, Sender, VerifiedBundle, VerifiedManifest,
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// 2026-11-21, Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_795_219_200_000;

/// Alice writes, Bob reads.
pub(crate) static ALICE: LazyLock<Person> = LazyLock::new(|| Person::new("alice", 1));
pub(crate) static BOB: LazyLock<Person> = LazyLock::new(|| Person::new("bob", 2));
pub(crate) static ALICE_TO_BOB: LazyLock<PairKey> = LazyLock::new(|| PairKey::from_bytes([7; 32]));

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn bytes<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut out = [0; N];
    rng.fill_bytes(&mut out);
    out
}

pub(crate) fn fresh() -> FreshBytes {
    FreshBytes::from_bytes([5; 64])
}

/// One account with one device.
pub(crate) struct Person {
    pub(crate) name: Label,
    pub(crate) root: RootKey,
    pub(crate) signing: DeviceSigningKey,
    pub(crate) hedge: HedgeSecret,
    pub(crate) device: DeviceId,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) key_id: KeyId,
    pub(crate) prekey: Arc<ReceiveKey>,
    pub(crate) bundle: VerifiedBundle,
    pub(crate) profile_key: ProfileKey,
}

impl Person {
    fn new(name: &str, seed: u64) -> Self {
        let rng = &mut rng(seed);
        let name = Label::new(name).expect("a name");
        let root = RootKey::generate(rng);
        let signing = DeviceSigningKey::generate(rng);
        let device = DeviceId::from_bytes(bytes(rng));
        let entry = DeviceEntry {
            id: device,
            slot: SlotId::from_bytes(bytes(rng)),
            signing: signing.public(),
            previous: None,
            name: name.clone(),
            added_ms: NOW_MS - DAY_MS,
            primary: None,
        };
        let manifest = Manifest {
            root: root.public(),
            version: 1,
            previous: List::default(),
            issued_ms: NOW_MS - DAY_MS,
            expires_ms: NOW_MS - DAY_MS + MAX_MANIFEST_LIFE_MS,
            devices: List::new(vec![entry]).expect("one device"),
            revoked: List::default(),
        };
        let key_id = KeyId::from_bytes(bytes(rng));
        let prekey = Arc::new(ReceiveKey::expand(ReceiveSeed::generate(rng)));
        let bundle = Bundle {
            device,
            signing: signing.public(),
            key_id,
            key: prekey.public().clone(),
            issued_ms: NOW_MS - DAY_MS,
            expires_ms: NOW_MS - DAY_MS + MAX_BUNDLE_LIFE_MS,
        };
        Self {
            manifest: VerifiedManifest::sign(&root, manifest).expect("a good manifest"),
            bundle: VerifiedBundle::sign(&signing, bundle).expect("a good bundle"),
            hedge: HedgeSecret::generate(rng),
            profile_key: ProfileKey::from_bytes(bytes(rng)),
            name,
            root,
            signing,
            device,
            key_id,
            prekey,
        }
    }

    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender { signing: &self.signing, hedge: &self.hedge }
    }

    fn profile(&self) -> (Vec<u8>, Vec<u8>) {
        (self.manifest.signed().to_vec(), self.bundle.signed().to_vec())
    }

    pub(crate) fn request(&self) -> InviteRequest {
        let (manifest, bundle) = self.profile();
        InviteRequest {
            root: self.root.public(),
            name: self.name.clone(),
            manifest: Blob::new(manifest).expect("small"),
            bundles: List::new(vec![Blob::new(bundle).expect("small")]).expect("one"),
            profile_key: self.profile_key.clone(),
            edge: EdgeId::from_bytes([1; 16]),
            cap: Capability::from_bytes([2; 32]),
            relay: Text::new("penpal://relay.example/x").expect("short"),
            half: HalfSecret::from_bytes([3; 32]),
        }
    }

    pub(crate) fn accept(&self) -> InviteAccept {
        let (manifest, bundle) = self.profile();
        InviteAccept {
            manifest: Blob::new(manifest).expect("small"),
            bundles: List::new(vec![Blob::new(bundle).expect("small")]).expect("one"),
            profile_key: self.profile_key.clone(),
            edge: EdgeId::from_bytes([1; 16]),
            cap: Capability::from_bytes([2; 32]),
            half: HalfSecret::from_bytes([3; 32]),
        }
    }
}

/// Alice's note to Bob.
pub(crate) fn note() -> Body {
    let letter = Letter {
        from: None,
        to: None,
        subject: None,
        text: Text::new("is the v2 schema final?").expect("short"),
        reply_to: None,
        room: None,
        artifacts: None,
        target_device: None,
    };
    Body {
        from: ALICE.root.fingerprint(),
        from_device: ALICE.device,
        manifest: ALICE.manifest.reference(),
        to: BOB.root.fingerprint(),
        to_device: BOB.device,
        peer_manifest: Some(BOB.manifest.reference()),
        msg_id: MsgId::from_bytes([0x11; 16]),
        conversation: ConversationId::from_bytes([0x22; 16]),
        incarnation: Incarnation::from_bytes([0x33; 8]),
        order: Some(Order { seq: 1, prev_hash: ShortHash::from_bytes([0; 16]) }),
        sent_ms: NOW_MS,
        expires_ms: NOW_MS + DAY_MS,
        kind: Kind::Note,
        trace_id: TraceId::from_bytes([0x44; 16]),
        hops: 0,
        wake_budget: 3,
        next_key: None,
        receipts: None,
        receipts_seen: None,
        content: Blob::new(Content::Letter(Box::new(letter)).encode()).expect("small"),
    }
}
