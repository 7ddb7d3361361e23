//! `penpal init` and `penpal uninstall` on a home full of agents' files. What they ask: `answers.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use penpal_tests::seed::Seeded;
use penpal_tests::{Binaries, Person, Said, folder};
use serde_json::Value;

/// A person whose home folder is not penpal's.
pub(crate) struct Owner {
    pub(crate) person: Person,
    pub(crate) user: PathBuf,
}

impl Owner {
    pub(crate) fn new(folder: &tempfile::TempDir) -> Self {
        let user = folder.path().join("user");
        fs::create_dir_all(&user).expect("a home");
        Self { person: Person::at(&folder.path().join("penpal"), "me"), user }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        let mut command = self.person.command(args);
        command.env("HOME", &self.user).env("PATH", "/usr/bin:/bin");
        command.output().expect("penpal runs").into()
    }

    pub(crate) fn init(&self, more: &[&str]) -> Value {
        let program = Binaries::get().penpal.to_str().expect("UTF-8").to_owned();
        let mut args = vec!["init", "--yes", "--json", "--program", program.as_str()];
        args.extend(more);
        let said = self.run(&args);
        assert_eq!(said.status, 0, "{said:?}");
        said.json()
    }

    pub(crate) fn uninstall(&self) {
        let said = self.run(&["uninstall", "--yes"]);
        assert_eq!(said.status, 0, "{said:?}");
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.user.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.user.join(path)).expect(path)
    }

    /// Every file and folder with its content.
    pub(crate) fn everything(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        look(&self.user, &mut found);
        found
    }
}

fn look(folder: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            look(&path, found);
            found.insert(path, None);
        } else {
            let content = fs::read(&path).expect("a file");
            found.insert(path, Some(content));
        }
    }
}

const ALL: &str = "claude-code,codex,opencode,gemini,cursor,cline,grok,copilot,qwen";

const FILES: [&str; 12] = [
    ".claude.json",
    ".claude/settings.json",
    ".codex/config.toml",
    ".codex/hooks.json",
    ".config/opencode/opencode.json",
    ".gemini/settings.json",
    ".cursor/mcp.json",
    ".cursor/hooks.json",
    ".cline/data/settings/cline_mcp_settings.json",
    ".grok/config.toml",
    ".copilot/mcp-config.json",
    ".qwen/settings.json",
];

/// Some file as somebody may have it.
fn random_file(path: &str, rng: &mut Seeded) -> String {
    let number = rng.below(1_000);
    if path.ends_with(".toml") {
        return match number % 3 {
            0 => String::new(),
            1 => format!("# mine\nmodel = \"m{number}\" # why\n\n[mcp_servers.other]\ncommand = \"x\"\n"),
            _ => format!("a = {number}\r\n[projects.\"/p\"]\r\ntrust_level = \"trusted\""),
        };
    }
    let commented = path.contains("opencode") || path.contains("gemini");
    match number % 6 {
        0 => String::new(),
        1 => "{}".to_owned(),
        2 => format!("{{\"theme\":\"t{number}\"}}\n"),
        3 if commented => format!("{{\n  // a remark\n  \"n\": {number}, /* and one */\n}}\n"),
        4 => format!(
            "{{\r\n\t\"hooks\": {{\r\n\t\t\"Stop\": [{{\"hooks\": [{{\"type\": \"command\", \"command\": \"say {number}\"}}]}}]\r\n\t}},\r\n\t\"statusLine\": {{\"type\": \"command\", \"command\": \"line '{number}'\"}}\r\n}}"
        ),
        _ => format!(
            "{{\n    \"mcpServers\": {{\n        \"other\": {{ \"command\": \"x\", \"args\": [\"{number}\"] }}\n    }},\n    \"mcp\": {{}}\n}}\n"
        ),
    }
}

#[test]
fn random_homes_are_given_back_byte_by_byte() {
    let mut rng = Seeded::printed("random_homes_are_given_back_byte_by_byte");
    for _ in 0..6 {
        let folder = folder();
        let owner = Owner::new(&folder);
        for path in FILES {
            if rng.below(4) > 0 {
                owner.write(path, &random_file(path, &mut rng));
            }
        }
        let before = owner.everything();
        let written = owner.init(&["--client", ALL]);
        assert!(written["written"].as_array().is_some_and(|files| files.len() > 9), "{written}");
        let wired = owner.everything();
        assert_ne!(before, wired);
        // Again changes nothing.
        let again = owner.init(&["--client", ALL]);
        assert_eq!(again["written"].as_array().map(Vec::len), Some(0), "{again}");
        assert_eq!(owner.everything(), wired);
        owner.uninstall();
        assert_eq!(owner.everything(), before);
    }
}

