//! Files with penpal in them, and without it again.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use penpal_agents::agent::{self, Setup, Shows};
use penpal_agents::kind::AgentKind;
use penpal_agents::wire::{Content, JsonEntry, Program, Wish, is_our_command, is_our_script};
use proptest::prelude::*;
use serde_json::{Value, json};

fn setup(program: &str) -> Setup {
    Setup {
        user: PathBuf::from("/nowhere/alice"),
        variables: BTreeMap::new(),
        program: Program::new(program, None),
    }
}

fn wishes(kind: &AgentKind, program: &str) -> Vec<Wish> {
    agent::of(kind).expect("a known agent").wiring(&setup(program)).files
}

fn wish(kind: &AgentKind, file: &str) -> Wish {
    let found = wishes(kind, "/usr/bin/penpal").into_iter().find(|wish| wish.path.ends_with(file));
    found.unwrap_or_else(|| panic!("{kind} has {file}"))
}

/// Puts in, checks that it is there once, and takes out.
fn there_and_back(wish: &Wish, text: &str) -> String {
    let put = wish.put(Some(text)).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(wish.put(Some(&put)).as_ref(), Ok(&put), "twice is once");
    assert!(put.contains("penpal"));
    wish.take(&put).unwrap_or_else(|error| panic!("{error}: {put}")).text
}

#[test]
fn a_settings_file_keeps_comments_order_and_other_hooks() {
    let text = r#"// my settings
{
    "model": "opus", // keep
    "hooks": {
        // somebody else's
        "Stop": [
            { "hooks": [{ "type": "command", "command": "say done" }] }, /* last */
        ],
        "PreToolUse": []
    },
    "zeta": [1, 2,
        3]
}
"#;
    let settings = wish(&AgentKind::ClaudeCode, "settings.json");
    let put = settings.put(Some(text)).expect("put");
    for kept in ["// my settings", "// keep", "// somebody else's", "say done", "/* last */", "3]"] {
        assert!(put.contains(kept), "{kept} in {put}");
    }
    assert!(
        put.contains("\n            \"SessionStart\": [") || put.contains("\"SessionStart\": ["),
        "{put}"
    );
    assert_eq!(there_and_back(&settings, text), text);
}

#[test]
fn every_style_of_a_file_comes_back_byte_by_byte() {
    let settings = wish(&AgentKind::ClaudeCode, "settings.json");
    let servers = wish(&AgentKind::ClaudeCode, ".claude.json");
    for text in [
        "{\"a\":1}",
        "{\"a\":1}\n",
        "{ \"a\": 1, \"b\": { \"c\": [] } }\n",
        "{\n  \"a\": 1\n}\n",
        "{\n\t\"a\": 1,\n\t\"b\": 2\n}",
        "{\r\n  \"a\": 1\r\n}\r\n",
        "{\n  \"a\": 1,\n}\n",
        "{\n  \"a\": 1 // why\n}\n",
        "{\n  \"a\": 1, // why\n}\n",
        "{\n  \"a\": 1 /* why */\n  // end\n}\n",
        "\u{feff}{\n  \"a\": \"\\u00e9é\"\n}\n",
        "{}",
        "{}\n",
        "{\"mcpServers\":{\"x\":{\"command\":\"y\"}},\"hooks\":{\"Stop\":[{\"hooks\":[{\"command\":\"z\"}]}]}}",
        "{\n  \"mcpServers\": {\n    \"x\": {\"command\": \"y\"}\n  },\n  \"statusLine\": {\"type\": \"command\", \"command\": \"starship 'a b'\", \"padding\": 0}\n}\n",
    ] {
        assert_eq!(there_and_back(&settings, text), text);
        assert_eq!(there_and_back(&servers, text), text);
    }
}

