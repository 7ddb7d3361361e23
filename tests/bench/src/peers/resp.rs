//! As much of Redis' protocol (RESP2) as streams need.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::tls;

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A status or a number, as text.
    Line(String),
    /// Bytes; none for "nil".
    Bulk(Option<Vec<u8>>),
    /// Replies; none for "nil".
    List(Option<Vec<Reply>>),
}

impl Reply {
    /// The elements of a list; none of anything else.
    pub(super) fn list(self) -> Vec<Self> {
        match self {
            Self::List(list) => list.unwrap_or_default(),
            Self::Line(_) | Self::Bulk(_) => Vec::new(),
        }
    }

    /// The bytes of a bulk reply; none of anything else.
    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Bulk(bytes) => bytes.unwrap_or_default(),
            Self::Line(_) | Self::List(_) => Vec::new(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
    request: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = tls::connect(stream).await?;
        Ok(Self { stream, received: Vec::new(), request: Vec::new() })
    }

    /// Sends a command without waiting.
    pub(super) async fn send(&mut self, command: &[&[u8]]) -> anyhow::Result<()> {
        self.request.clear();
        self.request.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for part in command {
            self.request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            self.request.extend_from_slice(part);
            self.request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&self.request).await?;
        Ok(self.stream.flush().await?)
    }

    /// Waits for the next reply. Cancel-safe.
    pub(super) async fn reply(&mut self) -> anyhow::Result<Reply> {
        loop {
            if let Some((reply, used)) = parse(&self.received)? {
                self.received.drain(..used);
                return Ok(reply);
            }
            self.received.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.received).await?;
            anyhow::ensure!(read > 0, "the server closed the connection");
        }
    }

    /// Sends a command and waits for its reply.
    pub(super) async fn ask(&mut self, command: &[&[u8]]) -> anyhow::Result<Reply> {
        self.send(command).await?;
        self.reply().await
    }
}

/// Reads one reply and tells how long it was; `None` when more must come.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Reply, usize)>> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let (Some(kind), line) = (bytes.first(), std::str::from_utf8(bytes.get(1..end).unwrap_or_default())?)
    else {
        return Ok(None);
    };
    let mut at = end + 2;
    let length = || line.parse::<i64>().with_context(|| format!("length {line:?}"));
    Ok(Some(match kind {
        b'+' | b':' => (Reply::Line(line.to_owned()), at),
        b'-' => bail!("the server says {line}"),
        b'$' => {
            let Ok(length) = usize::try_from(length()?) else { return Ok(Some((Reply::Bulk(None), at))) };
            let Some(content) = bytes.get(at..at + length) else { return Ok(None) };
            if bytes.len() < at + length + 2 {
                return Ok(None);
            }
            (Reply::Bulk(Some(content.to_vec())), at + length + 2)
        }
        b'*' => {
            let Ok(length) = usize::try_from(length()?) else { return Ok(Some((Reply::List(None), at))) };
            let mut list = Vec::new();
            for _ in 0..length {
                let Some((reply, used)) = parse(bytes.get(at..).unwrap_or_default())? else {
                    return Ok(None);
                };
                list.push(reply);
                at += used;
            }
            (Reply::List(Some(list)), at)
        }
        other => bail!("a reply begins with {other}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_replies_are_read_and_parts_wait() {
        let bytes = b"*2\r\n$3\r\nabc\r\n*2\r\n:7\r\n$-1\r\n+rest\r\n";
        let whole = Reply::List(Some(vec![
            Reply::Bulk(Some(b"abc".to_vec())),
            Reply::List(Some(vec![Reply::Line("7".to_owned()), Reply::Bulk(None)])),
        ]));
        let length = bytes.len() - b"+rest\r\n".len();
        assert_eq!(parse(bytes).unwrap(), Some((whole, length)));
        for cut in 0..length {
            assert_eq!(parse(&bytes[..cut]).unwrap(), None, "{cut} bytes");
        }
        assert!(parse(b"-ERR no\r\n").is_err());
    }
}
