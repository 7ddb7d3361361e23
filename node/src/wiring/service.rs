//! Starting the node at login: a unit of the person's own systemd, or an agent of launchd.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use penpal_local_api::home::Home;

use super::files;
use super::record::Record;

#[cfg(not(target_os = "macos"))]
const TEMPLATE: &str = include_str!("../../../deploy/node/penpal.service");
#[cfg(target_os = "macos")]
const TEMPLATE: &str = include_str!("../../../deploy/node/dev.penpal.node.plist");

/// Where the unit stands and what it says.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) path: PathBuf,
    text: String,
}

impl Service {
    /// The unit of a node for this program and home.
    pub(crate) fn new(user: &Path, program: &str, home: &Home) -> Self {
        let home = home.path().display().to_string();
        let text = if cfg!(target_os = "macos") {
            TEMPLATE.replace("{program}", &in_xml(program)).replace("{home}", &in_xml(&home))
        } else {
            // The remarks of the template speak to whoever copies it by hand.
            let lines: Vec<&str> = TEMPLATE.lines().filter(|line| !line.starts_with('#')).collect();
            let text = lines.join("\n") + "\n";
            text.replace("{program}", &in_unit(program)).replace("{home}", &in_unit(&home))
        };
        let path = if cfg!(target_os = "macos") {
            user.join("Library/LaunchAgents/dev.penpal.node.plist")
        } else {
            let config =
                std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            config.unwrap_or_else(|| user.join(".config")).join("systemd/user/penpal.service")
        };
        Self { path, text }
    }

    /// What it says.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is in place as it should be.
    pub(crate) fn is_installed(&self) -> bool {
        files::read(&self.path).ok().flatten().as_deref() == Some(self.text.as_str())
    }

    /// Puts it into place and starts the node through it.
    ///
    /// # Errors
    /// What failed, with the command that does the rest.
    pub(crate) fn install(&self, home: &Home) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let made = files::write(&self.path, &self.text, false).map_err(failed)?;
        if !made.is_empty() {
            let mut record = Record::load(home);
            record.login_folders = made;
            record.store(home).map_err(failed)?;
        }
        let commands: &[&[&str]] = if cfg!(target_os = "macos") {
            &[&["launchctl", "load", "-w"]]
        } else {
            &[&["systemctl", "--user", "daemon-reload"], &["systemctl", "--user", "enable", "penpal.service"]]
        };
        commands.iter().try_for_each(|command| self.tell(command))
    }

    /// Takes it out again; one that is not there is no failure.
    ///
    /// # Errors
    /// What failed.
    pub(crate) fn remove(&self, home: &Home) -> Result<bool, String> {
        if !self.path.exists() {
            return Ok(false);
        }
        let command: &[&str] = if cfg!(target_os = "macos") {
            &["launchctl", "unload", "-w"]
        } else {
            &["systemctl", "--user", "disable", "penpal.service"]
        };
        let told = self.tell(command);
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        files::remove(&self.path).map_err(failed)?;
        let mut record = Record::load(home);
        files::remove_empty(&std::mem::take(&mut record.login_folders));
        record.store(home).map_err(failed)?;
        told.map(|()| true)
    }

    fn tell(&self, command: &[&str]) -> Result<(), String> {
        let Some((program, rest)) = command.split_first() else { return Ok(()) };
        let mut run = Command::new(program);
        run.args(rest);
        if cfg!(target_os = "macos") {
            run.arg(&self.path);
        }
        let status = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) | Err(_) => {
                Err(format!("`{}` did not succeed; run it in your own terminal", command.join(" ")))
            }
        }
    }
}

/// A word in a unit: quoted, with its own signs doubled.
fn in_unit(word: &str) -> String {
    let plain = word.chars().all(|one| one.is_ascii_alphanumeric() || "/._-+@".contains(one));
    if plain {
        return word.to_owned();
    }
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{word}\"")
}

fn in_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_program_and_home() {
        let service =
            Service::new(Path::new("/home/alice"), "/opt/my tools/penpal", &Home::at("/home/alice/50%"));
        assert!(service.text.contains("my tools/penpal"));
        assert!(!service.text.contains("{program}") && !service.text.contains("{home}"));
        if cfg!(not(target_os = "macos")) {
            let line = "ExecStart=\"/opt/my tools/penpal\" --home \"/home/alice/50%%\" daemon run --log-file";
            assert!(service.text.contains(line), "{}", service.text);
        }
    }
}
