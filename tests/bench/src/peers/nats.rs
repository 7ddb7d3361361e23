//! NATS JetStream: a stream in files, one push consumer, every publication answered.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Peer, Settle, free_address, tls};
use crate::load::{MESSAGE_BYTES, Receiver, SENDERS, Sender};
use crate::process;

/// Messages acknowledged together.
const ACK_ROWS: usize = 64;

/// A running server with its clients.
pub(crate) type Nats = Peer<NatsSender, NatsReceiver>;

impl Nats {
    /// The program.
    pub(crate) const PROGRAM: &'static str = "nats-server";

    /// How it is set up, for the report.
    pub(crate) const SETTINGS: &'static str = "NATS JetStream: file storage, one push consumer, acknowledged 64 messages at a time, interest retention; TLS 1.3. This version cannot sync each message (sync_interval always came with 2.10): its answer means written, not durable";

    /// Starts the server in `folder` and connects everybody.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let folder = folder.join("nats");
        std::fs::create_dir(&folder)?;
        let (certificate, key) = tls::certificate(&folder)?;
        let config = folder.join("nats.conf");
        std::fs::write(
            &config,
            format!(
                "listen: \"{address}\"\njetstream {{ store_dir: {:?}, max_file_store: 8GB }}\ntls {{ cert_file: {certificate:?}, key_file: {key:?} }}\n",
                folder.join("store")
            ),
        )?;
        let mut command = Command::new(Self::PROGRAM);
        command.arg("--config").arg(&config);
        let server = process::server(command, "Server is ready").await?;
        let mut control = Connection::open(address).await?;
        let stream = r#"{"name":"bench","subjects":["bench.m"],"storage":"file","retention":"interest","max_msgs":-1,"max_bytes":-1,"max_age":0,"num_replicas":1}"#;
        let mut receiving = Connection::open(address).await?;
        receiving.send(b"SUB deliver 1\r\n").await?;
        control.api("$JS.API.STREAM.CREATE.bench", stream).await?;
        let consumer = r#"{"stream_name":"bench","config":{"deliver_subject":"deliver","deliver_policy":"all","ack_policy":"all","max_ack_pending":65536}}"#;
        control.api("$JS.API.CONSUMER.CREATE.bench", consumer).await?;
        let receiver = NatsReceiver { connection: receiving, unacknowledged: 0, newest: String::new() };
        let mut senders = Vec::new();
        for number in 0..SENDERS {
            let mut connection = Connection::open(address).await?;
            connection.send(format!("SUB _INBOX.s{number} 1\r\n").as_bytes()).await?;
            let mut message = format!("PUB bench.m _INBOX.s{number} {MESSAGE_BYTES}\r\n").into_bytes();
            let at = message.len();
            message.resize(at + MESSAGE_BYTES, 7);
            message.extend_from_slice(b"\r\n");
            senders.push(NatsSender { connection, message, at });
        }
        Ok(Self { server, senders, receiver })
    }
}

/// One message.
struct Message {
    reply: String,
    payload: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // The server speaks first, in clear, and then expects TLS.
        let mut byte = [0];
        while byte != *b"\n" {
            stream.read_exact(&mut byte).await?;
        }
        let mut connection = Self { stream: tls::connect(stream).await?, received: Vec::new() };
        let hello = br#"CONNECT {"verbose":false,"pedantic":false,"tls_required":true,"lang":"bench","version":"0","protocol":1}"#;
        connection.send(&[&hello[..], b"\r\n"].concat()).await?;
        Ok(connection)
    }

    async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Asks JetStream for something.
    async fn api(&mut self, subject: &str, body: &str) -> anyhow::Result<()> {
        let ask = format!("SUB _INBOX.api 9\r\nPUB {subject} _INBOX.api {}\r\n{body}\r\n", body.len());
        self.send(ask.as_bytes()).await?;
        let answer = self.message().await?;
        self.send(b"UNSUB 9\r\n").await?;
        let text = String::from_utf8_lossy(&answer.payload);
        ensure!(!text.contains("\"error\""), "JetStream says {text}");
        Ok(())
    }

    /// Waits for the next message. Cancel-safe.
    async fn message(&mut self) -> anyhow::Result<Message> {
        loop {
            while let Some((message, used)) = next(&self.received)? {
                self.received.drain(..used);
                match message {
                    Some(message) => return Ok(message),
                    None => continue,
                }
            }
            self.received.reserve(256 * 1024);
            let read = self.stream.read_buf(&mut self.received).await?;
            ensure!(read > 0, "the server closed the connection");
        }
    }
}

