//! Two people with one device each, from a numbered seed.

use std::sync::Arc;

use penpal_protocol::{
    cbor::{Blob, List},
    ids::{
        Capability, ConversationId, DeviceId, EdgeId, Fingerprint, HalfSecret, Incarnation, KeyId, MsgId,
        ProfileKey, ShortHash, SlotId, TraceId,
    },
    limits::DAY_MS,
    sealed::{
        Body, Bundle, Content, DeviceEntry, InviteAccept, InviteRequest, Kind, Letter, Manifest, Order,
    },
    text::Label,
};
use penpal_seal::{
    DeviceSigningKey, HedgeSecret, MAX_BUNDLE_LIFE_MS, MAX_MANIFEST_LIFE_MS, PairKey, ReceiveKey,
    ReceiveSeed, RootKey, Sender, VerifiedBundle, VerifiedManifest,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// The time in these tests: 2026-11-21, Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_795_219_200_000;

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Random bytes of any length.
pub(crate) fn bytes<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut out = [0; N];
    rng.fill_bytes(&mut out);
    out
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
    pub(crate) prekey_seed: ReceiveSeed,
    pub(crate) prekey: Arc<ReceiveKey>,
    pub(crate) bundle: VerifiedBundle,
}

impl Person {
    pub(crate) fn new(name: &str, rng: &mut ChaCha20Rng) -> Self {
        let root = RootKey::generate(rng);
        let signing = DeviceSigningKey::generate(rng);
        let device = DeviceId::from_bytes(bytes(rng));
        let manifest = VerifiedManifest::sign(
            &root,
            Manifest {
                root: root.public(),
                version: 1,
                previous: List::default(),
                issued_ms: NOW_MS - DAY_MS,
                expires_ms: NOW_MS - DAY_MS + MAX_MANIFEST_LIFE_MS,
                devices: List::new(vec![device_entry(device, &signing, rng)]).unwrap(),
                revoked: List::default(),
            },
        )
        .unwrap();
        let key_id = KeyId::from_bytes(bytes(rng));
        let prekey_seed = ReceiveSeed::generate(rng);
        let prekey = Arc::new(ReceiveKey::expand(prekey_seed.clone()));
        let bundle = VerifiedBundle::sign(&signing, bundle_of(device, &signing, key_id, &prekey)).unwrap();
        let hedge = HedgeSecret::generate(rng);
        Self {
            name: label(name),
            root,
            signing,
            hedge,
            device,
            manifest,
            key_id,
            prekey_seed,
            prekey,
            bundle,
        }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.root.fingerprint()
    }

    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender { signing: &self.signing, hedge: &self.hedge }
    }

    pub(crate) fn request(&self, rng: &mut ChaCha20Rng) -> InviteRequest {
        InviteRequest {
            root: self.root.public(),
            name: self.name.clone(),
            manifest: Blob::new(self.manifest.signed().to_vec()).unwrap(),
            bundles: List::new(vec![Blob::new(self.bundle.signed().to_vec()).unwrap()]).unwrap(),
            profile_key: ProfileKey::from_bytes(bytes(rng)),
            edge: EdgeId::from_bytes(bytes(rng)),
            cap: Capability::from_bytes(bytes(rng)),
            relay: penpal_protocol::cbor::Text::new("penpal://relay.example/x").unwrap(),
            half: HalfSecret::from_bytes(bytes(rng)),
        }
    }

    pub(crate) fn accept(&self, rng: &mut ChaCha20Rng) -> InviteAccept {
        InviteAccept {
            manifest: Blob::new(self.manifest.signed().to_vec()).unwrap(),
            bundles: List::new(vec![Blob::new(self.bundle.signed().to_vec()).unwrap()]).unwrap(),
            profile_key: ProfileKey::from_bytes(bytes(rng)),
            edge: EdgeId::from_bytes(bytes(rng)),
            cap: Capability::from_bytes(bytes(rng)),
            half: HalfSecret::from_bytes(bytes(rng)),
        }
    }
}

pub(crate) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

pub(crate) fn device_entry(id: DeviceId, signing: &DeviceSigningKey, rng: &mut ChaCha20Rng) -> DeviceEntry {
    DeviceEntry {
        id,
        slot: SlotId::from_bytes(bytes(rng)),
        signing: signing.public(),
        previous: None,
        name: label("laptop"),
        added_ms: NOW_MS - DAY_MS,
        primary: None,
    }
}

pub(crate) fn bundle_of(
    device: DeviceId,
    signing: &DeviceSigningKey,
    key_id: KeyId,
    key: &ReceiveKey,
) -> Bundle {
    Bundle {
        device,
        signing: signing.public(),
        key_id,
        key: key.public().clone(),
        issued_ms: NOW_MS - DAY_MS,
        expires_ms: NOW_MS - DAY_MS + MAX_BUNDLE_LIFE_MS,
    }
}

/// Alice and Bob, contacts.
pub(crate) struct Pair {
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) alice_to_bob: PairKey,
    pub(crate) bob_to_alice: PairKey,
}

impl Pair {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = rng(seed);
        Self {
            alice: Person::new("alice", &mut rng),
            bob: Person::new("bob", &mut rng),
            alice_to_bob: PairKey::generate(&mut rng),
            bob_to_alice: PairKey::generate(&mut rng),
        }
    }
}

/// A note from one to the other, always the same.
pub(crate) fn note(from: &Person, to: &Person, text: &str) -> Body {
    let letter = Letter {
        from: None,
        to: None,
        subject: None,
        text: penpal_protocol::cbor::Text::new(text).unwrap(),
        reply_to: None,
        room: None,
        artifacts: None,
        target_device: None,
    };
    Body {
        from: from.fingerprint(),
        from_device: from.device,
        manifest: from.manifest.reference(),
        to: to.fingerprint(),
        to_device: to.device,
        peer_manifest: Some(to.manifest.reference()),
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
        content: Blob::new(Content::Letter(Box::new(letter)).encode()).unwrap(),
    }
}
