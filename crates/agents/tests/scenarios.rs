//! Who is calling, in the situations that recordings of single runs do not show.
//!
//! Variables and inputs have the shapes of the recordings.

mod support;

use penpal_agents::caller::inside_agent;
use penpal_agents::evidence::{Environment, Surroundings};
use penpal_agents::hook::HookReport;
use penpal_agents::kind::{AgentKind, Model};
use penpal_local_api::wake::WakeOffer;
use penpal_protocol::sealed::SessionState;
use penpal_sessions::Command;
use serde_json::{Value, json};
use support::{Became, Processes, World, environment};

const CLAUDE: AgentKind = AgentKind::ClaudeCode;

fn claude_variables(id: &str) -> Environment {
    environment(&[
        ("CLAUDECODE", "1"),
        ("CLAUDE_CODE_ENTRYPOINT", "cli"),
        ("CLAUDE_CODE_SESSION_ID", id),
        ("CLAUDE_PROJECT_DIR", "/home/alice/proj"),
    ])
}

fn start(id: &str, source: &str) -> Value {
    json!({"session_id": id, "cwd": "/home/alice/proj", "hook_event_name": "SessionStart", "source": source})
}

fn prompt(id: &str) -> Value {
    json!({"session_id": id, "cwd": "/home/alice/proj", "hook_event_name": "UserPromptSubmit", "prompt": "x"})
}

/// A Claude Code process with its MCP server (pid + 1), its start hook run.
fn claude(world: &mut World, pid: u32, id: &str) -> Surroundings {
    world.processes.start(pid, 100, "claude");
    world.processes.start(pid + 1, pid, "penpal mcp");
    let server = world.mcp(pid + 1, &claude_variables(id), "/home/alice/proj");
    world.mcp_start(&server, "claude-code");
    world.hook(&CLAUDE, pid, "SessionStart", &start(id, "startup"), &claude_variables(id));
    server
}

fn call(world: &mut World, server: &Surroundings) -> Became {
    let meta = json!({"claudecode/toolUseId": "toolu_1", "progressToken": 4});
    world.mcp_call(server, "claude-code", Some(&meta))
}

#[test]
fn two_in_one_folder_are_told_apart_by_their_processes() {
    let mut world = World::new();
    let one = claude(&mut world, 1000, "c1");
    let two = claude(&mut world, 2000, "c2");
    assert_eq!(world.names(), ["proj", "proj-2"]);
    let (first, second) = (call(&mut world, &one).session(), call(&mut world, &two).session());
    assert_ne!(first, second);
    assert_eq!(world.row(first).name.as_str(), "proj");
    assert_eq!(world.row(second).name.as_str(), "proj-2");
}

#[test]
fn clear_keeps_the_session_and_its_server() {
    let mut world = World::new();
    let server = claude(&mut world, 1000, "c1");
    let session = call(&mut world, &server).session();
    let ended = json!({"session_id": "c1", "cwd": "/home/alice/proj", "reason": "clear"});
    world.hook(&CLAUDE, 1000, "SessionEnd", &ended, &claude_variables("c1"));
    assert_ne!(world.row(session).state, SessionState::Ended, "it goes on");
    world.hook(&CLAUDE, 1000, "SessionStart", &start("c2", "clear"), &claude_variables("c2"));
    // The server's environment still says c1.
    assert_eq!(call(&mut world, &server), Became::Session(session));
    assert_eq!(world.only().conversation.map(|(id, _)| id.as_str().to_owned()).as_deref(), Some("c2"));
}

#[test]
fn clear_is_understood_when_its_start_hook_was_missed() {
    let mut world = World::new();
    let server = claude(&mut world, 1000, "c1");
    let session = call(&mut world, &server).session();
    assert_eq!(
        world.hook(&CLAUDE, 1000, "UserPromptSubmit", &prompt("c2"), &claude_variables("c2")),
        Became::Session(session)
    );
    assert_eq!(call(&mut world, &server), Became::Session(session));
}

