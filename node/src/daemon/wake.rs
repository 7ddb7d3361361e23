//! Pushes into agents: their own local inbox, or their own queue command.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::engine::Push;

/// How long an agent may take to accept a message.
const LIMIT: Duration = Duration::from_secs(5);

/// How long its queue command may run.
const COMMAND_LIMIT: Duration = Duration::from_secs(15);

/// Pushes; tells whether the agent's program took it.
pub(super) async fn push(push: Push) -> bool {
    match push {
        Push::Inbox { socket, conversation, text } => {
            let line = inbox_line(&conversation, &text);
            let written = tokio::time::timeout(LIMIT, async move {
                let mut stream = UnixStream::connect(&socket).await?;
                stream.write_all(line.as_bytes()).await?;
                stream.shutdown().await
            });
            match written.await {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::info!(%error, "an agent's inbox does not take messages");
                    false
                }
                Err(_) => false,
            }
        }
        Push::Queue { program, folder, thread, text } => {
            let mut command = Command::new(program);
            command.args(["queue", "--thread", &thread, "--message", &text]);
            command.envs(folder.map(|folder| ("CODEX_HOME", folder)));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
            tokio::task::spawn_blocking(move || run(command)).await.unwrap_or(false)
        }
    }
}

/// One line of the agent's private format; what it holds cannot end the line.
fn inbox_line(conversation: &str, text: &str) -> String {
    let message = json!({
        "type": "user",
        "message": { "role": "user", "content": text },
        "session_id": conversation,
        "priority": "next",
    });
    format!("{message}\n")
}

fn run(mut command: Command) -> bool {
    let Ok(mut child) = command.spawn() else { return false };
    let until = std::time::Instant::now() + COMMAND_LIMIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if std::time::Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => {
                drop(child.kill());
                drop(child.wait());
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_message_is_one_line_whatever_it_holds() {
        let line = super::inbox_line("c1", "a\nb\"}\r\u{2028}");
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["message"]["content"], "a\nb\"}\r\u{2028}");
    }
}
