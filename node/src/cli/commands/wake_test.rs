//! `penpal wake-test`

use std::time::{Duration, Instant};

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::{IdRequest, SendRequest, Stage};
use penpal_local_api::methods::{Send, Sessions, Trace};
use penpal_local_api::sessions::{Mode, Reach, SessionRow, SessionState, SessionsRequest};
use penpal_local_api::wake::{WakeState, WakeWay};
use penpal_wake::Rung;
use serde::Serialize;

use crate::cli::output::clean;
use crate::cli::{Context, Done, Failure, caller};

/// Two wakes of a session are a minute apart; a rung may take twenty seconds, and there may be two.
const LIMIT: Duration = Duration::from_secs(120);

/// How often it is looked whether the session was woken.
const LOOK: Duration = Duration::from_millis(200);

const TEXT: &str = "This is a test of waking this session, sent by its person with `penpal wake-test`. Nothing is to be done: answer with one word.";

/// Wake idle sessions for real, and say what happened
///
/// Each session that is woken makes one turn, which costs what a turn costs. Without a session: every idle one that says it can be woken.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The session
    session: Option<String>,
}

#[derive(Debug, Serialize)]
struct Tests {
    v: u32,
    tests: Vec<Test>,
}

#[derive(Debug, Serialize)]
struct Test {
    session: String,
    agent: String,
    woken: bool,
    /// How, when it was.
    by: Option<String>,
    /// From the sending to the turn, in milliseconds.
    took_ms: Option<u64>,
    /// Why not.
    reason: Option<String>,
    /// All ways, as they are after the test.
    ways: Vec<WakeWay>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let rows = rows(context)?;
    let chosen: Vec<SessionRow> = match &args.session {
        Some(name) => {
            let row = rows.iter().find(|row| row.session == *name).cloned();
            let names = rows.iter().map(|row| row.session.clone()).collect();
            vec![row.ok_or_else(|| {
                ApiError::new(ErrorCode::UnknownAddress, format!("no session here is called {name}"))
                    .candidates(names)
            })?]
        }
        None => rows
            .into_iter()
            .filter(|row| row.reach == Reach::Wakes && row.state == SessionState::Idle)
            .collect(),
    };
    let mut tests = Vec::new();
    for row in &chosen {
        tests.push(test(row, context)?);
    }
    let failed = tests.iter().any(|test| !test.woken);
    let out = context.out;
    out.show(&Tests { v: penpal_local_api::SHAPE_VERSION, tests }, |answer| {
        if answer.tests.is_empty() {
            return out.line("  no idle session says that it can be woken: penpal sessions");
        }
        answer.tests.iter().try_for_each(|test| {
            let name = &test.session;
            match (&test.by, &test.reason) {
                (Some(by), _) => out.line(format_args!(
                    "  {} {name} ({}) woken by {by} in {} ms",
                    out.good("✓"),
                    clean(&test.agent),
                    test.took_ms.unwrap_or_default()
                )),
                (None, reason) => out.line(format_args!(
                    "  {} {name} ({}) was not woken: {}",
                    out.warn("✗"),
                    clean(&test.agent),
                    reason.as_deref().unwrap_or("no turn began")
                )),
            }
        })
    })?;
    if failed { Err(Failure::Status(1)) } else { Ok(()) }
}

fn rows(context: &Context) -> Result<Vec<SessionRow>, Failure> {
    let request = SessionsRequest { caller: caller::gather(), all: false };
    Ok(context.node().call::<Sessions>(&request)?.sessions)
}

/// Why a session cannot be woken now, as far as can be said without trying.
fn hindrance(row: &SessionRow) -> Option<&'static str> {
    let failed = row.wakes.iter().all(|way| way.state == WakeState::Failed);
    match row {
        SessionRow { state: SessionState::Ended, .. } => Some("it has ended"),
        SessionRow { state: SessionState::Busy, .. } => {
            Some("it is busy; it sees mail within its turn or after it")
        }
        SessionRow { mode: Mode::Quiet | Mode::Off, .. } => {
            Some("it is muted (penpal session mute NAME --end)")
        }
        SessionRow { wakes, .. } if wakes.is_empty() => Some(
            "nothing there can wake it: it was not started under penpal run, or its hooks are not wired in (penpal doctor)",
        ),
        SessionRow { .. } if failed => Some("its last wake did not show; it is left alone for ten minutes"),
        SessionRow { .. } => None,
    }
}

fn test(row: &SessionRow, context: &Context) -> Result<Test, Failure> {
    let mut test = Test {
        session: row.session.clone(),
        agent: row.agent.clone(),
        woken: false,
        by: None,
        took_ms: None,
        reason: hindrance(row).map(str::to_owned),
        ways: row.wakes.clone(),
    };
    if test.reason.is_some() {
        return Ok(test);
    }
    let node = context.node();
    let begun = Instant::now();
    let request = SendRequest {
        caller: caller::gather(),
        to: Some(format!("./{}", row.session)),
        text: TEXT.to_owned(),
        ask: true,
        subject: None,
        reply_to: None,
        from_session: None,
        anyway: false,
        artifacts: Vec::new(),
        wait_ms: Some(0),
        life_ms: Some(3_600_000),
        mechanism: None,
    };
    let sent = node.call::<Send>(&request)?;
    while begun.elapsed() < LIMIT {
        std::thread::sleep(LOOK);
        let trail = node.call::<Trace>(&IdRequest { caller: caller::gather(), id: sent.id.clone() })?;
        let Some(surfaced) = trail.events.iter().find(|event| event.stage == Stage::Surfaced) else {
            continue;
        };
        let by = surfaced.mechanism.clone().unwrap_or_default();
        if Rung::from_name(&by).is_some() {
            test.woken = true;
            test.by = Some(by);
            test.took_ms = u64::try_from(begun.elapsed().as_millis()).ok();
        } else {
            test.reason = Some(format!("a person was faster: shown by {by}"));
        }
        break;
    }
    let after = rows(context)?.into_iter().find(|after| after.session == row.session);
    test.ways = after.map(|row| row.wakes).unwrap_or_default();
    if !test.woken && test.reason.is_none() {
        test.reason = Some("no turn began; the message waits for its next prompt".to_owned());
    }
    Ok(test)
}