#[test]
fn a_status_line_is_wrapped_and_given_back() {
    let settings = wish(&AgentKind::ClaudeCode, "settings.json");
    let text =
        "{\"statusLine\": {\"type\": \"command\", \"command\": \"~/bin/line --colour 'a'\", \"padding\": 1}}";
    let put = settings.put(Some(text)).expect("put");
    let value: Value = serde_json::from_str(&put).expect("JSON");
    assert_eq!(value["statusLine"]["padding"], 1);
    let command = value["statusLine"]["command"].as_str().expect("a command");
    assert_eq!(command, "/usr/bin/penpal statusline --then '~/bin/line --colour '\\''a'\\'''");
    assert_eq!(settings.take(&put).expect("taken").text, text);
}

#[test]
fn a_program_that_moved_is_put_right_in_place_and_once() {
    let old = wishes(&AgentKind::ClaudeCode, "/old/penpal");
    let new = wishes(&AgentKind::ClaudeCode, "/new place/penpal");
    for (old, new) in old.iter().zip(&new) {
        let text = old.put(Some("{\n  \"a\": 1\n}\n")).expect("put");
        let moved = new.put(Some(&text)).expect("put again");
        assert!(!moved.contains("/old/penpal"), "{moved}");
        assert_eq!(new.take(&moved).expect("taken").text, "{\n  \"a\": 1\n}\n");
        assert_eq!(
            moved.matches("hook claude-code SessionStart").count(),
            text.matches("hook claude-code SessionStart").count()
        );
        assert_eq!(
            moved.matches("hook claude-code wait").count(),
            text.matches("hook claude-code wait").count()
        );
    }
}

#[test]
fn what_a_person_added_to_our_server_stays() {
    let servers = wish(&AgentKind::ClaudeCode, ".claude.json");
    let text = r#"{"mcpServers":{"penpal":{"type":"stdio","command":"/old/penpal","args":["mcp"],"env":{"PENPAL_LOG":"debug"},"alwaysLoad":true}}}"#;
    let value: Value = serde_json::from_str(&servers.put(Some(text)).expect("put")).expect("JSON");
    let server = &value["mcpServers"]["penpal"];
    assert_eq!(server["env"]["PENPAL_LOG"], "debug");
    assert_eq!(
        (server["alwaysLoad"].clone(), server["command"].clone()),
        (json!(true), json!("/usr/bin/penpal"))
    );
}

#[test]
fn what_a_person_added_to_our_table_stays() {
    let config = wish(&AgentKind::Codex, "config.toml");
    let text = "model = \"x\"\n\n[mcp_servers.penpal] # mail\ndefault_tools_approval_mode = \"approve\" # asked every time\n\
                command = \"/old/penpal\" # moved\nargs = [ # none\n  \"mcp\", # only\n]\n\n[mcp_servers.penpal.env]\nPENPAL_LOG = \"debug\"\n\n[other]\ncommand = \"mine\"\n";
    let changed = config.put(Some(text)).expect("put");
    let wanted =
        text.replace("/old/penpal", "/usr/bin/penpal").replace("[ # none\n  \"mcp\", # only\n]", "[\"mcp\"]");
    assert_eq!(changed, wanted);
    assert_eq!(config.put(Some(&changed)).expect("again"), changed);
    // Where it stands in another way it is left alone.
    let dotted = "[mcp_servers]\npenpal.command = \"/old/penpal\"\npenpal.args = [\"mcp\"]\n";
    assert!(config.put(Some(dotted)).expect_err("dotted").to_string().contains("by hand"));
}

#[test]
fn somebody_elses_penpal_is_not_touched() {
    let servers = wish(&AgentKind::ClaudeCode, ".claude.json");
    let text = r#"{"mcpServers":{"penpal":{"command":"npx","args":["pen-friend"]}}}"#;
    assert!(servers.put(Some(text)).is_err());
    assert_eq!(servers.take(text).expect("nothing to take").text, text);
    let config = wish(&AgentKind::Codex, "config.toml");
    let text = "[mcp_servers.penpal]\ncommand = \"npx\"\n";
    assert!(config.put(Some(text)).is_err());
    assert_eq!(config.take(text).expect("nothing to take").text, text);
}

