//! Manifests, bundles, and their sealed form.

use penpal_protocol::{
    cbor::List,
    ids::{DeviceId, Fingerprint, KeyId, ProfileKey, ShortHash},
    limits::{DAY_MS, MAX_MANIFEST_BYTES, MAX_MANIFEST_HISTORY, MAX_REVOKED},
    sealed::{Bundle, Manifest, ManifestVersion, PreviousKey, Signed},
};
use penpal_seal::{
    BundleError, Continuity, DeviceSigningKey, MAX_BUNDLE_LIFE_MS, MAX_MANIFEST_LIFE_MS, MAX_PREVIOUS_KEY_MS,
    ManifestError, ManifestUpdate, ProfileItem, RootKey, VerifiedBundle, VerifiedManifest, open_profile,
    seal_profile,
};
use proptest::prelude::*;

use crate::people::{NOW_MS, Person, bundle_of, bytes, device_entry, rng};

fn alice() -> Person {
    Person::new("alice", &mut rng(1))
}

/// Signs the next version after a change.
fn next(person: &Person, held: &VerifiedManifest, change: impl FnOnce(&mut Manifest)) -> VerifiedManifest {
    let mut manifest = held.successor(NOW_MS).unwrap();
    change(&mut manifest);
    VerifiedManifest::sign(&person.root, manifest).unwrap()
}

fn with_second_device(manifest: &mut Manifest, seed: u64) -> DeviceId {
    let mut rng = rng(seed);
    let id = DeviceId::from_bytes(bytes(&mut rng));
    let mut devices = manifest.devices.to_vec();
    devices.push(device_entry(id, &DeviceSigningKey::generate(&mut rng), &mut rng));
    devices.sort_by_key(|device| device.id);
    manifest.devices = List::new(devices).unwrap();
    id
}

#[test]
fn a_manifest_is_pinned_by_its_root_s_fingerprint() {
    let alice = alice();
    let signed = alice.manifest.signed();
    let pinned = VerifiedManifest::pin(signed, &alice.fingerprint(), NOW_MS).unwrap();
    assert_eq!(pinned, alice.manifest);
    assert_eq!(pinned.signed(), signed);
    assert_eq!(pinned.reference().version, 1);
    let other = Fingerprint::from_bytes([9; 16]);
    let error = VerifiedManifest::pin(signed, &other, NOW_MS).unwrap_err();
    assert_eq!(error, ManifestError::OtherRoot { expected: other, got: alice.fingerprint() });
    let expires_ms = alice.manifest.manifest().expires_ms;
    assert!(VerifiedManifest::pin(signed, &alice.fingerprint(), expires_ms).is_ok());
    let error = VerifiedManifest::pin(signed, &alice.fingerprint(), expires_ms + 1).unwrap_err();
    assert_eq!(error, ManifestError::Expired { got: 1, expires_ms });
    assert!(VerifiedManifest::restore(signed, &alice.fingerprint()).is_ok());
}

#[test]
fn a_version_never_falls_and_never_has_two_contents() {
    let alice = alice();
    let v1 = alice.manifest.clone();
    let v2 = next(&alice, &v1, |_| ());
    let v3 = next(&alice, &v2, |_| ());
    assert_eq!(v1.update(v1.signed(), NOW_MS).unwrap(), ManifestUpdate::Same);
    let newer = ManifestUpdate::Newer { manifest: v3.clone(), continuity: Continuity::Linked };
    assert_eq!(v1.update(v3.signed(), NOW_MS).unwrap(), newer);
    assert_eq!(v2.update(v3.signed(), NOW_MS).unwrap(), newer);
    assert_eq!(v3.update(v2.signed(), NOW_MS).unwrap_err(), ManifestError::Rollback { held: 3, got: 2 });

    let other_v2 = next(&alice, &v1, |manifest| manifest.expires_ms -= 1);
    assert_eq!(v2.update(other_v2.signed(), NOW_MS).unwrap_err(), ManifestError::Fork { version: 2, got: 2 });
    let other_v3 = next(&alice, &other_v2, |_| ());
    assert_eq!(v2.update(other_v3.signed(), NOW_MS).unwrap_err(), ManifestError::Fork { version: 2, got: 3 });
    let other_v4 = next(&alice, &other_v3, |_| ());
    assert_eq!(v3.update(other_v4.signed(), NOW_MS).unwrap_err(), ManifestError::Fork { version: 2, got: 4 });
}

