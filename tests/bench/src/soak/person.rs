//! Somebody with one device, who comes, writes, reads and goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use penpal_protocol::cbor::{Blob, List};
use penpal_protocol::envelope::{HEADER_BYTES, LADDER, SUITE, VERSION};
use penpal_protocol::ids::{Capability, DepositId, EdgeId, Hash, Incarnation, InviteId, RunId};
use penpal_protocol::wire::{
    Ack, Answer, Delivery, Deposit, DepositAnswer, DepositOutcome, EdgeCreate, EdgeLink, EdgeRevoke, Event,
    FrameKind, InviteCreate, InviteRevoke, Request,
};
use penpal_transport::{FrameReader, FrameWriter, TransportKey};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::ledger::{Ledger, Way};
use super::watch::PARTS;
use crate::relay::{Device, Devices, Program, ask, done, random};

pub(super) const SEND_EVERY: Duration = Duration::from_millis(500);
pub(super) const ACK_EVERY: Duration = Duration::from_millis(200);
pub(super) const CHURN_EVERY: Duration = Duration::from_secs(20);

/// Longest answer to a deposit.
const MAX_ANSWER: u32 = 1024;

/// Where an envelope says who wrote it, and its number: behind the header.
const WRITER_AT: usize = HEADER_BYTES;
const NUMBER_AT: usize = HEADER_BYTES + 8;

/// A deposit without an answer so far: handed over again, the same, when the connection ended before it.
#[derive(Debug)]
struct Pending {
    reader: usize,
    deposit: Box<Deposit>,
    began: Instant,
}

/// What lasts over connections.
#[derive(Debug)]
pub(super) struct Person {
    index: usize,
    rng: ChaCha8Rng,
    program: Arc<Program>,
    ledger: Arc<Ledger>,
    key: TransportKey,
    incarnation: Incarnation,
    run: RunId,
    writers: [usize; 2],
    readers: [usize; 2],
    /// Edges that the writers may still use, oldest first: number and version.
    edges: BTreeMap<usize, Vec<(EdgeId, u64)>>,
    /// The edge linked of each reader.
    linked: BTreeMap<usize, Way>,
    /// Number of the next envelope to each reader.
    next: BTreeMap<usize, u64>,
    pending: Option<Pending>,
    /// Highest row that came, and that was acknowledged.
    seen: u64,
    acked: u64,
    /// When it began and how long it goes on.
    began: Instant,
    length: Duration,
}

/// One connection.
#[derive(Debug)]
struct Online {
    device: Device,
    deposits: Option<(FrameWriter, FrameReader)>,
    _devices: Devices,
}

impl Person {
    pub(super) fn new(
        index: usize,
        seed: u64,
        program: Arc<Program>,
        ledger: Arc<Ledger>,
        writers: [usize; 2],
        readers: [usize; 2],
    ) -> anyhow::Result<Self> {
        Ok(Self {
            index,
            rng: ChaCha8Rng::seed_from_u64(seed ^ index as u64),
            program,
            ledger,
            key: TransportKey::from_seed(&random()?),
            incarnation: Incarnation::from_bytes(random()?),
            run: RunId::from_bytes(random()?),
            writers,
            readers,
            edges: BTreeMap::new(),
            linked: BTreeMap::new(),
            next: BTreeMap::new(),
            pending: None,
            seen: 0,
            acked: 0,
            began: Instant::now(),
            length: Duration::ZERO,
        })
    }

    /// Registers and publishes an edge for each writer.
    pub(super) async fn arrive(&mut self) -> anyhow::Result<()> {
        let online = self.connect().await?;
        for writer in self.writers {
            self.new_edge(&online, writer).await?;
        }
        Ok(())
    }

    /// Comes and goes until `end`.
    pub(super) async fn live(mut self, end: Instant) -> anyhow::Result<Self> {
        self.began = Instant::now();
        self.length = end.saturating_duration_since(self.began);
        let who = self.index;
        while Instant::now() < end {
            let stay = self.between(5_000, 60_000);
            let leaves = (Instant::now() + stay).min(end);
            if let Err(error) = self.visit(leaves).await {
                // Whoever could not connect, or lost a connection, comes again; what is wrong with the mail ends everything.
                ensure!(!self.ledger.is_broken(), "person {who}: {error:#}");
                self.ledger.count(|counts| counts.failed += 1);
            }
            let away = self.between(0, 30_000);
            tokio::time::sleep(away.min(end.saturating_duration_since(Instant::now()))).await;
        }
        Ok(self)
    }

    /// Learns what became of the last envelope.
    pub(super) async fn settle(&mut self, limit: Instant) -> anyhow::Result<()> {
        let mut online = self.connect().await?;
        self.resend(&mut online).await?;
        while self.pending.is_some() {
            self.turn_until(&mut online, limit).await?;
        }
        Ok(())
    }

