//! The socket of a running relay.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use penpal_relay_core::{AdminAnswer, AdminRequest};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::shape::{Reply, parse_question};
use crate::engine::{Inbox, Stopped};
use crate::folder::create_private_dir;
use crate::relay::ask_engine;

/// Longest question in bytes.
const MAX_ASK_BYTES: u64 = 4 * 1024;

/// How long one command may take.
const ASK_WAIT: Duration = Duration::from_secs(30);

/// Commands at a time.
const MAX_CLIENTS: usize = 8;

/// Opens the socket, replacing one that a dead relay left, and answers until the task is aborted. Whoever may open the
/// socket may command: it is for this user only. The folder's lock makes sure that no living relay has it.
pub(crate) fn serve(path: &Path, inbox: Arc<Inbox>) -> io::Result<JoinHandle<()>> {
    if let Some(parent) = path.parent() {
        create_private_dir(parent)?;
        check_owner(parent)?;
    }
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(tokio::spawn(answer_all(listener, inbox)))
}

/// Asks the engine.
pub(crate) async fn ask(inbox: &Inbox, request: AdminRequest) -> Result<AdminAnswer, Stopped> {
    ask_engine(inbox, request).await
}

fn check_owner(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(dir)?.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} belongs to user {owner}", dir.display())))
}

async fn answer_all(listener: UnixListener, inbox: Arc<Inbox>) {
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let inbox = Arc::clone(&inbox);
                tokio::spawn(async move {
                    // A client that goes away or dawdles is its own affair.
                    timeout(ASK_WAIT, answer(stream, &inbox)).await.ok();
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: they come back.
            Err(error) => {
                tracing::warn!(%error, "admin socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, inbox: &Inbox) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading.take(MAX_ASK_BYTES)).read_line(&mut line).await?;
    let reply = match parse_question(&line) {
        Err(error) => Reply::failed(
            "unknown-command",
            format!("the running relay does not know this command: {error}"),
            "use the penpal-relay of the version that runs",
        ),
        Ok(question) => match ask(inbox, question).await {
            Ok(answer) => answer.into(),
            Err(error) => Reply::failed("stopping", error.to_string(), "try again when it has stopped"),
        },
    };
    let mut text = serde_json::to_string(&reply)?;
    text.push('\n');
    writing.write_all(text.as_bytes()).await
}
