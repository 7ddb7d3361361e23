//! Checks that need no node: the home, its files, the network.

use std::os::unix::fs::PermissionsExt;

use penpal_local_api::home::Home;
use penpal_local_api::status::{Check, CheckState};

/// Checks the surroundings of a node. With `fix` it repairs what can be repaired without losing anything.
pub(crate) fn surroundings(home: &Home, fix: bool) -> Vec<Check> {
    let mut checks = vec![home_folder(home, fix)];
    checks.push(socket_path(home));
    checks.push(udp());
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
