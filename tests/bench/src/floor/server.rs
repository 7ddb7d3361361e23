//! The floor's server: reads messages, has them stored, hands them to the one receiver, answers the sender.
//!
//! One thread for the network, one for the disk, and one wake-up between them in each direction a batch.

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc::{Sender, UnboundedSender, channel, unbounded_channel};

use super::client::{RECEIVER, SENDER};
use super::commit::{self, Durable, Jobs, Message, number_of};
use super::quic;
use crate::load::MESSAGE_BYTES;
use crate::process::say_ready;

/// Messages for the receiver.
type Forward = UnboundedSender<Vec<Bytes>>;

/// Serves until the process is killed.
pub(crate) async fn serve(folder: &Path) -> anyhow::Result<()> {
    let (jobs, durable) = commit::start(folder)?;
    let endpoint = quic::listen()?;
    say_ready(&endpoint.local_addr()?.to_string())?;
    let (receivers, receiver) = channel(1);
    tokio::spawn(hand_out(durable, receiver));
    while let Some(incoming) = endpoint.accept().await {
        let (jobs, receivers) = (jobs.clone(), receivers.clone());
        tokio::spawn(async move {
            if let Ok(connection) = incoming.await {
                // A client that goes away ends its connection, which is no failure.
                serve_one(&connection, &jobs, &receivers).await.ok();
            }
        });
    }
    Ok(())
}

/// Gives what is durable to its receiver, then tells the senders.
async fn hand_out(mut durable: Durable, mut receiver: tokio::sync::mpsc::Receiver<Forward>) {
    let Some(forward) = receiver.recv().await else { return };
    while let Some(batch) = durable.recv().await {
        let answers: Vec<_> =
            batch.iter().map(|message| (message.sender.clone(), number_of(&message.bytes))).collect();
        // Of receiver and senders, whoever is gone needs nothing.
        forward.send(batch.into_iter().map(|message| Bytes::from(message.bytes as Box<[u8]>)).collect()).ok();
        for (sender, number) in answers {
            sender.send(number).ok();
        }
    }
}

async fn serve_one(connection: &Connection, jobs: &Jobs, receivers: &Sender<Forward>) -> anyhow::Result<()> {
    let (answers, mut messages) = connection.accept_bi().await?;
    let mut role = [0];
    messages.read_exact(&mut role).await?;
    match role {
        SENDER => from_sender(answers, messages, jobs).await,
        RECEIVER => to_receiver(answers, receivers).await,
        [other] => anyhow::bail!("role {other} is none"),
    }
}

async fn from_sender(mut answers: SendStream, mut messages: RecvStream, jobs: &Jobs) -> anyhow::Result<()> {
    let (sender, mut acknowledged) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(number) = acknowledged.recv().await {
            if answers.write_all(&u64::to_be_bytes(number)).await.is_err() {
                return;
            }
        }
    });
    loop {
        let mut bytes = Box::new([0; MESSAGE_BYTES]);
        messages.read_exact(&mut *bytes).await?;
        // One message of each sender is under way, so there is always room.
        jobs.try_send(Message { bytes, sender: sender.clone() }).ok().context("room")?;
    }
}

async fn to_receiver(mut stream: SendStream, receivers: &Sender<Forward>) -> anyhow::Result<()> {
    let (forward, mut durable) = unbounded_channel();
    receivers.send(forward).await?;
    while let Some(mut chunks) = durable.recv().await {
        stream.write_all_chunks(&mut chunks).await?;
    }
    Ok(())
}