#[test]
fn compaction_changes_nothing() {
    let mut world = World::new();
    let server = claude(&mut world, 1000, "c1");
    let session = call(&mut world, &server).session();
    for id in ["c1", "c2"] {
        world.hook(&CLAUDE, 1000, "SessionStart", &start(id, "compact"), &claude_variables(id));
        assert_eq!(call(&mut world, &server), Became::Session(session), "{id}");
    }
    assert_eq!(world.names(), ["proj"]);
}

#[test]
fn resume_in_a_new_process_finds_its_session_among_several() {
    for hook_first in [true, false] {
        let mut world = World::new();
        let one = claude(&mut world, 1000, "c1");
        let two = claude(&mut world, 2000, "c2");
        let (first, second) = (call(&mut world, &one).session(), call(&mut world, &two).session());
        world.gone(1000);
        world.gone(2000);
        // `claude --resume c1`: the environment of the server holds another, useless id.
        world.processes.start(3000, 100, "claude --resume c1");
        world.processes.start(3001, 3000, "penpal mcp");
        let server = world.mcp(3001, &claude_variables("stale"), "/home/alice/proj");
        if !hook_first {
            world.mcp_start(&server, "claude-code");
        }
        world.hook(&CLAUDE, 3000, "SessionStart", &start("c1", "resume"), &claude_variables("c1"));
        if hook_first {
            world.mcp_start(&server, "claude-code");
        }
        assert_eq!(call(&mut world, &server), Became::Session(first), "hook first: {hook_first}");
        assert_eq!(world.row(second).state, SessionState::Ended);
        assert_eq!(world.sessions.local().len(), 2, "the guess left nothing");
    }
}

#[test]
fn a_guess_that_was_used_becomes_part_of_what_it_turns_out_to_be() {
    let mut world = World::new();
    let one = claude(&mut world, 1000, "c1");
    let two = claude(&mut world, 2000, "c2");
    let first = call(&mut world, &one).session();
    call(&mut world, &two);
    world.gone(1000);
    world.gone(2000);
    world.processes.start(3000, 100, "claude --resume c1");
    world.processes.start(3001, 3000, "penpal mcp");
    let server = world.mcp(3001, &claude_variables("stale"), "/home/alice/proj");
    let guess = call(&mut world, &server).session();
    assert_ne!(guess, first, "two ended: nothing says which");
    world.hook(&CLAUDE, 3000, "UserPromptSubmit", &prompt("c1"), &claude_variables("c1"));
    assert_eq!(call(&mut world, &server), Became::Session(first));
    assert_eq!(world.sessions.local().len(), 2);
    assert!(world.commands.contains(&Command::MoveMail { from: guess, into: first }));
    assert_eq!(world.row(guess).session, first, "whoever knew the guess reaches the session");
}

#[test]
fn this_process_is_found_where_it_stands() {
    let caller = penpal_agents::evidence::of_this_process();
    let here = std::env::current_dir().expect("a folder").canonicalize().expect("there");
    assert_eq!(caller.folder.as_deref(), here.to_str());
    assert_eq!(caller.ancestors.first().map(|parent| parent.pid), Some(std::os::unix::process::parent_id()));
    let server = penpal_agents::evidence::of_mcp_server(Some("some-client"));
    let client = server.client.expect("this process stands for an unknown client");
    assert_eq!(client.pid, std::process::id());
    assert!(penpal_agents::evidence::process::is_alive(client));
}

#[test]
fn resume_of_what_was_cleared_away_finds_the_session_that_had_it() {
    let mut world = World::new();
    let one = claude(&mut world, 1000, "c1");
    let session = call(&mut world, &one).session();
    world.hook(&CLAUDE, 1000, "SessionStart", &start("c2", "clear"), &claude_variables("c2"));
    world.gone(1000);
    let other = claude(&mut world, 2000, "c9");
    assert_eq!(call(&mut world, &other).session(), session, "the next conversation there takes over");
    world.gone(2000);
    world.processes.start(3000, 100, "claude --resume c1");
    let resumed = world.hook(&CLAUDE, 3000, "SessionStart", &start("c1", "resume"), &claude_variables("c1"));
    assert_eq!(resumed, Became::Session(session));
}