    /// Fetches and acknowledges all that waits, once everybody has settled.
    pub(super) async fn drain(&mut self, limit: Instant) -> anyhow::Result<()> {
        let mut online = self.connect().await?;
        while !self.ledger.has_all(self.index) {
            self.turn_until(&mut online, limit).await?;
        }
        self.acknowledge(&online).await
    }

    async fn turn_until(&mut self, online: &mut Online, limit: Instant) -> anyhow::Result<()> {
        let left = limit.saturating_duration_since(Instant::now());
        let turned = tokio::time::timeout(left.min(ACK_EVERY), self.turn(online)).await;
        ensure!(Instant::now() < limit, "person {}: something is lost", self.index);
        self.acknowledge(online).await?;
        turned.unwrap_or(Ok(()))
    }

    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.rng.next_u64() % (most - least))
    }

    async fn connect(&mut self) -> anyhow::Result<Online> {
        let devices = Devices::new(&self.program)?;
        let mut device = devices.device_of(&self.key, &format!("person-{}", self.index)).await?;
        device.hello_of(self.incarnation, self.run).await?;
        self.ledger.count(|counts| counts.connections += 1);
        Ok(Online { device, deposits: None, _devices: devices })
    }

    /// One connection from its beginning to its end.
    async fn visit(&mut self, leaves: Instant) -> anyhow::Result<()> {
        let mut online = self.connect().await?;
        self.resend(&mut online).await?;
        let first = self.between(0, 500);
        let (mut send, mut ack) = (Instant::now() + first, Instant::now() + ACK_EVERY);
        let mut churn = Instant::now() + self.between(1_000, 2 * CHURN_EVERY.as_millis() as u64);
        loop {
            let now = Instant::now();
            if now >= leaves {
                break;
            }
            if now >= send {
                send = now + SEND_EVERY;
                self.write(&mut online).await?;
            }
            if now >= ack {
                ack = now + ACK_EVERY;
                self.acknowledge(&online).await?;
            }
            if now >= churn {
                churn = now + CHURN_EVERY;
                self.churn(&online).await?;
            }
            let next = leaves.min(send).min(ack).min(churn).saturating_duration_since(Instant::now());
            if let Ok(turned) = tokio::time::timeout(next, self.turn(&mut online)).await {
                turned?;
            }
        }
        if self.rng.next_u64().is_multiple_of(2) {
            self.acknowledge(&online).await?;
        }
        Ok(())
    }

    /// Waits for one thing that comes.
    async fn turn(&mut self, online: &mut Online) -> anyhow::Result<()> {
        let answer = async {
            match &mut online.deposits {
                Some((_, answers)) => answers.read().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            frame = online.device.incoming.read() => {
                let frame = frame?.context("the relay ended its stream")?;
                if let Event::Delivery(delivery) = Event::decode(frame.kind, &frame.payload)? {
                    ensure!(delivery.epoch == online.device.epoch, "the spool began a new life");
                    self.read(&delivery).inspect_err(|_| self.ledger.break_off())?;
                }
            }
            frame = answer => {
                let frame = frame?.context("the relay ended the deposits stream")?;
                self.answered(DepositAnswer::decode(frame.kind, &frame.payload)?)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, delivery: &Delivery) -> anyhow::Result<()> {
        if delivery.seq <= self.acked {
            self.ledger.count(|counts| counts.after_ack += 1);
            return Ok(());
        }
        if delivery.seq <= self.seen {
            self.ledger.count(|counts| counts.repeats += 1);
            return Ok(());
        }
        ensure!(delivery.seq == self.seen + 1, "row {} came after row {}", delivery.seq, self.seen);
        let envelope: &[u8] = &delivery.envelope;
        let number = |at: usize| {
            envelope.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_be_bytes(*bytes))
        };
        let (writer, number) = number(WRITER_AT).zip(number(NUMBER_AT)).context("a short envelope")?;
        let pattern = pattern(writer, number);
        ensure!(
            envelope.iter().skip(NUMBER_AT + 8).all(|byte| *byte == pattern),
            "an envelope is not what it was"
        );
        self.seen = delivery.seq;
        self.ledger.arrived(usize::try_from(writer)?, self.index, number)
    }

    fn answered(&mut self, answer: DepositAnswer) -> anyhow::Result<()> {
        let pending = self.pending.take().context("an answer to nothing")?;
        ensure!(answer.deposit == pending.deposit.deposit, "an answer to something else");
        if answer.outcome == DepositOutcome::Accepted {
            let part = self.began.elapsed().as_secs_f64() / self.length.as_secs_f64().max(1.0) * PARTS as f64;
            let part = (part as usize).min(PARTS - 1);
            self.ledger.accepted(self.index, pending.reader, pending.began.elapsed(), part);
            *self.next.entry(pending.reader).or_default() += 1;
        } else {
            self.ledger.count(|counts| counts.refused += 1);
        }
        Ok(())
    }

    /// Hands the next envelope over, if the one before was answered.
    async fn write(&mut self, online: &mut Online) -> anyhow::Result<()> {
        if self.pending.is_some() {
            return Ok(());
        }
        let reader = self.readers[usize::from(self.rng.next_u64().is_multiple_of(2))];
        let way = self.link(online, reader).await?;
        let number = self.next.get(&reader).copied().unwrap_or_default();
        let bytes = match self.rng.next_u64() % 100 {
            0..80 => LADDER[0],
            80..90 => LADDER[1],
            90..95 => LADDER[2],
            95..98 => LADDER[3],
            _ => LADDER[4],
        };
        let mut envelope = vec![pattern(self.index as u64, number); bytes];
        envelope[..HEADER_BYTES].fill(0);
        envelope[..2].copy_from_slice(&[VERSION, SUITE]);
        envelope[WRITER_AT..NUMBER_AT].copy_from_slice(&(self.index as u64).to_be_bytes());
        envelope[NUMBER_AT..NUMBER_AT + 8].copy_from_slice(&number.to_be_bytes());
        let Way { edge, cap, slot, .. } = way;
        let deposit = DepositId::from_bytes(random()?);
        let deposit = Deposit { edge, cap, slot, deposit, ephemeral: None, envelope: Blob::new(envelope)? };
        self.pending = Some(Pending { reader, deposit: Box::new(deposit), began: Instant::now() });
        self.resend(online).await
    }

    /// Hands over what is pending on a connection that has not carried it.
    async fn resend(&mut self, online: &mut Online) -> anyhow::Result<()> {
        let Some(pending) = &mut self.pending else { return Ok(()) };
        pending.began = Instant::now();
        if online.deposits.is_none() {
            online.deposits = Some(online.device.connection.open_bi(MAX_ANSWER).await?);
        }
        let (writer, _) = online.deposits.as_mut().context("the stream just opened")?;
        Ok(writer.send(FrameKind::Deposit.number(), &pending.deposit.encode()).await?)
    }

    /// The newest edge to a reader, linked.
    async fn link(&mut self, online: &Online, reader: usize) -> anyhow::Result<Way> {
        let way = self.ledger.way(self.index, reader)?;
        if self.linked.get(&reader).is_none_or(|linked| linked.version != way.version) {
            let link = EdgeLink { edge: way.edge, cap: way.cap.clone() };
            done(ask(&online.device.connection, Request::EdgeLink(link)).await?)?;
            self.linked.insert(reader, way.clone());
            self.ledger.uses(self.index, reader, way.version);
        }
        Ok(way)
    }

    async fn acknowledge(&mut self, online: &Online) -> anyhow::Result<()> {
        if self.acked == self.seen {
            return Ok(());
        }
        let ack = Ack { epoch: online.device.epoch, up_to: self.seen, gaps: List::default() };
        let answer = ask(&online.device.connection, Request::Ack(ack)).await?;
        ensure!(matches!(answer, Answer::Ack(_)), "the relay answers {answer:?}");
        self.acked = self.seen;
        Ok(())
    }

    /// Replaces an edge, ends those that are not used any more, makes an invite and takes it back.
    async fn churn(&mut self, online: &Online) -> anyhow::Result<()> {
        let connection = &online.device.connection;
        let writer = self.writers[usize::from(self.rng.next_u64().is_multiple_of(2))];
        let used = self.ledger.used(writer, self.index);
        let edges = self.edges.entry(writer).or_default();
        while let Some((edge, version)) = edges.first().copied()
            && version < used
        {
            done(ask(connection, Request::EdgeRevoke(EdgeRevoke { edge })).await?)?;
            edges.remove(0);
        }
        if edges.len() == 1 {
            self.new_edge(online, writer).await?;
            self.ledger.count(|counts| counts.edges += 1);
        }
        let invite = InviteId::from_bytes(random()?);
        let create = InviteCreate {
            invite,
            proof_hash: Hash::from_bytes(random()?),
            expires_ms: unix_ms()? + 3_600_000,
            record: Blob::new(vec![7; 2_048])?,
        };
        done(ask(connection, Request::InviteCreate(create)).await?)?;
        done(ask(connection, Request::InviteRevoke(InviteRevoke { invite })).await?)?;
        self.ledger.count(|counts| counts.invites += 1);
        Ok(())
    }

    async fn new_edge(&mut self, online: &Online, writer: usize) -> anyhow::Result<()> {
        let (edge, cap) = (EdgeId::from_bytes(random()?), Capability::from_bytes(random()?));
        let create = EdgeCreate { edge, cap_hash: cap.hash() };
        done(ask(&online.device.connection, Request::EdgeCreate(create)).await?)?;
        let edges = self.edges.entry(writer).or_default();
        let version = edges.last().map_or(1, |(_, version)| version + 1);
        edges.push((edge, version));
        self.ledger.publish(writer, self.index, Way { edge, cap, slot: online.device.slot, version });
        Ok(())
    }
}

/// What fills an envelope.
fn pattern(writer: u64, number: u64) -> u8 {
    ((writer * 31 + number) % 251) as u8
}

fn unix_ms() -> anyhow::Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}
