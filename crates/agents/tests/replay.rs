//! Recorded evidence of every agent and version: each run is one session, whoever speaks first.

mod support;

use penpal_agents::hook::{HookEvent, HookReport};
use penpal_agents::kind::{AgentKind, Model};
use penpal_protocol::sealed::SessionState;
use serde_json::Value;
use support::{Became, World, recorded_environment, recording};

/// One recorded run: agent, version, and how its process was called.
struct Run {
    agent: AgentKind,
    name: &'static str,
    command: &'static str,
}

fn runs() -> Vec<Run> {
    let run = |agent: AgentKind, name, command| Run { agent, name, command };
    vec![
        run(AgentKind::ClaudeCode, "claude-code-2.1.329.headless", "claude -p hello"),
        run(AgentKind::ClaudeCode, "claude-code-2.1.329.interactive", "/home/alice/.local/bin/claude"),
        run(AgentKind::ClaudeCode, "claude-code-2.1.197.headless", "claude -p hello"),
        run(AgentKind::Codex, "codex-0.169.0.headless", "/opt/codex exec hello"),
        run(AgentKind::Codex, "codex-0.169.0.interactive", "/opt/bin/codex app-server --listen unix://"),
        run(AgentKind::Opencode, "opencode-1.18.33.headless", "opencode run hello"),
        run(AgentKind::Opencode, "opencode-1.18.33.interactive", "/opt/opencode-linux-x64/bin/opencode"),
        run(AgentKind::Gemini, "gemini-0.61.0.headless", "node /usr/bin/gemini -p hello"),
        run(
            AgentKind::Gemini,
            "gemini-0.61.0.interactive",
            "/usr/bin/node --no-warnings /opt/node_modules/@google/gemini-cli/dist/index.js",
        ),
        run(AgentKind::Grok, "grok-1.0.41.headless", "grok -p hello"),
        run(AgentKind::Grok, "grok-1.0.41.interactive", "grok"),
        run(AgentKind::Copilot, "copilot-1.0.102.headless", "copilot -p hello"),
        run(
            AgentKind::Copilot,
            "copilot-1.0.102.interactive",
            "node /usr/lib/node_modules/@github/copilot/index.js",
        ),
        run(AgentKind::Qwen, "qwen-0.15.10.headless", "node /usr/bin/qwen -p hello"),
        run(AgentKind::Qwen, "qwen-0.15.10.interactive", "node /usr/bin/qwen"),
        run(
            AgentKind::Cline,
            "cline-3.0.65.headless",
            "/opt/node_modules/@cline/cli-linux-x64/bin/cline hello",
        ),
        run(AgentKind::Cline, "cline-3.0.65.interactive", "cline"),
    ]
}

impl Run {
    fn hooks(&self) -> Vec<Value> {
        recording(&format!("{}.hooks.jsonl", self.name))
    }

    fn mcp(&self) -> Vec<Value> {
        recording(&format!("{}.mcp.jsonl", self.name))
    }

    fn headless(&self) -> bool {
        self.name.ends_with("headless")
    }

    /// The conversation of the run, as its hooks name it.
    fn conversation(&self) -> String {
        let named = |line: Value| {
            let event = line["event"].as_str().expect("an event").to_owned();
            HookReport::read(&self.agent, &event, &line["stdin"]).conversation
        };
        let mut named: Vec<String> = self.hooks().into_iter().filter_map(named).collect();
        named.dedup();
        assert_eq!(named.len(), 1, "{} is one conversation", self.name);
        named.remove(0)
    }
}

/// Process of the agent, and of its MCP server.
const CLIENT: u32 = 1007;
const SERVER: u32 = 1020;

fn start(run: &Run) -> World {
    let mut world = World::new();
    world.processes.start(CLIENT, 100, run.command);
    world.processes.start(SERVER, CLIENT, "penpal mcp");
    world
}

/// Replays the MCP side up to and without its calls; gives the sessions that were named.
fn mcp_starts(world: &mut World, run: &Run) -> Vec<Became> {
    let mut named = Vec::new();
    let mut server = None;
    for line in run.mcp() {
        if line["dir"] == "env" {
            server = Some(world.mcp(
                SERVER,
                &recorded_environment(&line),
                line["cwd"].as_str().expect("a folder"),
            ));
        } else if let Some(client) = client_name(&line["msg"])
            // Qwen starts the server once more, under another name, to see whether it answers.
            && client != "mcp-test-client"
        {
            assert_eq!(AgentKind::from_client_name(&client), run.agent, "{client}");
            named.push(world.mcp_start(server.as_ref().expect("an environment"), &client));
        }
    }
    named
}

fn mcp_calls(world: &mut World, run: &Run) -> Vec<Became> {
    let mut named = Vec::new();
    let mut server = None;
    let mut client = String::new();
    for line in run.mcp() {
        if line["dir"] == "env" {
            server = Some(world.mcp(
                SERVER,
                &recorded_environment(&line),
                line["cwd"].as_str().expect("a folder"),
            ));
        }
        client = client_name(&line["msg"]).unwrap_or(client);
        if line["msg"]["method"] == "tools/call" {
            let meta = line["msg"]["params"].get("_meta");
            named.push(world.mcp_call(server.as_ref().expect("an environment"), &client, meta));
        }
    }
    named
}

fn client_name(message: &Value) -> Option<String> {
    let handshake = message["params"]["clientInfo"]["name"].as_str();
    let modern = message["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"].as_str();
    handshake.or(modern).map(str::to_owned)
}

fn hooks(world: &mut World, run: &Run, lines: &[Value]) -> Vec<Became> {
    lines
        .iter()
        .map(|line| {
            let event = line["event"].as_str().expect("an event");
            world.hook(&run.agent, CLIENT, event, &line["stdin"], &recorded_environment(line))
        })
        .collect()
}

