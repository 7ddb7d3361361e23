//! Deposits in, deliveries out, as nodes do it.
//!
//! Encoding is kept out of the measured time: a deposit is encoded once and its ids are written over, and of a delivery
//! only the number is read, but for one in a batch that is decoded for the acknowledgement.

use anyhow::{Context, bail, ensure};
use penpal_protocol::cbor::{Blob, List};
use penpal_protocol::envelope;
use penpal_protocol::ids::DepositId;
use penpal_protocol::wire::{Ack, Answer, Deposit, DepositAnswer, DepositOutcome, Event, FrameKind, Request};
use penpal_transport::{Connection, Frame, FrameReader, FrameWriter};

use super::device::{Device, ask, random};
use crate::load::{MESSAGE_BYTES, Receiver, Sender};

/// Rows acknowledged together. A relay sends at most 1 MiB ahead of acknowledgements: 256 of these envelopes.
const ACK_ROWS: u32 = 64;

/// Where an envelope carries its number here: the first bytes behind the header.
const NUMBER_AT: usize = envelope::HEADER_BYTES;

/// Longest answer to a deposit.
const MAX_ANSWER: u32 = 1024;

/// Deposits envelopes for one receiver.
#[derive(Debug)]
pub(crate) struct EnvelopeSender {
    device: Device,
    /// The deposits stream: opened with the first deposit, because a relay gives a stream ten seconds to say what it is for.
    stream: Option<(FrameWriter, FrameReader)>,
    /// An encoded deposit.
    payload: Vec<u8>,
    /// Where its id stands.
    id_at: usize,
}

impl EnvelopeSender {
    /// Links an edge of `receiver`.
    pub(crate) async fn new(device: Device, receiver: &Device) -> anyhow::Result<Self> {
        let mut sender = Self { device, stream: None, payload: Vec::new(), id_at: 0 };
        sender.renew_edge(receiver).await?;
        Ok(sender)
    }

    /// Deposits on a new edge from now on.
    pub(crate) async fn renew_edge(&mut self, receiver: &Device) -> anyhow::Result<()> {
        let (edge, cap) = receiver.edge_for(&self.device).await?;
        let mut envelope = vec![0; MESSAGE_BYTES];
        aws_lc_rs::rand::fill(&mut envelope).ok().context("random bytes")?;
        envelope[..2].copy_from_slice(&[envelope::VERSION, envelope::SUITE]);
        let deposit = DepositId::from_bytes(random()?);
        let all = Deposit {
            edge,
            cap,
            slot: receiver.slot,
            deposit,
            ephemeral: None,
            envelope: Blob::new(envelope)?,
        };
        self.payload = all.encode();
        let places = self.payload.windows(DepositId::BYTES);
        self.id_at = places.into_iter().position(|bytes| bytes == deposit.as_bytes()).context("the id")?;
        Ok(())
    }
}

impl Sender for EnvelopeSender {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        let number = number.to_be_bytes();
        // The edge is new in each round, and with it the ids on it.
        self.payload[self.id_at..][..number.len()].copy_from_slice(&number);
        let envelope = self.payload.len() - MESSAGE_BYTES;
        self.payload[envelope + NUMBER_AT..][..number.len()].copy_from_slice(&number);
        if self.stream.is_none() {
            self.stream = Some(self.device.connection.open_bi(MAX_ANSWER).await?);
        }
        let (writer, _) = self.stream.as_mut().context("the stream just opened")?;
        Ok(writer.send(FrameKind::Deposit.number(), &self.payload).await?)
    }

    async fn acknowledged(&mut self) -> anyhow::Result<()> {
        let (_, answers) = self.stream.as_mut().context("nothing was sent")?;
        let frame = answers.read().await?.context("the relay ended the deposits stream")?;
        let answer = DepositAnswer::decode(frame.kind, &frame.payload)?;
        ensure!(answer.outcome == DepositOutcome::Accepted, "the relay answers {:?}", answer.outcome);
        Ok(())
    }
}

/// Receives envelopes and acknowledges them in batches.
#[derive(Debug)]
pub(crate) struct EnvelopeReceiver {
    device: Device,
    /// The newest delivery.
    newest: Option<Frame>,
    unacknowledged: u32,
}

impl EnvelopeReceiver {
    pub(super) fn new(device: Device) -> Self {
        Self { device, newest: None, unacknowledged: 0 }
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    fn take(&mut self, frame: Frame, numbers: &mut Vec<u64>) {
        if frame.kind == FrameKind::Delivery.number()
            && let Some((_, envelope)) = frame.payload.split_last_chunk::<MESSAGE_BYTES>()
            && let Some(number) = envelope[NUMBER_AT..].first_chunk()
        {
            numbers.push(u64::from_be_bytes(*number));
            self.newest = Some(frame);
            self.unacknowledged += 1;
        }
    }

    /// What acknowledges everything so far.
    fn ack(&mut self) -> anyhow::Result<Option<Ack>> {
        let Some(newest) = self.newest.take() else { return Ok(None) };
        let Event::Delivery(delivery) = Event::decode(newest.kind, &newest.payload)? else {
            bail!("no delivery");
        };
        ensure!(delivery.epoch == self.device.epoch, "the spool began a new life");
        self.unacknowledged = 0;
        Ok(Some(Ack { epoch: delivery.epoch, up_to: delivery.seq, gaps: List::default() }))
    }

    /// Acknowledges everything and waits for the answer.
    pub(super) async fn acknowledge_all(&mut self) -> anyhow::Result<()> {
        match self.ack()? {
            Some(ack) => acknowledge(self.device.connection.clone(), ack).await,
            None => Ok(()),
        }
    }
}

impl Receiver for EnvelopeReceiver {
    async fn receive(&mut self, numbers: &mut Vec<u64>) -> anyhow::Result<()> {
        while numbers.is_empty() {
            let frame = self.device.incoming.read().await?.context("the relay ended its stream")?;
            self.take(frame, numbers);
            while let Some(frame) = self.device.incoming.take_buffered()? {
                self.take(frame, numbers);
            }
        }
        if self.unacknowledged >= ACK_ROWS
            && let Some(ack) = self.ack()?
        {
            // Whoever receives goes on meanwhile. What goes wrong here shows as a window that stays full.
            tokio::spawn(acknowledge(self.device.connection.clone(), ack));
        }
        Ok(())
    }
}

async fn acknowledge(connection: Connection, ack: Ack) -> anyhow::Result<()> {
    let answer = ask(&connection, Request::Ack(ack)).await?;
    ensure!(matches!(answer, Answer::Ack(_)), "the relay answers {answer:?}");
    Ok(())
}
