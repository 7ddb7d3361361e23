//! What only the right person may do: refusals inside an agent, and of other users of the machine.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use penpal_tests::{Binaries, Pair, Person, Said, clean_command, folder, wait};

/// Runs a command as an agent's shell would: with the agent's variables.
fn inside_agent(person: &Person, args: &[&str]) -> Said {
    let mut command = person.command(args);
    command.arg("--json").env("CLAUDECODE", "1").env("CLAUDE_CODE_ENTRYPOINT", "cli");
    command.output().expect("penpal runs").into()
}

#[test]
fn inside_an_agent_nobody_accepts_verifies_or_grants() {
    let pair = Pair::connected();
    let carol = Person::at(&pair.folder().join("carol"), "carol");
    let code = pair.alice.json(&["contact", "invite"])["code"].as_str().expect("a code").to_owned();
    carol.ok(&["contact", "add", &code, "--handle", "carol"]);
    wait::until("the request", || pair.alice.contact_state("carol").as_deref() == Some("pending-in"));
    let number = pair.alice.json(&["contact", "verify", "bob"])["contact"]["safety_number"]
        .as_str()
        .expect("a safety number")
        .to_owned();
    pair.alice.ok(&["contact", "block", "bob"]);
    let refused: [&[&str]; 6] = [
        &["contact", "accept", "carol"],
        &["contact", "verify", "bob", "--number", &number],
        &["contact", "unblock", "bob"],
        &["contact", "invite", "--auto-accept"],
        &["account", "recovery-code"],
        &["recover", "--revoke", "all"],
    ];
    for args in refused {
        let said = inside_agent(&pair.alice, args);
        assert_eq!((said.status, said.code().as_str()), (4, "needs-person"), "{args:?}: {said:?}");
        assert!(said.err.contains("hint: ask your person to run this in their own terminal"), "{said:?}");
    }
    assert_eq!(pair.alice.contact_state("carol").as_deref(), Some("pending-in"));
    assert_eq!(pair.alice.contact_state("bob").as_deref(), Some("blocked"));
    // What needs no person works there, and all of it in a terminal.
    assert_eq!(inside_agent(&pair.alice, &["contact", "list"]).status, 0);
    pair.alice.ok(&["contact", "accept", "carol"]);
    pair.alice.ok(&["contact", "unblock", "bob"]);
    // Taking a contact away gives nothing to anybody.
    assert_eq!(inside_agent(&pair.alice, &["contact", "remove", "carol"]).status, 0);
    pair.alice.ok(&["contact", "verify", "bob", "--number", &number]);
}

/// The permissions of folder and socket come first; here they are opened wide, so that only the check of the caller's user is left.
#[test]
fn another_user_gets_no_answer_even_where_files_let_them() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["status"]);
    let program = folder.path().join("penpal");
    std::fs::copy(&Binaries::get().penpal, &program).expect("a copy of the program");
    for (path, mode) in [
        (folder.path().to_path_buf(), 0o755),
        (me.home().to_path_buf(), 0o777),
        (me.home().join("node.sock"), 0o666),
        (program.clone(), 0o755),
    ] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    }
    let other = |uid: u32| -> Said {
        let mut command = clean_command(&program);
        command.arg("--home").arg(me.home()).args(["daemon", "status", "--json"]).env("HOME", "/");
        command.uid(uid).output().expect("the other user runs it").into()
    };
    let said = other(65_534);
    assert_ne!(said.status, 0, "{said:?}");
    assert!(!said.err.contains("ermission denied"), "the files kept them out already: {said:?}");
    assert_eq!(other(0).json()["running"], true);
}
