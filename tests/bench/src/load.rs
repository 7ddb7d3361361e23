//! The two load patterns, the same for everything that is compared: one sender alone, and many at once.
//!
//! Every sender has one message under way: it sends the next when the last is acknowledged. Alone, it also waits until
//! the receiver has it, so that nothing overlaps.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::figures::Samples;

/// Bytes of one message: the smallest envelope.
pub(crate) const MESSAGE_BYTES: usize = 4096;

/// Senders at once.
pub(crate) const SENDERS: usize = 64;

/// Longest that anything may take before a bench gives up.
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
}

/// Sends `count` messages, one at a time, after a tenth of that to get warm.
pub(crate) async fn alone<S: Sender, R: Receiver>(
    sender: &mut S,
    receiver: &mut R,
    count: usize,
) -> anyhow::Result<Alone> {
    let warm_up = count / 10;
    let mut round = Alone { ack: Samples::with_capacity(count), deliver: Samples::with_capacity(count) };
    let mut numbers = Vec::new();
    for number in 0..warm_up + count {
        let begun = Instant::now();
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

/// Lets every sender send `each` messages; gives the senders back.
pub(crate) async fn many<S: Sender, R: Receiver>(
    senders: Vec<S>,
    receiver: &mut R,
    each: usize,
) -> anyhow::Result<(Many, Vec<S>)> {
    let total = senders.len() * each;
    let begun = Instant::now();
    let tasks: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(index, sender)| tokio::spawn(send_many(sender, (index as u64) << 32, each)))
        .collect();
    let received = tokio::time::timeout(PATIENCE, receive_all(receiver, tasks.len(), each)).await;
    let mut round = Many::default();
    let mut senders = Vec::new();
    for task in tasks {
        let (sender, ack) =
            tokio::time::timeout(PATIENCE, task).await.context("a sender waits for ever")???;
        round.ack.append(ack);
        senders.push(sender);
    }
    received.with_context(|| format!("not all of {total} messages came"))??;
    round.per_second = total as f64 / begun.elapsed().as_secs_f64();
    Ok((round, senders))
}

async fn send_many<S: Sender>(mut sender: S, first: u64, count: usize) -> anyhow::Result<(S, Samples)> {
    let mut ack = Samples::with_capacity(count);
    for number in 0..count as u64 {
        let begun = Instant::now();
        sender.send(first + number).await?;
        sender.acknowledged().await?;
        ack.push(begun.elapsed());
    }
    Ok((sender, ack))
}

/// Receives everything, and holds that nothing is missing, twice there or out of its sender's order.
async fn receive_all<R: Receiver>(receiver: &mut R, senders: usize, each: usize) -> anyhow::Result<()> {
    let mut next = vec![0_u64; senders];
    let mut left = senders * each;
    let mut numbers = Vec::new();
    while left > 0 {
        receiver.receive(&mut numbers).await?;
        for number in numbers.drain(..) {
            let Some(expected) = usize::try_from(number >> 32).ok().and_then(|sender| next.get_mut(sender))
            else {
                bail!("message {number:#x} was never sent");
            };
            ensure!(number & 0xffff_ffff == *expected, "message {number:#x} came, {expected} was next");
            *expected += 1;
            left -= 1;
        }
    }
    Ok(())
}
