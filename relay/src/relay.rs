//! A running relay: folder, engine, socket, admin socket, wired together and ended in order.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use penpal_protocol::ids::RelayPin;
use penpal_protocol::text::{HostPort, RelayAddress};
use penpal_relay_core::{AdminAnswer, AdminRequest};
use penpal_store::{LogStore, OpenError, Options, Progress, Store};
use penpal_transport::{Admission, BindError, Listener, ServerOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::{self, Office};
use crate::config::{Public, RelayConfig};
use crate::engine::{Engine, EngineError, Inbox, Input, Stopped};
use crate::folder::{Folder, Keys, KeysError, Place, PlaceError, create_private_dir};
use crate::http;
use crate::net::{Accepting, accept};

/// An address that is nobody's: asked for the way to it, the system names the address that others would see.
const FAR_AWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4433);

/// A relay cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Another process uses the folder.
    #[error("{data} is in use by another process")]
    InUse {
        /// The data folder.
        data: PathBuf,
    },
    /// The folder cannot be made.
    #[error("cannot create {data}")]
    Folder {
        /// The data folder.
        data: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The address of the last start cannot be read or that of this one not written.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The store cannot be opened.
    #[error("cannot open the store in {dir}")]
    Store {
        /// Its folder.
        dir: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// The data cannot be used, or a thread cannot be started.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The socket cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin socket cannot be opened.
    #[error("cannot open the admin socket {path}")]
    Admin {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The address for metrics cannot be listened on.
    #[error("cannot listen on {at} for metrics")]
    Metrics {
        /// The address.
        at: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Something of the system failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Called now and then while a store is recovered or its index rebuilt.
pub type ProgressFn = Box<dyn FnMut(Progress) + Send>;

/// A relay that serves until stopped. Dropping it ends it like [`Self::stop`], without waiting.
#[derive(Debug)]
pub struct Relay {
    address: RelayAddress,
    listening: SocketAddr,
    is_new: bool,
    inbox: Arc<Inbox>,
    stop: Option<oneshot::Sender<()>>,
    accepting: JoinHandle<()>,
    admin: JoinHandle<()>,
    health: Option<http::Serving>,
    ended: oneshot::Receiver<Result<(), EngineError>>,
    result: Option<Result<(), EngineError>>,
}

impl Relay {
    /// Opens the folder and starts serving. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`RelayError`], each naming the file or address concerned.
    pub async fn start(config: RelayConfig, progress: Option<ProgressFn>) -> Result<Self, RelayError> {
        let folder = Folder::new(&config.data, config.keys.as_deref());
        let inbox = Arc::new(Inbox::new());
        let opened = {
            let (folder, config, inbox) = (folder.clone(), config.clone(), Arc::clone(&inbox));
            tokio::task::spawn_blocking(move || open(&folder, &config, inbox, progress))
        };
        let Opened { engine, options, chain, place } = opened.await.map_err(|_| EngineError::Panicked)??;
        let is_new = engine.is_new()?;
        let pin = RelayPin::from_bytes(options.key.public().pin().0);
        let listener = bind(options, place.as_ref(), &config)?;
        let listening = listener
            .local_address()
            .map_err(|source| RelayError::System { action: "read the socket's address", source })?;
        if let Some(before) = place.as_ref().map(|place| place.port).filter(|port| *port != listening.port())
        {
            tracing::warn!(
                before,
                now = listening.port(),
                "the port is another one than at the last start: whoever has the address from then does not find this relay; --listen chooses it"
            );
        }
        let at = reached_at(&config, place.as_ref(), listening);
        let public = match &config.public {
            Some(public) => Some(public.to_string()),
            None => place.and_then(|place| place.public),
        };
        Place::new(listening.port(), public, at.to_string()).write(&folder.place())?;
        let metrics = Arc::clone(&engine.metrics);
        let blobs = Arc::clone(&engine.blobs);
        let office =
            Office { inbox: Arc::clone(&inbox), metrics: Arc::clone(&metrics), folder: folder.clone() };
        let health = match config.metrics {
            Some(at) => Some(
                http::serve(at, office.clone()).await.map_err(|source| RelayError::Metrics { at, source })?,
            ),
            None => None,
        };
        let admin = admin::serve(&folder.admin_socket(), office)
            .map_err(|source| RelayError::Admin { path: folder.admin_socket(), source })?;
        let (done, ended) = oneshot::channel();
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Nobody waiting any more is no failure.
                done.send(engine.run()).ok();
            })
            .map_err(|source| RelayError::System { action: "start the engine's thread", source })?;
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(accept(Accepting {
            listener,
            inbox: Arc::clone(&inbox),
            chain,
            blobs,
            stop: stopped,
            metrics,
            patience: config.answer_patience,
        }));
        let address = RelayAddress { at, pin };
        let stop = Some(stop);
        Ok(Self { address, listening, is_new, inbox, stop, accepting, admin, health, ended, result: None })
    }

    /// What to give to people.
    #[must_use]
    pub fn address(&self) -> &RelayAddress {
        &self.address
    }

    /// Where the socket is.
    #[must_use]
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// Where metrics and health are answered, with the port that the system chose.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|serving| serving.at)
    }

    /// Whether there was no account at the start.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Does what an operator asks; `None` when the engine has ended.
    pub async fn admin(&self, request: AdminRequest) -> Option<AdminAnswer> {
        ask_engine(&self.inbox, request).await.ok()
    }

    /// Waits until the relay ends by itself, which it does only when storage fails.
    pub async fn failed(&mut self) {
        if self.result.is_none() {
            self.result = Some((&mut self.ended).await.unwrap_or(Err(EngineError::Panicked)));
        }
    }

    /// Ends: finishes what has come, tells the clients, closes the store.
    ///
    /// # Errors
    /// What ended the engine, or kept it from ending cleanly. Everything that was accepted is on disk all the same.
    pub async fn stop(mut self) -> Result<(), EngineError> {
        if let Some(stop) = self.stop.take() {
            // A task that has ended already needs no telling.
            stop.send(()).ok();
        }
        self.failed().await;
        self.admin.abort();
        // It ends by itself once the engine has: a cancelled one has nothing to say.
        (&mut self.accepting).await.ok();
        self.result.take().unwrap_or(Err(EngineError::Panicked))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.admin.abort();
    }
}

/// What opening the folder gives.
struct Opened {
    engine: Engine,
    options: ServerOptions,
    chain: Arc<[u8]>,
    place: Option<Place>,
}

fn open(
    folder: &Folder,
    config: &RelayConfig,
    inbox: Arc<Inbox>,
    progress: Option<ProgressFn>,
) -> Result<Opened, RelayError> {
    let (engine, keys) = open_engine(folder, config, inbox, progress)?;
    let mut options = ServerOptions::new(config.listen, keys.relay, keys.quic);
    options.admission = Admission {
        max_connections: config.limits.connections,
        max_per_network: config.limits.connections_per_prefix,
        ..Admission::default()
    };
    Ok(Opened { engine, options, chain: keys.chain.into(), place: Place::read(&folder.place())? })
}

/// What the network side needs of the keys.
pub(crate) struct NetKeys {
    relay: penpal_transport::TransportKey,
    quic: penpal_transport::ServerSecrets,
    chain: Vec<u8>,
}

/// Opens keys and store and makes the engine: for serving, and for commands on a stopped relay's folder.
pub(crate) fn open_engine(
    folder: &Folder,
    config: &RelayConfig,
    inbox: Arc<Inbox>,
    progress: Option<ProgressFn>,
) -> Result<(Engine, NetKeys), RelayError> {
    create_private_dir(folder.data())
        .map_err(|source| RelayError::Folder { data: folder.data().to_owned(), source })?;
    let keys = Keys::open(folder.keys(), folder.is_used())?;
    let dir = folder.store();
    let store = LogStore::open(&dir, Options { progress, ..Options::default() }).map_err(|source| {
        if matches!(source, OpenError::Locked { .. }) {
            RelayError::InUse { data: folder.data().to_owned() }
        } else {
            RelayError::Store { dir, source }
        }
    })?;
    let opening = store.opening();
    for finding in &opening.warnings {
        tracing::warn!(place = %finding.place, "{}", finding.detail);
    }
    if let Some(why) = &opening.rebuilt {
        tracing::info!("the index was rebuilt: {why}");
    }
    let net = NetKeys { relay: keys.relay.clone(), quic: keys.quic.clone(), chain: keys.chain.clone() };
    let store: Box<dyn Store> = Box::new(store);
    let dir = folder.store();
    let reopen = move || {
        let store = LogStore::open(&dir, Options { rebuild: true, ..Options::default() })?;
        Ok(Box::new(store) as Box<dyn Store>)
    };
    let engine = Engine::new(keys.into_parts(config.core(), store, folder.blobs()), inbox)?;
    Ok((engine.with_reopen(Box::new(reopen)), net))
}

/// Opens the socket: with port 0, on the port of the last start if it is free.
fn bind(options: ServerOptions, place: Option<&Place>, config: &RelayConfig) -> Result<Listener, RelayError> {
    let remembered = place.filter(|_| config.listen.port() == 0).map(|place| place.port);
    if let Some(port) = remembered {
        let again = ServerOptions { listen: SocketAddr::new(config.listen.ip(), port), ..options.clone() };
        match Listener::bind(again) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                tracing::warn!(%error, port, "the port of the last start is taken: the address changes");
            }
        }
    }
    match Listener::bind(options.clone()) {
        Ok(listener) => Ok(listener),
        // A machine without IPv6 is served on IPv4.
        Err(_) if config.listen.ip() == IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED) => {
            let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.listen.port()));
            Ok(Listener::bind(ServerOptions { listen, ..options })?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Host and port for the address: as configured, as at the last start, or the address listened on.
fn reached_at(config: &RelayConfig, place: Option<&Place>, listening: SocketAddr) -> HostPort {
    let remembered = || place.and_then(|place| place.public.as_ref()).and_then(|text| text.parse().ok());
    if let Some(public) = config.public.clone().or_else(remembered) {
        let public: Public = public;
        return public.at(listening.port());
    }
    let ip = if listening.ip().is_unspecified() {
        penpal_transport::udp::source_address(FAR_AWAY).unwrap_or(Ipv4Addr::LOCALHOST.into())
    } else {
        listening.ip()
    };
    HostPort { host: ip.into(), port: listening.port() }
}

/// Asks the engine directly; for the admin socket and [`Relay::admin`].
pub(crate) async fn ask_engine(inbox: &Inbox, request: AdminRequest) -> Result<AdminAnswer, Stopped> {
    let (reply, answer) = oneshot::channel();
    inbox.send(Input::Admin { request, reply }).await?;
    answer.await.map_err(|_| Stopped)
}
