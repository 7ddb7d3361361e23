//! The files under `deploy/`: each is loaded or checked by whoever will read it, where that program is here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::binary;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy().join(name)).unwrap()
}

/// Runs a checker; says so when it is not here.
#[expect(clippy::print_stderr, reason = "who reads a test's output should see what was not checked")]
fn checked(program: &str, args: &[&str]) -> Option<(bool, String)> {
    let folder = tempfile::tempdir().unwrap();
    // A person's own systemd wants a place at run time, which nobody has who is not logged in.
    match Command::new(program).args(args).env("XDG_RUNTIME_DIR", folder.path()).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
        Err(error) => {
            eprintln!("SKIPPED: {program} is not here ({error})");
            None
        }
    }
}

#[test]
fn the_unit_is_one_and_leaves_little_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("penpal-relay.service");
    let unit = text("penpal-relay.service");
    // Verifying looks for the program.
    fs::write(&path, unit.replace("/usr/local/bin/penpal-relay", env!("CARGO_BIN_EXE_penpal-relay")))
        .unwrap();
    let path = path.to_str().unwrap();
    if let Some((good, said)) = checked("systemd-analyze", &["verify", "--man=no", path]) {
        assert!(good && said.is_empty(), "{said}");
    }
    if let Some((good, said)) =
        checked("systemd-analyze", &["security", "--offline=true", "--threshold=20", path])
    {
        assert!(good, "{said}");
    }
    let printed = binary().args(["install", "--print"]).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), unit, "the program installs the same file");
}

/// A template of `deploy/node`, filled in as `penpal init --login` does.
fn node_file(name: &str) -> String {
    let text = text(&format!("node/{name}"));
    assert!(text.contains("{program}") && text.contains("{home}"), "{name}");
    text.replace("{program}", env!("CARGO_BIN_EXE_penpal-relay")).replace("{home}", "/home/alice/penpal")
}

#[test]
fn the_units_of_a_node_can_be_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("penpal.service");
    fs::write(&path, node_file("penpal.service")).unwrap();
    let path = path.to_str().unwrap();
    if let Some((good, said)) = checked("systemd-analyze", &["verify", "--user", "--man=no", path]) {
        assert!(good && said.is_empty(), "{said}");
    }
    let path = dir.path().join("dev.penpal.node.plist");
    fs::write(&path, node_file("dev.penpal.node.plist")).unwrap();
    let script = "import plistlib, sys\nfile = plistlib.load(open(sys.argv[1], 'rb'))\nassert file['Label'] == 'dev.penpal.node' and file['RunAtLoad']\nassert file['ProgramArguments'][1:] == ['--home', '/home/alice/penpal', 'daemon', 'run', '--log-file'], file\nassert file['KeepAlive'] == {'SuccessfulExit': False}";
    if let Some((good, said)) = checked("python3", &["-c", script, path.to_str().unwrap()]) {
        assert!(good, "{said}");
    }
}

#[test]
fn installing_puts_everything_in_its_place_and_keeps_settings() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let install = |args: &[&str]| {
        let output = binary().arg("install").arg("--root").arg(root).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    install(&["--public", "relay.example.com"]);
    let unit = root.join("etc/systemd/system/penpal-relay.service");
    assert_eq!(fs::read_to_string(unit).unwrap(), text("penpal-relay.service"));
    let settings = root.join("etc/penpal-relay/relay.toml");
    assert!(fs::read_to_string(&settings).unwrap().contains("\npublic = \"relay.example.com\"\n"));
    let installed = root.join("usr/local/bin/penpal-relay");
    let check = Command::new(&installed)
        .args(["serve", "--check", "--data"])
        .arg(root.join("data"))
        .arg("--config")
        .arg(&settings)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    fs::write(&settings, "register = 'open'\n").unwrap();
    install(&[]);
    assert_eq!(fs::read_to_string(&settings).unwrap(), "register = 'open'\n");
    let bad = binary().args(["install", "--public", "a b", "--root"]).arg(root).output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
}

