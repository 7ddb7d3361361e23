//! Metrics and health over HTTP, for whoever watches the relay. Nobody is named there.
//!
//! | path | answer |
//! | --- | --- |
//! | `/metrics` | Prometheus text |
//! | `/health` | 200 while the process lives |
//! | `/ready` | 200 when the engine answers and the disk has room, else 503 with the reason |

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use penpal_relay_core::Census;
use penpal_store::Stats;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::Office;

/// Askers at a time; further ones wait.
const MAX_CLIENTS: usize = 4;

/// How long one of them may take.
const CLIENT_WAIT: Duration = Duration::from_secs(10);

/// How long the engine may take before the relay counts as not ready.
const ENGINE_WAIT: Duration = Duration::from_secs(5);

/// How long a census is good enough: it looks at every spool.
const CENSUS_LIFE: Duration = Duration::from_secs(10);

/// Longest request line and headers.
const MAX_REQUEST_BYTES: u64 = 8 * 1024;

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) at: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Desk {
    office: Office,
    census: Mutex<Option<(Instant, Census, Stats)>>,
}

/// Listens and answers until dropped.
pub(crate) async fn serve(at: SocketAddr, office: Office) -> io::Result<Serving> {
    let listener = TcpListener::bind(at).await?;
    let at = listener.local_addr()?;
    if !at.ip().is_loopback() {
        tracing::warn!(
            "metrics are answered to everybody who reaches {at}: they name nobody, but they count"
        );
    }
    let desk = Arc::new(Desk { office, census: Mutex::default() });
    Ok(Serving { at, task: tokio::spawn(answer_all(listener, desk)) })
}

async fn answer_all(listener: TcpListener, desk: Arc<Desk>) {
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    // A client that goes away or dawdles is its own affair.
                    timeout(CLIENT_WAIT, desk.answer(stream)).await.ok();
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: they come back.
            Err(error) => {
                tracing::warn!(%error, "metrics socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Desk {
    async fn answer(&self, stream: TcpStream) -> io::Result<()> {
        let (reading, mut writing) = stream.into_split();
        let mut reading = BufReader::new(reading.take(MAX_REQUEST_BYTES));
        let mut line = String::new();
        reading.read_line(&mut line).await?;
        let mut header = String::new();
        // To the end of the headers, so that closing does not cut the client short.
        while reading.read_line(&mut header).await? > 2 {
            header.clear();
        }
        let mut words = line.split(' ');
        let (status, body) = match (words.next(), words.next()) {
            (Some("GET" | "HEAD"), Some("/health")) => ("200 OK", "ok\n".to_owned()),
            (Some("GET" | "HEAD"), Some("/ready")) => self.ready().await,
            (Some("GET"), Some("/metrics")) => self.metrics().await,
            (Some("GET" | "HEAD"), Some(_)) => {
                ("404 Not Found", "there is /metrics, /health and /ready\n".to_owned())
            }
            _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        writing.write_all(head.as_bytes()).await?;
        if !line.starts_with("HEAD") {
            writing.write_all(body.as_bytes()).await?;
        }
        writing.shutdown().await
    }

    async fn ready(&self) -> (&'static str, String) {
        const NOT: &str = "503 Service Unavailable";
        match timeout(ENGINE_WAIT, self.census()).await {
            Ok(Some((_, store))) if store.full => (NOT, "the disk is full\n".to_owned()),
            Ok(Some(_)) => ("200 OK", "ready\n".to_owned()),
            Ok(None) => (NOT, "the engine has stopped\n".to_owned()),
            Err(_) => (NOT, "the engine does not answer\n".to_owned()),
        }
    }

    async fn metrics(&self) -> (&'static str, String) {
        match timeout(ENGINE_WAIT, self.census()).await {
            Ok(Some((census, store))) => {
                let minutes = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
                let now_minute = u32::try_from(minutes).unwrap_or(u32::MAX);
                ("200 OK", self.office.metrics.prometheus(&census, &store, now_minute))
            }
            Ok(None) | Err(_) => ("503 Service Unavailable", "the engine does not answer\n".to_owned()),
        }
    }

    async fn census(&self) -> Option<(Census, Stats)> {
        let mut kept = self.census.lock().await;
        if let Some((at, census, store)) = *kept
            && at.elapsed() < CENSUS_LIFE
        {
            return Some((census, store));
        }
        let (census, store) = self.office.census().await.ok()??;
        *kept = Some((Instant::now(), census, store));
        Some((census, store))
    }
}