#[test]
fn a_history_that_skips_the_held_version_is_one_that_was_put_back() {
    let alice = alice();
    let v2 = next(&alice, &alice.manifest, |_| ());
    let unlinked = |newer: &VerifiedManifest| {
        let update = v2.update(newer.signed(), NOW_MS).unwrap();
        assert!(matches!(update, ManifestUpdate::Newer { continuity: Continuity::Unlinked, .. }));
    };
    unlinked(&next(&alice, &v2, |manifest| manifest.previous = List::default()));
    let skips = next(&alice, &v2, |manifest| {
        manifest.version = 4;
        let mut history = manifest.previous.to_vec();
        history[1].version = 3;
        manifest.previous = List::new(history).unwrap();
    });
    unlinked(&skips);
}

#[test]
fn a_contact_far_behind_is_served_without_a_link() {
    let alice = alice();
    let mut held = alice.manifest.clone();
    for _ in 0..MAX_MANIFEST_HISTORY {
        held = next(&alice, &held, |_| ());
    }
    let linked = alice.manifest.update(held.signed(), NOW_MS).unwrap();
    assert!(matches!(linked, ManifestUpdate::Newer { continuity: Continuity::Linked, .. }));
    held = next(&alice, &held, |_| ());
    assert_eq!(held.manifest().previous.len(), MAX_MANIFEST_HISTORY);
    let unlinked = alice.manifest.update(held.signed(), NOW_MS).unwrap();
    assert!(matches!(unlinked, ManifestUpdate::Newer { continuity: Continuity::Unlinked, .. }));
}

#[test]
fn lives_are_counted_in_days() {
    assert_eq!(MAX_MANIFEST_LIFE_MS, 30 * 86_400_000);
    assert_eq!(MAX_BUNDLE_LIFE_MS, 30 * 86_400_000);
    assert_eq!(MAX_PREVIOUS_KEY_MS, 31 * 86_400_000);
}

#[test]
fn an_expired_manifest_admits_no_device_and_no_key() {
    let alice = alice();
    let late_ms = NOW_MS + MAX_MANIFEST_LIFE_MS + 1;
    let same_devices = next(&alice, &alice.manifest, |_| ());
    assert!(alice.manifest.update(same_devices.signed(), late_ms).is_ok());
    let adds = next(&alice, &alice.manifest, |manifest| {
        with_second_device(manifest, 7);
    });
    assert!(alice.manifest.update(adds.signed(), NOW_MS).is_ok());
    assert!(matches!(
        alice.manifest.update(adds.signed(), late_ms),
        Err(ManifestError::Expired { got: 2, .. })
    ));
    let rekeys = next(&alice, &alice.manifest, |manifest| {
        let mut devices = manifest.devices.to_vec();
        devices[0].signing = DeviceSigningKey::from_seed(&[1; 32]).public();
        manifest.devices = List::new(devices).unwrap();
    });
    assert!(matches!(alice.manifest.update(rekeys.signed(), late_ms), Err(ManifestError::Expired { .. })));
}

