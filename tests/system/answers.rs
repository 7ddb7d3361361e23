//! What `penpal init` and `penpal uninstall` ask, and that nothing is written before the answer.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use penpal_tests::{Binaries, folder};

use crate::wiring::Owner;

/// Runs a command in a terminal in which somebody types these answers; its exit status and what it showed.
fn in_terminal(owner: &Owner, args: &[&str], typed: &str) -> (Option<i32>, String) {
    let (mut pty, pts) = pty_process::blocking::open().expect("a terminal");
    let mut command = pty_process::blocking::Command::new(&Binaries::get().penpal).env_clear();
    for (name, value) in [
        ("PATH", format!("{}:/usr/bin:/bin", owner.user.join("bin").display())),
        ("PENPAL_HOME", owner.person.home().display().to_string()),
        ("HOME", owner.user.display().to_string()),
    ] {
        command = command.env(name, value);
    }
    let mut child = command.args(args).spawn(pts).expect("it runs");
    // The line discipline keeps what is typed early until it is read.
    pty.write_all(typed.as_bytes()).expect("typed");
    let mut shown = Vec::new();
    // A terminal whose program ended gives an error, not an end.
    let read = pty.read_to_end(&mut shown);
    drop(read);
    let status = child.wait().expect("it ends");
    (status.code(), String::from_utf8_lossy(&shown).into_owned())
}

fn program() -> &'static str {
    Binaries::get().penpal.to_str().expect("UTF-8")
}

#[test]
fn whether_sessions_are_woken_is_written_with_the_rest_and_keeps_other_settings() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(".gemini/settings.json", "{}\n");
    let config = owner.person.home().join("config.toml");
    let settings = || fs::read_to_string(&config).ok();
    let init = |more: &[&str]| {
        let args = [&["init", "--client", "gemini", "--program", program()][..], more].concat();
        owner.run(&args)
    };
    // Looked at, not agreed to, or declined: nothing is written.
    assert_eq!(init(&["--wakes", "off", "--dry-run"]).status, 0);
    assert_eq!(init(&["--wakes", "off"]).status, 4, "nobody can be asked");
    let asked = ["init", "--client", "gemini", "--program", program(), "--wakes", "off"];
    let (status, shown) = in_terminal(&owner, &asked, "n\n");
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("Write this? [y/N]"), "{shown}");
    assert_eq!((settings(), owner.read(".gemini/settings.json").as_str()), (None, "{}\n"));

    let said = init(&["--yes"]);
    assert!(said.out.contains("wakes an idle session at most once a minute (--wakes off)"), "{said:?}");
    assert_eq!(settings(), None, "the usual needs no line");
    fs::write(&config, "# mine\nhistory-days = 30\n").expect("written");
    let said = init(&["--yes", "--wakes", "off"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    assert_eq!(settings().as_deref(), Some("wakes = \"off\"\n# mine\nhistory-days = 30\n"));
    owner.uninstall();
    assert!(init(&["--yes"]).out.contains("No idle session is woken (--wakes on)"));

    // A node that runs has read its settings; it takes them up with its next start.
    owner.person.ok(&["daemon", "start"]);
    let said = init(&["--yes", "--wakes", "on"]);
    assert!(said.err.contains("counts from the node's next start"), "{said:?}");
    assert_eq!(settings().as_deref(), Some("wakes = \"on\"\n# mine\nhistory-days = 30\n"));

    // Settings that cannot be read are named and left alone.
    fs::write(&config, "history-days = \n").expect("written");
    let said = init(&["--yes", "--wakes", "off", "--json"]);
    assert_eq!((said.status, said.code().as_str()), (3, "bad-config"), "{said:?}");
    assert!(said.err.contains("config.toml"), "{said:?}");
    assert_eq!(settings().as_deref(), Some("history-days = \n"));
    let said = init(&["--wakes", "sometimes"]);
    assert_eq!(said.status, 2, "{said:?}");
}

#[test]
fn agents_that_do_not_exist_and_homes_without_any_are_said() {
    let folder = folder();
    let owner = Owner::new(&folder);
    let said = owner.run(&["init", "--yes", "--program", program(), "--client", "codex,eliza", "--json"]);
    assert_eq!((said.status, said.code().as_str()), (2, "usage"), "{said:?}");
    assert!(said.err.contains("\"eliza\"") && said.err.contains("candidates: "), "{said:?}");
    let said = owner.run(&["init", "--yes", "--program", program(), "--json"]);
    assert_eq!((said.status, said.code().as_str()), (1, "not-found"), "{said:?}");
    assert_eq!(owner.everything(), BTreeMap::new());
    // Taking out what was never put in changes nothing.
    let said = owner.run(&["uninstall"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("No agent's file holds anything of penpal."), "{said:?}");
    assert_eq!(owner.everything(), BTreeMap::new());
}

#[test]
fn the_node_starts_at_login_only_when_asked_and_not_after_uninstall() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(".gemini/settings.json", "{}\n");
    // A systemd that writes down what it is told.
    owner.write("bin/systemctl", "#!/bin/sh\necho \"$@\" >> \"$HOME/told\"\n");
    let stub = owner.user.join("bin/systemctl");
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).expect("mode");
    let before = owner.everything();
    let init = ["init", "--client", "gemini", "--program", program()];
    let (status, shown) = in_terminal(&owner, &init, "y\nn\n");
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("Start the node when you log in? [y/N]"), "{shown}");
    let unit = owner.user.join(".config/systemd/user/penpal.service");
    assert!(!unit.exists() && !owner.user.join("told").exists());
    let (status, shown) = in_terminal(&owner, &[&init[..], &["--login"]].concat(), "");
    assert_eq!(status, Some(0), "{shown}");
    let text = fs::read_to_string(&unit).expect("the unit");
    assert!(
        text.contains(&format!(
            "{} --home {} daemon run --log-file",
            program(),
            owner.person.home().display()
        )),
        "{text}"
    );
    assert_eq!(owner.read("told"), "--user daemon-reload\n--user enable penpal.service\n");
    let (status, shown) = in_terminal(&owner, &["uninstall"], "y\n");
    assert_eq!(status, Some(0), "{shown}");
    assert!(owner.read("told").ends_with("--user disable penpal.service\n"));
    fs::remove_file(owner.user.join("told")).expect("there");
    assert_eq!(owner.everything(), before, "its folders go too");
}

