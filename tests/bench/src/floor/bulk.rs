//! The floor of files: bytes through one QUIC stream, from memory into nothing.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, ensure};
use quinn::{Connection, RecvStream, SendStream};

use super::quic;
use crate::process::{Ended, role, say_ready};

/// Bytes written at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// A running server and a connection to it.
#[derive(Debug)]
pub(crate) struct Bulk {
    connection: Connection,
    _endpoint: quinn::Endpoint,
    _server: Ended,
}

impl Bulk {
    /// Starts the server as a child process and connects.
    pub(crate) async fn start(folder: &std::path::Path) -> anyhow::Result<Self> {
        let (server, address) = role("bulk-server", folder)?;
        let address: SocketAddr = address.parse().context("where the server listens")?;
        let (endpoint, config) = quic::bulk_dialer()?;
        let connection = endpoint.connect_with(config, address, "floor.invalid")?.await?;
        Ok(Self { connection, _endpoint: endpoint, _server: server })
    }

    /// Seconds for so many bytes to the server, its answer to the last one included.
    pub(crate) async fn up(&self, bytes: u64) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&0_u64.to_be_bytes()).await?;
        write(&mut send, bytes).await?;
        send.finish()?;
        let answer = receive.read_to_end(8).await?;
        ensure!(answer == bytes.to_be_bytes(), "not all came");
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Seconds for so many bytes from the server.
    pub(crate) async fn down(&self, bytes: u64) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&bytes.to_be_bytes()).await?;
        send.finish()?;
        ensure!(count(&mut receive).await? == bytes, "not all came");
        Ok(begun.elapsed().as_secs_f64())
    }
}

async fn write(send: &mut SendStream, bytes: u64) -> anyhow::Result<()> {
    let block = vec![7; BLOCK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        send.write_all(&block[..part]).await?;
        left -= part as u64;
    }
    Ok(())
}

async fn count(receive: &mut RecvStream) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        bytes += chunk.bytes.len() as u64;
    }
    Ok(bytes)
}

/// Serves until the process is killed.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let endpoint = quic::bulk_listen()?;
    say_ready(&endpoint.local_addr()?.to_string())?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, receive)) = connection.accept_bi().await {
                // A client that goes away ends its streams, which is no failure.
                serve_one(send, receive).await.ok();
            }
        });
    }
    Ok(())
}

async fn serve_one(mut send: SendStream, mut receive: RecvStream) -> anyhow::Result<()> {
    let mut wanted = [0; 8];
    receive.read_exact(&mut wanted).await?;
    match u64::from_be_bytes(wanted) {
        0 => {
            let bytes = count(&mut receive).await?;
            send.write_all(&bytes.to_be_bytes()).await?;
        }
        bytes => write(&mut send, bytes).await?,
    }
    Ok(send.finish()?)
}
