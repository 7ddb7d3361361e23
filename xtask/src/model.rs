//! The models of the protocol in `tests/model`, given to Verifpal.
//!
//! A model says in lines with `//=` what is expected: `holds` or `fails`, then, except for the model as it stands, a name in
//! quotes and the replacements that make the variant, then Verifpal's result code: a letter for each query, `0` for no attack
//! found, `1` for an attack.
//!
//! ```text
//! //= holds c0a0
//! //= fails "a check is left out" : "sig)?" -> "sig)" : c0a1
//! ```

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};

/// The version that the expectations were written for.
const VERSION: &str = "1.6.7";

pub(crate) struct Options {
    /// Runs of each principal at the same time; the model's own where absent.
    pub(crate) sessions: Option<u64>,
    /// Only the model of this name.
    pub(crate) model: Option<String>,
}

/// A model with a change, and what must come of it.
#[derive(Debug, PartialEq, Eq)]
struct Variant {
    name: String,
    replacements: Vec<(String, String)>,
    expected: String,
}

pub(crate) fn run(workspace: &Path, options: &Options) -> Result<()> {
    let verifpal = workspace.join("target/tools/bin/verifpal");
    let verifpal = if verifpal.exists() { verifpal } else { "verifpal".into() };
    let version = Command::new(&verifpal).arg("--version").output();
    let version = version.context("verifpal cannot be started; `bash .ci/run model` installs it")?;
    println!("{}, written for {VERSION}", String::from_utf8_lossy(&version.stdout).trim());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("penpal-model-{}", since.as_nanos()));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let result = run_models(workspace, options, &verifpal, &folder);
    // What is left of a failed run is of use to nobody: the variants are made again.
    let _removed = fs::remove_dir_all(&folder);
    result
}

fn run_models(workspace: &Path, options: &Options, verifpal: &Path, folder: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (name, default_sessions) in [("envelope", 2), ("invite", 1)] {
        if options.model.as_deref().is_some_and(|model| model != name) {
            continue;
        }
        let sessions = options.sessions.unwrap_or(default_sessions);
        let path = workspace.join("tests/model").join(format!("{name}.vp"));
        let model = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for variant in variants(&model).with_context(|| path.display().to_string())? {
            let started = Instant::now();
            let file = folder.join("variant.vp");
            fs::write(&file, variant.of(&model)?).context("cannot write a variant")?;
            let output = Command::new(verifpal)
                .args(["verify", "--quiet", "--result-code", "--sessions", &sessions.to_string()])
                .arg(&file)
                .output()
                .context("verifpal cannot be started")?;
            ensure!(
                output.status.success(),
                "{name}, {}: {}",
                variant.name,
                String::from_utf8_lossy(&output.stderr)
            );
            let text = String::from_utf8_lossy(&output.stdout);
            let code = text.lines().last().unwrap_or_default().trim();
            let verdict = if code == variant.expected { "as expected" } else { "WRONG" };
            println!(
                "{name:9} {code:9} {verdict}, {sessions} sessions, {:4} s: {}",
                started.elapsed().as_secs(),
                variant.name
            );
            if code != variant.expected {
                wrong.push(format!("{name}, {}: {} was expected", variant.name, variant.expected));
            }
            tried += 1;
        }
    }
    ensure!(tried > 0, "there is no such model");
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

fn variants(model: &str) -> Result<Vec<Variant>> {
    model.lines().filter_map(|line| line.strip_prefix("//= ")).map(variant).collect()
}

fn variant(line: &str) -> Result<Variant> {
    let (start, expected) = line.rsplit_once(' ').context("an expectation without a result")?;
    let expected = expected.to_owned();
    if start == "holds" {
        return Ok(Variant { name: "as it stands".to_owned(), replacements: Vec::new(), expected });
    }
    let quoted: Vec<&str> = start.split('"').skip(1).step_by(2).collect();
    let (name, changes) = quoted.split_first().with_context(|| format!("no name: {line}"))?;
    ensure!(!changes.is_empty() && changes.len().is_multiple_of(2), "not pairs of replacements: {line}");
    let replacements = changes
        .chunks_exact(2)
        .filter_map(|pair| pair.first().zip(pair.last()))
        .map(|(old, new)| ((*old).to_owned(), (*new).to_owned()))
        .collect();
    Ok(Variant { name: (*name).to_owned(), replacements, expected })
}

impl Variant {
    fn of(&self, model: &str) -> Result<String> {
        let lines = model.lines().filter(|line| !line.starts_with("//="));
        let mut text = lines.collect::<Vec<_>>().join("\n");
        for (old, new) in &self.replacements {
            ensure!(text.contains(old), "{}: the model does not contain {old:?}", self.name);
            text = text.replace(old, new);
        }
        text.push('\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_read() {
        let model =
            "//= holds c0\n//= fails \"no check\" : \"b)?\" -> \"b)\", \"x\" -> \"y\" : c1\n\ta = F(b)? x\n";
        let found = variants(model).unwrap();
        assert_eq!(found[0].expected, "c0");
        assert_eq!(found[1].name, "no check");
        assert_eq!(found[1].of(model).unwrap(), "\ta = F(b) y\n");
    }

    #[test]
    fn a_change_that_changes_nothing_is_an_error() {
        let model = "//= fails \"no check\" : \"absent\" -> \"b\" : c1\n\ta\n";
        let found = variants(model).unwrap();
        assert!(found[0].of(model).is_err());
    }

    #[test]
    fn every_model_in_the_repository_can_be_varied() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/model");
        for name in ["envelope.vp", "invite.vp"] {
            let model = fs::read_to_string(folder.join(name)).unwrap();
            let found = variants(&model).unwrap();
            assert!(found.len() > 3, "{name}");
            for variant in found {
                variant.of(&model).unwrap();
            }
        }
    }
}
