//! Starting the node from a hook, without waiting for it.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use penpal_local_api::home::Home;

use crate::launch::prepare_home;

/// One try in this time: a node that cannot start must not be tried at every tool call.
const PAUSE: Duration = Duration::from_secs(10);

/// Starts the node, unless somebody stopped it by hand or it was tried just now.
pub(super) fn fire(home: &Home) {
    if home.stopped().exists() || prepare_home(home).is_err() {
        return;
    }
    let tried = home.path().join("start.tried");
    let recent = std::fs::metadata(&tried).and_then(|found| found.modified());
    if recent.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < PAUSE))
        || std::fs::write(&tried, b"").is_err()
    {
        return;
    }
    let Ok(program) = crate::program::path() else { return };
    // A group of its own: an agent that ends its hook's group does not end the node's start. The node itself begins a session.
    let started = Command::new(program)
        .arg("--home")
        .arg(home.path())
        .args(["daemon", "start"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    drop(started);
}
