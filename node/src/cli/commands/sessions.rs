//! `penpal sessions`

use penpal_local_api::contacts::ContactSession;
use penpal_local_api::methods::Sessions;
use penpal_local_api::sessions::{Mode, Reach, SessionRow, SessionState, SessionsRequest};

use crate::cli::output::clean;
use crate::cli::{Context, Done, caller, parse};

/// List sessions on this machine, with how each can be reached
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ended ones too
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let request = SessionsRequest { caller: caller::gather(), all: args.all };
    let answer = context.node().call::<Sessions>(&request)?;
    let out = context.out;
    out.show(&answer, |answer| {
        if answer.sessions.is_empty() {
            out.line("  no sessions here; open one by hand: penpal session open NAME")?;
        } else {
            let rows = answer.sessions.iter().map(row).collect();
            out.table(["SESSION", "AGENT", "STATE", "REACH", "UNREAD", "FOLDER", "SUMMARY"], rows)?;
            answer.sessions.iter().filter_map(settings).try_for_each(|line| out.line(line))?;
        }
        if !answer.others.is_empty() {
            out.line("  on your other devices")?;
            let rows = answer.others.iter().map(other).collect();
            out.table(["ADDRESS", "AGENT", "STATE", "REACH", "FOLDER", "SUMMARY"], rows)?;
        }
        let rooms: Vec<String> = answer.rooms.iter().map(|room| clean(&room.room)).collect();
        if rooms.is_empty() { Ok(()) } else { out.line(format_args!("  rooms: {}", rooms.join(", "))) }
    })?;
    Ok(())
}

fn row(session: &SessionRow) -> [String; 7] {
    [
        session.session.clone(),
        clean(&session.agent),
        state(session.state, session.since_ms),
        reach(session.reach).to_owned(),
        session.unread.to_string(),
        text(session.folder.as_deref()),
        summary(session.summary.as_deref()),
    ]
}

fn other(session: &ContactSession) -> [String; 6] {
    [
        session.address.clone(),
        clean(&session.agent),
        state(session.state, session.since_ms),
        reach(session.reach).to_owned(),
        text(session.folder.as_deref()),
        summary(session.summary.as_deref()),
    ]
}

/// What a person set for a session, where that is not the usual.
fn settings(session: &SessionRow) -> Option<String> {
    let mode = match session.mode {
        Mode::Wake => None,
        Mode::Quiet => Some("muted: mail at its next prompt, no wakes"),
        Mode::Off => Some("muted: mail only when it asks"),
    };
    let hidden = session.hidden.then_some("hidden from contacts");
    let desk = session.desk.then_some("sees your desk");
    let set: Vec<&str> = [mode, hidden, desk].into_iter().flatten().collect();
    (!set.is_empty()).then(|| format!("  {}: {}", session.session, set.join("; ")))
}

/// `idle`, or `busy 4m`.
pub(super) fn state(state: SessionState, since_ms: u64) -> String {
    match state {
        SessionState::Busy => format!("busy {}", parse::ago(since_ms)),
        SessionState::Idle => "idle".to_owned(),
        SessionState::Ended => format!("ended {}", parse::ago(since_ms)),
        SessionState::Offline => "offline".to_owned(),
        SessionState::Unknown => "unknown".to_owned(),
    }
}

/// The word for a reach.
pub(super) fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Wakes => "wakes",
        Reach::MidTurn => "mid-turn",
        Reach::NextPrompt => "next-prompt",
        Reach::Manual => "manual",
        Reach::WhenBack => "when-back",
    }
}

/// The text, or a dash.
pub(super) fn text(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "–".to_owned(), clean)
}

/// The summary in quotes, or a dash.
pub(super) fn summary(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "–".to_owned(), |text| format!("\"{}\"", clean(text)))
}