#[test]
fn a_revoked_device_stays_revoked() {
    let alice = alice();
    let mut second = None;
    let two = next(&alice, &alice.manifest, |manifest| second = Some(with_second_device(manifest, 7)));
    let second = second.unwrap();
    let revoked = next(&alice, &two, |manifest| {
        manifest.devices =
            List::new(manifest.devices.iter().filter(|d| d.id != second).cloned().collect()).unwrap();
        manifest.revoked = List::new(vec![second]).unwrap();
    });
    assert!(revoked.is_revoked(&second) && revoked.device(&second).is_none());
    let back = next(&alice, &revoked, |manifest| {
        manifest.devices = two.manifest().devices.clone();
        manifest.revoked = List::default();
    });
    let error = revoked.update(back.signed(), NOW_MS).unwrap_err();
    assert_eq!(error, ManifestError::Unrevoked { device: second, got: 4 });
}

#[test]
fn a_manifest_that_contradicts_itself_is_neither_signed_nor_accepted() {
    type Change = fn(&mut Manifest);
    let cases: &[(&str, Change)] = &[
        ("version is zero", |m| m.version = 0),
        ("life is not within 30 days", |m| m.expires_ms = m.issued_ms + MAX_MANIFEST_LIFE_MS + 1),
        ("life is not within 30 days", |m| m.expires_ms = m.issued_ms),
        ("life is not within 30 days", |m| m.expires_ms = m.issued_ms - 1),
        ("no device", |m| m.devices = List::default()),
        ("devices are not ascending", |m| {
            let mut devices = m.devices.to_vec();
            devices.push(devices[0].clone());
            m.devices = List::new(devices).unwrap();
        }),
        ("devices are not ascending", |m| {
            with_second_device(m, 7);
            let mut devices = m.devices.to_vec();
            devices.reverse();
            m.devices = List::new(devices).unwrap();
        }),
        ("two devices share a key", |m| {
            with_second_device(m, 7);
            let mut devices = m.devices.to_vec();
            devices[1].signing = devices[0].signing;
            m.devices = List::new(devices).unwrap();
        }),
        ("two devices share a slot", |m| {
            with_second_device(m, 7);
            let mut devices = m.devices.to_vec();
            devices[1].slot = devices[0].slot;
            m.devices = List::new(devices).unwrap();
        }),
        ("two primary devices", |m| {
            with_second_device(m, 7);
            let mut devices = m.devices.to_vec();
            devices.iter_mut().for_each(|device| device.primary = Some(true));
            m.devices = List::new(devices).unwrap();
        }),
        ("a device is listed and revoked", |m| m.revoked = List::new(vec![m.devices[0].id]).unwrap()),
        ("an earlier version is not earlier", |m| m.previous = history(&[m.version])),
        ("earlier versions are not ascending", |m| m.previous = history(&[1, 1])),
        ("earlier versions are not ascending", |m| m.previous = history(&[1, 0])),
        ("a replaced key is accepted for more than 31 days", |m| {
            let mut devices = m.devices.to_vec();
            let signing = DeviceSigningKey::from_seed(&[1; 32]).public();
            devices[0].previous =
                Some(PreviousKey { signing, until_ms: m.issued_ms + MAX_PREVIOUS_KEY_MS + 1 });
            m.devices = List::new(devices).unwrap();
        }),
    ];
    let alice = alice();
    for (what, change) in cases {
        let mut manifest = alice.manifest.successor(NOW_MS).unwrap();
        change(&mut manifest);
        let error = VerifiedManifest::sign(&alice.root, manifest.clone()).unwrap_err();
        assert_eq!(error, ManifestError::Inconsistent { what });
        // Whatever the signature, the content is refused first.
        let forged =
            Signed { body: manifest.encode(), sig: penpal_protocol::ids::Signature::from_bytes([0; 64]) };
        let error = VerifiedManifest::restore(&forged.encode(), &alice.fingerprint()).unwrap_err();
        assert_eq!(error, ManifestError::Inconsistent { what });
    }
}

fn history(versions: &[u64]) -> List<ManifestVersion, MAX_MANIFEST_HISTORY> {
    let entry = |version: &u64| ManifestVersion { version: *version, hash: ShortHash::from_bytes([0; 16]) };
    List::new(versions.iter().map(entry).collect()).unwrap()
}