#[test]
fn keys_and_mail_go_only_when_a_person_types_so_and_nothing_else_with_them() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(".gemini/settings.json", "{}\n");
    owner.init(&["--client", "gemini", "--wakes", "off"]);
    owner.person.ok(&["session", "open", "api"]);
    let file = folder.path().join("notes.txt");
    fs::write(&file, "a file").expect("written");
    owner.person.ok(&["artifact", "put", file.to_str().expect("UTF-8")]);
    owner.person.ok(&["search", "words"]);
    let home = owner.person.home();
    let said = owner.run(&["uninstall", "--yes", "--purge", "--json"]);
    assert_eq!((said.status, said.code().as_str()), (4, "needs-person"), "{said:?}");
    for (typed, status) in [("yes\n", Some(1)), ("n\n", Some(1))] {
        let (ended, shown) = in_terminal(&owner, &["uninstall", "--yes", "--purge"], typed);
        assert_eq!(ended, status, "{shown}");
        assert!(shown.contains("Type \"delete everything\":"), "{shown}");
    }
    assert!(owner.read(".gemini/settings.json").contains("penpal"), "nothing was taken out either");
    assert_eq!(owner.person.json(&["sessions"])["sessions"][0]["session"], "api");

    // While a file cannot be given back, the copies that could stay.
    let wired = owner.read(".gemini/settings.json");
    owner.write(".gemini/settings.json", "{ \"mcpServers\": ");
    let (status, shown) = in_terminal(&owner, &["uninstall", "--yes", "--purge"], "delete everything\n");
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("nothing was deleted") && home.join("wiring.json").exists(), "{shown}");
    owner.write(".gemini/settings.json", &wired);

    // A home may be any folder: what is not penpal's stays in it.
    fs::write(home.join("thesis.txt"), "mine").expect("written");
    let (status, shown) = in_terminal(&owner, &["uninstall", "--yes", "--purge"], "delete everything\n");
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("holds files that are not penpal's; they stay"), "{shown}");
    let left: Vec<_> = fs::read_dir(home).expect("there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["thesis.txt"]);
    assert_eq!(owner.read(".gemini/settings.json"), "{}\n");
    // And of a home with nothing else, nothing is left.
    fs::remove_file(home.join("thesis.txt")).expect("there");
    owner.person.ok(&["session", "open", "api"]);
    let (status, shown) = in_terminal(&owner, &["uninstall", "--purge"], "delete everything\n");
    assert_eq!(status, Some(0), "{shown}");
    assert!(!home.exists());
}
