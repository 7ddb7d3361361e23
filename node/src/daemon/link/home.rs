//! The link that is held for ever, to the account's own relay.

use std::time::Duration;

use penpal_transport::{BootInstant, Reconnect, ReconnectConfig};
use tokio::sync::mpsc;

use super::connection::{Ended, dial, report, serve, unreachable};
use super::{LinkCommand, LinkContext, LinkEvent, Nudge, Trouble};

pub(super) async fn run(context: LinkContext, mut commands: mpsc::UnboundedReceiver<LinkCommand>) {
    let mut reconnect = Reconnect::new(ReconnectConfig::default());
    let mut nudges = context.nudges.subscribe();
    let mut seen = *nudges.borrow_and_update();
    reconnect.start(BootInstant::now());
    loop {
        while reconnect.poll_command().is_none() {
            if !wait(&context, &mut reconnect, &mut commands, &mut nudges, &mut seen).await {
                return;
            }
        }
        report(&context, LinkEvent::Dialing).await;
        let trouble = match dial(&context.dialer, &context.address, &context.key).await {
            Ok(live) => {
                reconnect.handle_connected(BootInstant::now());
                let mut changes = nudges.clone();
                let replace = async move {
                    // The connection is dropped for a new one only when the network really changed or the machine slept.
                    if changes.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                match serve(&context, live, &mut commands, Vec::new(), None, replace).await {
                    Ended::Dropped => return,
                    Ended::Replace => Trouble::other("the network changed"),
                    Ended::Idle => Trouble::other("the connection was idle"),
                    Ended::Lost(trouble) => trouble,
                }
            }
            Err(trouble) => {
                reconnect.handle_dial_failed(trouble.kind(), BootInstant::now(), random());
                tracing::info!(trouble = trouble.text(), "no connection to the relay");
                report(&context, LinkEvent::Down { trouble }).await;
                continue;
            }
        };
        tracing::info!(trouble = trouble.text(), "the connection to the relay ended");
        reconnect.handle_lost(trouble.kind(), BootInstant::now(), random());
        report(&context, LinkEvent::Down { trouble }).await;
        nudge(&mut reconnect, &mut nudges, &mut seen);
    }
}

/// Waits for the next dial; meanwhile everything asked is unreachable. False when the link was dropped.
async fn wait(
    context: &LinkContext,
    reconnect: &mut Reconnect,
    commands: &mut mpsc::UnboundedReceiver<LinkCommand>,
    nudges: &mut tokio::sync::watch::Receiver<Nudge>,
    seen: &mut Nudge,
) -> bool {
    let now = BootInstant::now();
    let pause = reconnect.poll_timeout().map_or(Duration::from_secs(60), |at| at.saturating_since(now));
    tokio::select! {
        () = tokio::time::sleep(pause) => reconnect.handle_timeout(BootInstant::now()),
        changed = nudges.changed() => {
            if changed.is_err() {
                return false;
            }
            nudge(reconnect, nudges, seen);
        }
        command = commands.recv() => match command {
            None => return false,
            // A person waits: as good a reason to try as a changed network.
            Some(LinkCommand::Hurry) => reconnect.handle_network_changed(BootInstant::now()),
            Some(command) => unreachable(context, vec![command]).await,
        },
    }
    true
}

fn nudge(reconnect: &mut Reconnect, nudges: &mut tokio::sync::watch::Receiver<Nudge>, seen: &mut Nudge) {
    let latest = *nudges.borrow_and_update();
    if latest.resumed != seen.resumed {
        reconnect.handle_resumed(BootInstant::now());
    }
    if latest.network != seen.network {
        reconnect.handle_network_changed(BootInstant::now());
    }
    *seen = latest;
}

/// A number for jitter; zero, the least pause, when the system has none to give.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}
