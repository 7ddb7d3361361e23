//! The real relay under load: its program in a process of its own, real accounts, edges, deposits and acknowledgements.

mod device;
mod program;
mod traffic;

use std::path::Path;

use anyhow::Context;

pub(crate) use device::{Device, Devices, ask, done, random};
pub(crate) use program::Program;
use traffic::EnvelopeReceiver;
pub(crate) use traffic::EnvelopeSender;

use crate::load::{self, Alone, Many, SENDERS};

/// A running relay with one receiving device and all sending ones, each of an account of its own.
#[derive(Debug)]
pub(crate) struct Relay {
    senders: Vec<EnvelopeSender>,
    receiver: EnvelopeReceiver,
    program: Program,
}

impl Relay {
    /// Starts the program in `folder` and registers everybody.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let program = Program::start(folder)?;
        // Like the floor: one socket for the senders, one for the receiver.
        let (sending, receiving) = (Devices::new(&program)?, Devices::new(&program)?);
        let mut receiver = receiving.device("receiver").await?;
        receiver.hello().await?;
        let receiver = EnvelopeReceiver::new(receiver);
        let mut senders = Vec::new();
        for number in 0..SENDERS {
            let device = sending.device(&format!("sender-{number}")).await?;
            senders.push(EnvelopeSender::new(device, receiver.device()).await?);
        }
        Ok(Self { senders, receiver, program })
    }

    /// One sender alone.
    pub(crate) async fn alone(&mut self, count: usize) -> anyhow::Result<Alone> {
        let sender = self.senders.first_mut().context("a sender")?;
        // On a fresh edge: a contact may send so much a second and no more.
        sender.renew_edge(self.receiver.device()).await?;
        let round = load::alone(sender, &mut self.receiver, count).await?;
        self.receiver.acknowledge_all().await?;
        Ok(round)
    }

    /// All senders.
    pub(crate) async fn many(&mut self, each: usize) -> anyhow::Result<Many> {
        for sender in &mut self.senders {
            sender.renew_edge(self.receiver.device()).await?;
        }
        let senders = std::mem::take(&mut self.senders);
        let (round, senders) = load::many(senders, &mut self.receiver, each, self.program.pid()).await?;
        self.senders = senders;
        self.receiver.acknowledge_all().await?;
        Ok(round)
    }
}
