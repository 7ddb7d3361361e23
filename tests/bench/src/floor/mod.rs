//! The floor: quinn, a preallocated file synced once a batch, forwarding, and nothing else.
//!
//! No accounts, no index, no quotas, no frames, no CBOR: messages have one size. What a real relay costs beside this is
//! what penpal adds. The server runs in a process of its own, as the relay does, with the relay's QUIC limits and keys.

mod bulk;
mod client;
mod commit;
mod quic;
mod server;

use std::path::Path;

use anyhow::Context;

pub(crate) use bulk::{Bulk, serve as serve_bulk};
pub(crate) use client::{FloorReceiver, FloorSender};
pub(crate) use server::serve;

use crate::load::{self, Alone, Many, SENDERS};
use crate::process::{Ended, role};

/// A running floor server with its clients.
#[derive(Debug)]
pub(crate) struct Floor {
    receiver: FloorReceiver,
    senders: Vec<FloorSender>,
    server: Ended,
}

impl Floor {
    /// Starts the server as a child process, its file in `folder`, and connects one receiver and all senders.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let (server, address) = role("floor-server", folder)?;
        let address = address.parse().context("where the floor listens")?;
        let clients = client::Clients::new()?;
        let receiver = clients.receiver(address).await?;
        let mut senders = Vec::new();
        for _ in 0..SENDERS {
            senders.push(clients.sender(address).await?);
        }
        Ok(Self { receiver, senders, server })
    }

    /// One sender alone.
    pub(crate) async fn alone(&mut self, count: usize) -> anyhow::Result<Alone> {
        let sender = self.senders.first_mut().context("a sender")?;
        load::alone(sender, &mut self.receiver, count).await
    }

    /// All senders.
    pub(crate) async fn many(&mut self, each: usize) -> anyhow::Result<Many> {
        let senders = std::mem::take(&mut self.senders);
        let (round, senders) = load::many(senders, &mut self.receiver, each, self.server.0.id()).await?;
        self.senders = senders;
        Ok(round)
    }
}
