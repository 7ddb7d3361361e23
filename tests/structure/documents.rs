//! What the documents cite exists: files, folders, tests.

use std::path::{Path, PathBuf};

/// Top-level folders; a quoted path that begins with one of them is a path of this workspace.
const FOLDERS: [&str; 9] = ["docs", "crates", "node", "relay", "tests", "protocol", "fuzz", "xtask", ".ci"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a readable file")
}

/// Every Markdown file of `docs`, and those at the top.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of documents") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    found.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    assert!(found.len() > 5, "the documents are found");
    found
}

/// What stands between backticks, one line each, outside of fenced blocks.
fn quoted(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// Targets of links to other files, as they are written.
fn linked(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|file| !file.is_empty() && !file.contains("://")).collect()
}

fn is_path(text: &str) -> bool {
    let plain = |one: char| one.is_ascii_alphanumeric() || "._-/".contains(one);
    let first = text.split('/').next().unwrap_or_default();
    text.contains('/') && text.chars().all(plain) && FOLDERS.contains(&first)
}

fn is_test_name(text: &str) -> bool {
    let plain = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_';
    text.contains('_') && text.chars().all(plain)
}

#[test]
fn every_path_that_the_documents_cite_exists() {
    let mut missing = Vec::new();
    let mut cited = 0;
    for document in documents() {
        let text = read(&document);
        let folder = document.parent().expect("a folder");
        let paths =
            quoted(&text).into_iter().filter(|text| is_path(text)).map(|path| (path, root().join(path)));
        let links = linked(&text).into_iter().map(|link| (link, folder.join(link)));
        for (written, path) in paths.chain(links) {
            cited += 1;
            if !path.exists() {
                missing.push(format!("{} cites {written}", document.display()));
            }
        }
    }
    assert!(cited > 50, "only {cited} citations were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Tests that a document cites and that do not stand in the file which is cited before them; and how many it cites.
fn missing_tests(document: &str, is_test: impl Fn(&str) -> bool) -> (Vec<String>, usize) {
    let text = read(&root().join(document));
    let mut source = None;
    let mut cited = 0;
    let mut missing = Vec::new();
    for word in quoted(&text) {
        if is_path(word) && word.ends_with(".rs") {
            source = Some((word, read(&root().join(word))));
        } else if is_test(word) {
            cited += 1;
            match &source {
                Some((_, content)) if content.contains(&format!("fn {word}(")) => {}
                Some((file, _)) => missing.push(format!("{file} has no {word}")),
                None => missing.push(format!("{word} is in no file")),
            }
        }
    }
    (missing, cited)
}

/// A claim of the threat model without its test is only a claim, and so is a finding that nothing keeps from coming back.
#[test]
fn every_test_that_the_documents_cite_exists() {
    // Beside tests the one names functions, which are shorter.
    let is_long = |word: &str| is_test_name(word) && word.matches('_').count() > 3;
    let (missing, cited) = missing_tests("docs/threat-model.md", is_test_name);
    assert!(cited > 100, "only {cited} tests were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let (missing, cited) = missing_tests("docs/reliability.md", is_long);
    assert!(cited > 20, "only {cited} tests were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// A test of the hostile relay that nobody finds proves little: each stands in the threat model.
#[test]
fn every_test_of_the_hostile_relay_stands_in_the_threat_model() {
    let text = read(&root().join("docs/threat-model.md"));
    let cited = quoted(&text);
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/hostile")).expect("the tests") {
        let source = read(&entry.expect("an entry").path());
        let tests = source.split("#[test]\n").skip(1).filter_map(|rest| rest.strip_prefix("fn "));
        let names = tests.filter_map(|rest| rest.split('(').next());
        missing.extend(names.filter(|name| !cited.contains(name)).map(str::to_owned));
    }
    assert!(missing.is_empty(), "not in docs/threat-model.md: {}", missing.join(", "));
}
