//! The floor's clients.

use std::net::SocketAddr;

use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};

use super::commit::number_of;
use super::quic;
use crate::load::{MESSAGE_BYTES, Receiver, Sender};

/// First byte of a stream on which messages are sent.
pub(super) const SENDER: [u8; 1] = [1];
/// First byte of a stream on which messages are received.
pub(super) const RECEIVER: [u8; 1] = [2];

/// A socket for all senders and one for the receiver.
#[derive(Debug)]
pub(super) struct Clients {
    senders: (Endpoint, ClientConfig),
    receiver: (Endpoint, ClientConfig),
}

impl Clients {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { senders: quic::dialer()?, receiver: quic::dialer()? })
    }

    pub(super) async fn sender(&self, address: SocketAddr) -> anyhow::Result<FloorSender> {
        let (connection, messages, answers) = open(&self.senders, address, SENDER).await?;
        Ok(FloorSender { messages, answers, message: Box::new([7; MESSAGE_BYTES]), _connection: connection })
    }

    pub(super) async fn receiver(&self, address: SocketAddr) -> anyhow::Result<FloorReceiver> {
        let (connection, unused, messages) = open(&self.receiver, address, RECEIVER).await?;
        Ok(FloorReceiver { messages, partial: Vec::new(), _kept: (connection, unused) })
    }
}

async fn open(
    (endpoint, config): &(Endpoint, ClientConfig),
    address: SocketAddr,
    role: [u8; 1],
) -> anyhow::Result<(Connection, SendStream, RecvStream)> {
    let connection = endpoint.connect_with(config.clone(), address, "floor.invalid")?.await?;
    let (mut send, receive) = connection.open_bi().await?;
    send.write_all(&role).await?;
    Ok((connection, send, receive))
}

/// Sends messages of the one size.
#[derive(Debug)]
pub(crate) struct FloorSender {
    messages: SendStream,
    answers: RecvStream,
    message: Box<[u8; MESSAGE_BYTES]>,
    _connection: Connection,
}

impl Sender for FloorSender {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        self.message[..8].copy_from_slice(&number.to_be_bytes());
        Ok(self.messages.write_all(&*self.message).await?)
    }

    async fn acknowledged(&mut self) -> anyhow::Result<()> {
        Ok(self.answers.read_exact(&mut [0; 8]).await?)
    }
}

/// Receives them.
#[derive(Debug)]
pub(crate) struct FloorReceiver {
    messages: RecvStream,
    /// The beginning of a message whose end has not come.
    partial: Vec<u8>,
    _kept: (Connection, SendStream),
}

impl Receiver for FloorReceiver {
    async fn receive(&mut self, numbers: &mut Vec<u64>) -> anyhow::Result<()> {
        while numbers.is_empty() {
            let chunk = self.messages.read_chunk(64 * 1024, true).await?;
            let Some(chunk) = chunk else { anyhow::bail!("the floor's server is gone") };
            self.partial.extend_from_slice(&chunk.bytes);
            let (whole, rest) = self.partial.as_chunks::<MESSAGE_BYTES>();
            numbers.extend(whole.iter().map(number_of));
            let rest = self.partial.len() - rest.len()..;
            self.partial.copy_within(rest.clone(), 0);
            self.partial.truncate(self.partial.len() - rest.start);
        }
        Ok(())
    }
}
