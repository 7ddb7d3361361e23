//! All links of a node, and the one socket that they share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use penpal_protocol::Revisions;
use penpal_protocol::text::RelayAddress;
use penpal_transport::{CloseCode, DialError, Dialer, TransportKey};
use tokio::sync::Semaphore;

use super::{KnownKeys, Link, LinkCommand, LinkContext, MAX_WAITING_KIB, Nudge, Surroundings};
use crate::daemon::inputs::EngineHandle;
use crate::engine::LinkId;

/// Opens the socket when it is needed first.
type Bind = Box<dyn Fn() -> Result<Dialer, DialError> + Send>;

/// All links. Dropping them ends their tasks and connections.
pub struct Links {
    open: BTreeMap<LinkId, Link>,
    dialer: Option<Dialer>,
    bind: Bind,
    engine: EngineHandle,
    keys: Arc<KnownKeys>,
    nudges: Arc<tokio::sync::watch::Sender<Nudge>>,
    room: Arc<Semaphore>,
    surroundings: Arc<dyn Surroundings>,
    dns: Option<SocketAddr>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Links {
    /// No links yet; `bind` opens their socket.
    #[must_use]
    pub fn new(
        engine: EngineHandle,
        keys: Arc<KnownKeys>,
        surroundings: Arc<dyn Surroundings>,
        bind: impl Fn() -> Result<Dialer, DialError> + Send + 'static,
    ) -> Self {
        let nudges = Arc::new(tokio::sync::watch::Sender::new(Nudge::default()));
        let room = Arc::new(Semaphore::new(MAX_WAITING_KIB as usize));
        Self {
            open: BTreeMap::new(),
            dialer: None,
            bind: Box::new(bind),
            engine,
            keys,
            nudges,
            room,
            surroundings,
            dns: None,
        }
    }

    /// The same, with names asked of this server and of nobody else.
    #[must_use]
    pub fn asking(self, dns: Option<SocketAddr>) -> Self {
        Self { dns, ..self }
    }

    /// By which links are told of the machine under them.
    #[must_use]
    pub fn nudges(&self) -> Arc<tokio::sync::watch::Sender<Nudge>> {
        Arc::clone(&self.nudges)
    }

    /// What a connection to this relay needs; `None` when no socket can be opened.
    pub fn context(&mut self, id: LinkId, address: RelayAddress, key: TransportKey) -> Option<LinkContext> {
        if self.dialer.is_none() {
            self.dialer = (self.bind)().inspect_err(|error| tracing::warn!(%error, "no UDP socket")).ok();
        }
        let dialer = self.dialer.clone()?;
        Some(LinkContext {
            id,
            address,
            key,
            keys: Arc::clone(&self.keys),
            dialer,
            engine: self.engine.clone(),
            nudges: Arc::clone(&self.nudges),
            room: Arc::clone(&self.room),
            surroundings: Arc::clone(&self.surroundings),
            dns: self.dns,
            revisions: Revisions::OWN,
        })
    }

    /// Holds a link to this relay from now on.
    pub fn open(&mut self, id: LinkId, address: RelayAddress, key: TransportKey) {
        let Some(context) = self.context(id, address, key) else { return };
        let opened = if id == LinkId::HOME { Link::home(context) } else { Link::foreign(context) };
        self.open.insert(id, opened);
    }

    /// Drops a link.
    pub fn close(&mut self, id: LinkId) {
        self.open.remove(&id);
    }

    /// Tells a link.
    pub fn command(&self, id: LinkId, command: LinkCommand) {
        match self.open.get(&id) {
            Some(open) => open.command(command),
            None => tracing::debug!(?id, "a command for a link that is closed"),
        }
    }

    /// Drops all links and says goodbye, `wait` long at most.
    pub async fn shutdown(self, wait: Duration) {
        drop(self.open);
        if let Some(dialer) = self.dialer {
            dialer.shutdown(CloseCode::Done, "", wait).await;
        }
    }
}
