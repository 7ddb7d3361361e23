//! Manifests and bundles: as a relay keeps them, as their authors sign them, and by an author who means harm.

use std::sync::LazyLock;

use penpal_protocol::sealed::{Bundle, Manifest};
use penpal_seal::{
    ManifestUpdate, ProfileItem, VerifiedBundle, VerifiedManifest, open_profile, seal_profile,
};

use crate::{
    edit::edited,
    people::{ALICE, NOW_MS},
};

static STORED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    seal_profile(&ALICE.profile_key, ProfileItem::Manifest, ALICE.manifest.signed(), [9; 32])
});

/// The first byte chooses what the rest is.
pub fn check(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    match how % 6 {
        0 => drop(opened(rest)),
        1 => {
            let blob = edited(&STORED, rest);
            assert_eq!(opened(&blob).is_some(), blob == *STORED, "a spoiled profile opened");
        }
        2 => {
            // What a relay's other users could seal: anything.
            let blob = seal_profile(&ALICE.profile_key, ProfileItem::Manifest, rest, [9; 32]);
            assert_eq!(opened(&blob).as_deref(), Some(rest));
        }
        3 => signed(rest),
        4 => {
            signed(&edited(ALICE.manifest.signed(), rest));
            signed(&edited(ALICE.bundle.signed(), rest));
        }
        _ => {
            any_manifest(rest);
            any_bundle(rest);
        }
    }
}

fn opened(blob: &[u8]) -> Option<Vec<u8>> {
    let other = open_profile(&ALICE.profile_key, ProfileItem::Bundle(ALICE.device), blob);
    assert!(other.is_err(), "a manifest opened as a bundle");
    open_profile(&ALICE.profile_key, ProfileItem::Manifest, blob).ok()
}

/// Bytes that say they are signed.
fn signed(bytes: &[u8]) {
    let account = ALICE.root.fingerprint();
    if let Ok(pinned) = VerifiedManifest::pin(bytes, &account, NOW_MS) {
        assert_eq!(pinned.manifest(), ALICE.manifest.manifest(), "a manifest that Alice did not sign");
    }
    if let Ok(update) = ALICE.manifest.update(bytes, NOW_MS) {
        assert_eq!(update, ManifestUpdate::Same, "a manifest that Alice did not sign");
    }
    if let Ok(bundle) = VerifiedBundle::verify_any(bytes, &ALICE.manifest, NOW_MS) {
        assert_eq!(bundle.bundle(), ALICE.bundle.bundle(), "a bundle that Alice did not sign");
    }
}

/// Whatever the root signs is read as it was signed, and judged against what is held.
fn any_manifest(bytes: &[u8]) {
    let Ok(mut manifest) = Manifest::decode(bytes) else { return };
    manifest.root = ALICE.root.public();
    let Ok(made) = VerifiedManifest::sign(&ALICE.root, manifest) else { return };
    let read = VerifiedManifest::restore(made.signed(), &ALICE.root.fingerprint()).expect("what was signed");
    assert_eq!(read, made);
    if let Ok(ManifestUpdate::Newer { manifest, .. }) = ALICE.manifest.update(made.signed(), NOW_MS) {
        assert!(manifest.version() > ALICE.manifest.version());
        assert!(manifest.update(ALICE.manifest.signed(), NOW_MS).is_err(), "back to an older manifest");
    }
    if let Some(next) = made.successor(NOW_MS) {
        assert!(next.version > made.version());
    }
}

fn any_bundle(bytes: &[u8]) {
    let Ok(mut bundle) = Bundle::decode(bytes) else { return };
    bundle.signing = ALICE.signing.public();
    let Ok(made) = VerifiedBundle::sign(&ALICE.signing, bundle) else { return };
    if let Ok(read) = VerifiedBundle::verify(made.signed(), &ALICE.device, &ALICE.manifest, NOW_MS) {
        assert_eq!(read, made);
    }
}