#[test]
fn only_the_root_signs_and_only_what_fits() {
    let alice = alice();
    let manifest = alice.manifest.successor(NOW_MS).unwrap();
    let mallory = RootKey::from_seed(&[9; 32]);
    assert!(matches!(
        VerifiedManifest::sign(&mallory, manifest.clone()),
        Err(ManifestError::OtherRoot { .. })
    ));
    let Signed { body, .. } = Signed::decode(alice.manifest.signed(), MAX_MANIFEST_BYTES).unwrap();
    let Signed { sig, .. } =
        Signed::decode(next(&alice, &alice.manifest, |_| ()).signed(), MAX_MANIFEST_BYTES).unwrap();
    let mixed = Signed { body, sig }.encode();
    assert!(matches!(
        VerifiedManifest::restore(&mixed, &alice.fingerprint()),
        Err(ManifestError::Signature(_))
    ));

    let mut fullest = manifest;
    let mut rng = rng(3);
    for seed in 100..115 {
        with_second_device(&mut fullest, seed);
    }
    fullest.revoked =
        List::new((0..MAX_REVOKED).map(|_| DeviceId::from_bytes(bytes(&mut rng))).collect()).unwrap();
    fullest.version = 100;
    fullest.previous = history(&(60..92).collect::<Vec<_>>());
    match VerifiedManifest::sign(&alice.root, fullest) {
        Ok(signed) => assert!(signed.signed().len() <= MAX_MANIFEST_BYTES),
        Err(error) => assert!(matches!(error, ManifestError::TooLong { .. })),
    }
}

#[test]
fn a_bundle_is_tied_to_a_device_of_the_manifest() {
    let alice = alice();
    let bob = Person::new("bob", &mut rng(2));
    let signed = alice.bundle.signed();
    let verified = VerifiedBundle::verify(signed, &alice.device, &alice.manifest, NOW_MS).unwrap();
    assert_eq!(verified, alice.bundle);
    assert_eq!(verified.prekey(), (alice.key_id, alice.prekey.public()));

    let error = VerifiedBundle::verify(signed, &bob.device, &alice.manifest, NOW_MS).unwrap_err();
    assert_eq!(error, BundleError::OtherDevice { expected: bob.device, got: alice.device });
    let error = VerifiedBundle::verify(signed, &alice.device, &bob.manifest, NOW_MS).unwrap_err();
    assert_eq!(error, BundleError::UnknownDevice { device: alice.device, manifest: 1 });
    let expires_ms = alice.bundle.bundle().expires_ms;
    assert!(VerifiedBundle::verify(signed, &alice.device, &alice.manifest, expires_ms).is_ok());
    let error = VerifiedBundle::verify(signed, &alice.device, &alice.manifest, expires_ms + 1).unwrap_err();
    assert_eq!(error, BundleError::Expired { expires_ms });

    // Another key of hers that the manifest does not know.
    let other = DeviceSigningKey::from_seed(&[7; 32]);
    let foreign = bundle_of(alice.device, &other, alice.key_id, &alice.prekey);
    let foreign = VerifiedBundle::sign(&other, foreign).unwrap();
    let error = VerifiedBundle::verify_any(foreign.signed(), &alice.manifest, NOW_MS).unwrap_err();
    assert_eq!(error, BundleError::UnknownDevice { device: alice.device, manifest: 1 });

    let good = alice.bundle.bundle().clone();
    let sign = |bundle| VerifiedBundle::sign(&alice.signing, bundle).unwrap_err();
    let life_ms = MAX_BUNDLE_LIFE_MS + 1;
    assert_eq!(
        sign(Bundle { expires_ms: good.issued_ms + life_ms, ..good.clone() }),
        BundleError::Life { life_ms }
    );
    assert_eq!(sign(Bundle { expires_ms: good.issued_ms, ..good.clone() }), BundleError::Life { life_ms: 0 });
    assert!(matches!(VerifiedBundle::sign(&other, good), Err(BundleError::UnknownDevice { .. })));
}