#[test]
fn a_dry_run_shows_every_line_and_touches_nothing() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(".claude.json", "{\n  \"numStartups\": 3\n}\n");
    owner.write(".claude/settings.json", "{}");
    let before = owner.everything();
    let program = Binaries::get().penpal.to_str().expect("UTF-8").to_owned();
    let said = owner.run(&["init", "--dry-run", "--program", &program]);
    assert_eq!(said.status, 0, "{said:?}");
    for part in [
        "Claude Code",
        "MCP server",
        "7 hooks",
        "status line",
        "~/.claude.json",
        "+     \"penpal\": {",
        "hook claude-code Stop",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert_eq!(owner.everything(), before);
    assert!(!owner.person.home().join("wiring.json").exists());
    // Without a terminal nothing is written unasked.
    let asked = owner.run(&["init", "--program", &program]);
    assert_eq!(asked.status, 4, "{asked:?}");
    assert!(asked.err.contains("--yes"));
    assert_eq!(owner.everything(), before);
    // A program in a build folder is not wired in by itself.
    let built = owner.run(&["init", "--yes"]);
    assert_eq!(built.status, 4, "{built:?}");
    assert!(built.err.contains("cargo install"), "{built:?}");
}

#[test]
fn a_file_that_was_changed_since_is_unwired_and_keeps_the_change() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(
        ".claude/settings.json",
        "{\n  \"model\": \"opus\",\n  \"statusLine\": {\"type\": \"command\", \"command\": \"theirs\"}\n}\n",
    );
    owner.write(".codex/config.toml", "model = \"x\"\n");
    owner.init(&["--client", "claude-code,codex"]);
    let settings = owner
        .read(".claude/settings.json")
        .replace("\"model\": \"opus\"", "\"model\": \"sonnet\",\n  \"new\": true");
    owner.write(".claude/settings.json", &settings);
    let config =
        owner.read(".codex/config.toml") + "\n# trusted\n[projects.\"/p\"]\ntrust_level = \"trusted\"\n";
    owner.write(".codex/config.toml", &config);
    // And init again in between, as after an upgrade.
    owner.init(&["--client", "claude-code,codex"]);
    // The record is not needed for it.
    fs::remove_file(owner.person.home().join("wiring.json")).ok();
    owner.uninstall();
    let expected = "{\n  \"model\": \"sonnet\",\n  \"new\": true,\n  \"statusLine\": {\"type\": \"command\", \"command\": \"theirs\"}\n}\n";
    assert_eq!(owner.read(".claude/settings.json"), expected);
    let expected = "model = \"x\"\n\n# trusted\n[projects.\"/p\"]\ntrust_level = \"trusted\"\n";
    assert_eq!(owner.read(".codex/config.toml"), expected);
    assert!(!owner.read(".claude.json").contains("penpal"));
}

#[test]
fn a_file_that_the_plan_does_not_list_any_more_keeps_what_is_not_penpals() {
    let folder = folder();
    let owner = Owner::new(&folder);
    let settings = "{\n  \"model\": \"opus\",\n  \"permissions\": {\"allow\": [\"Read\"]}\n}\n";
    owner.write(".claude-work/settings.json", settings);
    let program = Binaries::get().penpal.to_str().expect("UTF-8").to_owned();
    let mut init = owner.person.command(&["init", "--yes", "--program", &program, "--client", "claude-code"]);
    init.env("HOME", &owner.user).env("PATH", "/usr/bin:/bin");
    init.env("CLAUDE_CONFIG_DIR", owner.user.join(".claude-work"));
    let said = Said::from(init.output().expect("penpal runs"));
    assert_eq!(said.status, 0, "{said:?}");
    let wired = owner.read(".claude-work/settings.json");
    assert!(wired.contains("hook claude-code Stop"), "{wired}");
    owner.write(".claude-work/settings.json", &wired.replace("opus", "sonnet"));
    owner.uninstall();
    assert_eq!(owner.read(".claude-work/settings.json"), settings.replace("opus", "sonnet"));
    assert!(!owner.user.join(".claude-work/.claude.json").exists());
}

#[test]
fn a_file_into_which_penpal_cannot_be_put_again_keeps_what_is_not_penpals() {
    let folder = folder();
    let owner = Owner::new(&folder);
    let settings = |line: &str| {
        format!(
            "{{\n  \"model\": \"opus\",\n  \"permissions\": {{\"allow\": [\"Read\"]}},\n  \"statusLine\": {line}\n}}\n"
        )
    };
    owner.write(".claude/settings.json", &settings("{\"type\": \"command\", \"command\": \"theirs\"}"));
    owner.init(&["--client", "claude-code"]);
    let wired = owner.read(".claude/settings.json");
    let start = wired.find("{\"type\": \"command\"").expect("the status line");
    let end = start + wired[start..].find('}').expect("its end") + 1;
    owner.write(".claude/settings.json", &[&wired[..start], "{\"type\": \"none\"}", &wired[end..]].concat());
    owner.uninstall();
    assert_eq!(owner.read(".claude/settings.json"), settings("{\"type\": \"none\"}"));
}

