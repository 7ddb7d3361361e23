//! Which agents are on this machine, and in which version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::{Agent, Setup};

/// How long an agent may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(5);

/// Longest `package.json` that is read, in bytes.
const MAX_PACKAGE_BYTES: u64 = 256 * 1024;

/// An agent that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its program, if it is on the path.
    pub program: Option<PathBuf>,
    /// Its version, if it could be told.
    pub version: Option<String>,
}

/// Looks for an agent: its program on `PATH`, or the folder of its settings.
#[must_use]
pub fn find(agent: &dyn Agent, setup: &Setup) -> Option<Found> {
    let program = on_path(agent.kind().programs(), setup.variables.get("PATH").map(String::as_str));
    if program.is_none() && !agent.folder(setup).is_dir() {
        return None;
    }
    let version =
        program.as_deref().and_then(|program| version_of_package(program).or_else(|| said_version(program)));
    Some(Found { program, version })
}

/// The first of these programs that a search path holds.
#[must_use]
pub fn on_path(programs: &[&str], path: Option<&str>) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(path?).filter(|folder| folder.is_absolute()).collect();
    let candidates =
        programs.iter().flat_map(|program| folders.iter().map(move |folder| folder.join(program)));
    candidates.into_iter().find(|candidate| is_program(candidate))
}

/// Whether a file is there that may be run.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The version in the npm package that a program belongs to: no process is started.
fn version_of_package(program: &Path) -> Option<String> {
    let real = program.canonicalize().ok()?;
    let inside = |folder: &&Path| folder.components().any(|part| part.as_os_str() == "node_modules");
    let folder =
        real.ancestors().skip(1).filter(inside).find(|folder| folder.join("package.json").is_file())?;
    let path = folder.join("package.json");
    if std::fs::metadata(&path).ok()?.len() > MAX_PACKAGE_BYTES {
        return None;
    }
    let package: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    package.get("version")?.as_str().map(str::to_owned)
}

/// What `PROGRAM --version` says.
fn said_version(program: &Path) -> Option<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let until = Instant::now() + VERSION_LIMIT;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) | Err(_) => {
                drop(child.kill());
                drop(child.wait());
                return None;
            }
        }
    }
    let said = child.wait_with_output().ok()?.stdout;
    version_in(&String::from_utf8_lossy(&said))
}

/// The first word that looks like a version.
fn version_in(text: &str) -> Option<String> {
    text.split(|one: char| one.is_whitespace() || matches!(one, '(' | ')' | ','))
        .map(|word| word.trim_start_matches('v'))
        .find(|word| {
            let mut parts = word.split('.');
            let number = |part: Option<&str>| {
                part.is_some_and(|part| part.bytes().next().is_some_and(|byte| byte.is_ascii_digit()))
            };
            number(parts.next()) && number(parts.next())
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_agents_say() {
        assert_eq!(version_in("2.1.329 (Claude Code)\n").as_deref(), Some("2.1.329"));
        assert_eq!(version_in("codex-cli 0.169.0").as_deref(), Some("0.169.0"));
        assert_eq!(version_in("GitHub Copilot CLI v1.0.102, commit abc").as_deref(), Some("1.0.102"));
        assert_eq!(version_in("no version here"), None);
    }
}
