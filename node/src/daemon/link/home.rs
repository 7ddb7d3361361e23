//! The link that is held for ever, to the account's own relay.

use std::sync::Arc;
use std::time::Duration;

use penpal_transport::watch::{PathChange, PathWatch};
use penpal_transport::{BootInstant, Reconnect, ReconnectConfig, ReconnectState};
use tokio::sync::{mpsc, watch};

use super::connection::{Ended, Live, dial, report, serve, unreachable};
use super::{LinkCommand, LinkContext, LinkEvent, Nudge, Surroundings, Trouble};

/// How long is slept where nothing is due.
const LONG: Duration = Duration::from_secs(3600);

pub(super) async fn run(context: LinkContext, mut commands: mpsc::UnboundedReceiver<LinkCommand>) {
    let mut machine = Machine::new(&context);
    machine.reconnect.start(machine.now());
    loop {
        // A dial that was dropped with the connection that it was to replace begins again.
        while machine.reconnect.poll_command().is_none()
            && machine.reconnect.state() != ReconnectState::Dialing
        {
            if !wait(&context, &mut machine, &mut commands).await {
                return;
            }
        }
        report(&context, LinkEvent::Dialing).await;
        let mut live = match dial(&context).await {
            Ok(live) => live,
            Err(trouble) => {
                machine.dial_failed(&trouble);
                trouble.note("no connection to the relay");
                report(&context, LinkEvent::Down { trouble }).await;
                continue;
            }
        };
        let trouble = loop {
            machine.connected(&live);
            let successor = machine.successor(&context);
            match serve(&context, live, &mut commands, Vec::new(), None, successor).await {
                Ended::Dropped => return,
                Ended::Replaced(next) => {
                    tracing::info!("another connection to the relay takes over: the network changed");
                    let trouble = Trouble::other("the network changed");
                    report(&context, LinkEvent::Down { trouble }).await;
                    live = *next;
                }
                Ended::Idle => break Trouble::other("the connection was idle"),
                Ended::Lost(trouble) => break trouble,
            }
        };
        trouble.note("the connection to the relay ended");
        machine.lost(&trouble);
        report(&context, LinkEvent::Down { trouble }).await;
        machine.nudge();
    }
}

/// When to dial, and what it hears of the machine under it.
struct Machine {
    surroundings: Arc<dyn Surroundings>,
    reconnect: Reconnect,
    nudges: watch::Receiver<Nudge>,
    seen: Nudge,
    /// The way to the relay's addresses, as soon as one was connected to.
    path: Option<PathWatch>,
}

impl Machine {
    fn new(context: &LinkContext) -> Self {
        let mut nudges = context.nudges.subscribe();
        let seen = *nudges.borrow_and_update();
        let reconnect = Reconnect::new(ReconnectConfig::default());
        Self { surroundings: Arc::clone(&context.surroundings), reconnect, nudges, seen, path: None }
    }

    fn now(&self) -> BootInstant {
        self.surroundings.boot()
    }

    fn dial_failed(&mut self, trouble: &Trouble) {
        self.reconnect.handle_dial_failed(trouble.kind(), self.now(), self.surroundings.jitter());
    }

    fn lost(&mut self, trouble: &Trouble) {
        self.reconnect.handle_lost(trouble.kind(), self.now(), self.surroundings.jitter());
    }

    fn connected(&mut self, live: &Live) {
        self.reconnect.handle_connected(self.now());
        self.path = Some(PathWatch::new(live.addresses.clone()));
    }

    /// Hands on what happened since the last look.
    ///
    /// Most changes of the network do not concern the relay: a container starts, an address is renewed. Only when packets to
    /// it would leave from another address is there a reason to dial.
    fn nudge(&mut self) {
        let latest = *self.nudges.borrow_and_update();
        let resumed = latest.resumed != self.seen.resumed;
        let network = latest.network != self.seen.network;
        self.seen = latest;
        if resumed {
            self.reconnect.handle_resumed(self.now());
        }
        if network && self.path.as_mut().is_none_or(|path| path.check() == Some(PathChange::Usable)) {
            self.reconnect.handle_network_changed(self.now());
        }
    }

    /// Waits for a nudge or the next time something is due. False when nobody nudges any more.
    async fn turn(&mut self) -> bool {
        let now = self.now();
        let pause = self.reconnect.poll_timeout().map_or(LONG, |at| at.saturating_since(now));
        tokio::select! {
            biased;
            changed = self.nudges.changed() => {
                if changed.is_err() {
                    return false;
                }
                self.nudge();
            }
            () = tokio::time::sleep(pause) => self.reconnect.handle_timeout(self.now()),
        }
        true
    }

    /// Dials for another connection whenever there is a reason; ends with one that is welcome. Until then the one that exists
    /// serves on.
    async fn successor(&mut self, context: &LinkContext) -> Box<Live> {
        loop {
            while self.reconnect.poll_command().is_none() {
                if !self.turn().await {
                    std::future::pending::<()>().await;
                }
            }
            match dial(context).await {
                Ok(live) => return Box::new(live),
                Err(trouble) => {
                    trouble.note("no other connection to the relay");
                    self.dial_failed(&trouble);
                    // What happened during the dial.
                    self.nudge();
                }
            }
        }
    }
}