#[test]
fn resume_inside_a_process_moves_it_to_the_other_session() {
    let mut world = World::new();
    let one = claude(&mut world, 1000, "c1");
    let two = claude(&mut world, 2000, "c2");
    let (first, second) = (call(&mut world, &one).session(), call(&mut world, &two).session());
    world.gone(1000);
    let resumed = world.hook(&CLAUDE, 2000, "SessionStart", &start("c1", "resume"), &claude_variables("c1"));
    assert_eq!(resumed, Became::Session(first));
    assert_eq!(call(&mut world, &two), Became::Session(first), "its server goes with it");
    assert_eq!(world.row(second).state, SessionState::Ended);
}

#[test]
fn a_fork_is_a_session_of_its_own() {
    // In a process of its own: the ended one is not taken over.
    let mut world = World::new();
    let one = claude(&mut world, 1000, "c1");
    let first = call(&mut world, &one).session();
    world.gone(1000);
    world.processes.start(2000, 100, "claude --resume c1 --fork-session");
    let forked =
        world.hook(&CLAUDE, 2000, "SessionStart", &start("c2", "fork"), &claude_variables("c2")).session();
    assert_ne!(forked, first);
    // In the same process: it leaves the old one.
    let mut world = World::new();
    let one = claude(&mut world, 1000, "c1");
    let first = call(&mut world, &one).session();
    let forked =
        world.hook(&CLAUDE, 1000, "SessionStart", &start("c2", "fork"), &claude_variables("c2")).session();
    assert_ne!(forked, first);
    assert_eq!(call(&mut world, &one), Became::Session(forked));
    assert_eq!(world.row(first).state, SessionState::Ended);
}

#[test]
fn an_agent_inside_another_ones_shell_is_itself() {
    let mut world = World::new();
    let outer = claude(&mut world, 1000, "c1");
    let outer = call(&mut world, &outer).session();
    // Gemini, started in Claude's shell, inherits all of Claude's variables.
    let inherited = {
        let mut variables = claude_variables("c1");
        variables.insert("GEMINI_CLI".to_owned(), "1".to_owned());
        variables
    };
    world.processes.start(1100, 1000, "/bin/bash -c gemini");
    world.processes.start(1101, 1100, "node /usr/bin/gemini");
    world.processes.start(1102, 1101, "penpal mcp");
    let server = world.mcp(1102, &inherited, "/home/alice/proj");
    let inner = world.mcp_start(&server, "gemini-cli-mcp-client").session();
    assert_ne!(inner, outer);
    let row = world.row(inner);
    assert_eq!(row.agent.as_str(), "gemini");
    assert!(row.provisional, "Claude's id is not Gemini's");
    let hook = json!({"session_id": "g1", "cwd": "/home/alice/proj", "source": "startup"});
    assert_eq!(
        world.hook(&AgentKind::Gemini, 1101, "SessionStart", &hook, &inherited),
        Became::Session(inner)
    );
    // A command in Gemini's shell is Gemini's, one in Claude's is Claude's.
    world.processes.start(1103, 1101, "bash -c penpal");
    world.processes.start(1104, 1103, "penpal send");
    assert_eq!(world.command(1104, &inherited, "/home/alice/proj"), Became::Session(inner));
    world.processes.start(1105, 1100, "penpal send");
    assert_eq!(world.command(1105, &claude_variables("c1"), "/tmp"), Became::Session(outer));
}

#[test]
fn the_same_agent_inside_its_own_shell_is_another_session() {
    let mut world = World::new();
    let outer = claude(&mut world, 1000, "c1");
    let outer = call(&mut world, &outer).session();
    world.processes.start(1100, 1000, "/bin/zsh -c claude");
    world.processes.start(1101, 1100, "claude");
    world.processes.start(1102, 1101, "penpal mcp");
    // For a moment it has the outer one's id in its environment.
    let server = world.mcp(1102, &claude_variables("c1"), "/home/alice/proj");
    let inner = world.mcp_start(&server, "claude-code").session();
    assert_ne!(inner, outer);
    assert!(world.row(inner).provisional);
    let named = world.hook(&CLAUDE, 1101, "SessionStart", &start("c2", "startup"), &claude_variables("c2"));
    assert_eq!(named, Became::Session(inner));
    assert_eq!(call(&mut world, &server), Became::Session(inner));
}

