//! The shape of the workspace, held against what cargo says of it.

mod documents;

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

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

/// What is built here: the crates of other platforms need not have been downloaded.
fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(["--offline", "--locked", "--filter-platform=host-tuple"].map(str::to_owned))
        .exec()
        .expect("cargo metadata of this workspace")
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
    let metadata = metadata();
    let reached = everything_below(&metadata, "penpal-relay");
    assert!(
        reached.contains("quinn") && reached.contains("penpal-store"),
        "the walk does not reach what it must"
    );
    for opener in OPENERS {
        assert!(!reached.contains(opener), "penpal-relay reaches {opener}");
    }
    // The walk can find it where it is.
    assert!(everything_below(&metadata, "penpal").contains("penpal-seal"));
}

/// Names of all packages that a package uses, directly or not, tests left out.
fn everything_below(metadata: &Metadata, start: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let start = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == start)
        .expect("the package");
    let mut waiting = vec![&start.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        for used in &nodes[id].deps {
            let linked = used.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development);
            if linked {
                waiting.push(&used.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}