/// Waits for the next dial; meanwhile everything asked is unreachable. False when the link was dropped.
async fn wait(
    context: &LinkContext,
    machine: &mut Machine,
    commands: &mut mpsc::UnboundedReceiver<LinkCommand>,
) -> bool {
    tokio::select! {
        biased;
        nudged = machine.turn() => return nudged,
        command = commands.recv() => match command {
            None => return false,
            // A person waits: as good a reason to try as a changed network.
            Some(LinkCommand::Hurry) => machine.reconnect.handle_network_changed(machine.now()),
            Some(command) => unreachable(context, vec![command]).await,
        },
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
    use std::time::Instant;

    use penpal_protocol::Revisions;
    use penpal_relay::{Relay, RelayConfig};
    use penpal_transport::{Dialer, DialerOptions, TransportKey};

    use super::*;
    use crate::daemon::inputs::EngineHandle;
    use crate::daemon::link::{Link, SystemSurroundings};
    use crate::engine::{Input, LinkId};

    /// The next thing that the link reports.
    async fn next(reports: &Receiver<Input>) -> &'static str {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            match reports.try_recv() {
                Ok(Input::Link { event: LinkEvent::Dialing, .. }) => return "dialing",
                Ok(Input::Link { event: LinkEvent::Up { .. }, .. }) => return "up",
                Ok(Input::Link { event: LinkEvent::Down { .. }, .. }) => return "down",
                Ok(_) => {}
                Err(TryRecvError::Empty) => tokio::task::yield_now().await,
                Err(TryRecvError::Disconnected) => panic!("the link is gone"),
            }
            assert!(Instant::now() < limit, "the link says nothing");
        }
    }

    fn context(relay: &Relay) -> (LinkContext, Receiver<Input>) {
        let (inputs, reports) = sync_channel(1024);
        let context = LinkContext {
            id: LinkId::HOME,
            address: relay.address().clone(),
            key: TransportKey::from_seed(&[7; 32]),
            keys: Arc::new(super::super::KnownKeys::forgetful()),
            dialer: Dialer::bind(DialerOptions::default()).unwrap(),
            engine: EngineHandle::new(inputs),
            nudges: Arc::new(watch::Sender::new(Nudge::default())),
            room: Arc::new(tokio::sync::Semaphore::new(super::super::MAX_WAITING_KIB as usize)),
            surroundings: Arc::new(SystemSurroundings),
            dns: None,
            revisions: Revisions::OWN,
        };
        (context, reports)
    }

    async fn relay(folder: &std::path::Path) -> Relay {
        let mut config = RelayConfig::new(folder);
        config.listen = "127.0.0.1:0".parse().unwrap();
        Relay::start(config, None).await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_stays_until_the_new_one_is_up() {
        let folder = tempfile::tempdir().unwrap();
        let relay = relay(folder.path()).await;
        let (context, reports) = context(&relay);
        let nudges = Arc::clone(&context.nudges);
        let link = Link::home(context);
        assert_eq!((next(&reports).await, next(&reports).await), ("dialing", "up"));
        nudges.send_modify(|nudge| nudge.resumed += 1);
        // Nothing was dialled while the link was down: when the old connection ends, the new one is there.
        assert_eq!((next(&reports).await, next(&reports).await), ("down", "up"));
        drop(link);
        relay.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_node_of_a_neighbouring_revision_connects_where_the_ranges_meet() {
        let folder = tempfile::tempdir().unwrap();
        let relay = relay(folder.path()).await;
        let Revisions { min, max } = Revisions::OWN;
        for (revisions, is_up, says) in [
            (Revisions { min: max, max: max + 1 }, true, ""),
            (Revisions { min: min - 1, max }, true, ""),
            (Revisions { min: max + 1, max: max + 1 }, false, "the relay must be updated"),
            (Revisions { min: min - 1, max: min - 1 }, false, "penpal here must be updated"),
        ] {
            let (context, _reports) = context(&relay);
            let outcome = dial(&LinkContext { revisions, ..context }).await;
            match outcome {
                Ok(_) => assert!(is_up, "{revisions}"),
                Err(trouble) => {
                    assert!(
                        !is_up && matches!(trouble, Trouble::Incompatible { .. }),
                        "{revisions}: {trouble:?}"
                    );
                    assert!(trouble.text().contains(says), "{revisions}: {trouble:?}");
                }
            }
        }
        relay.stop().await.unwrap();
    }

    #[tokio::test]
    async fn changes_that_do_not_concern_the_relay_are_no_reason_to_dial() {
        let folder = tempfile::tempdir().unwrap();
        let relay = relay(folder.path()).await;
        let (context, _reports) = context(&relay);
        let mut machine = Machine::new(&context);
        machine.reconnect.start(BootInstant::now());
        assert!(machine.reconnect.poll_command().is_some());
        let live = dial(&context).await.unwrap();
        machine.connected(&live);
        context.nudges.send_modify(|nudge| nudge.network += 1);
        machine.nudge();
        assert_eq!((machine.reconnect.poll_command(), machine.reconnect.poll_timeout()), (None, None));
        context.nudges.send_modify(|nudge| nudge.resumed += 1);
        machine.nudge();
        assert!(machine.reconnect.poll_command().is_some() || machine.reconnect.poll_timeout().is_some());
        drop(live);
        relay.stop().await.unwrap();
    }
}
