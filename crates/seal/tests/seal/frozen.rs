//! Our own structures, byte for byte, as another implementation would have to make and judge them.
//!
//! Signatures and labels of the invalid ones are computed here with nothing but Ed25519 and text, so a changed label in the
//! crate shows.

use std::{fs, path::PathBuf, sync::Arc};

use ed25519_dalek::{Signer as _, SigningKey};
use penpal_protocol::{
    cbor::{Blob, List},
    ids::{Hash, KeyId, ProfileKey, Signature},
    limits::DAY_MS,
    sealed::{Body, Bundle, Manifest, PreviousKey, Signed},
};
use penpal_seal::{
    AccountSecret, Arrived, FreshBytes, IdentityKeys, InviteEntry, InviteKeys, KeyFile, KeyStorage as _,
    MAX_MANIFEST_LIFE_MS, MemoryKeys, NewInvite, PairHalves, ProfileItem, ReceiveKey, Recipient,
    SafetyNumber, StoredReceiveKeys, TransportSeed, VerifiedBundle, VerifiedManifest, boot_key, offer,
    open_profile, open_record, open_request, own_devices_key, reseal_hash, seal, seal_profile, seal_request,
    sign_accept, verify_accept,
};
use serde_json::{Value, json};

use crate::people::{NOW_MS, Pair, Person, note, rng};

