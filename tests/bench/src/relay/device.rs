//! Devices as the relay knows them: a key, a connection, an account. Nothing of a node is behind them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use penpal_protocol::cbor::{List, Text};
use penpal_protocol::ids::{Capability, EdgeId, Incarnation, RunId, SlotId, SpoolEpoch};
use penpal_protocol::text::Label;
use penpal_protocol::wire::{
    Answer, EdgeCreate, EdgeLink, Hello, HelloAnswer, MAX_ANSWER_BYTES, Register, Request, Verdict,
};
use penpal_transport::{
    Connection, Dialer, DialerOptions, Frame, FrameReader, RelayPin, Target, TransportKey,
};

use super::Program;

/// Longest that the relay may take for anything.
const WAIT: Duration = Duration::from_secs(10);

/// Longest answer.
#[expect(clippy::cast_possible_truncation, reason = "384 KiB")]
const MAX_ANSWER: u32 = MAX_ANSWER_BYTES as u32;

/// Makes devices that share one socket.
#[derive(Debug)]
pub(crate) struct Devices {
    dialer: Dialer,
    address: SocketAddr,
    pin: RelayPin,
}

impl Devices {
    /// With a socket of their own.
    pub(crate) fn new(program: &Program) -> anyhow::Result<Self> {
        Self::with(Dialer::bind(DialerOptions::default())?, program)
    }

    /// With this socket.
    pub(crate) fn with(dialer: Dialer, program: &Program) -> anyhow::Result<Self> {
        Ok(Self { dialer, address: program.listening, pin: program.pin })
    }

    /// Connects with a fresh key and registers.
    pub(crate) async fn device(&self, handle: &str) -> anyhow::Result<Device> {
        self.device_of(&TransportKey::from_seed(&random()?), handle).await
    }

    /// Connects with this key and registers, which gives an account that exists already once more.
    pub(crate) async fn device_of(&self, key: &TransportKey, handle: &str) -> anyhow::Result<Device> {
        let target = Target { addresses: &[self.address], pin: self.pin, key };
        let dialed = self.dialer.dial(target, WAIT).await?;
        let register = Register { handle: Label::new(handle)?, token: None, invite: None, proof: None };
        let answer = ask(&dialed.connection, Request::Register(register)).await?;
        let Answer::Registered(registered) = &answer else { bail!("registering {handle}: {answer:?}") };
        Ok(Device {
            connection: dialed.connection,
            incoming: dialed.incoming,
            slot: registered.slot,
            epoch: SpoolEpoch::from_bytes([0; 8]),
        })
    }
}

/// One connected device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) connection: Connection,
    /// The relay's stream.
    pub(crate) incoming: FrameReader,
    pub(crate) slot: SlotId,
    /// Life of its spool; known after [`Self::hello`].
    pub(crate) epoch: SpoolEpoch,
}

impl Device {
    /// Starts receiving, for the first time.
    pub(crate) async fn hello(&mut self) -> anyhow::Result<()> {
        self.hello_of(Incarnation::from_bytes(random()?), RunId::from_bytes(random()?)).await
    }

    /// Starts receiving as this run of this database.
    pub(crate) async fn hello_of(&mut self, incarnation: Incarnation, run: RunId) -> anyhow::Result<()> {
        let hello =
            Hello { incarnation, run, since: List::default(), software: Text::truncated("penpal-bench") };
        let answer = self.ask(Request::Hello(hello)).await?;
        let Answer::Hello(HelloAnswer { verdict: Verdict::Known, epoch, .. }) = &answer else {
            bail!("hello: {answer:?}");
        };
        self.epoch = *epoch;
        Ok(())
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(&self) {
        self.connection.closed().await;
    }

    /// Whether the connection has ended.
    pub(crate) fn is_lost(&self) -> bool {
        self.connection.lost().is_some()
    }

    /// Makes an edge to this device for another one to deposit on.
    pub(super) async fn edge_for(&self, other: &Self) -> anyhow::Result<(EdgeId, Capability)> {
        let (edge, cap) = (EdgeId::from_bytes(random()?), Capability::from_bytes(random()?));
        done(self.ask(Request::EdgeCreate(EdgeCreate { edge, cap_hash: cap.hash() })).await?)?;
        done(other.ask(Request::EdgeLink(EdgeLink { edge, cap: cap.clone() })).await?)?;
        Ok((edge, cap))
    }

    async fn ask(&self, request: Request) -> anyhow::Result<Answer> {
        ask(&self.connection, request).await
    }
}

/// Asks the relay for something.
pub(crate) async fn ask(connection: &Connection, request: Request) -> anyhow::Result<Answer> {
    let frame = Frame::new(request.kind().number(), request.encode());
    let answer = connection
        .request(&frame, MAX_ANSWER, WAIT)
        .await
        .with_context(|| format!("{:?}", request.kind()))?;
    Ok(Answer::decode(answer.kind, &answer.payload)?)
}

/// Takes `Done` as the answer.
pub(crate) fn done(answer: Answer) -> anyhow::Result<()> {
    anyhow::ensure!(answer == Answer::Done, "the relay answers {answer:?}");
    Ok(())
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("random bytes")?;
    Ok(bytes)
}
