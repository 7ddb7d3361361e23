//! Desktop notifications, when the person asked for them.

use std::process::{Command, Stdio};

use penpal_agents::terminal;

/// Longest name that is shown, in characters.
const MAX_NAME: usize = 64;

/// Tells the desktop that somebody asks a session. Says who and whom, never what: a locked screen shows it too.
pub(super) fn ask(from: &str, session: &str) {
    let text = format!("{} asks {}", plain(from), plain(session));
    let mut command = if cfg!(target_os = "macos") {
        let mut command = Command::new("osascript");
        // Names have no quotes or backslashes left.
        command.args(["-e", &format!("display notification \"{text}\" with title \"penpal\"")]);
        command
    } else {
        let mut command = Command::new("notify-send");
        command.args(["--app-name=penpal", "--", "penpal", &text]);
        command
    };
    let run = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !run.as_ref().is_ok_and(std::process::ExitStatus::success) {
        tracing::debug!(?run, "the desktop was not notified");
    }
}

/// A name that means nothing to a desktop: no markup, no quotes.
fn plain(name: &str) -> String {
    let safe = |one: char| if one.is_alphanumeric() || "/._-#@".contains(one) { one } else { '_' };
    terminal::line(name).chars().take(MAX_NAME).map(safe).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_mean_nothing_to_a_desktop() {
        assert_eq!(super::plain("bob/web"), "bob/web");
        let shown = super::plain("<b>\"x\" \\ & $(y)\u{1b}[31m");
        assert!(shown.chars().all(|one| one.is_alphanumeric() || one == '_'), "{shown}");
    }
}
