//! The socket of a running relay.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::perform::Office;
use super::shape::{Reply, parse_question};
use crate::code::Code;
use crate::folder::create_private_dir;

/// Longest question in bytes.
const MAX_ASK_BYTES: u64 = 4 * 1024;

/// How long one command may take: erasing and copying take as long as the disk needs.
const ASK_WAIT: Duration = Duration::from_secs(3_600);

/// How long the question itself may take.
const READ_WAIT: Duration = Duration::from_secs(10);

/// Commands at a time.
const MAX_CLIENTS: usize = 8;

/// Opens the socket, replacing one that a dead relay left, and answers until the task is aborted. Whoever may open the
/// socket may command: it is for this user only. The folder's lock makes sure that no living relay has it.
pub(crate) fn serve(path: &Path, office: Office) -> io::Result<JoinHandle<()>> {
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
    Ok(tokio::spawn(answer_all(listener, office)))
}

fn check_owner(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(dir)?.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} belongs to user {owner}", dir.display())))
}

async fn answer_all(listener: UnixListener, office: Office) {
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let office = office.clone();
                tokio::spawn(async move {
                    // A client that goes away or dawdles is its own affair.
                    timeout(ASK_WAIT, answer(stream, &office)).await.ok();
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

async fn answer(stream: UnixStream, office: &Office) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    timeout(READ_WAIT, BufReader::new(reading.take(MAX_ASK_BYTES)).read_line(&mut line)).await??;
    let reply = match parse_question(&line) {
        Err(error) => Reply::failed(
            Code::UnknownCommand,
            format!("the running relay does not know this command: {error}"),
            "use the penpal-relay of the version that runs",
        ),
        Ok(question) => office.perform(question).await,
    };
    let mut text = serde_json::to_string(&reply)?;
    text.push('\n');
    writing.write_all(text.as_bytes()).await
}
