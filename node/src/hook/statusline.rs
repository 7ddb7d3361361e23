//! The status line of Claude Code: what another program shows there, and mail that waits.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use penpal_agents::evidence::Surroundings;
use penpal_agents::hook::HookReport;
use penpal_agents::kind::AgentKind;
use penpal_agents::terminal;
use penpal_local_api::client::Client;
use penpal_local_api::home::Home;
use penpal_local_api::hook::{Glance, GlanceRequest};
use penpal_local_api::methods::Glance as GlanceMethod;

/// How long the node may take.
const LIMIT: Duration = Duration::from_millis(100);

/// Longest name that is shown, in characters.
const MAX_NAME: usize = 32;

/// Prints one line: that of the wrapped command, if any, and ours behind it.
pub(crate) fn run(home: Option<PathBuf>, then: Option<&str>) {
    let input = super::input::read_raw();
    let wrapped = then.map(|command| other(command, &input));
    let ours = glance(home, &input).map(|glance| shown(&glance)).unwrap_or_default();
    let mut lines = wrapped.unwrap_or_default();
    let end = lines.trim_end_matches('\n').len();
    lines.truncate(end);
    if !ours.is_empty() {
        // Behind the first line; what follows it stays as it is.
        let first = lines.find('\n').unwrap_or(lines.len());
        let gap = if first == 0 { "" } else { "  " };
        lines.insert_str(first, &format!("{gap}{ours}"));
    }
    lines.push('\n');
    let mut out = std::io::stdout().lock();
    let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    drop(written);
}

fn glance(home: Option<PathBuf>, input: &[u8]) -> Option<Glance> {
    let home = Home::resolve(home.as_deref()).ok()?;
    let value = super::input::parse(input)?;
    let report = HookReport::read(&AgentKind::ClaudeCode, "statusLine", &value);
    let caller = Surroundings::of_this_process(None).for_hook(&AgentKind::ClaudeCode, &report);
    Client::new(&home).call_within::<GlanceMethod>(&GlanceRequest { caller }, LIMIT).ok()
}

/// `✉2 · bob/web waiting`, or nothing.
fn shown(glance: &Glance) -> String {
    if glance.unread == 0 {
        return String::new();
    }
    let mut text = format!("✉{}", glance.unread);
    if let Some(from) = &glance.waiting {
        let from: String = terminal::line(from).chars().take(MAX_NAME).collect();
        text.push_str(&format!(" · {from} waiting"));
    }
    text
}

/// What the wrapped command says, given the same input. It is the person's own command and may take its time.
fn other(command: &str, input: &[u8]) -> String {
    let child =
        Command::new("/bin/sh").args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return String::new() };
    if let Some(mut stdin) = child.stdin.take() {
        // A command that reads nothing closes its end.
        drop(stdin.write_all(input));
    }
    let said = child.wait_with_output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_short_and_harmless() {
        let glance = |unread, waiting: Option<&str>| Glance {
            unread,
            waiting: waiting.map(str::to_owned),
            ..Glance::default()
        };
        assert_eq!(shown(&glance(0, Some("bob/web"))), "");
        assert_eq!(shown(&glance(1, None)), "✉1");
        assert_eq!(shown(&glance(2, Some("bob/web"))), "✉2 · bob/web waiting");
        assert_eq!(shown(&glance(2, Some("\u{1b}[31mb\nob"))), "✉2 · b ob waiting");
    }
}