#[test]
fn grok_gets_nothing_of_its_own_beside_claude_code() {
    let folder = folder();
    let owner = Owner::new(&folder);
    let alone = owner.init(&["--client", "grok"]);
    assert!(owner.user.join(".grok/hooks/penpal.json").exists(), "{alone}");
    let both = owner.init(&["--client", "grok,claude-code"]);
    let grok =
        both["agents"].as_array().expect("agents").iter().find(|agent| agent["agent"] == "grok").cloned();
    assert_eq!(grok.expect("grok")["state"], "covered", "{both}");
    assert!(!owner.user.join(".grok/hooks/penpal.json").exists());
    assert!(!owner.user.join(".grok/config.toml").exists());
    assert!(owner.read(".claude/settings.json").contains("hook claude-code Stop"));
    owner.uninstall();
    assert_eq!(owner.everything(), BTreeMap::new());
}

#[test]
fn links_modes_and_other_peoples_files_are_respected() {
    let folder = folder();
    let owner = Owner::new(&folder);
    let kept = folder.path().join("dotfiles.json");
    fs::write(&kept, "{\"a\":1}").expect("written");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o640)).expect("mode");
    fs::create_dir_all(owner.user.join(".claude")).expect("folder");
    std::os::unix::fs::symlink(&kept, owner.user.join(".claude/settings.json")).expect("link");
    owner.write(".cline/hooks/PostToolUse.sh", "#!/bin/sh\necho mine\n");
    let wired = owner.init(&["--client", "claude-code,cline"]);
    let link = fs::symlink_metadata(owner.user.join(".claude/settings.json")).expect("there");
    assert!(link.file_type().is_symlink());
    assert!(fs::read_to_string(&kept).expect("read").contains("penpal"));
    assert_eq!(fs::metadata(&kept).expect("there").permissions().mode() & 0o777, 0o640);
    assert_eq!(owner.read(".cline/hooks/PostToolUse.sh"), "#!/bin/sh\necho mine\n");
    assert!(!owner.user.join(".cline/hooks/PostToolUse").exists(), "one event runs one file");
    let mode = fs::metadata(owner.user.join(".cline/hooks/TaskStart")).expect("there").permissions().mode();
    assert_eq!(mode & 0o100, 0o100, "it can be run");
    assert!(wired.to_string().contains("PostToolUse.sh is not penpal's and stays"), "{wired}");
    owner.uninstall();
    assert_eq!(fs::read_to_string(&kept).expect("read"), "{\"a\":1}");
}

#[test]
fn what_is_in_the_way_is_named_and_the_others_are_wired() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(".claude.json", "{ broken");
    owner.write(".gemini/settings.json", "{}");
    owner.write(
        ".qwen/settings.json",
        "{\"mcpServers\":{\"penpal\":{\"command\":\"npx\",\"args\":[\"other\"]}}}",
    );
    let program = Binaries::get().penpal.to_str().expect("UTF-8").to_owned();
    let said = owner.run(&["init", "--yes", "--program", &program, "--client", "claude-code,gemini,qwen"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.out.contains(".claude.json: line 1: a name is missing"), "{}", said.out);
    assert!(said.out.contains("an MCP server called penpal is there"), "{}", said.out);
    assert!(owner.read(".gemini/settings.json").contains("penpal"));
    assert_eq!(owner.read(".claude.json"), "{ broken");
    // Scripts read both in one shape: what was done, and that it is not all.
    for more in ["--yes", "--dry-run"] {
        let said = owner.run(&[
            "init",
            more,
            "--json",
            "--program",
            &program,
            "--client",
            "claude-code,gemini,qwen",
        ]);
        let shape = said.json();
        assert_eq!((said.status, shape["error"]["code"].as_str()), (1, Some("bad-file")), "{shape}");
        assert_eq!(
            (&shape["agents"][0]["state"], &shape["agents"][1]["state"]),
            (&"conflict".into(), &"done".into())
        );
    }
    assert!(owner.read(".qwen/settings.json").contains("npx"));
    let doctor = owner.run(&["doctor", "--json"]).json();
    let check = |name: &str| {
        let checks = doctor["checks"].as_array().cloned().unwrap_or_default();
        checks.into_iter().find(|check| check["name"] == name).unwrap_or_default()
    };
    assert_eq!(check("claude-code")["state"], "failed", "{doctor}");
    // Uninstalling leaves what it cannot read, too.
    owner.uninstall();
    assert_eq!(
        (owner.read(".claude.json").as_str(), owner.read(".gemini/settings.json").as_str()),
        ("{ broken", "{}")
    );
}