#[test]
fn threads_of_one_codex_process_are_told_apart_by_every_call() {
    let mut world = World::new();
    world.processes.start(1000, 1, "/opt/bin/codex app-server --listen unix://");
    world.processes.start(1001, 1000, "penpal mcp");
    let server = world.mcp(1001, &environment(&[]), "/home/alice/proj");
    assert_eq!(world.mcp_start(&server, "codex-mcp-client"), Became::NeedsId(0));
    let call = |world: &mut World, thread: &str| {
        let meta = json!({"threadId": thread, "sessionId": thread, "x-codex-turn-metadata": {"turn_trigger": "user"}});
        world.mcp_call(&server, "codex-mcp-client", Some(&meta))
    };
    let one = call(&mut world, "t1").session();
    let two = call(&mut world, "t2").session();
    assert_ne!(one, two);
    assert_eq!(call(&mut world, "t1"), Became::Session(one));
    // Without an id nothing is guessed, even if there is only one.
    assert_eq!(
        world.mcp_call(&server, "codex-mcp-client", Some(&json!({"progressToken": 1}))),
        Became::NeedsId(2)
    );
    world.processes.start(1002, 1000, "bash -c penpal");
    world.processes.start(1003, 1002, "penpal inbox");
    assert_eq!(world.command(1003, &environment(&[]), "/home/alice/proj"), Became::NeedsId(2));
    // Its hooks name the thread.
    let hook = json!({"session_id": "t2", "cwd": "/home/alice/proj", "source": "resume"});
    assert_eq!(
        world.hook(&AgentKind::Codex, 1000, "SessionStart", &hook, &environment(&[])),
        Became::Session(two)
    );
}

#[test]
fn a_codex_run_of_one_prompt_says_so_in_its_call() {
    let mut world = World::new();
    // The name of the process tells nothing here.
    world.processes.start(1000, 1, "/opt/bin/some-launcher");
    world.processes.start(1001, 1000, "penpal mcp");
    let server = world.mcp(1001, &environment(&[]), "/home/alice/proj");
    let meta = json!({"threadId": "t1", "x-codex-turn-metadata": {"turn_trigger": "exec"}});
    let session = world.mcp_call(&server, "codex-mcp-client", Some(&meta)).session();
    assert!(!world.row(session).announced);
}

#[test]
fn claudes_hooks_that_grok_runs_too_make_no_second_session() {
    let mut world = World::new();
    world.processes.start(1000, 100, "grok");
    let variables = environment(&[("GROK_SESSION_ID", "k1"), ("CLAUDE_PROJECT_DIR", "/home/alice/proj")]);
    let input = json!({"sessionId": "k1", "session_id": "k1", "cwd": "/home/alice/proj", "source": "new"});
    let own = world.hook(&AgentKind::Grok, 1000, "SessionStart", &input, &variables).session();
    let twice = world.hook(&CLAUDE, 1000, "SessionStart", &input, &variables);
    assert_eq!(twice, Became::Session(own));
    assert_eq!(world.only().agent.as_str(), "grok");
    // Claude in Grok's shell is Claude, whatever it inherited.
    world.processes.start(1100, 1000, "bash -c claude");
    world.processes.start(1101, 1100, "claude");
    let inner = world.hook(&CLAUDE, 1101, "SessionStart", &start("c1", "startup"), &variables).session();
    assert_eq!(world.row(inner).agent.as_str(), "claude-code");
}

