//! The command line without a node: arguments, exit status, both streams.

use assert_cmd::Command;

fn penpal(home: &tempfile::TempDir) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("penpal"));
    command.env_clear().env("PENPAL_HOME", home.path().join("home"));
    command
}

/// The same, with streams of the test's choice.
fn std_penpal(home: &tempfile::TempDir) -> std::process::Command {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("penpal"));
    command.env_clear().env("PENPAL_HOME", home.path().join("home"));
    command
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn version_and_help_are_data() {
    let home = home();
    let version = penpal(&home).args(["version", "--json"]).assert().success();
    let shape: serde_json::Value = serde_json::from_slice(&version.get_output().stdout).expect("JSON");
    assert_eq!((shape["v"].as_u64(), shape["version"].as_str()), (Some(1), Some(env!("CARGO_PKG_VERSION"))));
    let help = penpal(&home).arg("--help").assert().success();
    let text = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    for command in ["contact", "send", "inbox", "trace", "daemon", "mcp", "demo"] {
        assert!(text.contains(command), "{text}");
    }
}

#[test]
fn a_usage_error_exits_2_and_says_so_on_standard_error() {
    let home = home();
    let said = penpal(&home).args(["contact", "invite", "--expires", "soon"]).assert().code(2);
    assert!(said.get_output().stdout.is_empty());
    assert!(String::from_utf8_lossy(&said.get_output().stderr).contains("72h"));
    penpal(&home).arg("nonsense").assert().code(2);
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_reader_that_left_is_none() {
    let home = home();
    let lines =
        ["version", "version --json", "--help", "--version", "man", "completions bash", "daemon status"];
    for words in lines.map(|line| line.split(' ').collect::<Vec<_>>()) {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
        let said = std_penpal(&home).args(&words).stdout(full).output().expect("penpal runs");
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{words:?}: {err}");
        assert!(err.starts_with("error: standard output cannot be written: "), "{words:?}: {err}");
        assert!(err.lines().count() == 2 && err.contains("\nhint: "), "{words:?}: {err}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let said = std_penpal(&home).args(&words).stdout(writer).output().expect("penpal runs");
        assert!(said.status.success() && said.stderr.is_empty(), "{words:?}: {said:?}");
    }
}

#[test]
fn completions_and_manual_come_from_the_same_definition() {
    let home = home();
    let shells = ["bash", "zsh", "fish"];
    for shell in shells {
        let script = penpal(&home).args(["completions", shell]).assert().success();
        assert!(String::from_utf8_lossy(&script.get_output().stdout).contains("contact"));
    }
    let page = penpal(&home).arg("man").assert().success();
    assert!(String::from_utf8_lossy(&page.get_output().stdout).contains(".TH penpal"));
}

#[test]
fn whoever_gives_no_recovery_code_is_told_how_to_give_it() {
    let home = home();
    for input in ["", " \n\n"] {
        let said = penpal(&home).arg("recover").write_stdin(input).assert().code(2);
        let err = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert!(err.starts_with("error: no recovery code was given\nhint: type it in a terminal: "), "{err}");
        assert!(err.contains("penpal recover < FILE"), "{err}");
    }
    assert!(!home.path().join("home").exists());
}

#[test]
fn what_starts_no_node_leaves_none_behind() {
    let home = home();
    penpal(&home).args(["daemon", "status"]).assert().success();
    penpal(&home).arg("doctor").assert().success();
    assert!(!home.path().join("home").exists());
}

#[test]
fn a_home_that_cannot_be_written_is_a_sandbox() {
    // The system's own folder of processes takes no files from anybody.
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("penpal"));
    let said =
        command.env_clear().env("PENPAL_HOME", "/proc/penpal").args(["status", "--json"]).assert().code(3);
    let shape: serde_json::Value = serde_json::from_slice(&said.get_output().stdout).expect("JSON");
    assert!(shape["error"]["hint"].is_string(), "{shape}");
}