#[test]
fn uninstall_fails_when_entries_stay_in_a_file_that_cannot_be_read() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(".gemini/settings.json", "{}");
    owner.init(&["--client", "gemini"]);
    let wired = owner.read(".gemini/settings.json");
    let broken = wired.clone() + "}";
    owner.write(".gemini/settings.json", &broken);
    let record = owner.person.home().join("wiring.json");
    let kept = fs::read(&record).expect("the record");
    // With and without a record: the text itself names penpal.
    for more in ["--yes", "--dry-run", "--yes"] {
        let said = owner.run(&["uninstall", more, "--json"]);
        let shape = said.json();
        assert_eq!((said.status, shape["error"]["code"].as_str()), (1, Some("bad-file")), "{said:?}");
        fs::remove_file(&record).ok();
    }
    let said = owner.run(&["uninstall", "--yes"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(!said.out.contains("No agent's file"), "{said:?}");
    assert!(said.err.contains(".gemini/settings.json: line"), "{said:?}");
    assert_eq!(owner.read(".gemini/settings.json"), broken);
    // Put right, all of it goes.
    fs::write(&record, kept).expect("written");
    owner.write(".gemini/settings.json", &wired);
    owner.uninstall();
    assert_eq!(owner.read(".gemini/settings.json"), "{}");
}

#[test]
fn a_hook_to_which_somebody_added_a_command_stays_as_it_is() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(".gemini/settings.json", "{}");
    owner.init(&["--client", "gemini"]);
    let wired = owner.read(".gemini/settings.json");
    let added = wired.replace("hook gemini AfterAgent\"", "hook gemini AfterAgent; /usr/local/bin/ding\"");
    assert_ne!(wired, added);
    owner.write(".gemini/settings.json", &added);
    let program = Binaries::get().penpal.to_str().expect("UTF-8").to_owned();
    let said = owner.run(&["init", "--yes", "--program", &program, "--client", "gemini"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.out.contains("AfterAgent; /usr/local/bin/ding"), "{said:?}");
    owner.run(&["doctor", "--fix"]);
    assert_eq!(owner.read(".gemini/settings.json"), added);
    // All others go; this one is said to stay, each time.
    for _ in 0..2 {
        let said = owner.run(&["uninstall", "--yes"]);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.err.contains("AfterAgent; /usr/local/bin/ding"), "{said:?}");
        let left = owner.read(".gemini/settings.json");
        assert_eq!(left.matches("penpal hook").count(), 1, "{left}");
        assert!(
            left.contains("hook gemini AfterAgent; /usr/local/bin/ding") && !left.contains("mcpServers"),
            "{left}"
        );
    }
}

#[test]
fn doctor_says_what_is_wired_and_repairs_it() {
    let folder = folder();
    let owner = Owner::new(&folder);
    owner.write(".codex/config.toml", "");
    owner.write(".cursor/mcp.json", "{}");
    let check = |args: &[&str], name: &str| {
        let doctor = owner.run(args).json();
        let checks = doctor["checks"].as_array().cloned().unwrap_or_default();
        checks.into_iter().find(|check| check["name"] == name).unwrap_or_default()
    };
    let before = check(&["doctor", "--json"], "codex");
    assert_eq!(
        (before["state"].as_str(), before["repair"].as_str()),
        (Some("warning"), Some("penpal init --client codex"))
    );
    owner.init(&["--client", "codex,cursor"]);
    let wired = check(&["doctor", "--json", "--fix"], "codex");
    assert!(wired["repair"].as_str().is_some_and(|repair| repair.contains("approve the hooks")), "{wired}");
    assert!(
        check(&["doctor", "--json"], "cursor")["fact"]
            .as_str()
            .is_some_and(|fact| fact.contains("unverified"))
    );
    let approved = owner.read(".codex/config.toml")
        + "\n[hooks.state.\"/x/hooks.json:stop:0:0\"]\ntrusted_hash = \"sha256:0\"\n";
    owner.write(".codex/config.toml", &approved);
    assert_eq!(check(&["doctor", "--json"], "codex")["state"], "ok");
    // Somebody took one hook out.
    let hooks = owner.read(".codex/hooks.json").replace("hook codex Stop", "hook codex Other");
    owner.write(".codex/hooks.json", &hooks.replace("/penpal", "/old/penpal"));
    assert_eq!(check(&["doctor", "--json"], "codex")["state"], "warning");
    owner.run(&["doctor", "--fix"]);
    assert_eq!(check(&["doctor", "--json"], "codex")["state"], "ok");
}