#[test]
fn a_command_outside_any_known_agent_is_a_persons() {
    let mut world = World::new();
    world.processes.start(500, 100, "penpal send");
    assert_eq!(world.command(500, &environment(&[]), "/home/alice/proj"), Became::Outside);
    // Inside an agent that this node never heard of, as tests are: no session is made up.
    world.processes.start(1000, 100, "claude");
    world.processes.start(1001, 1000, "cargo nextest run");
    world.processes.start(1002, 1001, "penpal send");
    assert_eq!(world.command(1002, &environment(&[]), "/home/alice/proj"), Became::Outside);
    world.processes.start(2000, 100, "codex");
    world.processes.start(2002, 2000, "penpal send");
    assert_eq!(world.command(2002, &environment(&[]), "/home/alice/proj"), Became::Outside);
    assert_eq!(world.sessions.local(), []);
    // Its variables say which conversation it is.
    let session = world.command(1002, &claude_variables("c1"), "/home/alice/proj").session();
    assert_eq!(world.row(session).agent.as_str(), "claude-code");
}

#[test]
fn an_agent_is_recognised_around_the_caller_by_process_and_by_variable() {
    let mut world = World::new();
    let server = claude(&mut world, 1000, "c1");
    call(&mut world, &server);
    world.processes.start(1100, 1000, "zsh -c penpal");
    world.processes.start(1101, 1100, "penpal contact accept");
    world.processes.start(500, 100, "penpal contact accept");
    let inside = |world: &World, pid: u32, variables: &[(&str, &str)]| {
        let caller = world.mcp(pid, &environment(variables), "/").for_command();
        inside_agent(&caller, &world.known())
    };
    assert!(inside(&world, 1101, &[]), "by process");
    assert!(!inside(&world, 500, &[]), "a person's terminal");
    assert!(inside(&world, 500, &[("CLAUDECODE", "1")]), "by variable");
    let settings = [
        ("CLAUDE_CONFIG_DIR", "x"),
        ("GEMINI_API_KEY", "x"),
        ("CODEX_HOME", "x"),
        ("COPILOT_MODEL", "x"),
        ("PENPAL_SESSION", "x"),
    ];
    assert!(!inside(&world, 500, &settings), "a person's own settings are no sign");
    // The node that never heard of that session.
    let stranger = World::new();
    assert!(!inside_agent(&world.mcp(1101, &environment(&[]), "/").for_command(), &stranger.known()));
    world.gone(1000);
    assert!(!inside(&world, 1101, &[]), "it is over");
}

#[test]
fn every_server_of_an_unknown_client_is_a_session_of_its_own() {
    let mut world = World::new();
    world.processes.start(1000, 100, "python3 harness.py");
    world.processes.start(1001, 1000, "penpal mcp");
    world.processes.start(1002, 1000, "penpal mcp");
    let nothing = environment(&[]);
    let one = world.mcp(1001, &nothing, "/home/alice/proj");
    let two = world.mcp(1002, &nothing, "/home/alice/proj");
    let first = world.mcp_start(&one, "My Client").session();
    let second = world.mcp_start(&two, "My Client").session();
    assert_ne!(first, second);
    let row = world.row(first);
    assert_eq!((row.agent.as_str(), row.name.as_str(), row.announced), ("my-client", "proj", true));
    assert_eq!(world.mcp_call(&one, "My Client", Some(&Value::Null)), Became::Session(first));
    assert_eq!(world.mcp_call(&two, "My Client", None), Became::Session(second));
    // Its program is no agent that is known: a command of the same program is a person's.
    world.processes.start(1003, 1000, "penpal contact accept");
    assert_eq!(world.command(1003, &nothing, "/home/alice/proj"), Became::Outside);
    assert!(!inside_agent(&world.mcp(1003, &nothing, "/").for_command(), &world.known()));
    // A new start in the same place takes over.
    world.gone(1001);
    world.gone(1002);
    world
        .sessions
        .handle_rename(
            second,
            "two".parse().expect("a label"),
            penpal_protocol::time::Now {
                mono: std::time::Duration::from_secs(9),
                wall_ms: 1_795_219_109_000,
            },
        )
        .expect("free");
    world.processes.start(1004, 1000, "penpal mcp");
    let mut wanted = environment(&[("PENPAL_SESSION", "two")]);
    let again = world.mcp(1004, &wanted, "/home/alice/proj");
    assert_eq!(world.mcp_start(&again, "My Client"), Became::Session(second));
    wanted.insert("PENPAL_SESSION".to_owned(), "CI Job 7".to_owned());
    world.processes.start(1005, 1000, "penpal mcp");
    let named = world.mcp(1005, &wanted, "/home/alice/proj");
    let named = world.mcp_start(&named, "My Client").session();
    assert_eq!(world.row(named).name.as_str(), "ci-job-7");
}

