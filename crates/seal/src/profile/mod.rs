//! What an account publishes to its contacts: the manifest, the bundles, and the sealed form in which a relay keeps both.

mod bundle;
mod manifest;
mod sealed;

pub use bundle::{BundleError, MAX_BUNDLE_LIFE_MS, VerifiedBundle};
pub use manifest::{
    Continuity, MAX_MANIFEST_LIFE_MS, MAX_PREVIOUS_KEY_MS, ManifestError, ManifestUpdate, VerifiedManifest,
};
pub use sealed::{ProfileError, ProfileItem, open_profile, seal_profile};
