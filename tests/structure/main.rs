//! The shape of the workspace, held against what cargo says of it.

mod documents;

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which of our crates each of our crates may use directly. Left: the user; right: what it may use.
///
/// The direction is what matters: the relay never comes near code that could open a message.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("penpal-protocol", &[]),
    ("penpal-seal", &["penpal-protocol"]),
    ("penpal-store", &["penpal-protocol"]),
    ("penpal-transport", &["penpal-protocol"]),
    ("penpal-relay-core", &["penpal-protocol"]),
    ("penpal-local-api", &["penpal-protocol"]),
    ("penpal-sessions", &["penpal-protocol"]),
    ("penpal-wake", &["penpal-protocol"]),
    ("penpal-search", &[]),
    ("penpal-transfer", &["penpal-protocol"]),
    ("penpal-contact", &["penpal-protocol", "penpal-seal"]),
    ("penpal-room", &["penpal-protocol", "penpal-seal"]),
    ("penpal-delivery", &["penpal-protocol", "penpal-seal"]),
    ("penpal-agents", &["penpal-protocol", "penpal-local-api"]),
    ("penpal-relay", &["penpal-protocol", "penpal-relay-core", "penpal-store", "penpal-transport"]),
    (
        "penpal",
        &[
            "penpal-protocol",
            "penpal-seal",
            "penpal-store",
            "penpal-transport",
            "penpal-local-api",
            "penpal-sessions",
            "penpal-wake",
            "penpal-search",
            "penpal-transfer",
            "penpal-room",
            "penpal-contact",
            "penpal-delivery",
            "penpal-agents",
            "penpal-relay",
        ],
    ),
];

/// Crates that could open a message, or decide about one.
const OPENERS: [&str; 6] =
    ["penpal-seal", "penpal-contact", "penpal-delivery", "penpal-room", "hpke", "chacha20poly1305"];

/// What the crates of this workspace say they use: nothing need be downloaded for that.
fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("cargo metadata of this workspace")
}

/// `Cargo.lock`: what all crates use, on whatever platform.
#[derive(serde::Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(serde::Deserialize)]
struct Locked {
    name: String,
    version: String,
    /// Each a name, and a version where there are several.
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Lock {
    fn find(&self, used: &str) -> &Locked {
        let mut words = used.split(' ');
        let (name, version) = (words.next(), words.next());
        let is_it = |package: &&Locked| {
            Some(package.name.as_str()) == name && version.is_none_or(|version| package.version == version)
        };
        self.package.iter().find(is_it).expect("what is used is in Cargo.lock")
    }
}

#[test]
fn crates_depend_in_one_direction_only() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(user, used)| (*user, used.iter().copied().collect())).collect();
    let ours: BTreeSet<&str> = allowed.keys().copied().collect();
    for package in metadata.workspace_packages() {
        let Some(may_use) = allowed.get(package.name.as_str()) else { continue };
        let normal =
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        for dependency in normal.filter(|dependency| ours.contains(dependency.name.as_str())) {
            assert!(
                may_use.contains(dependency.name.as_str()),
                "{} may not use {}: see docs/architecture.md",
                package.name,
                dependency.name
            );
        }
    }
}

#[test]
fn every_crate_of_ours_is_covered_by_the_rule() {
    let covered: BTreeSet<&str> = MAY_USE.iter().map(|(user, _)| *user).collect();
    let helpers = ["penpal-bench", "penpal-sim", "penpal-tests", "xtask"];
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        assert!(covered.contains(name) || helpers.contains(&name), "{name} has no place in the rule");
    }
}

#[test]
fn the_relay_contains_no_code_that_could_open_a_message() {
    let reached = everything_below("penpal-relay");
    assert!(
        reached.contains("quinn") && reached.contains("penpal-store"),
        "the walk does not reach what it must"
    );
    for opener in OPENERS {
        assert!(!reached.contains(opener), "penpal-relay reaches {opener}");
    }
    // The walk can find it where it is.
    assert!(everything_below("penpal").contains("penpal-seal"));
}

/// Names of all packages that a package uses, directly or not, tests left out.
fn everything_below(start: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
    let lock: Lock = toml::from_str(&text.expect("Cargo.lock")).expect("Cargo.lock is TOML");
    let metadata = metadata();
    // Of our own crates Cargo.lock has the tests', too; of all others only what is linked.
    let linked: BTreeMap<&str, BTreeSet<&str>> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let linked = package.dependencies.iter().filter(|used| used.kind != DependencyKind::Development);
            (package.name.as_str(), linked.map(|used| used.name.as_str()).collect())
        })
        .collect();
    let mut waiting = vec![lock.find(start)];
    let mut seen = BTreeSet::new();
    while let Some(package) = waiting.pop() {
        if !seen.insert((package.name.as_str(), package.version.as_str())) {
            continue;
        }
        let all = package.dependencies.iter().map(|used| lock.find(used));
        match linked.get(package.name.as_str()) {
            Some(linked) => waiting.extend(all.filter(|used| linked.contains(used.name.as_str()))),
            None => waiting.extend(all),
        }
    }
    seen.into_iter().map(|(name, _)| name.to_owned()).collect()
}