#[test]
fn a_stored_profile_opens_only_as_what_it_was_stored_as() {
    let alice = alice();
    let key = ProfileKey::from_bytes([3; 32]);
    let signed = alice.manifest.signed();
    let blob = seal_profile(&key, ProfileItem::Manifest, signed, [5; 32]);
    assert_eq!(blob.len() % 1024, 32 + 16, "padded to whole KiB");
    assert_eq!(open_profile(&key, ProfileItem::Manifest, &blob).unwrap(), signed);
    assert_ne!(blob, seal_profile(&key, ProfileItem::Manifest, signed, [6; 32]));

    let bundle = ProfileItem::Bundle(alice.device);
    assert!(open_profile(&key, bundle, &blob).is_err());
    assert!(open_profile(&key, ProfileItem::Bundle(DeviceId::from_bytes([0; 16])), &blob).is_err());
    assert!(open_profile(&ProfileKey::from_bytes([4; 32]), ProfileItem::Manifest, &blob).is_err());
    let blob = seal_profile(&key, bundle, alice.bundle.signed(), [5; 32]);
    assert_eq!(open_profile(&key, bundle, &blob).unwrap(), alice.bundle.signed());
    assert!(open_profile(&key, ProfileItem::Bundle(DeviceId::from_bytes([1; 16])), &blob).is_err());
    for end in [0, 31, 32, 47, blob.len() - 1] {
        assert!(open_profile(&key, bundle, &blob[..end]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_flipped_bit_or_cut_of_a_manifest_is_an_error(at: prop::sample::Index, bit in 0_u8..8, end: prop::sample::Index) {
        let alice = alice();
        let mut signed = alice.manifest.signed().to_vec();
        let cut = &signed[..end.index(signed.len())];
        prop_assert!(VerifiedManifest::pin(cut, &alice.fingerprint(), NOW_MS).is_err());
        let at = at.index(signed.len());
        signed[at] ^= 1 << bit;
        prop_assert!(VerifiedManifest::pin(&signed, &alice.fingerprint(), NOW_MS).is_err());
    }

    #[test]
    fn any_flipped_bit_or_cut_of_a_bundle_is_an_error(at: prop::sample::Index, bit in 0_u8..8, end: prop::sample::Index) {
        let alice = alice();
        let mut signed = alice.bundle.signed().to_vec();
        let cut = &signed[..end.index(signed.len())];
        prop_assert!(VerifiedBundle::verify_any(cut, &alice.manifest, NOW_MS).is_err());
        let at = at.index(signed.len());
        signed[at] ^= 1 << bit;
        prop_assert!(VerifiedBundle::verify_any(&signed, &alice.manifest, NOW_MS).is_err());
    }

    #[test]
    fn any_flipped_bit_of_a_stored_profile_is_an_error(at: prop::sample::Index, bit in 0_u8..8) {
        let key = ProfileKey::from_bytes([3; 32]);
        let mut blob = seal_profile(&key, ProfileItem::Manifest, b"signed bytes", [5; 32]);
        let at = at.index(blob.len());
        blob[at] ^= 1 << bit;
        prop_assert!(open_profile(&key, ProfileItem::Manifest, &blob).is_err());
    }
}

#[test]
fn key_ids_are_part_of_a_bundle() {
    let alice = alice();
    let other = Bundle { key_id: KeyId::from_bytes([1; 8]), ..alice.bundle.bundle().clone() };
    let other = VerifiedBundle::sign(&alice.signing, other).unwrap();
    assert_ne!(other.signed(), alice.bundle.signed());
    assert!(other.bundle().expires_ms > NOW_MS + DAY_MS);
}