#[test]
fn a_program_that_only_calls_itself_an_agent_stands_for_itself() {
    let mut world = World::new();
    // Inside Claude's shell, a test program that speaks MCP under Claude's name.
    let server = claude(&mut world, 1000, "c1");
    let real = call(&mut world, &server).session();
    world.processes.start(1100, 1000, "bash -c pytest");
    world.processes.start(1101, 1100, "python3 -m pytest");
    for pid in [1102, 1103] {
        world.processes.start(pid, 1101, "penpal mcp");
    }
    let nothing = environment(&[]);
    let one = world.mcp(1102, &nothing, "/home/alice/proj");
    let two = world.mcp(1103, &nothing, "/home/alice/proj");
    let first = world.mcp_start(&one, "claude-code").session();
    let second = world.mcp_start(&two, "claude-code").session();
    assert!(first != real && second != real && first != second);
}

#[test]
fn a_server_started_by_a_wrapper_is_still_its_agents() {
    let mut world = World::new();
    world.processes.start(1000, 100, "node /usr/bin/gemini");
    world.processes.start(1001, 1000, "sh -c penpal mcp");
    world.processes.start(1002, 1001, "/usr/bin/env penpal mcp");
    world.processes.start(1003, 1002, "penpal mcp");
    let server = world.mcp(1003, &environment(&[("GEMINI_CLI", "1")]), "/home/alice/proj");
    let session = world.mcp_start(&server, "gemini-cli-mcp-client").session();
    let hook = json!({"session_id": "g1", "cwd": "/home/alice/proj", "source": "startup"});
    assert_eq!(
        world.hook(&AgentKind::Gemini, 1000, "SessionStart", &hook, &environment(&[])),
        Became::Session(session)
    );
}

#[test]
fn a_look_at_the_server_leaves_no_session() {
    let mut world = World::new();
    world.processes.start(1000, 100, "claude mcp list");
    world.processes.start(1001, 1000, "penpal mcp");
    let server = world.mcp(1001, &environment(&[("CLAUDECODE", "1")]), "/home/alice/proj");
    world.mcp_start(&server, "claude-code");
    world.gone(1000);
    // Qwen's, under another name.
    world.processes.start(2000, 100, "node /usr/bin/qwen");
    world.processes.start(2001, 2000, "penpal mcp");
    let server = world.mcp(2001, &environment(&[]), "/home/alice/proj");
    world.mcp_start(&server, "mcp-test-client");
    world.gone(2001);
    assert_eq!(world.sessions.local(), []);
}

#[test]
fn the_end_of_what_is_not_known_makes_nothing() {
    let mut world = World::new();
    world.processes.start(1000, 100, "claude");
    let ended = json!({"session_id": "c1", "cwd": "/home/alice/proj", "reason": "other"});
    for event in ["SessionEnd", "Stop"] {
        assert_eq!(world.hook(&CLAUDE, 1000, event, &ended, &environment(&[])), Became::Nothing);
    }
    // Grok's last stop comes after its end and does not revive it.
    let server = claude(&mut world, 2000, "c2");
    let session = call(&mut world, &server).session();
    let ended = json!({"session_id": "c2", "cwd": "/home/alice/proj", "reason": "shutdown"});
    world.hook(&CLAUDE, 2000, "SessionEnd", &ended, &environment(&[]));
    world.hook(&CLAUDE, 2000, "Stop", &ended, &environment(&[]));
    assert_eq!(world.row(session).state, SessionState::Ended);
}

