//! opencode's plugin as `penpal init` writes it, in a JavaScript runtime that plays opencode, with the real node and hooks behind it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use penpal_tests::{Binaries, Person, clean_command, folder, wait};
use serde_json::{Value, json};

/// A JavaScript runtime of this machine.
fn runtime() -> Option<&'static str> {
    let runs = |name: &&str| {
        let said = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        said.is_ok_and(|status| status.success())
    };
    ["node", "bun"].into_iter().find(runs)
}

/// opencode, played.
struct Opencode {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Opencode {
    /// Starts it in a runtime, with the plugin from the user's configuration.
    fn start(runtime: &str, plugin: &Path) -> Self {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("system/plugin.mjs");
        let mut command = clean_command(Path::new(runtime));
        let mut child = command
            .arg(driver)
            .arg(plugin)
            .env("OPENCODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the runtime starts");
        let (input, output) =
            (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
        Self { child, input, output: BufReader::new(output) }
    }

    fn order(&mut self, order: Value) -> Value {
        writeln!(self.input, "{order}").expect("it listens");
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).expect("its output") > 0, "it ended at {order}");
        serde_json::from_str(&line).expect("a line of JSON")
    }

    fn event(&mut self, kind: &str, session: &str) {
        self.order(json!({ "order": "event", "type": kind, "sessionID": session }));
    }

    /// What a prompt consists of once the plugin saw it.
    fn message(&mut self, session: &str, text: &str) -> Vec<Value> {
        let parts = self.order(json!({ "order": "message", "sessionID": session, "text": text }));
        parts.as_array().cloned().expect("parts")
    }

    /// The next prompt that the plugin gave, when it gives one.
    fn given(&mut self) -> Value {
        let mut given = Vec::new();
        wait::until("a prompt of the plugin's", || {
            given = self.order(json!({ "order": "given" })).as_array().cloned().unwrap_or_default();
            !given.is_empty()
        });
        assert_eq!(given.len(), 1, "{given:?}");
        given.remove(0)
    }
}

impl Drop for Opencode {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        drop(ended);
    }
}

#[test]
fn the_plugin_names_conversations_shows_mail_and_wakes() {
    let Some(runtime) = runtime() else {
        println!("neither node nor bun is here: the plugin of opencode was not tried");
        return;
    };
    let folder = folder();
    let (me, user) = (Person::new(&folder, "me"), folder.path().join("user"));
    std::fs::create_dir_all(&user).expect("a home");
    let program = Binaries::get().penpal.to_str().expect("UTF-8");
    let mut init = me.command(&["init", "--yes", "--client", "opencode", "--program", program]);
    let said = init.env("HOME", &user).output().expect("penpal runs");
    assert!(said.status.success(), "{said:?}");
    me.ok(&["daemon", "start"]);
    let written = user.join(".config/opencode/plugin/penpal.js");
    // opencode's own runtime takes any file for a module; others want to be told.
    let plugin = folder.path().join("penpal.mjs");
    std::fs::copy(&written, &plugin).expect("a copy");
    let mut opencode = Opencode::start(runtime, &plugin);

    // A conversation is a session, one that an agent began within it is none.
    opencode.event("session.created", "ses_outer");
    opencode.order(json!({ "order": "event", "type": "session.created", "sessionID": "ses_inner", "parentID": "ses_outer" }));
    opencode.event("session.idle", "ses_inner");
    let sessions = me.json(&["sessions"])["sessions"].as_array().cloned().unwrap_or_default();
    let row: Vec<_> = sessions.iter().map(|row| (row["session"].as_str(), row["agent"].as_str())).collect();
    assert_eq!(row, [(Some("work"), Some("opencode"))], "{sessions:?}");

    // Mail that waits is added to a prompt as a part of its own, once; the inner conversation sees none.
    me.ok(&["send", "work", "port 4433 is free"]);
    assert_eq!(opencode.message("ses_inner", "do").len(), 1);
    let parts = opencode.message("ses_outer", "go on");
    let [typed, added] = parts.as_slice() else { panic!("two parts: {parts:?}") };
    assert_eq!(typed["text"], "go on");
    assert!(added["text"].as_str().is_some_and(|text| text.contains("| port 4433 is free")), "{added}");
    assert_eq!((added["type"].as_str(), added["synthetic"].as_bool()), (Some("text"), Some(true)));
    assert_eq!(
        (added["sessionID"].as_str(), added["messageID"].as_str()),
        (Some("ses_outer"), Some("msg_1"))
    );
    assert!(added["id"].as_str().is_some_and(|id| id.starts_with("prt_") && id.len() == 30), "{added}");
    assert_eq!(opencode.message("ses_outer", "and on").len(), 1, "once");

    // One MCP server serves all conversations: calls of its tools say which one calls, others are left alone.
    let before = |opencode: &mut Opencode, tool: &str| {
        opencode.order(json!({ "order": "before", "tool": tool, "sessionID": "ses_outer" }))
    };
    assert_eq!(before(&mut opencode, "penpal_send"), json!({ "penpal_session": "ses_outer" }));
    assert_eq!(before(&mut opencode, "bash"), json!({}));

    // An ask that waits at the end of a turn is the next prompt; what comes back as a prompt is not shown again.
    let asked = me.json(&["send", "work", "which branch?", "--ask", "--wait", "0s"]);
    let surfaced_by = |asked: &Value| {
        let trail = me.json(&["trace", asked["id"].as_str().expect("an id")]);
        let events = trail["events"].as_array().cloned().unwrap_or_default();
        let surfaced = events.into_iter().find(|event| event["stage"] == "surfaced");
        surfaced.and_then(|event| event["mechanism"].as_str().map(str::to_owned))
    };
    opencode.event("session.idle", "ses_outer");
    let prompt = opencode.given();
    let text = prompt["text"].as_str().expect("a text").to_owned();
    assert!(prompt["session"] == "ses_outer" && text.contains("| which branch?"), "{prompt}");
    assert_eq!(surfaced_by(&asked), None, "handed to the plugin, and in no conversation yet");
    assert_eq!(opencode.message("ses_outer", &text).len(), 1);
    assert_eq!(surfaced_by(&asked).as_deref(), Some("stop-hook"));

    // Idle, it is woken by an ask.
    opencode.event("session.idle", "ses_outer");
    wait::until("a session that can be woken", || {
        me.json(&["sessions"])["sessions"][0]["wakes"][0]["by"] == "plugin"
    });
    let asked = me.json(&["send", "work", "and which tag?", "--ask", "--wait", "0s"]);
    let prompt = opencode.given();
    let text = prompt["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("| and which tag?") && text.contains("your user typed nothing"), "{prompt}");
    assert_eq!(opencode.message("ses_outer", &text).len(), 1);
    assert_eq!(surfaced_by(&asked).as_deref(), Some("plugin"));

    // Without penpal it does nothing and breaks nothing.
    me.ok(&["daemon", "stop"]);
    assert_eq!(opencode.message("ses_outer", "still here").len(), 1);
    opencode.event("session.deleted", "ses_outer");
}
