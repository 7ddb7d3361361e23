//! Bench `hook`: whole processes of hooks as an agent starts them, quotes, and an MCP server that waits.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use penpal_tests::Person;
use serde_json::{Value, json};

use crate::Place;
use crate::figures::{Figure, Samples, Target, Unit, latency};
use crate::process::{Ended, own_kib, rss_kib};
use crate::report::Report;

/// Starts of each hook in one round.
const STARTS: usize = 100;

/// Starts while the node does not answer: each takes as long as a hook may.
const HANGING: usize = 20;

/// Messages that wait for a prompt.
const WAITING: usize = 3;

/// Text of each message that waits, in bytes.
const TEXT: &str = "the checkout form is done and its tests are green; the API still answers 500 when the cart is empty, see cart.rs";

/// Hooks with a node and without, the size of what they show, and the server.
pub(crate) fn run(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("hook");
    report.setting(format!(
        "{STARTS} starts of `penpal hook claude-code UserPromptSubmit` a round, each with what the agent writes to it; the node runs and holds one session"
    ));
    report
        .setting(format!("messages that wait have {} bytes and are sent before the hook starts", TEXT.len()));
    let me = Person::at(&place.folder.join("home"), "me");
    me.ok(&["daemon", "start"]);
    hook(&me, "SessionStart")?;
    let (mut nothing, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..place.rounds {
        let [mut of_nothing, mut of_waiting] = [(); 2].map(|()| Samples::with_capacity(STARTS));
        for _ in 0..STARTS {
            let (took, said) = hook(&me, "UserPromptSubmit")?;
            ensure!(said.is_empty(), "nothing waits, and it says {said}");
            of_nothing.push(took);
            for _ in 0..WAITING {
                me.ok(&["send", "work", TEXT]);
            }
            let (took, said) = hook(&me, "UserPromptSubmit")?;
            ensure!(said.matches(TEXT).count() == WAITING, "it shows something else: {said}");
            of_waiting.push(took);
        }
        nothing.push(of_nothing);
        waiting.push(of_waiting);
    }
    let [p50, p99] = latency("hook, nothing waits", Unit::Millis, &nothing);
    report.figures.extend([p50.target(Target::AtMost(3.0)), p99]);
    report.figures.extend(latency("hook, 3 messages wait, taken and committed", Unit::Millis, &waiting));
    quotes(&me, &mut report)?;
    server(&me, &mut report)?;
    away(place, &me, &mut report)?;
    Ok(report)
}

/// One hook from its start to its end, with what it wrote.
fn hook(me: &Person, event: &str) -> anyhow::Result<(Duration, String)> {
    let input = json!({
        "session_id": "2f6c1c1e-7e55-4a1e-9a3c-8d6f3a0b5e11", "transcript_path": "/nowhere/work/t.jsonl", "cwd": "/nowhere/work",
        "hook_event_name": event, "source": "startup", "permission_mode": "default", "prompt": "go on with the checkout form",
    });
    let mut command = me.command(&["hook", "claude-code", event]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn()?;
    child.stdin.take().context("its input")?.write_all(input.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let took = begun.elapsed();
    ensure!(output.status.success(), "the hook ends with {}", output.status);
    Ok((took, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// What a quote adds to the texts in it.
fn quotes(me: &Person, report: &mut Report) -> anyhow::Result<()> {
    for (name, kind, count) in
        [("one note", None, 1), ("one ask", Some("--ask"), 1), ("three notes", None, 3)]
    {
        for _ in 0..count {
            let args = ["send", "work", TEXT].into_iter().chain(kind).chain(["--wait", "0s"]);
            me.ok(&args.collect::<Vec<_>>());
        }
        let (_, said) = hook(me, "UserPromptSubmit")?;
        let shape: Value = serde_json::from_str(&said).with_context(|| format!("no quote: {said:?}"))?;
        let quote = shape["hookSpecificOutput"]["additionalContext"].as_str().context("a quote")?;
        let around = quote.chars().count() - count * TEXT.chars().count();
        let name = format!("quote of {name}: characters besides the texts");
        report.figures.push(Figure::new(name, Unit::Count, vec![around as f64]));
    }
    Ok(())
}

/// Memory of an MCP server that was greeted, asked for its tools and once for the sessions, and waits for more.
fn server(me: &Person, report: &mut Report) -> anyhow::Result<()> {
    let mut server = Server::start(me.command(&["mcp"]))?;
    server.ask(
        "initialize",
        &json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "claude-code", "version": "2.1.329" } }),
    )?;
    server.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
    server.ask("tools/list", &json!({}))?;
    server.ask("tools/call", &json!({ "name": "sessions", "arguments": {} }))?;
    // Answered by the one thread that did all of the above: nothing of it goes on.
    server.ask("ping", &json!({}))?;
    let pid = server.child.0.id();
    let rss = Figure::new("penpal mcp, idle: resident", Unit::Mib, vec![rss_kib(pid)? / 1024.0]);
    report.figures.push(rss.target(Target::AtMost(10.0)));
    let name = "penpal mcp, idle: of that its own, not the program's file";
    report.figures.push(Figure::new(name, Unit::Mib, vec![own_kib(pid)? / 1024.0]));
    Ok(())
}

struct Server {
    child: Ended,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child: Child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (input, output) = (child.stdin.take().context("input")?, child.stdout.take().context("output")?);
        Ok(Self { child: Ended(child), input, output: BufReader::new(output) })
    }

    fn say(&mut self, message: &Value) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{message}")?)
    }

    fn ask(&mut self, method: &str, params: &Value) -> anyhow::Result<()> {
        self.say(&json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params }))?;
        loop {
            let mut line = String::new();
            ensure!(self.output.read_line(&mut line)? > 0, "the server ended at {method}");
            let message: Value = serde_json::from_str(&line)?;
            if message["id"] == method {
                return Ok(());
            }
        }
    }
}

/// The node is stopped by hand; then something listens in its place and never answers.
fn away(place: &Place, me: &Person, report: &mut Report) -> anyhow::Result<()> {
    me.ok(&["daemon", "stop"]);
    let (mut stopped, mut hanging) = (Vec::new(), Vec::new());
    for _ in 0..place.rounds {
        let mut of_stopped = Samples::with_capacity(STARTS);
        for _ in 0..STARTS {
            let (took, said) = hook(me, "UserPromptSubmit")?;
            ensure!(said.is_empty(), "without a node it says {said}");
            of_stopped.push(took);
        }
        stopped.push(of_stopped);
    }
    let socket = me.home().join("node.sock");
    // It may have been left behind.
    let removed = std::fs::remove_file(&socket);
    drop(removed);
    let _silent = UnixListener::bind(&socket)?;
    for _ in 0..place.rounds {
        let mut of_hanging = Samples::with_capacity(HANGING);
        for _ in 0..HANGING {
            let (took, said) = hook(me, "UserPromptSubmit")?;
            ensure!(said.is_empty(), "without an answer it says {said}");
            of_hanging.push(took);
        }
        hanging.push(of_hanging);
    }
    report.setting(format!("{STARTS} starts without a node and {HANGING} with a node that hangs, a round"));
    report.figures.extend(latency("hook, no node", Unit::Millis, &stopped));
    let [p50, p99] = latency("hook, the node hangs", Unit::Millis, &hanging);
    report.figures.extend([p50, p99.target(Target::AtMost(150.0))]);
    Ok(())
}