#[test]
fn files_that_cannot_be_read_are_named_by_their_line_and_left() {
    let settings = wish(&AgentKind::ClaudeCode, "settings.json");
    let error = settings.put(Some("{\n  \"a\": 1\n  \"b\": 2\n}")).expect_err("a comma is missing");
    assert_eq!(error.to_string(), "line 3: a comma or brace is missing");
    for text in ["[1]", "7", "{\"hooks\": []}", "{\"hooks\": {\"Stop\": {}}}", "{\"statusLine\": \"x\"}"] {
        assert!(settings.put(Some(text)).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(settings.put(Some(&deep)).is_err());
    let config = wish(&AgentKind::Codex, "config.toml");
    assert!(config.put(Some("a = [\n")).is_err());
    let inline = "mcp_servers = { x = { command = \"y\" } }\n";
    assert!(config.put(Some(inline)).expect_err("one line").to_string().contains("one line"));
}

#[test]
fn codexs_configuration_keeps_remarks_and_comes_back() {
    let config = wish(&AgentKind::Codex, "config.toml");
    for text in [
        "",
        "model = \"gpt-5\"\n",
        "# mine\nmodel = 'x' # why\n\n[mcp_servers.other]\ncommand = \"y\"\n",
        "a = \"\"\"\n[mcp_servers.penpal]\nnot a table\n\"\"\"\nb = [\n  [1],\n]\n",
        "[a]\r\nb = 1\r\n",
    ] {
        assert_eq!(there_and_back(&config, text), text);
    }
    // Codex writes on behind ours, and into it.
    let put = config.put(Some("model = \"x\"\n")).expect("put");
    let more = format!(
        "{put}\n[mcp_servers.penpal.env]\nA = \"1\"\n\n# trusted\n[projects.\"/p\"]\ntrust_level = \"trusted\"\n"
    );
    let without = config.take(&more).expect("taken").text;
    assert_eq!(without, "model = \"x\"\n\n# trusted\n[projects.\"/p\"]\ntrust_level = \"trusted\"\n");
}

#[test]
fn codexs_commands_do_not_change_with_the_version() {
    let hooks = wish(&AgentKind::Codex, "hooks.json").put(None).expect("put");
    let value: Value = serde_json::from_str(&hooks).expect("JSON");
    for event in ["SessionStart", "UserPromptSubmit", "PostToolUse", "Stop", "SessionEnd"] {
        let group = &value["hooks"][event][0]["hooks"][0];
        // It is trusted by the hash of this: a change here makes every person approve it again.
        assert_eq!(
            *group,
            json!({ "type": "command", "command": format!("/usr/bin/penpal hook codex {event}"), "timeout": 3 })
        );
    }
}

#[test]
fn the_plugin_for_claude_code_holds_what_init_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/claude-plugin/hooks/hooks.json");
    let plugin: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the plugin")).expect("JSON");
    let settings = wishes(&AgentKind::ClaudeCode, "penpal").remove(1).put(None).expect("put");
    let settings: Value = serde_json::from_str(&settings).expect("JSON");
    assert_eq!(plugin["hooks"], settings["hooks"]);
}

#[test]
fn every_agents_entries_are_recognised_as_ours() {
    for agent in agent::all() {
        let wiring = agent.wiring(&setup("/usr/bin/penpal"));
        assert!(!wiring.files.is_empty(), "{agent:?}");
        for wish in &wiring.files {
            let put = wish.put(None).expect("put");
            let taken = wish.take(&put).expect("taken");
            assert!(taken.bare, "{agent:?} {}: {}", wish.path.display(), taken.text);
            match &wish.content {
                Content::Json(entries) => {
                    assert!(entries.iter().any(|entry| !matches!(entry, JsonEntry::Default { .. })));
                    let _value: Value =
                        serde_json::from_str(&put).expect("strict JSON where nothing was before");
                }
                Content::Toml { .. } => {}
                Content::Whole { text, .. } => {
                    assert!(is_our_script(text), "{text}");
                    assert!(wish.put(Some("#!/bin/sh\necho mine\n")).is_err(), "somebody else's file stays");
                }
            }
            // The record lost: the path is enough.
            assert!(
                !Wish::of_file(wish.path.clone()).take(&put).expect("taken").text.contains("/usr/bin/penpal")
            );
        }
    }
}

#[test]
fn what_somebody_wrote_into_a_file_of_ours_stays() {
    for kind in [AgentKind::Grok, AgentKind::Copilot] {
        let list = wish(&kind, "hooks/penpal.json");
        let text = list.put(None).expect("put").replacen('{', "{\n  \"theirs\": [1],", 1);
        assert!(list.put(Some(&text)).is_err(), "{kind}: it would be lost");
        for wish in [list.clone(), Wish::of_file(list.path.clone())] {
            let without = wish.take(&text).expect("taken");
            assert!(!without.bare && without.text.contains("\"theirs\": [1]"), "{kind}: {}", without.text);
            assert!(!without.text.contains("/usr/bin/penpal"), "{kind}: {}", without.text);
        }
    }
}

#[test]
fn what_an_agent_says_of_its_hooks_is_what_it_installs() {
    for agent in agent::all() {
        let texts: Vec<String> = agent
            .wiring(&setup("/usr/bin/penpal"))
            .files
            .iter()
            .map(|wish| wish.put(None).expect("put"))
            .collect();
        for hook in agent.hooks() {
            let last = hook.event.rsplit(':').next().unwrap_or_default();
            assert!(texts.iter().any(|text| text.contains(last)), "{agent:?} {}", hook.event);
            if hook.shows != Shows::Nothing {
                let said: Value =
                    serde_json::from_str(&agent.say(hook.event, hook.shows, "a\"b\n")).expect("JSON");
                assert!(said.to_string().contains("a\\\"b\\n"), "{agent:?} {said}");
            }
        }
        assert!(!agent.lacks().is_empty() && !agent.wakes().is_empty());
        assert_eq!(agent.tried().is_none(), agent.kind() == AgentKind::Cursor);
    }
    assert!(is_our_command("/usr/bin/penpal hook grok Stop"));
    assert!(Path::new("/usr/bin/penpal").is_absolute());
}

/// Values as configuration files hold them, with names that ours meet.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,10}".prop_map(Value::from),
        Just(json!({ "type": "command", "command": "say // no comment /* here */" })),
        Just(json!({ "hooks": [{ "type": "command", "command": "other hook" }] })),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z_]{1,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn file() -> impl Strategy<Value = Value> {
    let group = || Just(json!({ "matcher": "", "hooks": [{ "type": "command", "command": "theirs" }] }));
    let events = proptest::collection::btree_map(
        prop_oneof![Just("Stop".to_owned()), Just("SessionStart".to_owned()), "[A-Z][a-z]{2,6}"],
        proptest::collection::vec(group(), 1..3),
        1..4,
    );
    let servers =
        proptest::collection::btree_map("[a-z]{1,6}", Just(json!({ "command": "x", "args": [] })), 1..3);
    let line = Just(json!({ "type": "command", "command": "theirs 'and more'" }));
    (
        proptest::collection::btree_map("[a-z]{1,6}", value(), 0..4),
        proptest::option::of(events),
        proptest::option::of(servers),
        proptest::option::of(line),
    )
        .prop_map(|(members, events, servers, line)| {
            let mut members: serde_json::Map<String, Value> = members.into_iter().collect();
            for reserved in ["hooks", "mcp"] {
                members.remove(reserved);
            }
            members.extend(events.map(|events| ("hooks".to_owned(), json!(events))));
            members.extend(servers.map(|servers| ("mcpServers".to_owned(), json!(servers))));
            members.extend(line.map(|line| ("statusLine".to_owned(), line)));
            Value::Object(members)
        })
}

/// Writes a value in one of the ways in which people and programs do.
fn written(value: &Value, style: u8) -> String {
    let text = match style % 4 {
        0 => value.to_string(),
        1 => format!("{value:#}\n"),
        2 => format!("{value:#}\n").replace("\n  ", "\n\t").replace('\n', "\r\n"),
        // Remarks at every line's end and on lines of their own, and trailing commas.
        _ => {
            let mut out = String::from("// a remark\n");
            for line in format!("{value:#}").lines() {
                let comma = !line.ends_with([',', '{', '[']) && line.starts_with("  ");
                out.push_str(line);
                out.push_str(if comma { "" } else { " // and one here" });
                out.push('\n');
            }
            out
        }
    };
    if style & 0x80 == 0 { text } else { text.trim_end().to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_file_comes_back_byte_by_byte(value in file(), style in any::<u8>()) {
        for agent in agent::all() {
            for wish in wishes(&agent.kind(), "/usr/bin/penpal") {
                let Content::Json(entries) = &wish.content else { continue };
                // What a file needs in any case stays in it when it was missing: here it is there.
                let mut value = value.clone();
                for entry in entries {
                    if let JsonEntry::Default { name, value: needed } = entry {
                        value[name] = needed.clone();
                    }
                }
                let text = written(&value, style);
                let put = wish.put(Some(&text)).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
                prop_assert_eq!(wish.put(Some(&put)), Ok(put.clone()), "twice is once");
                let back = wish.take(&put).map_err(|error| TestCaseError::fail(format!("{error}: {put}")))?;
                prop_assert_eq!(&back.text, &text, "through {}", put);
            }
        }
    }

    #[test]
    fn what_others_change_meanwhile_stays(value in file(), other in value(), style in any::<u8>()) {
        let wish = wish(&AgentKind::ClaudeCode, "settings.json");
        let put = wish.put(Some(&written(&value, style))).expect("put");
        // Somebody reads the file strictly, adds something, and writes it anew.
        let plain: String = put.lines().map(|line| line.split(" // and one here").next().unwrap_or_default().replace("// a remark", "") + "\n").collect();
        let mut changed: Value = serde_json::from_str(&plain).expect("JSON");
        changed["added"] = other.clone();
        let without = wish.take(&format!("{changed:#}")).expect("taken");
        let mut expected = value.clone();
        expected["added"] = other;
        prop_assert_eq!(serde_json::from_str::<Value>(&without.text).expect("JSON"), expected);
    }

    #[test]
    fn any_toml_file_comes_back_byte_by_byte(
        tables in proptest::collection::btree_map("[a-z]{1,6}", proptest::collection::btree_map("[a-z]{1,6}", any::<i16>(), 0..4), 0..5),
        remark in "[ a-z\\[\\]\"']{0,12}",
        crlf in any::<bool>(),
    ) {
        let mut text = format!("# {remark}\nfirst = '''\n[mcp_servers.penpal]\n'''\n");
        for (name, members) in &tables {
            text.push_str(&format!("\n[tables.{name}] # {remark}\n"));
            for (name, value) in members {
                text.push_str(&format!("{name} = {value}\n"));
            }
        }
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        for kind in [AgentKind::Codex, AgentKind::Grok] {
            let wish = wish(&kind, "config.toml");
            let put = wish.put(Some(&text)).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            prop_assert_eq!(wish.put(Some(&put)), Ok(put.clone()), "twice is once");
            prop_assert_eq!(wish.take(&put).map(|without| without.text), Ok(text.clone()));
        }
    }

    #[test]
    fn nothing_that_is_in_a_file_makes_it_panic(text in "\\PC{0,80}", cut in 0_usize..400) {
        let settings = wish(&AgentKind::ClaudeCode, "settings.json");
        let config = wish(&AgentKind::Codex, "config.toml");
        let put = settings.put(None).expect("put");
        let torn: String = put.chars().take(cut).chain(text.chars()).collect();
        for text in [text, torn] {
            drop((settings.put(Some(&text)), settings.take(&text), config.put(Some(&text)), config.take(&text)));
            let _answer = is_our_script(&text);
        }
    }
}
