//! Redis streams that sync every write before they answer.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::resp::{Connection, Reply};
use super::{Peer, Settle, tls};
use crate::load::{MESSAGE_BYTES, Receiver, SENDERS, Sender};
use crate::process;

const STREAM: &[u8] = b"stream";
const GROUP: &[u8] = b"group";

/// Entries acknowledged and deleted together, as the relay's receiver does it.
const ACK_ROWS: usize = 64;

/// A running server with its clients.
pub(crate) type Redis = Peer<RedisSender, RedisReceiver>;

impl Redis {
    /// How it is set up, for the report.
    pub(crate) const SETTINGS: &'static str = "Redis: streams, one consumer group, appendonly yes, appendfsync always, save off; TLS 1.3, acknowledged and deleted 64 entries at a time";

    /// Starts `redis-server` in `folder` and connects everybody.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = folder.join("redis");
        std::fs::create_dir(&folder)?;
        let (certificate, key) = tls::certificate(&folder)?;
        let port = address.port().to_string();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"])
            .arg("--tls-cert-file")
            .arg(&certificate)
            .arg("--tls-key-file")
            .arg(&key)
            .arg("--tls-ca-cert-file")
            .arg(&certificate)
            .args(["--tls-protocols", "TLSv1.3", "--save", "", "--dir"])
            .arg(&folder)
            .args(["--appendonly", "yes", "--appendfsync", "always"]);
        let server = process::server(command, "Ready to accept connections").await?;
        let mut control = Connection::open(address).await?;
        control.ask(&[b"XGROUP", b"CREATE", STREAM, GROUP, b"$", b"MKSTREAM"]).await?;
        let receiver = RedisReceiver {
            reading: Connection::open(address).await?,
            asked: false,
            acknowledging: control,
            unacknowledged: Vec::new(),
            answers: 0,
        };
        let mut senders = Vec::new();
        for _ in 0..SENDERS {
            senders.push(RedisSender {
                connection: Connection::open(address).await?,
                message: Box::new([7; MESSAGE_BYTES]),
            });
        }
        Ok(Self { server, senders, receiver })
    }
}

impl Settle for RedisReceiver {
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.acknowledge_all().await
    }
}

/// Adds entries.
#[derive(Debug)]
pub(crate) struct RedisSender {
    connection: Connection,
    message: Box<[u8; MESSAGE_BYTES]>,
}

impl Sender for RedisSender {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        self.message[..8].copy_from_slice(&number.to_be_bytes());
        self.connection.send(&[b"XADD", STREAM, b"*", b"m", &*self.message]).await
    }

    async fn acknowledged(&mut self) -> anyhow::Result<()> {
        self.connection.reply().await.map(drop)
    }
}

/// Reads them as the one consumer of a group.
#[derive(Debug)]
pub(crate) struct RedisReceiver {
    reading: Connection,
    /// Whether a reply is under way.
    asked: bool,
    acknowledging: Connection,
    unacknowledged: Vec<Vec<u8>>,
    /// Answers to acknowledgements that have not been read.
    answers: usize,
}

impl RedisReceiver {
    async fn acknowledge_all(&mut self) -> anyhow::Result<()> {
        // Answers of the time before, so that they do not pile up.
        for _ in 0..std::mem::take(&mut self.answers) {
            self.acknowledging.reply().await?;
        }
        let entries = std::mem::take(&mut self.unacknowledged);
        if entries.is_empty() {
            return Ok(());
        }
        let entries = || entries.iter().map(Vec::as_slice);
        let acknowledge: Vec<_> = [b"XACK".as_slice(), STREAM, GROUP].into_iter().chain(entries()).collect();
        let delete: Vec<_> = [b"XDEL".as_slice(), STREAM].into_iter().chain(entries()).collect();
        self.acknowledging.send(&acknowledge).await?;
        self.acknowledging.send(&delete).await?;
        self.answers = 2;
        Ok(())
    }

    /// Takes entry ids and numbers out of what was read.
    fn take(&mut self, reply: Reply, numbers: &mut Vec<u64>) {
        // [[stream, [[id, [field, value]], …]]]
        for stream in reply.list() {
            for entry in stream.list().into_iter().flat_map(Reply::list) {
                let mut entry = entry.list().into_iter();
                let (Some(id), Some(fields)) = (entry.next(), entry.next()) else { continue };
                let Some(value) = fields.list().pop().map(Reply::bytes) else { continue };
                if let Some(number) = value.first_chunk() {
                    numbers.push(u64::from_be_bytes(*number));
                    self.unacknowledged.push(id.bytes());
                }
            }
        }
    }
}

impl Receiver for RedisReceiver {
    async fn receive(&mut self, numbers: &mut Vec<u64>) -> anyhow::Result<()> {
        while numbers.is_empty() {
            if !self.asked {
                // Small enough to leave at once, so that nothing is half sent when this call is dropped.
                self.asked = true;
                let read: [&[u8]; 11] = [
                    b"XREADGROUP",
                    b"GROUP",
                    GROUP,
                    b"consumer",
                    b"COUNT",
                    b"128",
                    b"BLOCK",
                    b"0",
                    b"STREAMS",
                    STREAM,
                    b">",
                ];
                self.reading.send(&read).await?;
            }
            let reply = self.reading.reply().await?;
            self.asked = false;
            self.take(reply, numbers);
        }
        if self.unacknowledged.len() >= ACK_ROWS {
            self.acknowledge_all().await?;
        }
        Ok(())
    }
}
