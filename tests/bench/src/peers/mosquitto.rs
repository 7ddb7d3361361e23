//! Mosquitto: one topic, quality of service 1 (MQTT 3.1.1).

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Peer, Settle, free_address, tls};
use crate::load::{MESSAGE_BYTES, Receiver, SENDERS, Sender};
use crate::process;

const TOPIC: &[u8] = b"\x00\x05bench";

/// Messages acknowledged together.
const ACK_ROWS: usize = 64;

/// Kinds of packets, as their first byte says.
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;

/// A running server with its clients.
pub(crate) type Mosquitto = Peer<MqttSender, MqttReceiver>;

impl Mosquitto {
    /// The program.
    pub(crate) const PROGRAM: &'static str = "mosquitto";

    /// How it is set up, for the report.
    pub(crate) const SETTINGS: &'static str = "Mosquitto: one topic, QoS 1, a persistent session, persistence true with the default autosave (every 30 min), no limit of messages in flight, acknowledged 64 at a time; TLS 1.3. It never syncs a message: its answer means that it is in memory";

    /// Starts the server in `folder` and connects everybody.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let folder = folder.join("mosquitto");
        std::fs::create_dir(&folder)?;
        let (certificate, key) = tls::certificate(&folder)?;
        let config = folder.join("mosquitto.conf");
        let [certificate, key, store] = [&certificate, &key, &folder].map(|path| path.display().to_string());
        // Started by root it would become a user who cannot read the folder.
        let user = if rustix::process::getuid().is_root() { "user root\n" } else { "" };
        std::fs::write(
            &config,
            format!(
                "listener {} 127.0.0.1\nallow_anonymous true\ncertfile {certificate}\nkeyfile {key}\ntls_version tlsv1.3\npersistence true\npersistence_location {store}/\nmax_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type error\nlog_type information\n{user}",
                address.port()
            ),
        )?;
        let mut command = Command::new(Self::PROGRAM);
        command.arg("-c").arg(&config);
        let server = process::server(command, " running").await?;
        let mut connection = Connection::open(address, "receiver").await?;
        connection.send(&packet(0x82, &[b"\x00\x01", TOPIC, b"\x01"].concat())).await?;
        connection.expect(SUBACK).await?;
        let receiver = MqttReceiver { connection, acknowledgements: Vec::new(), waiting: 0 };
        let mut senders = Vec::new();
        for number in 0..SENDERS {
            let connection = Connection::open(address, &format!("s{number}")).await?;
            let mut message = packet(PUBLISH | 0x02, &[TOPIC, b"\x00\x01", &[7; MESSAGE_BYTES]].concat());
            let at = message.len() - MESSAGE_BYTES;
            message.shrink_to_fit();
            senders.push(MqttSender { connection, message, at });
        }
        Ok(Self { server, senders, receiver })
    }
}

/// A packet: its first byte, its length in groups of seven bits, its content.
fn packet(first: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = content.len();
    loop {
        let group = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { group | 0x80 } else { group });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// Reads one packet: its first byte, its content, and how long it was.
fn next(bytes: &[u8]) -> anyhow::Result<Option<(u8, Vec<u8>, usize)>> {
    let (mut length, mut at) = (0, 1);
    loop {
        let Some(group) = bytes.get(at) else { return Ok(None) };
        ensure!(at <= 4, "a length without end");
        length |= usize::from(group & 0x7f) << (7 * (at - 1));
        at += 1;
        if group & 0x80 == 0 {
            break;
        }
    }
    let (Some(first), Some(content)) = (bytes.first(), bytes.get(at..at + length)) else { return Ok(None) };
    Ok(Some((*first, content.to_vec(), at + length)))
}

/// One connection.
#[derive(Debug)]
struct Connection {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr, name: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: tls::connect(stream).await?, received: Vec::new() };
        let length = u16::try_from(name.len())?.to_be_bytes();
        // MQTT 3.1.1, session kept, no keep-alive.
        let hello = [b"\x00\x04MQTT\x04\x00\x00\x00", &length[..], name.as_bytes()].concat();
        connection.send(&packet(0x10, &hello)).await?;
        connection.expect(CONNACK).await?;
        Ok(connection)
    }

    async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Waits for the next packet. Cancel-safe.
    async fn packet(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((first, content, used)) = next(&self.received)? {
                self.received.drain(..used);
                return Ok((first, content));
            }
            self.received.reserve(256 * 1024);
            let read = self.stream.read_buf(&mut self.received).await?;
            ensure!(read > 0, "the server closed the connection");
        }
    }

    async fn expect(&mut self, kind: u8) -> anyhow::Result<()> {
        let (first, content) = self.packet().await?;
        ensure!(first & 0xf0 == kind, "Mosquitto says {first:#x} {content:?}");
        Ok(())
    }
}

/// Publishes.
#[derive(Debug)]
pub(crate) struct MqttSender {
    connection: Connection,
    message: Vec<u8>,
    /// Where the payload begins.
    at: usize,
}

impl Sender for MqttSender {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        self.message[self.at..self.at + 8].copy_from_slice(&number.to_be_bytes());
        self.connection.send(&self.message).await
    }

    async fn acknowledged(&mut self) -> anyhow::Result<()> {
        self.connection.expect(PUBACK).await
    }
}

/// Subscribes.
#[derive(Debug)]
pub(crate) struct MqttReceiver {
    connection: Connection,
    acknowledgements: Vec<u8>,
    waiting: usize,
}

impl Receiver for MqttReceiver {
    async fn receive(&mut self, numbers: &mut Vec<u64>) -> anyhow::Result<()> {
        let (first, content) = self.connection.packet().await?;
        ensure!(first & 0xf6 == PUBLISH | 0x02, "Mosquitto says {first:#x}");
        let rest = content.get(TOPIC.len()..).context("a short packet")?;
        let (id, payload) = rest.split_first_chunk::<2>().context("a short packet")?;
        let number = payload.first_chunk().context("a short message")?;
        numbers.push(u64::from_be_bytes(*number));
        self.acknowledgements.extend(packet(PUBACK, id));
        self.waiting += 1;
        if self.waiting >= ACK_ROWS { self.settle().await } else { Ok(()) }
    }
}

impl Settle for MqttReceiver {
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.waiting = 0;
        let bytes = std::mem::take(&mut self.acknowledgements);
        self.connection.send(&bytes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_back_and_parts_wait() {
        for length in [0, 1, 127, 128, 4_106, 20_000] {
            let bytes = packet(PUBLISH, &vec![5; length]);
            let (first, content, used) = next(&bytes).unwrap().unwrap();
            assert_eq!((first, content.len(), used), (PUBLISH, length, bytes.len()));
            assert!(next(&bytes[..bytes.len() - 1]).unwrap().is_none());
        }
    }
}
