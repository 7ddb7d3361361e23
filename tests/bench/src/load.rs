//! The two load patterns, the same for everything that is compared: one sender alone, and many at once.
//!
//! Every sender has one message under way: it sends the next when the last is acknowledged. Alone, it also waits until
//! the receiver has it, so that nothing overlaps.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use tokio::task::JoinSet;

use crate::figures::Samples;
use crate::process::cpu_seconds;

/// Bytes of one message: the smallest envelope.
pub(crate) const MESSAGE_BYTES: usize = 4096;

/// Senders at once.
pub(crate) const SENDERS: usize = 64;

/// Longest round: on a slow machine it ends with fewer messages.
const ROUND: Duration = Duration::from_secs(3);

/// Longest that any one message may take before a bench gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hands messages over.
pub(crate) trait Sender: Send + 'static {
    /// Sends the message with this number.
    fn send(&mut self, number: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Waits until the message sent last is acknowledged as durable.
    fn acknowledged(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Is handed messages.
pub(crate) trait Receiver: Send {
    /// Waits until something has come, and gives the numbers of all that has.
    fn receive(&mut self, numbers: &mut Vec<u64>) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// One round of one sender alone.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    /// From sending to the acknowledgement at the sender.
    pub(crate) ack: Samples,
    /// From sending to having it at the receiver.
    pub(crate) deliver: Samples,
}

/// One round of many senders.
#[derive(Debug, Default)]
pub(crate) struct Many {
    /// From sending to the acknowledgement at the sender.
    pub(crate) ack: Samples,
    /// Messages a second, from the first that was sent to the last that came and was acknowledged.
    pub(crate) per_second: f64,
    /// Processor time of the server for each message, in microseconds.
    pub(crate) server_us: f64,
}

/// Sends `count` messages, or as many as it can within [`ROUND`], one at a time, after a tenth of that to get warm.
pub(crate) async fn alone<S: Sender, R: Receiver>(
    sender: &mut S,
    receiver: &mut R,
    count: usize,
) -> anyhow::Result<Alone> {
    let warm_up = count / 10;
    let mut round = Alone { ack: Samples::with_capacity(count), deliver: Samples::with_capacity(count) };
    let mut numbers = Vec::new();
    let started = Instant::now();
    for number in 0..warm_up + count {
        let begun = Instant::now();
        if number > warm_up && begun - started > ROUND {
            break;
        }
        sender.send(number as u64).await?;
        let acknowledged = async {
            sender.acknowledged().await?;
            anyhow::Ok(begun.elapsed())
        };
        let delivered = async {
            receiver.receive(&mut numbers).await?;
            anyhow::Ok(begun.elapsed())
        };
        let both = async { tokio::try_join!(acknowledged, delivered) };
        let (ack, deliver) = tokio::time::timeout(PATIENCE, both).await.context("a message is lost")??;
        ensure!(numbers == [number as u64], "sent {number}, received {numbers:?}");
        numbers.clear();
        if number >= warm_up {
            round.ack.push(ack);
            round.deliver.push(deliver);
        }
    }
    Ok(round)
}

/// Lets every sender send `each` messages, or as many as it can within [`ROUND`]; gives the senders back. `server` is the
/// process in between.
pub(crate) async fn many<S: Sender, R: Receiver>(
    senders: Vec<S>,
    receiver: &mut R,
    each: usize,
    server: u32,
) -> anyhow::Result<(Many, Vec<S>)> {
    let cpu = cpu_seconds(server)?;
    let begun = Instant::now();
    let mut counts = Counts::new(senders.len());
    let mut tasks = JoinSet::new();
    for (index, sender) in senders.into_iter().enumerate() {
        tasks.spawn(send_many(sender, (index as u64) << 32, each));
    }
    let mut round = Many::default();
    let mut senders = Vec::new();
    let mut sent = 0;
    let mut numbers = Vec::new();
    while !tasks.is_empty() || counts.received < sent {
        let next = async {
            tokio::select! {
                received = receiver.receive(&mut numbers) => received.map(|()| None),
                Some(ended) = tasks.join_next() => ended?.map(Some),
            }
        };
        match tokio::time::timeout(PATIENCE, next).await.context("messages are lost")?? {
            None => counts.take(&mut numbers)?,
            Some((sender, ack)) => {
                sent += ack.len();
                round.ack.append(ack);
                senders.push(sender);
            }
        }
    }
    round.per_second = sent as f64 / begun.elapsed().as_secs_f64();
    round.server_us = (cpu_seconds(server)? - cpu) / sent as f64 * 1e6;
    Ok((round, senders))
}

async fn send_many<S: Sender>(mut sender: S, first: u64, count: usize) -> anyhow::Result<(S, Samples)> {
    let mut ack = Samples::with_capacity(count);
    let started = Instant::now();
    for number in 0..count as u64 {
        let begun = Instant::now();
        if begun - started > ROUND {
            break;
        }
        sender.send(first + number).await?;
        sender.acknowledged().await?;
        ack.push(begun.elapsed());
    }
    Ok((sender, ack))
}

/// What has come of each sender.
#[derive(Debug)]
struct Counts {
    next: Vec<u64>,
    received: usize,
}

impl Counts {
    fn new(senders: usize) -> Self {
        Self { next: vec![0; senders], received: 0 }
    }

    /// Counts what came, and holds that nothing is missing, twice there or out of its sender's order.
    fn take(&mut self, numbers: &mut Vec<u64>) -> anyhow::Result<()> {
        for number in numbers.drain(..) {
            let Some(next) = usize::try_from(number >> 32).ok().and_then(|sender| self.next.get_mut(sender))
            else {
                bail!("message {number:#x} was never sent");
            };
            ensure!(number & 0xffff_ffff == *next, "message {number:#x} came, {next} was next");
            *next += 1;
            self.received += 1;
        }
        Ok(())
    }
}
