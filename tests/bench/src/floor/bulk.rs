//! The floor of files: bytes through one QUIC stream, from memory into nothing, or into a file that is synced.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
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
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let (server, address) = role("bulk-server", folder)?;
        let address: SocketAddr = address.parse().context("where the server listens")?;
        let (endpoint, config) = quic::bulk_dialer()?;
        let connection = endpoint.connect_with(config, address, "floor.invalid")?.await?;
        Ok(Self { connection, _endpoint: endpoint, _server: server })
    }

    /// Seconds for so many bytes to the server, its answer to the last one included; it keeps them in a synced file, or nowhere.
    pub(crate) async fn up(&self, bytes: u64, kept: bool) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&[0; 8]).await?;
        send.write_all(&[u8::from(kept)]).await?;
        write(&mut send, bytes).await?;
        send.finish()?;
        let answer = receive.read_to_end(8).await?;
        ensure!(answer == bytes.to_be_bytes(), "not all came");
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Seconds for so many bytes from the server, into a synced file or nowhere.
    pub(crate) async fn down(&self, bytes: u64, file: Option<&Path>) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&bytes.to_be_bytes()).await?;
        send.finish()?;
        ensure!(take(&mut receive, file).await? == bytes, "not all came");
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

async fn take(receive: &mut RecvStream, file: Option<&Path>) -> anyhow::Result<u64> {
    let mut file = file.map(File::create).transpose()?;
    let mut bytes = 0;
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        bytes += chunk.bytes.len() as u64;
        if let Some(file) = &mut file {
            file.write_all(&chunk.bytes)?;
        }
    }
    if let Some(file) = file {
        file.sync_data()?;
    }
    Ok(bytes)
}

/// Serves until the process is killed.
pub(crate) async fn serve(folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("bulk");
    let endpoint = quic::bulk_listen()?;
    say_ready(&endpoint.local_addr()?.to_string())?;
    while let Some(incoming) = endpoint.accept().await {
        let file = file.clone();
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, receive)) = connection.accept_bi().await {
                // A client that goes away ends its streams, which is no failure.
                serve_one(send, receive, &file).await.ok();
            }
        });
    }
    Ok(())
}

async fn serve_one(mut send: SendStream, mut receive: RecvStream, file: &Path) -> anyhow::Result<()> {
    let mut wanted = [0; 8];
    receive.read_exact(&mut wanted).await?;
    match u64::from_be_bytes(wanted) {
        0 => {
            let mut kept = [0];
            receive.read_exact(&mut kept).await?;
            let bytes = take(&mut receive, (kept != [0]).then_some(file)).await?;
            send.write_all(&bytes.to_be_bytes()).await?;
        }
        bytes => write(&mut send, bytes).await?,
    }
    Ok(send.finish()?)
}
