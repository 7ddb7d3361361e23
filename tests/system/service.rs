//! The node at login: `penpal daemon install`, with a service manager that only notes what it is told.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use penpal_tests::{Person, Said};

/// A person whose `systemctl` writes down its arguments.
struct Scene {
    person: Person,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let person = Person::new(&folder, "alice");
        let manager = folder.path().join("bin/systemctl");
        std::fs::create_dir(folder.path().join("bin")).expect("a folder");
        let told = folder.path().join("told");
        std::fs::write(&manager, format!("#!/bin/sh\necho \"$@\" >> {}\n", told.display())).expect("it");
        std::fs::set_permissions(&manager, std::fs::Permissions::from_mode(0o755)).expect("it runs");
        Self { person, folder }
    }

    fn run(&self, args: &[&str], path: &str) -> Said {
        let mut command = self.person.command(args);
        command.env("PATH", path).output().expect("penpal runs").into()
    }

    fn with_manager(&self, args: &[&str]) -> Said {
        self.run(args, &format!("{}:/usr/bin:/bin", self.folder.path().join("bin").display()))
    }

    fn unit(&self) -> PathBuf {
        self.person.home().join(".config/systemd/user/penpal.service")
    }

    fn told(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("told")).unwrap_or_default()
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_node_is_started_at_login_and_not_any_more() {
    let scene = Scene::new();
    let install = ["daemon", "install", "--program", "/opt/penpal", "--json"];
    let shown = scene.with_manager(&[&install[..], &["--dry-run"]].concat());
    assert!(shown.status == 0 && !scene.unit().exists() && scene.told().is_empty(), "{shown:?}");
    let done = scene.with_manager(&install);
    assert_eq!((done.status, done.json()["enabled"].as_bool()), (0, Some(true)), "{done:?}");
    // What was shown, and what `deploy` has, but for its remarks.
    let unit = std::fs::read_to_string(scene.unit()).expect("the unit");
    assert_eq!(shown.json()["text"], unit);
    let deployed = include_str!("../../deploy/node/penpal.service");
    let lines = deployed.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<String> = lines
        .map(|line| {
            let home = scene.person.home().display().to_string();
            line.replace("{program}", "/opt/penpal").replace("{home}", &home)
        })
        .collect();
    assert_eq!(unit.trim(), lines.join("\n").trim());
    assert_eq!(scene.told(), "--user daemon-reload\n--user enable penpal.service\n");
    assert_eq!(scene.with_manager(&install).status, 0, "it can be run again");
    let gone = scene.with_manager(&["daemon", "uninstall", "--json"]);
    assert_eq!((gone.status, gone.json()["removed"].as_bool()), (0, Some(true)), "{gone:?}");
    assert!(!scene.unit().exists() && scene.told().ends_with("--user disable penpal.service\n"));
    let nothing = scene.with_manager(&["daemon", "uninstall", "--json"]);
    assert_eq!((nothing.status, nothing.json()["removed"].as_bool()), (0, Some(false)), "{nothing:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_service_manager_it_is_said_what_is_left_to_do() {
    let scene = Scene::new();
    let done = scene.run(&["daemon", "install", "--program", "/opt/penpal"], "/nowhere");
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.err.contains("is written, but `systemctl --user"), "{done:?}");
    assert!(scene.unit().exists());
}
