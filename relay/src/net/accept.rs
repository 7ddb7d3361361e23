//! Taking connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use penpal_relay_core::ConnId;
use penpal_transport::{CloseCode, Listener, Patience};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::connection;
use super::{Common, Refusals};
use crate::blobs::Blobs;
use crate::engine::{Inbox, Input};
use crate::metrics::Metrics;

/// How often refused attempts are counted at least.
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// How long ending may take: for telling clients, not for their goodwill.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// What the accepting task needs.
#[derive(Debug)]
pub(crate) struct Accepting {
    pub(crate) listener: Listener,
    pub(crate) inbox: Arc<Inbox>,
    /// The chain of the relay's keys, for whoever asks.
    pub(crate) chain: Arc<[u8]>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) metrics: Arc<Metrics>,
    /// How long an answer may lie unread.
    pub(crate) patience: Patience,
    /// Resolved, or dropped, to end.
    pub(crate) stop: oneshot::Receiver<()>,
}

/// Takes connections until told to stop; then lets the engine finish what it has, and closes them all with a reason.
pub(crate) async fn accept(mut what: Accepting) {
    let last = AtomicU64::new(0);
    let (chain, blobs, metrics) =
        (Arc::clone(&what.chain), Arc::clone(&what.blobs), Arc::clone(&what.metrics));
    let patience = what.patience;
    let common = Arc::new(Common { chain, blobs, refusals: Refusals::default(), metrics, patience });
    let mut connections = JoinSet::new();
    loop {
        // New connections last: the others end, however many knock.
        tokio::select! {
            biased;
            _ = &mut what.stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = what.listener.accept() => {
                let Some(accepted) = accepted else { break };
                what.metrics.handshakes(&what.listener.stats());
                let conn = ConnId(last.fetch_add(1, Ordering::Relaxed) + 1);
                connections.spawn(connection::serve(accepted, conn, Arc::clone(&what.inbox), Arc::clone(&common)));
            }
            // Attempts that are refused end no wait above: they are counted when somebody looks.
            () = tokio::time::sleep(COUNT_PAUSE) => what.metrics.handshakes(&what.listener.stats()),
        }
    }
    let (done, finished) = oneshot::channel();
    what.inbox.send_now(Input::Flush { done });
    // An engine that has ended drops the sender, which is as good.
    finished.await.ok();
    what.listener.shutdown(CloseCode::GoingAway, "the relay is stopping", STOP_WAIT).await;
    connections.shutdown().await;
    what.inbox.send_now(Input::Stop);
}
