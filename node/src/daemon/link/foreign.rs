//! A link to a contact's relay: dialled when there is something to say.

use std::time::Duration;

use tokio::sync::mpsc;

use super::connection::{Ended, dial, report, serve, unreachable};
use super::{LinkCommand, LinkContext, LinkEvent, Trouble};

/// How long a connection is kept after the last thing said. Presence goes out more often than this while a session is at work,
/// so that a conversation keeps one connection.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Least pause between two dials that fail.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn run(context: LinkContext, mut commands: mpsc::UnboundedReceiver<LinkCommand>) {
    while let Some(first) = commands.recv().await {
        let mut waiting = vec![first];
        report(&context, LinkEvent::Dialing).await;
        let dialed = dial(&context).await;
        while let Ok(command) = commands.try_recv() {
            waiting.push(command);
        }
        let trouble = match dialed {
            Ok(live) => {
                let never = std::future::pending();
                match serve(&context, live, &mut commands, waiting, Some(IDLE_LIMIT), never).await {
                    Ended::Dropped => return,
                    Ended::Idle | Ended::Replaced(_) => Trouble::other("nothing to say"),
                    Ended::Lost(trouble) => trouble,
                }
            }
            Err(trouble) => {
                unreachable(&context, waiting).await;
                tokio::time::sleep(PAUSE).await;
                trouble
            }
        };
        report(&context, LinkEvent::Down { trouble }).await;
    }
}
