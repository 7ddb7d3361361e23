//! The floor's server: reads messages, has them stored, hands them to the one receiver, answers the sender.

use std::path::Path;
use std::sync::mpsc::SyncSender;

use anyhow::Context;
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc::unbounded_channel;

use super::client::{RECEIVER, SENDER};
use super::commit::{self, Job, Message};
use super::quic;
use crate::load::MESSAGE_BYTES;
use crate::process::say_ready;

/// Serves until the process is killed.
pub(crate) async fn serve(folder: &Path) -> anyhow::Result<()> {
    let jobs = commit::start(folder)?;
    let endpoint = quic::listen()?;
    say_ready(&endpoint.local_addr()?.to_string())?;
    while let Some(incoming) = endpoint.accept().await {
        let jobs = jobs.clone();
        tokio::spawn(async move {
            if let Ok(connection) = incoming.await {
                // A client that goes away ends its connection, which is no failure.
                serve_one(&connection, &jobs).await.ok();
            }
        });
    }
    Ok(())
}

async fn serve_one(connection: &Connection, jobs: &SyncSender<Job>) -> anyhow::Result<()> {
    let (answers, mut messages) = connection.accept_bi().await?;
    let mut role = [0];
    messages.read_exact(&mut role).await?;
    match role {
        SENDER => from_sender(answers, messages, jobs).await,
        RECEIVER => to_receiver(answers, jobs).await,
        [other] => anyhow::bail!("role {other} is none"),
    }
}

async fn from_sender(
    mut answers: SendStream,
    mut messages: RecvStream,
    jobs: &SyncSender<Job>,
) -> anyhow::Result<()> {
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
        jobs.try_send(Job::Message(Message { bytes, sender: sender.clone() })).ok().context("room")?;
    }
}

async fn to_receiver(mut stream: SendStream, jobs: &SyncSender<Job>) -> anyhow::Result<()> {
    let (forward, mut durable) = unbounded_channel();
    jobs.try_send(Job::Receiver(forward)).ok().context("room")?;
    while let Some(messages) = durable.recv().await {
        let mut chunks: Vec<_> = messages.into_iter().map(|bytes| Bytes::from(bytes as Box<[u8]>)).collect();
        stream.write_all_chunks(&mut chunks).await?;
    }
    Ok(())
}
