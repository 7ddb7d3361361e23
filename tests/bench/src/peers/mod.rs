//! What others do with the same load. Each is a server of its distribution's package, over TLS 1.3, with settings that are stated.

mod mosquitto;
mod nats;
mod redis;
mod resp;
mod tls;

use std::net::{SocketAddr, TcpListener};

use anyhow::Context;

pub(crate) use mosquitto::Mosquitto;
pub(crate) use nats::Nats;
pub(crate) use redis::Redis;

use crate::load::{self, Alone, Many, Receiver, Sender};
use crate::process::Ended;

/// A running server with its clients.
#[derive(Debug)]
pub(crate) struct Peer<S, R> {
    server: Ended,
    senders: Vec<S>,
    receiver: R,
}

/// Acknowledges what has come, so that a round leaves nothing behind.
pub(crate) trait Settle: Receiver {
    /// Acknowledges everything.
    fn settle(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl<S: Sender, R: Settle> Peer<S, R> {
    /// One sender alone.
    pub(crate) async fn alone(&mut self, count: usize) -> anyhow::Result<Alone> {
        let sender = self.senders.first_mut().context("a sender")?;
        let round = load::alone(sender, &mut self.receiver, count).await?;
        self.receiver.settle().await?;
        Ok(round)
    }

    /// All senders.
    pub(crate) async fn many(&mut self, each: usize) -> anyhow::Result<Many> {
        let senders = std::mem::take(&mut self.senders);
        let (round, senders) = load::many(senders, &mut self.receiver, each, self.server.0.id()).await?;
        self.senders = senders;
        self.receiver.settle().await?;
        Ok(round)
    }
}

/// Whether a program is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A port on loopback that is free now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