#[test]
fn a_terminal_is_offered_only_below_its_supervisor_and_by_one_conversation_a_process() {
    let mut processes = Processes::default();
    for (pid, parent, command) in [
        (100, 1, "penpal run gemini"),
        (101, 100, "node /usr/lib/node_modules/@google/gemini-cli/dist/index.js"),
        (102, 101, "sh -c penpal hook gemini BeforeAgent"),
        (103, 102, "penpal hook gemini BeforeAgent"),
        // A multiplexer that was started in the agent's shell, and an agent in one of its windows.
        (200, 1, "tmux new-session"),
        (201, 200, "gemini"),
        (202, 201, "penpal hook gemini BeforeAgent"),
        (300, 1, "penpal run codex"),
        (301, 300, "codex"),
        (302, 301, "penpal hook codex UserPromptSubmit"),
    ] {
        processes.start(pid, parent, command);
    }
    let offered = |pid: u32, agent: AgentKind, run: &str| {
        let around =
            Surroundings::new(&processes, pid, environment(&[("PENPAL_RUN", run)]), Some("/p".into()));
        let report =
            HookReport::read(&agent, "UserPromptSubmit", &json!({ "session_id": "c1", "cwd": "/p" }));
        let wakes = around.for_hook(&agent, &report).wakes;
        wakes.iter().any(|offer| matches!(offer, WakeOffer::Terminal { run: named } if named == run))
    };
    assert!(offered(103, AgentKind::Gemini, "gemini.100.a1"));
    assert!(!offered(202, AgentKind::Gemini, "gemini.100.a1"), "it inherited the variable");
    assert!(!offered(103, AgentKind::Qwen, "gemini.100.a1"), "another agent inside that one");
    assert!(!offered(302, AgentKind::Codex, "codex.300.a1"), "its window may show another conversation");
    for nonsense in ["gemini", "gemini.", "gemini.100x.a1", "gemini.99.a1", ".100.a1"] {
        assert!(!offered(103, AgentKind::Gemini, nonsense), "{nonsense}");
    }
}

#[test]
fn clients_are_known_by_what_they_call_themselves() {
    let cases = [
        ("claude-code", "claude-code"),
        ("codex-mcp-client", "codex"),
        ("opencode", "opencode"),
        ("gemini-cli-mcp-client", "gemini"),
        ("grok-shell-penpal", "grok"),
        ("copilot-cli", "copilot"),
        ("qwen-cli-mcp-client-penpal", "qwen"),
        ("@cline/core", "cline"),
        ("cursor-vscode", "cursor"),
        ("mcp", "mcp"),
        ("My Client 2.0", "my-client-2.0"),
        ("日本", "mcp-client"),
        ("", "mcp-client"),
        ("by-hand", "by-hand-client"),
        ("desk", "desk"),
    ];
    for (client, label) in cases {
        assert_eq!(AgentKind::from_client_name(client).label().as_str(), label, "{client}");
    }
    for kind in AgentKind::known() {
        assert_eq!(AgentKind::from_label(&kind.label()), kind);
        assert_eq!(AgentKind::from_client_name(kind.label().as_str()), kind);
        let shared = matches!(kind, AgentKind::Codex | AgentKind::Opencode);
        assert_eq!(kind.model() == Model::Shared, shared, "{kind}");
    }
}

#[test]
fn programs_are_known_by_name_or_package_and_not_by_what_they_are_given() {
    let kind = |command: &str| {
        let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
        AgentKind::from_arguments(&arguments).map(|kind| kind.label().to_string())
    };
    assert_eq!(kind("claude").as_deref(), Some("claude-code"));
    assert_eq!(kind("/nix/store/x/bin/.claude-wrapped").as_deref(), Some("claude-code"));
    assert_eq!(
        kind("node --max-old-space-size=4096 /usr/lib/node_modules/@anthropic-ai/claude-code/cli.js")
            .as_deref(),
        Some("claude-code")
    );
    assert_eq!(kind("bun /home/alice/.bun/bin/gemini").as_deref(), Some("gemini"));
    assert_eq!(kind("/usr/bin/codex exec").as_deref(), Some("codex"));
    for other in [
        "vim claude",
        "node server.js claude",
        "tail -f /var/log/codex",
        "bash -c claude",
        "node",
        "",
        "claude-notes",
        "Cursor",
    ] {
        assert_eq!(kind(other), None, "{other}");
    }
}