#[test]
fn every_line_of_the_settings_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.toml");
    // Also those that are only shown.
    let all: Vec<String> = text("relay.toml")
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !rest.contains("with") => rest.to_owned(),
            Some(_) | None => line.to_owned(),
        })
        .collect();
    fs::write(&path, all.join("\n")).unwrap();
    let mut check = binary();
    check.args(["serve", "--check", "--data"]).arg(dir.path().join("data")).arg("--config").arg(&path);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(all.iter().filter(|line| line.contains(" = ") && !line.starts_with('#')).count() >= 8);
}

/// Names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_')
        .filter(|word| word.starts_with("penpal_relay_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_speak_of_metrics_that_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::client::config(&dir);
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let relay = penpal_relay::Relay::start(config, None).await.unwrap();
    let at = relay.metrics().unwrap().to_string();
    let answer = tokio::task::spawn_blocking(move || crate::admin::http(&at, "/metrics")).await.unwrap();
    relay.stop().await.unwrap();
    let there = metrics_in(&answer);
    for name in ["prometheus/alerts.yml", "grafana/penpal-relay.json"] {
        let used = metrics_in(&text(name));
        assert!(used.len() >= 6, "{name}: {used:?}");
        let unknown: Vec<_> = used.difference(&there).collect();
        assert!(unknown.is_empty(), "{name} uses {unknown:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&text("grafana/penpal-relay.json")).unwrap();
    assert!(
        dashboard["panels"].as_array().unwrap().iter().all(|panel| panel["targets"][0]["expr"].is_string())
    );
    let metrics = dir.path().join("metrics");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    fs::write(&metrics, body).unwrap();
    if let Some((good, said)) =
        checked("promtool", &["check", "rules", deploy().join("prometheus/alerts.yml").to_str().unwrap()])
    {
        assert!(good, "{said}");
    }
    if let Some((good, said)) = checked(
        "sh",
        &[
            "-c",
            &format!(
                "command -v promtool >/dev/null || exit 0; promtool check metrics < {}",
                metrics.display()
            ),
        ],
    ) {
        assert!(good, "{said}");
    }
}

#[test]
fn yaml_files_are_yaml() {
    for name in ["compose.yaml", "cloud-init.yaml", "prometheus/alerts.yml"] {
        let path = deploy().join(name);
        let script = "import sys\ntry:\n import yaml\nexcept ImportError:\n print('SKIPPED: no yaml for python here'); sys.exit(0)\nassert isinstance(yaml.safe_load(open(sys.argv[1])), dict)";
        if let Some((good, said)) = checked("python3", &["-c", script, path.to_str().unwrap()]) {
            eprint!("{said}");
            assert!(good, "{name}: {said}");
        }
    }
    // The plugin, or the program of before.
    let compose: [(&str, &[&str]); 2] = [("docker", &["compose"]), ("docker-compose", &[])];
    let there = |(program, first): &(&str, &[&str])| {
        checked(program, &[*first, &["version"]].concat()).is_some_and(|(works, _)| works)
    };
    if let Some((program, first)) = compose.into_iter().find(there) {
        let path = deploy().join("compose.yaml");
        let output = Command::new(program)
            .args(first)
            .args(["-f", path.to_str().unwrap(), "config", "--quiet"])
            .env("PENPAL_RELAY_PUBLIC", "relay.example.com")
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    } else {
        eprintln!("SKIPPED: neither docker compose nor docker-compose is here");
    }
    assert!(text("cloud-init.yaml").starts_with("#cloud-config\n"));
    let image = text("Dockerfile");
    assert!(image.contains("FROM scratch") && image.contains("USER 65532"));
}

#[test]
fn completions_and_manual_are_made() {
    for args in [&["completions", "bash"][..], &["man"]] {
        let output = binary().args(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("rebuild"), "{args:?}");
    }
}
