//! Checks that need no node: the home, its files, the network.

mod messages;

use std::os::unix::fs::PermissionsExt;

use penpal_local_api::home::Home;
use penpal_local_api::status::{Check, CheckState};

pub(crate) use messages::Loss;

use crate::config::{Config, ConfigError, Settings};

/// Checks the surroundings of a node. With `fix` it repairs what can be repaired without losing anything, and more only where loss is accepted.
pub(crate) fn surroundings(home: &Home, fix: bool, loss: Loss) -> Vec<Check> {
    let mut checks = vec![home_folder(home, fix)];
    checks.push(settings(home));
    checks.push(socket_path(home));
    checks.push(udp());
    checks.extend(messages::messages(home, loss));
    if home.stopped().exists() {
        checks.push(check(
            "stop mark",
            CheckState::Warning,
            "the node was stopped by hand; hooks do not start it",
            Some("penpal daemon start"),
        ));
    }
    checks
}

fn check(name: &str, state: CheckState, fact: impl Into<String>, repair: Option<&str>) -> Check {
    Check { name: name.to_owned(), state, fact: fact.into(), repair: repair.map(str::to_owned) }
}

fn home_folder(home: &Home, fix: bool) -> Check {
    let path = home.path();
    let shown = path.display();
    let Ok(found) = std::fs::metadata(path) else {
        return check(
            "home",
            CheckState::Ok,
            format!("{shown} does not exist yet; the first command makes it"),
            None,
        );
    };
    if !found.is_dir() {
        return check(
            "home",
            CheckState::Failed,
            format!("{shown} is no folder"),
            Some("choose another one: --home DIR"),
        );
    }
    if found.permissions().mode().trailing_zeros() < 6 {
        if fix && std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).is_ok() {
            return check("home", CheckState::Ok, format!("{shown}: others could read it; repaired"), None);
        }
        let fact = format!("{shown} can be read by others");
        return check("home", CheckState::Failed, fact, Some("penpal doctor --fix"));
    }
    let probe = path.join("doctor.probe");
    let tried = std::fs::File::create(&probe)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::remove_file(&probe));
    match tried {
        Ok(()) => check("home", CheckState::Ok, shown.to_string(), None),
        Err(error) => {
            let fact = format!("{shown} cannot be written: {error}");
            check("home", CheckState::Failed, fact, Some("free some space, or run outside the sandbox"))
        }
    }
}

/// Whether the node would start with its settings; one that runs keeps those it has.
fn settings(home: &Home) -> Check {
    let file = home.config();
    match Config::load(home, &Settings::default()) {
        Ok(_) if file.exists() => check("settings", CheckState::Ok, file.display().to_string(), None),
        Ok(_) => check("settings", CheckState::Ok, "the defaults; there is no config.toml", None),
        Err(error) => {
            let repair = match &error {
                ConfigError::Read { .. } => "make the file readable, or remove it".to_owned(),
                ConfigError::File { path, line, .. } => {
                    format!("correct or remove line {line} of {}", path.display())
                }
                ConfigError::Value { place, .. } => format!("correct or remove {place}"),
            };
            check("settings", CheckState::Failed, error.to_string(), Some(&repair))
        }
    }
}

fn socket_path(home: &Home) -> Check {
    let socket = home.socket();
    let fact = if home.has_short_socket() {
        format!("{} (the home's path is too long for a socket)", socket.display())
    } else {
        socket.display().to_string()
    };
    check("socket", CheckState::Ok, fact, None)
}

fn udp() -> Check {
    match std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)) {
        Ok(_) => check("udp", CheckState::Ok, "a socket can be opened", None),
        Err(error) => {
            let fact = format!("no socket can be opened: {error}");
            check(
                "udp",
                CheckState::Failed,
                fact,
                Some("this shell is sandboxed; use a terminal of your own"),
            )
        }
    }
}
