//! The operator's side: the socket when a relay runs, else the folder itself.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::shape::{Ask, Reply};
use crate::config::RelayConfig;
use crate::engine::Inbox;
use crate::folder::Folder;
use crate::relay::{RelayError, open_engine};

/// How long a running relay may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(40);

/// Asks whoever has the folder.
pub(crate) fn run(config: &RelayConfig, ask: Ask) -> anyhow::Result<Reply> {
    let folder = Folder::new(&config.data, config.keys.as_deref());
    if !folder.is_used() {
        anyhow::bail!("there is no relay in {}", folder.data().display());
    }
    let socket = folder.admin_socket();
    let unanswered = || format!("the running relay gives no answer on {}", socket.display());
    if let Some(reply) = over_socket(&socket, &ask).with_context(unanswered)? {
        return Ok(reply);
    }
    match in_folder(&folder, config, ask.clone()) {
        // A relay was starting or stopping when the socket was tried.
        Err(RelayError::InUse { data }) => match over_socket(&socket, &ask).with_context(unanswered)? {
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
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    let mut text = serde_json::to_string(ask)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(Some(serde_json::from_str(&line)?))
}

fn in_folder(folder: &Folder, config: &RelayConfig, ask: Ask) -> Result<Reply, RelayError> {
    let (engine, _) = open_engine(folder, config, Arc::new(Inbox::new()), None)?;
    Ok(engine.run_once(ask.into())?.into())
}