/// Reads one thing that the server said, and tells how long it was; no message for what is none.
fn next(bytes: &[u8]) -> anyhow::Result<Option<(Option<Message>, usize)>> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let after = end + 2;
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["MSG", _, _, rest @ ..] => {
            let (reply, length) = match rest {
                [length] => ("", length),
                [reply, length] => (*reply, length),
                _ => bail!("NATS says {line}"),
            };
            let length: usize = length.parse()?;
            let Some(payload) = bytes.get(after..after + length) else { return Ok(None) };
            if bytes.len() < after + length + 2 {
                return Ok(None);
            }
            let message = Message { reply: reply.to_owned(), payload: payload.to_vec() };
            Ok(Some((Some(message), after + length + 2)))
        }
        [first, ..] if first.starts_with("-ERR") => bail!("NATS says {line}"),
        _ => Ok(Some((None, after))),
    }
}

/// Publishes, and waits for JetStream's answer.
#[derive(Debug)]
pub(crate) struct NatsSender {
    connection: Connection,
    message: Vec<u8>,
    /// Where the payload begins.
    at: usize,
}

impl Sender for NatsSender {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        self.message[self.at..self.at + 8].copy_from_slice(&number.to_be_bytes());
        self.connection.send(&self.message).await
    }

    async fn acknowledged(&mut self) -> anyhow::Result<()> {
        let answer = self.connection.message().await?;
        let text = String::from_utf8_lossy(&answer.payload);
        ensure!(text.contains("\"seq\"") && !text.contains("\"error\""), "JetStream says {text}");
        Ok(())
    }
}

/// Is pushed messages.
#[derive(Debug)]
pub(crate) struct NatsReceiver {
    connection: Connection,
    unacknowledged: usize,
    /// Where the newest is acknowledged, and with it all before.
    newest: String,
}

impl Receiver for NatsReceiver {
    async fn receive(&mut self, numbers: &mut Vec<u64>) -> anyhow::Result<()> {
        let message = self.connection.message().await?;
        let number = message.payload.first_chunk().context("a short message")?;
        numbers.push(u64::from_be_bytes(*number));
        self.newest = message.reply;
        self.unacknowledged += 1;
        if self.unacknowledged >= ACK_ROWS { self.settle().await } else { Ok(()) }
    }
}

impl Settle for NatsReceiver {
    async fn settle(&mut self) -> anyhow::Result<()> {
        if self.unacknowledged == 0 {
            return Ok(());
        }
        self.unacknowledged = 0;
        let ack = format!("PUB {} 4\r\n+ACK\r\n", self.newest);
        self.connection.send(ack.as_bytes()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_messages_are_read_and_parts_wait() {
        let bytes = b"MSG deliver 1 $JS.ACK.x 3\r\nabc\r\nPING\r\n";
        let (message, used) = next(bytes).unwrap().unwrap();
        let message = message.unwrap();
        assert_eq!((message.reply.as_str(), &message.payload[..], used), ("$JS.ACK.x", &b"abc"[..], 32));
        assert!(next(&bytes[..31]).unwrap().is_none());
        assert!(next(&bytes[32..]).unwrap().unwrap().0.is_none());
        assert!(next(b"-ERR 'no'\r\n").is_err());
    }
}
