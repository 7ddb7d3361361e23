//! The operator's side: the socket when a relay runs, else the folder itself.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::perform::Office;
use super::shape::{Ask, Reply};
use crate::config::RelayConfig;
use crate::engine::{EngineError, Inbox, Input};
use crate::folder::Folder;
use crate::relay::{ProgressFn, RelayError, open_engine};

/// How long a running relay may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(40);

/// How long it may take for what moves all its data.
const LONG_WAIT: Duration = Duration::from_secs(3_700);

/// Asking failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The folder was never used.
    #[error("there is no relay in {data}")]
    NoRelay { data: PathBuf },
    /// A relay runs and does not answer. It may have done what was asked.
    #[error("the running relay gives no answer on {socket}")]
    Unanswered { socket: PathBuf, source: io::Error },
    /// None runs, and its folder cannot be used.
    #[error(transparent)]
    Relay(#[from] RelayError),
}

/// Asks whoever has the folder.
pub(crate) fn run(config: &RelayConfig, ask: Ask, progress: Option<ProgressFn>) -> Result<Reply, AskError> {
    let folder = Folder::new(&config.data, config.keys.as_deref());
    if !folder.is_used() {
        return Err(AskError::NoRelay { data: folder.data().to_owned() });
    }
    let socket = folder.admin_socket();
    let unanswered = |source| AskError::Unanswered { socket: socket.clone(), source };
    if let Some(reply) = over_socket(&socket, &ask).map_err(unanswered)? {
        return Ok(reply);
    }
    match in_folder(&folder, config, ask.clone(), progress) {
        // A relay was starting or stopping when the socket was tried.
        Err(RelayError::InUse { data }) => match over_socket(&socket, &ask).map_err(unanswered)? {
            Some(reply) => Ok(reply),
            None => Err(RelayError::InUse { data }.into()),
        },
        other => Ok(other?),
    }
}

/// `None` when nobody listens.
fn over_socket(path: &Path, ask: &Ask) -> io::Result<Option<Reply>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let long = matches!(ask, Ask::AccountDelete { .. } | Ask::Backup { .. } | Ask::RebuildIndex);
    stream.set_read_timeout(Some(if long { LONG_WAIT } else { ANSWER_WAIT }))?;
    let mut text = serde_json::to_string(ask)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(Some(serde_json::from_str(&line)?))
}

/// Whether somebody listens on the socket of this folder.
pub(crate) fn is_running(folder: &Folder) -> bool {
    UnixStream::connect(folder.admin_socket()).is_ok()
}

/// Opens what a relay would open, without a network, for as long as one command takes.
fn in_folder(
    folder: &Folder,
    config: &RelayConfig,
    ask: Ask,
    progress: Option<ProgressFn>,
) -> Result<Reply, RelayError> {
    let inbox = Arc::new(Inbox::new());
    let system = |source| RelayError::System { action: "start threads", source };
    let (engine, _) = open_engine(folder, config, Arc::clone(&inbox), progress)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(system)?;
    let office =
        Office { inbox: Arc::clone(&inbox), metrics: Arc::clone(&engine.metrics), folder: folder.clone() };
    let thread =
        thread::Builder::new().name("engine".to_owned()).spawn(move || engine.run()).map_err(system)?;
    let reply = runtime.block_on(office.perform(ask));
    inbox.send_now(Input::Stop);
    thread.join().unwrap_or(Err(EngineError::Panicked))?;
    Ok(reply)
}