/// Compares with the file of that name, or writes it when `PENPAL_BLESS` is set.
fn frozen(name: &str, made: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/seal/frozen").join(name);
    let made = serde_json::to_string_pretty(made).unwrap() + "\n";
    if std::env::var_os("PENPAL_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(made.lines()).find(|(kept, made)| kept != made);
    assert!(kept == made, "{} no longer comes out as frozen: {differs:.200?}", path.display());
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}

/// `ok`, or the name of the error.
fn result<T, E: std::fmt::Debug>(result: Result<T, E>) -> String {
    result.map_or_else(name, |_| "ok".to_owned())
}

/// The variant's name: texts may change, names may not.
fn name(error: impl std::fmt::Debug) -> String {
    format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// Signs as the specification says, without the crate.
fn sign(seed: &[u8; 32], use_: &str, body: Vec<u8>) -> Vec<u8> {
    let message = [b"penpal/v1/", use_.as_bytes(), &[0], &body].concat();
    let sig = Signature::from_bytes(SigningKey::from_bytes(seed).sign(&message).to_bytes());
    Signed { body, sig }.encode()
}

fn person(person: &Person) -> Value {
    json!({
        "name": person.name.as_str(),
        "root_seed": hex(person.root.expose_seed()),
        "root": hex(person.root.public().as_bytes()),
        "fingerprint": hex(person.fingerprint().as_bytes()),
        "device": hex(person.device.as_bytes()),
        "signing_seed": hex(person.signing.expose_seed()),
        "signing": hex(person.signing.public().as_bytes()),
        "hedge": hex(person.hedge.expose()),
        "prekey_seed": hex(person.prekey_seed.expose()),
        "prekey_id": hex(person.key_id.as_bytes()),
        "prekey": hex(person.prekey.public().as_bytes()),
        "manifest": hex(person.manifest.signed()),
        "manifest_hash": hex(person.manifest.reference().hash.as_bytes()),
        "bundle": hex(person.bundle.signed()),
    })
}

#[test]
fn derivations() {
    let pair = Pair::new(1);
    let (alice, bob) = (&pair.alice, &pair.bob);
    let secret = penpal_seal::InviteSecret::from_bytes([0x51; 20]);
    let keys = InviteKeys::derive(&secret);
    let (t3, t4) = (Hash::from_bytes([0x33; 32]), Hash::from_bytes([0x44; 32]));
    let (a, b) = ([0x0a; 32].into(), [0x0b; 32].into());
    let halves = PairHalves { inviter: &half(a), invited: &half(b), transcript: &t4 };
    let (from, to) = (alice.fingerprint(), bob.fingerprint());
    let account = AccountSecret::from_bytes([0x77; 32]);
    let made = json!({
        "invite": {
            "secret": hex(secret.expose()),
            "id": hex(keys.id().as_bytes()),
            "registration": hex(keys.registration().expose()),
            "registration_hash": hex(keys.registration().hash().as_bytes()),
        },
        "boot_key": { "secret": hex(secret.expose()), "t3": hex(t3.as_bytes()), "key": hex(boot_key(&secret, &t3).expose()) },
        "pair_key": {
            "a": hex(a.0), "b": hex(b.0), "t4": hex(t4.as_bytes()), "from": hex(from.as_bytes()), "to": hex(to.as_bytes()),
            "from_to": hex(halves.pair_key(&from, &to).expose()),
            "to_from": hex(halves.pair_key(&to, &from).expose()),
        },
        "own_devices_key": { "account_secret": hex(account.expose()), "key": hex(own_devices_key(&account).expose()) },
        "safety_number": {
            "roots": [hex(alice.root.public().as_bytes()), hex(bob.root.public().as_bytes())],
            "number": SafetyNumber::of(&bob.root.public(), &alice.root.public()).to_string(),
        },
        "transport": {
            "seed": hex([0x66; 32]),
            "public": hex(TransportSeed::from_bytes([0x66; 32]).public().as_bytes()),
        },
    });
    frozen("derivations.json", &made);
}

#[derive(Clone, Copy)]
struct Half([u8; 32]);

impl From<[u8; 32]> for Half {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

fn half(half: Half) -> penpal_seal::HalfSecret {
    penpal_seal::HalfSecret::from_bytes(half.0)
}

#[test]
fn manifests() {
    let pair = Pair::new(1);
    let alice = &pair.alice;
    let v1 = &alice.manifest;
    let mut second = v1.successor(NOW_MS).unwrap();
    let mut devices = second.devices.to_vec();
    devices[0].primary = Some(true);
    devices[0].previous = Some(PreviousKey { signing: pair.bob.signing.public(), until_ms: NOW_MS + DAY_MS });
    second.devices = List::new(devices).unwrap();
    second.revoked = List::new(vec![pair.bob.device]).unwrap();
    let v2 = VerifiedManifest::sign(&alice.root, second).unwrap();
    assert_eq!(sign(alice.root.expose_seed(), "manifest-signature", v2.manifest().encode()), v2.signed());

    let valid = |manifest: &VerifiedManifest| {
        json!({
            "signed": hex(manifest.signed()),
            "version": manifest.version(),
            "hash": hex(manifest.reference().hash.as_bytes()),
            "pin": result(VerifiedManifest::pin(manifest.signed(), &alice.fingerprint(), NOW_MS)),
            "update_from_first": result(v1.update(manifest.signed(), NOW_MS)),
        })
    };
    type Change<'a> = Box<dyn Fn(&mut Manifest) + 'a>;
    let changes: Vec<(&str, Change<'_>)> = vec![
        ("version zero", Box::new(|m| m.version = 0)),
        ("lives 30 days and 1 ms", Box::new(|m| m.expires_ms = m.issued_ms + MAX_MANIFEST_LIFE_MS + 1)),
        ("no device", Box::new(|m| m.devices = List::default())),
        (
            "one device twice",
            Box::new(|m| {
                let twice = [m.devices.to_vec(), m.devices.to_vec()].concat();
                m.devices = List::new(twice).unwrap();
            }),
        ),
        ("its own device revoked", Box::new(|m| m.revoked = List::new(vec![m.devices[0].id]).unwrap())),
        (
            "a history with another content of the held version",
            Box::new(|m| {
                let mut history = m.previous.to_vec();
                history[1].hash = penpal_protocol::ids::ShortHash::from_bytes([9; 16]);
                m.previous = List::new(history).unwrap();
            }),
        ),
        ("of another root", Box::new(|m| m.root = pair.bob.root.public())),
    ];
    let mut invalid: Vec<Value> = changes
        .iter()
        .map(|(why, change)| {
            let mut manifest = v2.successor(NOW_MS).unwrap();
            change(&mut manifest);
            let signed = sign(alice.root.expose_seed(), "manifest-signature", manifest.encode());
            json!({ "why": why, "signed": hex(&signed), "held": hex(v2.signed()), "update": refused(v2.update(&signed, NOW_MS)) })
        })
        .collect();
    let label = sign(alice.root.expose_seed(), "bundle-signature", v2.manifest().encode());
    let signer = sign(pair.bob.root.expose_seed(), "manifest-signature", v2.manifest().encode());
    let trailing = [v2.signed(), &[0]].concat();
    for (why, signed) in
        [("under another label", label), ("by another key", signer), ("with a byte after it", trailing)]
    {
        invalid.push(json!({
            "why": why, "signed": hex(&signed), "held": hex(v1.signed()), "update": refused(v1.update(&signed, NOW_MS)),
        }));
    }
    invalid.push(json!({
        "why": "older than what is held", "signed": hex(v1.signed()), "held": hex(v2.signed()),
        "update": refused(v2.update(v1.signed(), NOW_MS)),
    }));
    let made = json!({
        "now_ms": NOW_MS, "account": person(alice), "valid": [valid(v1), valid(&v2)], "invalid": invalid,
    });
    frozen("manifest.json", &made);
}

/// The name of an error that must be one.
fn refused<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, E>) -> String {
    match result {
        Ok(value) => panic!("accepted {value:?}"),
        Err(error) => name(error),
    }
}

#[test]
fn bundles_and_profiles() {
    let pair = Pair::new(1);
    let alice = &pair.alice;
    let good = alice.bundle.bundle();
    let seed = alice.signing.expose_seed();
    assert_eq!(sign(seed, "bundle-signature", good.encode()), alice.bundle.signed());
    let verify = |signed: &[u8]| VerifiedBundle::verify(signed, &alice.device, &alice.manifest, NOW_MS);
    let mut unreduced = good.key.as_bytes().to_vec();
    unreduced[..3].fill(0xff);
    let unreduced = penpal_protocol::ids::XWingPublicKey::from_slice(&unreduced).unwrap();
    let other = &pair.bob;
    let invalid: Vec<Value> = [
        (
            "expired",
            sign(
                seed,
                "bundle-signature",
                Bundle { issued_ms: NOW_MS - 31 * DAY_MS, expires_ms: NOW_MS - DAY_MS, ..good.clone() }
                    .encode(),
            ),
        ),
        (
            "lives 31 days",
            sign(
                seed,
                "bundle-signature",
                Bundle { expires_ms: good.issued_ms + 31 * DAY_MS, ..good.clone() }.encode(),
            ),
        ),
        (
            "of a device that the manifest does not list",
            sign(seed, "bundle-signature", Bundle { device: other.device, ..good.clone() }.encode()),
        ),
        (
            "with a key that the manifest does not list",
            sign(
                other.signing.expose_seed(),
                "bundle-signature",
                Bundle { signing: other.signing.public(), ..good.clone() }.encode(),
            ),
        ),
        ("by another key than it says", sign(other.signing.expose_seed(), "bundle-signature", good.encode())),
        ("under another label", sign(seed, "msg", good.encode())),
        (
            "with an ML-KEM key that is not reduced",
            sign(seed, "bundle-signature", Bundle { key: unreduced, ..good.clone() }.encode()),
        ),
    ]
    .map(|(why, signed)| json!({ "why": why, "signed": hex(&signed), "verify": refused(verify(&signed)) }))
    .into();

    let profile_key = ProfileKey::from_bytes([0x99; 32]);
    let stored = |item, signed: &[u8], salt: [u8; 32]| {
        let blob = seal_profile(&profile_key, item, signed, salt);
        assert_eq!(open_profile(&profile_key, item, &blob).unwrap(), signed);
        json!({ "salt": hex(salt), "blob": hex(blob) })
    };
    let made = json!({
        "now_ms": NOW_MS,
        "account": person(alice),
        "valid": [{ "signed": hex(alice.bundle.signed()), "verify": result(verify(alice.bundle.signed())) }],
        "invalid": invalid,
        "profile_key": hex(profile_key.expose()),
        "stored_manifest": stored(ProfileItem::Manifest, alice.manifest.signed(), [0x55; 32]),
        "stored_bundle": stored(ProfileItem::Bundle(alice.device), alice.bundle.signed(), [0x56; 32]),
    });
    frozen("bundle.json", &made);
}

/// Opens and verifies as Bob; the name of the first refusal.
fn judge(pair: &Pair, envelope: &[u8]) -> String {
    let bob = &pair.bob;
    let arrived = match Arrived::parse(envelope) {
        Ok(arrived) => arrived,
        Err(error) => return name(error),
    };
    let Some(found) = arrived.find_contact([((), &pair.alice_to_bob)]) else { return "foreign".to_owned() };
    let opened = match found.open(&bob.prekey, &bob.device) {
        Ok(opened) => opened,
        Err(_) => return "unreadable".to_owned(),
    };
    match opened.parse() {
        Ok(parsed) => result(parsed.verify(&bob.fingerprint(), &pair.alice.manifest, NOW_MS)),
        Err(error) => name(error),
    }
}

#[test]
fn envelopes() {
    let pair = Pair::new(1);
    let (alice, bob) = (&pair.alice, &pair.bob);
    let seal_body = |body: &Body, sender: &Person, fresh: u8| {
        let recipient =
            Recipient { key_id: bob.key_id, key: bob.prekey.public(), pair_key: &pair.alice_to_bob };
        seal(body, &recipient, &sender.sender(), FreshBytes::from_bytes([fresh; 64])).unwrap()
    };
    let body = note(alice, bob, "the quick brown fox");
    let envelope = seal_body(&body, alice, 0xf1);
    let arrived = Arrived::parse(&envelope).unwrap();
    assert_eq!(judge(&pair, &envelope), "ok");

    let larger: Vec<Value> = [3_000, 7_000, 15_000, 31_000, 64 * 1024]
        .map(|text_bytes| {
            let envelope = seal_body(&note(alice, bob, &"x".repeat(text_bytes)), alice, 0xf2);
            assert_eq!(judge(&pair, &envelope), "ok");
            json!({ "text": "x", "times": text_bytes, "bytes": envelope.len(), "reseal_hash": hex(reseal_hash(&envelope).as_bytes()) })
        })
        .into();

    let changed = |at: usize| {
        let mut changed = envelope.clone();
        changed[at] ^= 1;
        changed
    };
    let to_alice = Body { to: alice.fingerprint(), ..body.clone() };
    let from_bob = Body { from: bob.fingerprint(), ..body.clone() };
    let unknown = Body { from_device: bob.device, ..body.clone() };
    let invalid: Vec<Value> = [
        ("flipped bit 0 of byte 0: version", changed(0)),
        ("flipped bit 0 of byte 1: suite", changed(1)),
        ("flipped bit 0 of byte 2: hint", changed(2)),
        ("flipped bit 0 of byte 10: masked key id", changed(10)),
        ("flipped bit 0 of byte 18: encapsulation", changed(18)),
        ("flipped bit 0 of byte 1138: ciphertext", changed(1138)),
        ("flipped bit 0 of byte 4095: tag", changed(4095)),
        ("cut to 4095 bytes", envelope[..4095].to_vec()),
        ("for another account", seal_body(&to_alice, alice, 0xf3)),
        ("naming another account as sender", seal_body(&from_bob, alice, 0xf3)),
        ("from a device that the manifest does not list", seal_body(&unknown, alice, 0xf3)),
        ("signed by another device", seal_body(&body, bob, 0xf3)),
    ]
    .map(|(why, envelope)| {
        let judged = judge(&pair, &envelope);
        assert_ne!(judged, "ok");
        json!({ "why": why, "envelope": hex(&envelope), "judged": judged })
    })
    .into();
    let made = json!({
        "now_ms": NOW_MS,
        "sender": person(alice),
        "recipient": person(bob),
        "pair_key": hex(pair.alice_to_bob.expose()),
        "valid": {
            "body": hex(body.encode()),
            "fresh": hex([0xf1; 64]),
            "envelope": hex(&envelope),
            "duplicate_mark": hex(arrived.duplicate_mark().as_bytes()),
            "reseal_hash": hex(arrived.reseal_hash().as_bytes()),
        },
        "larger": larger,
        "invalid": invalid,
    });
    frozen("envelope.json", &made);
}

#[test]
fn invites() {
    let pair = Pair::new(1);
    let (alice, bob) = (&pair.alice, &pair.bob);
    let invite = NewInvite {
        manifest: &alice.manifest,
        name: &alice.name,
        expires_ms: NOW_MS + 3 * DAY_MS,
        signing: &alice.signing,
    };
    let made = offer(&invite, &mut rng(2)).unwrap();
    let keys = InviteKeys::derive(&made.secret);
    let open = |sealed: &[u8]| open_record(&keys, &alice.fingerprint(), sealed, NOW_MS);
    let record = open(&made.sealed_record).unwrap();
    let request = bob.request(&mut rng(3));
    let sent =
        seal_request(&keys, &record, &request, &bob.sender(), FreshBytes::from_bytes([0xf4; 64])).unwrap();
    let one_time = Arc::new(ReceiveKey::expand(made.one_time.clone()));
    let take = |sealed: &[u8]| open_request(&keys, &made.record_hash, &one_time, sealed, NOW_MS);
    assert_eq!(*take(&sent.sealed).unwrap().transcript(), sent.transcript);
    let accept = alice.accept(&mut rng(4));
    let signed = sign_accept(&keys, &sent.transcript, &accept, &alice.signing).unwrap();
    let check =
        |accept| verify_accept(&keys, &sent.transcript, record.manifest(), &alice.device, accept, NOW_MS);
    assert!(check(&signed.accept).is_ok());

    let flip = |bytes: &[u8], at: usize| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        flipped
    };
    let mut other_body = signed.accept.clone();
    other_body.body = Blob::new(flip(&signed.accept.body, 40)).unwrap();
    let made = json!({
        "now_ms": NOW_MS,
        "inviter": person(alice),
        "invited": person(bob),
        "secret": hex(made.secret.expose()),
        "invite_id": hex(keys.id().as_bytes()),
        "one_time_seed": hex(made.one_time.expose()),
        "sealed_record": hex(&made.sealed_record),
        "record_hash": hex(made.record_hash.as_bytes()),
        "request": hex(request.encode()),
        "request_fresh": hex([0xf4; 64]),
        "sealed_request": hex(&sent.sealed),
        "t3": hex(sent.transcript.as_bytes()),
        "accept": {
            "body": hex(&*signed.accept.body),
            "sig": hex(signed.accept.sig.as_bytes()),
            "mac": hex(signed.accept.mac.as_bytes()),
        },
        "t4": hex(signed.transcript.as_bytes()),
        "invalid": [
            { "why": "record, flipped bit 0 of byte 0", "judged": refused(open(&flip(&made.sealed_record, 0))) },
            { "why": "record, against another fingerprint", "judged": refused(open_record(&keys, &bob.fingerprint(), &made.sealed_record, NOW_MS)) },
            { "why": "request, flipped bit 0 of byte 1120", "judged": refused(take(&flip(&sent.sealed, 1120))) },
            { "why": "request, of another record", "judged": refused(open_request(&keys, &Hash::from_bytes([0; 32]), &one_time, &sent.sealed, NOW_MS)) },
            { "why": "accept, flipped bit 0 of byte 40 of its body", "judged": refused(check(&other_body)) },
        ],
    });
    frozen("invite.json", &made);
}

#[test]
fn key_files() {
    let mut generator = rng(1);
    let mut identity = IdentityKeys::generate(&mut generator);
    let whole = identity.encode();
    let fields = json!({
        "root_seed": hex(identity.root.as_ref().unwrap().expose_seed()),
        "signing_seed": hex(identity.signing.expose_seed()),
        "transport_seed": hex(identity.transport.expose()),
        "hedge": hex(identity.hedge.expose()),
        "account_secret": hex(identity.account.as_ref().unwrap().expose()),
    });
    (identity.root, identity.account) = (None, None);

    let storage = MemoryKeys::default();
    let (mut keys, _) = StoredReceiveKeys::load(storage.clone()).unwrap().with_assigned([]);
    keys.refill(&mut generator).unwrap();
    let surplus = keys.ids().skip(2).collect();
    keys.rewrite_without(&surplus).unwrap();
    let entry = InviteEntry {
        secret: penpal_seal::InviteSecret::from_bytes([3; 20]),
        one_time: Some(penpal_seal::ReceiveSeed::from_bytes([4; 32])),
    };
    keys.keep_invite(penpal_protocol::ids::InviteId::from_bytes([2; 16]), entry).unwrap();
    let kept: Vec<_> = keys.ids().collect();
    assert!(kept.iter().all(|id| *id != KeyId::from_bytes([0; 8])));
    let made = json!({
        "identity": { "fields": fields, "file": hex(&*whole) },
        "identity_without_root": { "file": hex(&*identity.encode()) },
        "receive": { "ids": kept.iter().map(|id| hex(id.as_bytes())).collect::<Vec<_>>(), "file": hex(&*storage.read(KeyFile::Receive).unwrap().unwrap()) },
    });
    frozen("key-files.json", &made);
}