fn sessions(became: &[Became]) -> Vec<penpal_protocol::ids::SessionId> {
    became
        .iter()
        .filter_map(|became| match became {
            Became::Session(session) => Some(*session),
            Became::NeedsId(_) | Became::Outside | Became::Nothing => None,
        })
        .collect()
}

#[test]
fn every_recorded_run_is_one_session_whoever_speaks_first() {
    for run in runs() {
        for mcp_first in [true, false] {
            let context = format!("{}, MCP first: {mcp_first}", run.name);
            let mut world = start(&run);
            let lines = run.hooks();
            // Hooks before the first turn, then the rest.
            let begin = lines.len().min(2);
            if mcp_first {
                mcp_starts(&mut world, &run);
            }
            hooks(&mut world, &run, &lines[..begin]);
            if !mcp_first {
                mcp_starts(&mut world, &run);
            }
            // Grok and Codex and all the others: one session, and its id is certain.
            let row = world.only();
            assert_eq!(
                row.conversation.as_ref().map(|(id, certain)| (id.as_str(), *certain)),
                Some((run.conversation().as_str(), true)),
                "{context}"
            );
            assert_eq!(row.name.as_str(), "proj", "{context}");
            assert_eq!(row.agent, run.agent.label(), "{context}");
            assert_eq!(row.announced, !run.headless() || !tells_headless(&run), "{context}");

            let calls = mcp_calls(&mut world, &run);
            if run.agent == AgentKind::Opencode {
                // Its calls name no conversation, and its process runs several.
                assert!(calls.iter().all(|became| *became == Became::NeedsId(1)), "{context}: {calls:?}");
            } else {
                assert!(
                    calls.iter().all(|became| *became == Became::Session(row.session)),
                    "{context}: {calls:?}"
                );
            }
            let rest = hooks(&mut world, &run, &lines[begin..]);
            assert!(sessions(&rest).iter().all(|session| *session == row.session), "{context}");
            world.gone(CLIENT);
            let row = world.only();
            assert_eq!(row.state, SessionState::Ended, "{context}");
        }
    }
}

/// Cline's one-prompt runs look like any other.
fn tells_headless(run: &Run) -> bool {
    run.agent != AgentKind::Cline
}

#[test]
fn every_run_takes_over_from_the_one_before() {
    for run in runs() {
        let mut world = start(&run);
        mcp_starts(&mut world, &run);
        hooks(&mut world, &run, &run.hooks());
        world.gone(CLIENT);
        let first = world.only();
        // The same again, as another conversation in another process.
        let renamed = |value: Value| -> Value {
            let text = value.to_string().replace(&run.conversation(), "the-next-conversation");
            serde_json::from_str(&text).expect("still JSON")
        };
        let lines: Vec<Value> = run.hooks().into_iter().map(renamed).collect();
        world.processes.start(2007, 100, run.command);
        for line in &lines {
            let event = line["event"].as_str().expect("an event");
            world.hook(&run.agent, 2007, event, &line["stdin"], &recorded_environment(line));
        }
        let second = world.only();
        assert_eq!((second.session, &second.name), (first.session, &first.name), "{}", run.name);
        assert_eq!(
            second.conversation.map(|(id, _)| id.as_str().to_owned()).as_deref(),
            Some("the-next-conversation")
        );
    }
}

#[test]
fn without_hooks_calls_alone_are_one_session_where_the_agent_says_enough() {
    for run in runs() {
        let mut world = start(&run);
        let mut named = sessions(&mcp_starts(&mut world, &run));
        named.extend(sessions(&mcp_calls(&mut world, &run)));
        named.dedup();
        assert!(named.len() <= 1, "{}: {named:?}", run.name);
        let Some(session) = named.first() else {
            assert_eq!(run.agent.model(), Model::Shared, "{} has a session", run.name);
            continue;
        };
        let row = world.row(*session);
        // Claude, Grok and Copilot put an id in the environment, Codex in each call; the others stay provisional.
        let says = matches!(
            run.agent,
            AgentKind::ClaudeCode | AgentKind::Grok | AgentKind::Copilot | AgentKind::Codex
        );
        assert_eq!(row.provisional, !says, "{}", run.name);
    }
}

#[test]
fn recorded_events_mean_what_they_meant() {
    let mut seen = std::collections::BTreeMap::new();
    for run in runs() {
        for line in run.hooks() {
            let event = line["event"].as_str().expect("an event").to_owned();
            let read = HookReport::read(&run.agent, &event, &line["stdin"]);
            seen.entry((run.agent.label().to_string(), event)).or_insert(read.event);
        }
    }
    let of = |agent: &str| -> Vec<(String, HookEvent)> {
        seen.iter()
            .filter(|((kind, _), _)| kind == agent)
            .map(|((_, event), read)| (event.clone(), *read))
            .collect()
    };
    for agent in ["claude-code", "codex", "gemini", "grok", "copilot", "qwen", "cline", "opencode"] {
        let events = of(agent);
        for wanted in [HookEvent::Prompt, HookEvent::Stop] {
            assert!(
                events.iter().any(|(_, event)| *event == wanted),
                "{agent} has no {wanted:?}: {events:?}"
            );
        }
    }
    // Nothing but what is known to tell nothing is left unread.
    let unread: Vec<&str> = seen
        .iter()
        .filter(|(_, read)| **read == HookEvent::Other)
        .map(|((_, event), _)| event.as_str())
        .collect();
    let silent = ["Notification", "INIT", "PUSH", "PreCompress", "messages.transform", "system.transform"];
    assert!(unread.iter().all(|event| silent.contains(event) || event.starts_with("event:")), "{unread:?}");
}
