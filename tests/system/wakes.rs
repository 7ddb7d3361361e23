//! Idle sessions that are woken: each way, by what agents really do with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use penpal_local_api::caller::{Caller, Conversation, ConversationSource};
use penpal_local_api::client::Client;
use penpal_local_api::home::Home;
use penpal_local_api::hook::{HookEvent, HookRequest, HookShows};
use penpal_local_api::methods::Hook;
use penpal_local_api::wake::WakeOffer;
use penpal_tests::{Binaries, Pair, Person, folder, wait};
use serde_json::{Value, json};

/// How long something must not happen that would happen at once.
const LONG_ENOUGH: Duration = Duration::from_millis(400);

/// One conversation of an agent, in surroundings that it made.
struct Agent<'p> {
    person: &'p Person,
    kind: &'static str,
    id: &'static str,
    environment: Vec<(String, String)>,
}

impl<'p> Agent<'p> {
    fn new(person: &'p Person, kind: &'static str, id: &'static str) -> Self {
        Self { person, kind, id, environment: Vec::new() }
    }

    fn command(&self, event: &str) -> Command {
        let mut command = self.person.command(&["hook", self.kind, event]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn input(&self, extra: &Value) -> String {
        let mut input =
            json!({ "session_id": self.id, "sessionID": self.id, "cwd": format!("/nowhere/{}", self.id) });
        for (name, value) in extra.as_object().into_iter().flatten() {
            input[name] = value.clone();
        }
        input.to_string()
    }

    /// What a hook wrote.
    fn hook(&self, event: &str, extra: Value) -> String {
        let mut child = self.command(event).spawn().expect("the hook runs");
        let written = child.stdin.take().expect("its input").write_all(self.input(&extra).as_bytes());
        written.expect("the hook reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A hook that waits in the background; its input stays open.
    fn waits(&self) -> Child {
        let mut child = self.command("wait").spawn().expect("the hook runs");
        let line = format!("{}\n", self.input(&json!({})));
        child.stdin.as_mut().expect("its input").write_all(line.as_bytes()).expect("the hook reads");
        child
    }

    fn row(&self) -> Value {
        let rows = self.person.json(&["sessions", "--all"]);
        let rows = rows["sessions"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["session"] == self.id).unwrap_or_default()
    }

    fn wakes_by(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ways = self.row()["wakes"].as_array().cloned().unwrap_or_default();
        ways.iter().map(|way| (text(&way["by"]), text(&way["state"]))).collect()
    }
}

fn started(folder: &tempfile::TempDir) -> Person {
    let me = Person::new(folder, "me");
    me.ok(&["daemon", "start"]);
    me
}

fn way(by: &str, state: &str) -> Vec<(String, String)> {
    vec![(by.to_owned(), state.to_owned())]
}

fn ask(person: &Person, to: &str, text: &str) -> String {
    let sent = person.json(&["send", to, text, "--ask", "--wait", "0s"]);
    sent["id"].as_str().map(str::to_owned).unwrap_or_default()
}

fn send_ask(person: &Person, to: &str, text: &str) -> String {
    let said = person.try_json(&["send", to, text, "--ask"]);
    said.json()["id"].as_str().expect("an id").to_owned()
}

fn surfaced_by(person: &Person, id: &str) -> Option<String> {
    let trail = person.json(&["trace", id]);
    let events = trail["events"].as_array().cloned().unwrap_or_default();
    events.iter().find(|event| event["stage"] == "surfaced")?["mechanism"].as_str().map(str::to_owned)
}

/// An agent's own inbox: lines that are written to it.
fn inbox(path: &Path) -> Receiver<String> {
    let listener = UnixListener::bind(path).expect("a socket");
    let (lines, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        }
    });
    received
}

fn with_inbox<'p>(person: &'p Person, path: &Path, id: &'static str) -> Agent<'p> {
    let mut agent = Agent::new(person, "claude-code", id);
    agent.environment = vec![
        ("CLAUDE_CODE_MESSAGING_SOCKET".to_owned(), path.display().to_string()),
        ("AI_AGENT".to_owned(), "claude-code_2.1.329_cli".to_owned()),
    ];
    agent
}

#[test]
fn an_ask_wakes_through_the_agents_own_inbox_and_a_note_does_not() {
    let folder = folder();
    let me = started(&folder);
    let path = folder.path().join("agent.sock");
    let lines = inbox(&path);
    let api = with_inbox(&me, &path, "api");
    api.hook("SessionStart", json!({ "source": "startup" }));
    assert_eq!(api.row()["reach"], "wakes", "{}", api.row());
    assert_eq!(api.wakes_by(), way("native-inbox", "untried"));
    me.ok(&["send", "api", "a note"]);
    assert!(lines.recv_timeout(LONG_ENOUGH).is_err(), "a note never wakes");
    let id = send_ask(&me, "api", "which port?");
    let line = lines.recv_timeout(Duration::from_secs(10)).expect("a wake");
    let message: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((message["type"].as_str(), message["session_id"].as_str()), (Some("user"), Some("api")));
    let text = message["message"]["content"].as_str().expect("text").to_owned();
    assert!(
        text.contains("| which port?")
            && text.contains("| a note")
            && text.contains("your user typed nothing"),
        "{text}"
    );
    assert_eq!(surfaced_by(&me, &id), None, "not before the agent shows it");
    // More comes meanwhile: one wake is under way.
    let second = send_ask(&me, "api", "and which host?");
    assert!(lines.recv_timeout(LONG_ENOUGH).is_err(), "one outstanding");
    assert_eq!(api.hook("UserPromptSubmit", json!({ "prompt": text })), "", "a wake is recognised");
    assert_eq!(surfaced_by(&me, &id).as_deref(), Some("native-inbox"));
    assert_eq!(api.wakes_by(), way("native-inbox", "proved"));
    assert_eq!(surfaced_by(&me, &second), None);
    // The turn ends: what came meanwhile holds it, and wakes nobody.
    assert!(api.hook("Stop", json!({})).contains("and which host?"));
    assert!(lines.recv_timeout(LONG_ENOUGH).is_err());
}

#[test]
fn a_dead_inbox_is_said_and_gives_way() {
    let folder = folder();
    let me = started(&folder);
    let api = with_inbox(&me, &folder.path().join("nobody.sock"), "api");
    api.hook("SessionStart", json!({ "source": "startup" }));
    let mut waiter = api.waits();
    wait::until("two ways", || api.wakes_by().len() == 2);
    let id = send_ask(&me, "api", "still there?");
    let mut text = String::new();
    waiter.stderr.take().expect("its output").read_to_string(&mut text).expect("read");
    assert_eq!(waiter.wait().expect("it ends").code(), Some(2), "{text}");
    assert!(text.contains("| still there?"), "{text}");
    let failed = ("native-inbox".to_owned(), "failed".to_owned());
    assert!(api.wakes_by().contains(&failed), "{:?}", api.wakes_by());
    api.hook("UserPromptSubmit", json!({ "prompt": format!("[SYSTEM NOTIFICATION] {text}") }));
    assert_eq!(surfaced_by(&me, &id).as_deref(), Some("rewake-hook"));
}

#[test]
fn versions_of_an_inbox_that_are_not_known_are_left_alone() {
    let folder = folder();
    let me = started(&folder);
    let path = folder.path().join("agent.sock");
    let _lines = inbox(&path);
    for (id, version) in [("old", "claude-code_2.1.197_cli"), ("new", "claude-code_3.0.0_cli"), ("none", "")]
    {
        let mut agent = with_inbox(&me, &path, id);
        agent.environment[1].1 = version.to_owned();
        agent.hook("SessionStart", json!({ "source": "startup" }));
        assert_eq!(agent.wakes_by(), [], "{version}");
    }
}

#[test]
fn a_background_hook_wakes_with_status_2_and_only_the_newest_one_waits() {
    let folder = folder();
    let me = started(&folder);
    let api = Agent::new(&me, "claude-code", "api");
    api.hook("SessionStart", json!({ "source": "startup" }));
    let mut first = api.waits();
    wait::until("the waiter", || api.row()["reach"] == "wakes");
    api.hook("UserPromptSubmit", json!({ "prompt": "hello" }));
    api.hook("Stop", json!({}));
    let mut second = api.waits();
    assert_eq!(first.wait().expect("it ends").code(), Some(0), "the older one is let go");
    let id = send_ask(&me, "api", "which port?");
    let mut said = String::new();
    second.stderr.take().expect("its output").read_to_string(&mut said).expect("read");
    assert_eq!(second.wait().expect("it ends").code(), Some(2));
    assert!(said.contains("| which port?"), "{said}");
    assert_eq!(api.hook("UserPromptSubmit", json!({ "prompt": said })), "");
    assert_eq!(surfaced_by(&me, &id).as_deref(), Some("rewake-hook"));
}

#[test]
fn a_waker_that_is_killed_with_the_mail_in_its_hands_loses_nothing() {
    let folder = folder();
    let me = started(&folder);
    let api = Agent::new(&me, "claude-code", "api");
    api.hook("SessionStart", json!({ "source": "startup" }));
    let mut waiter = api.waits();
    wait::until("the waiter", || api.row()["reach"] == "wakes");
    let id = send_ask(&me, "api", "do not lose me");
    // It has taken the mail and said it; the agent that ran it dies before its model sees it.
    let mut said = String::new();
    waiter.stderr.take().expect("its output").read_to_string(&mut said).expect("read");
    waiter.wait().expect("it ends");
    assert!(said.contains("do not lose me"));
    assert_eq!(surfaced_by(&me, &id), None);
    let mut shown = String::new();
    wait::until("the lease to end", || {
        shown = api.hook("UserPromptSubmit", json!({ "prompt": "a person's own" }));
        !shown.is_empty()
    });
    assert!(shown.contains("do not lose me") && shown.contains("again"), "{shown}");
    assert_eq!(surfaced_by(&me, &id).as_deref(), Some("prompt-hook"));
}

#[test]
fn a_plugin_that_waits_gets_a_prompt() {
    let folder = folder();
    let me = started(&folder);
    let web = Agent::new(&me, "opencode", "web");
    web.hook("event:session.created", json!({}));
    let mut waiter = web.waits();
    wait::until("the waiter", || web.row()["reach"] == "wakes");
    let id = send_ask(&me, "web", "which port?");
    let mut said = String::new();
    waiter.stdout.take().expect("its output").read_to_string(&mut said).expect("read");
    assert_eq!(waiter.wait().expect("it ends").code(), Some(0));
    let prompt =
        serde_json::from_str::<Value>(&said).expect("JSON")["prompt"].as_str().expect("a prompt").to_owned();
    assert!(prompt.contains("| which port?"));
    assert_eq!(web.hook("chat.message", json!({ "prompt": prompt })), "");
    assert_eq!(surfaced_by(&me, &id).as_deref(), Some("plugin"));
}

#[test]
fn a_queue_command_is_told_that_mail_waits_and_never_what() {
    let folder = folder();
    let me = started(&folder);
    let program = folder.path().join("codex");
    let log = folder.path().join("queued");
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {0}.new && mv {0}.new {0}\n", log.display());
    std::fs::write(&program, script).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let caller = Caller {
        agent: Some("codex".to_owned()),
        conversation: Some(Conversation { id: "thread-1".to_owned(), source: ConversationSource::Hook }),
        folder: Some("/nowhere/api".to_owned()),
        wakes: vec![WakeOffer::Queue { program: program.display().to_string(), folder: None }],
        ..Caller::default()
    };
    let hook = |event, nonces: Vec<String>| {
        let shows = HookShows::Context;
        let request = HookRequest { caller: caller.clone(), event, shows, held_before: false, nonces };
        Client::new(&Home::at(me.home())).call::<Hook>(&request).expect("a hook")
    };
    hook(HookEvent::Startup, Vec::new());
    let id = send_ask(&me, "api", "the secret port");
    wait::until("the queue", || log.exists());
    let queued = std::fs::read_to_string(&log).expect("what was queued");
    assert!(queued.starts_with("queue\n--thread\nthread-1\n--message\n<penpal n=\""), "{queued}");
    assert!(!queued.contains("secret"), "everybody on the machine can read arguments: {queued}");
    let answer = hook(HookEvent::Prompt, penpal_agents::quote::nonces(&queued));
    assert!(answer.quote.contains("| the secret port"), "{answer:?}");
    let commit = penpal_local_api::mail::CommitRequest { lease: answer.lease.expect("a lease") };
    Client::new(&Home::at(me.home())).call::<penpal_local_api::methods::Commit>(&commit).expect("committed");
    assert_eq!(surfaced_by(&me, &id).as_deref(), Some("queue"));
    assert_eq!(me.json(&["sessions"])["sessions"][0]["wakes"][0]["state"], "proved");
}

#[test]
fn a_muted_session_and_a_node_that_wakes_nobody_are_not_woken() {
    let folder = folder();
    let me = started(&folder);
    let path = folder.path().join("agent.sock");
    let lines = inbox(&path);
    let api = with_inbox(&me, &path, "api");
    api.hook("SessionStart", json!({ "source": "startup" }));
    me.ok(&["session", "mute", "api"]);
    assert_eq!((&api.row()["mode"], &api.row()["reach"]), (&json!("quiet"), &json!("next-prompt")));
    send_ask(&me, "api", "quietly");
    assert!(lines.recv_timeout(LONG_ENOUGH).is_err());
    me.ok(&["session", "mute", "api", "--end"]);
    lines.recv_timeout(Duration::from_secs(10)).expect("woken once it is not muted");
    me.ok(&["daemon", "stop"]);
    std::fs::write(me.home().join("config.toml"), "wakes = \"off\"\n").expect("written");
    me.ok(&["daemon", "start"]);
    api.hook("UserPromptSubmit", json!({ "prompt": "x" }));
    api.hook("Stop", json!({}));
    send_ask(&me, "api", "never");
    assert!(lines.recv_timeout(LONG_ENOUGH).is_err());
    assert_ne!(api.row()["reach"], "wakes");
}

#[test]
fn a_contacts_ask_wakes_and_its_sender_saw_that_it_can() {
    let pair = Pair::connected();
    let path = pair.folder().join("agent.sock");
    let lines = inbox(&path);
    let shop = with_inbox(&pair.bob, &path, "shop");
    shop.hook("SessionStart", json!({ "source": "startup" }));
    wait::until("the reach", || {
        let rows = pair.alice.json(&["contact", "sessions"]);
        let rows = rows["sessions"].as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| row["session"] == "shop" && row["reach"] == "wakes")
    });
    let id = ask(&pair.alice, "bob/shop", "is the schema final?");
    let line = lines.recv_timeout(Duration::from_secs(20)).expect("a wake");
    let message: Value = serde_json::from_str(&line).expect("JSON");
    let text = message["message"]["content"].as_str().expect("text");
    assert!(text.contains("alice, contact by invite") && text.contains("| is the schema final?"), "{text}");
    shop.hook("UserPromptSubmit", json!({ "prompt": text }));
    wait::until("the receipt", || surfaced_by(&pair.alice, &id).as_deref() == Some("native-inbox"));
}

#[test]
fn wake_test_wakes_for_real_and_says_what_hinders() {
    let folder = folder();
    let me = started(&folder);
    let path = folder.path().join("agent.sock");
    let lines = inbox(&path);
    let api = with_inbox(&me, &path, "api");
    api.hook("SessionStart", json!({ "source": "startup" }));
    let bare = Agent::new(&me, "gemini", "bare");
    bare.hook("SessionStart", json!({ "source": "startup" }));
    let child = me.command(&["wake-test", "--json"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let line = lines.recv_timeout(Duration::from_secs(20)).expect("a wake");
    let message: Value = serde_json::from_str(&line).expect("JSON");
    api.hook("UserPromptSubmit", json!({ "prompt": message["message"]["content"] }));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let tests = said["tests"].as_array().cloned().unwrap_or_default();
    assert_eq!(tests.len(), 1, "{said}");
    assert_eq!((&tests[0]["session"], &tests[0]["by"]), (&json!("api"), &json!("native-inbox")));
    let hindered = me.try_json(&["wake-test", "bare"]);
    assert_eq!(hindered.status, 1);
    assert!(hindered.json()["tests"][0]["reason"].as_str().is_some_and(|why| why.contains("penpal run")));
}

/// An agent that reads lines from its terminal and runs its hooks; what it read it writes to `heard`.
const SCRIPTED: &str = r#"#!/bin/sh
say() { printf '{"session_id":"t1","cwd":"/nowhere/term"%s}' "$2" | "$PENPAL" hook gemini "$1"; }
say SessionStart ',"source":"startup"' >/dev/null
printf 'ready\n'
while IFS= read -r line; do
  printf '%s\n' "$line" >> "$HEARD"
  [ "$line" = bye ] && exit 7
  quoted=$(printf '%s' "$line" | sed 's/\\/\\\\/g; s/"/\\"/g')
  say BeforeAgent ",\"prompt\":\"$quoted\"" >> "$HEARD.shown"
  say AfterAgent '' >> "$HEARD.shown"
  printf 'done\n'
done
"#;

#[test]
fn a_supervised_agent_is_typed_to_when_its_line_is_empty_and_never_into_a_draft() {
    let folder = folder();
    let me = started(&folder);
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    std::fs::write(bin.join("gemini"), SCRIPTED).expect("written");
    std::fs::set_permissions(bin.join("gemini"), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let heard = folder.path().join("heard");
    let (mut pty, pts) = pty_process::blocking::open().expect("a terminal");
    let mut command = pty_process::blocking::Command::new(&Binaries::get().penpal).env_clear();
    for (name, value) in [
        ("PATH", format!("{}:/usr/bin:/bin", bin.display())),
        ("PENPAL_HOME", me.home().display().to_string()),
        ("HOME", me.home().display().to_string()),
        ("PENPAL", Binaries::get().penpal.display().to_string()),
        ("HEARD", heard.display().to_string()),
    ] {
        command = command.env(name, value);
    }
    let mut child = command.args(["run", "gemini", "--name", "term"]).spawn(pts).expect("it runs");
    // What the person's terminal shows; read all the time, as a terminal does.
    let mut screen = std::fs::File::from(rustix::io::dup(&pty).expect("a copy"));
    let shown = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let filled = std::sync::Arc::clone(&shown);
    let reader = std::thread::spawn(move || {
        let mut part = [0; 1024];
        while let Ok(count @ 1..) = screen.read(&mut part) {
            filled.lock().expect("a lock").push_str(&String::from_utf8_lossy(&part[..count]));
        }
    });
    let lines = || std::fs::read_to_string(&heard).unwrap_or_default();
    let row = || me.json(&["sessions"])["sessions"][0].clone();
    wait::until("the session", || row()["reach"] == "wakes");
    assert_eq!(
        (row()["session"].as_str(), row()["wakes"][0]["by"].as_str()),
        (Some("term"), Some("terminal"))
    );
    // A draft stands in the line.
    pty.write_all(b"hel").expect("typed");
    wait::until("the echo", || shown.lock().expect("a lock").contains("hel"));
    let id = send_ask(&me, "term", "which port?");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(lines(), "", "nothing is typed into a draft");
    pty.write_all(b"lo\r").expect("typed");
    wait::until("the wake", || lines().lines().count() >= 2 || surfaced_by(&me, &id).is_some());
    wait::until("the receipt", || surfaced_by(&me, &id).is_some());
    let all = lines();
    assert_eq!(all.lines().next(), Some("hello"), "the person's line is theirs alone: {all}");
    // Its prompt hook showed it with the person's own line, or it was typed once the turn was over: never both.
    let by_hook = std::fs::read_to_string(heard.with_extension("shown"))
        .unwrap_or_default()
        .matches("| which port?")
        .count();
    let typed = all.matches("| which port?").count();
    assert_eq!(by_hook + typed, 1, "{all}");
    // And with nothing in the line it is typed, in one line, because this agent knows no pastes.
    wait::until("idle", || row()["state"] == "idle");
    let second = send_ask(&me, "term", "and which host?");
    wait::until_within(Duration::from_secs(90), "the second wake", || surfaced_by(&me, &second).is_some());
    assert_eq!(surfaced_by(&me, &second).as_deref(), Some("terminal"));
    wait::until("the line", || lines().contains("| and which host?"));
    let all = lines();
    assert_eq!(all.matches("and which host?").count(), 1, "{all}");
    assert!(
        all.lines().any(|line| line.starts_with("penpal brings mail") && line.contains("</penpal")),
        "{all}"
    );
    pty.write_all(b"bye\r").expect("typed");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(7), "its own exit status");
    drop(pty);
    reader.join().expect("the reader");
}

#[test]
fn in_a_room_only_whom_it_is_for_is_woken() {
    let pair = Pair::connected();
    pair.alice.ok(&["room", "create", "payments"]);
    pair.alice.ok(&["room", "invite", "payments", "bob"]);
    let standing = || pair.bob.json(&["room", "list"])["rooms"][0]["standing"].as_str().map(str::to_owned);
    wait::until("the invitation", || standing().as_deref() == Some("invited"));
    pair.bob.ok(&["room", "join", "payments"]);
    wait::until("the room", || standing().as_deref() == Some("member"));
    let paths = ["one", "two"].map(|name| pair.folder().join(format!("{name}.sock")));
    let [one_inbox, two_inbox] = [inbox(&paths[0]), inbox(&paths[1])];
    let [one, two] = [with_inbox(&pair.bob, &paths[0], "one"), with_inbox(&pair.bob, &paths[1], "two")];
    for agent in [&one, &two] {
        agent.hook("SessionStart", json!({ "source": "startup" }));
        agent.hook("Stop", json!({}));
    }
    wait::until("the sessions to be known", || {
        let rows = pair.alice.json(&["contact", "sessions", "bob"]);
        let rows = rows["sessions"].as_array().cloned().unwrap_or_default();
        ["one", "two"]
            .iter()
            .all(|name| rows.iter().any(|row| row["session"] == *name && row["reach"] == "wakes"))
    });
    send_ask(&pair.alice, "#payments", "an ask for nobody in particular");
    let addressed = send_ask(&pair.alice, "#payments @bob/one", "an ask for one");
    let line = one_inbox.recv_timeout(Duration::from_secs(20)).expect("a wake");
    assert!(line.contains("an ask for one") && !line.contains("nobody in particular"), "{line}");
    assert!(two_inbox.recv_timeout(LONG_ENOUGH).is_err(), "another session was woken");
    wait::until("the receipt", || {
        let trail = pair.alice.json(&["trace", &addressed]);
        trail["events"]
            .as_array()
            .is_some_and(|events| events.iter().any(|event| event["stage"] == "delivered"))
    });
    // Both are in the history, and the one for everybody waits at the desk.
    let history = pair.bob.json(&["inbox", "#payments"]);
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(2), "{history}");
    assert_eq!(pair.bob.bodies("desk"), ["an ask for nobody in particular"]);
}
