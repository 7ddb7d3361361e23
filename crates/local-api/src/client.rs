//! A blocking client over the Unix socket, without an async runtime: a hook's whole life is a few milliseconds.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{ApiError, ErrorCode};
use crate::home::Home;
use crate::method::Method;
use crate::{API_HEADER, API_NUMBER};

/// Longest answer that a client reads, in bytes: an inbox of many long messages.
const MAX_ANSWER_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes read at a time: at first, which is most answers whole, and at most.
const READ_BYTES: (usize, usize) = (8 * 1024, 256 * 1024);

/// Longest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Speaks to one node.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A call did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The node answered with a failure.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// No node listens: no socket, or nobody behind it.
    #[error("no node listens at {socket:?}")]
    NoNode {
        /// The socket.
        socket: PathBuf,
        /// What connecting said.
        source: std::io::Error,
    },
    /// This process may not use the socket.
    #[error("this process may not use {socket:?}: {source}")]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// What connecting said.
        source: std::io::Error,
    },
    /// The node did not answer in time.
    #[error("the node did not answer within {waited_ms} ms")]
    TimedOut {
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to the node broke: {0}")]
    Broken(#[source] std::io::Error),
    /// The node speaks an older API than this program; it can be asked to make way.
    #[error("the node speaks API {number}, this program {API_NUMBER}")]
    OlderNode {
        /// API number of the node.
        number: u32,
    },
    /// What came back is no answer of a node.
    #[error("not an answer of a node: {reason}")]
    Nonsense {
        /// What is wrong with it.
        reason: String,
    },
}

impl Client {
    /// A client of the node of `home`.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self { socket: home.socket() }
    }

    /// Calls a method and waits for its answer, [`Method::TIMEOUT_MS`] at most.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call<M: Method>(&self, request: &M::Request) -> Result<M::Answer, CallError> {
        self.call_within::<M>(request, Duration::from_millis(M::TIMEOUT_MS))
    }

    /// Calls a method and waits `limit` at most: for requests that themselves wait.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call_within<M: Method>(
        &self,
        request: &M::Request,
        limit: Duration,
    ) -> Result<M::Answer, CallError> {
        let body =
            serde_json::to_vec(request).map_err(|error| CallError::Nonsense { reason: error.to_string() })?;
        let (status, answer) = self.exchange(M::NAME, &body, limit)?;
        let parse = |reason: serde_json::Error| CallError::Nonsense { reason: reason.to_string() };
        if status == 200 {
            return serde_json::from_slice(&answer).map_err(parse);
        }
        #[derive(serde::Deserialize)]
        struct Failure {
            error: ApiError,
        }
        match serde_json::from_slice::<Failure>(&answer) {
            Ok(failure) => Err(CallError::Api(failure.error)),
            Err(_) => Err(CallError::Nonsense { reason: format!("status {status} without an error") }),
        }
    }

    fn connect(&self) -> Result<UnixStream, CallError> {
        UnixStream::connect(&self.socket).map_err(|source| {
            let socket = self.socket.clone();
            // A home that is a file is looked at by whoever would make it.
            let absent = [
                std::io::ErrorKind::NotFound,
                std::io::ErrorKind::ConnectionRefused,
                std::io::ErrorKind::NotADirectory,
            ];
            if absent.contains(&source.kind()) {
                CallError::NoNode { socket, source }
            } else {
                CallError::Denied { socket, source }
            }
        })
    }

    fn exchange(&self, name: &str, body: &[u8], limit: Duration) -> Result<(u16, Vec<u8>), CallError> {
        let waited_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let late = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
        let broken = |error: std::io::Error| {
            if late.contains(&error.kind()) {
                CallError::TimedOut { waited_ms }
            } else {
                CallError::Broken(error)
            }
        };
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(limit)).map_err(broken)?;
        stream.set_write_timeout(Some(limit)).map_err(broken)?;
        let mut message = format!(
            "POST /v1/{name} HTTP/1.1\r\nhost: penpal\r\n{API_HEADER}: {API_NUMBER}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        message.extend_from_slice(body);
        stream.write_all(&message).map_err(broken)?;
        let mut answer = Vec::new();
        let mut rest = stream.take(MAX_ANSWER_BYTES);
        loop {
            // The end of the answer is where its length says; the node's closing of the connection need not be waited for.
            let before = answer.len();
            answer.resize(before + before.clamp(READ_BYTES.0, READ_BYTES.1), 0);
            let read = rest.read(answer.get_mut(before..).unwrap_or_default());
            let interrupted = matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::Interrupted);
            let got = if interrupted { 0 } else { read.map_err(broken)? };
            answer.truncate(before + got);
            if !interrupted && (got == 0 || is_whole(&answer)) {
                return parse_answer(answer);
            }
        }
    }
}

/// Whether head and body of an answer are there. What cannot be read is looked at once nothing more comes.
fn is_whole(answer: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head = answer.get(..answer.len().min(MAX_HEAD_BYTES)).unwrap_or_default();
    let Ok(httparse::Status::Complete(start)) = response.parse(head) else { return false };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() - start >= length)
}

/// Splits an answer with a known length into status and body.
///
/// # Errors
/// [`CallError::Nonsense`], [`CallError::Broken`] when it is cut, and what another API number of the node means.
pub fn parse_answer(mut answer: Vec<u8>) -> Result<(u16, Vec<u8>), CallError> {
    let nonsense = |reason: &str| CallError::Nonsense { reason: reason.to_owned() };
    let head = answer.get(..answer.len().min(MAX_HEAD_BYTES)).unwrap_or_default();
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(head).map_err(|error| CallError::Nonsense { reason: error.to_string() })?;
    let httparse::Status::Complete(start) = parsed else { return Err(nonsense("the head is not whole")) };
    let status = response.code.ok_or_else(|| nonsense("no status"))?;
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    match header(API_HEADER).and_then(|value| value.parse::<u32>().ok()) {
        Some(number) if number > API_NUMBER => {
            let message = format!("the node speaks API {number}, this program {API_NUMBER}");
            return Err(CallError::Api(ApiError::new(ErrorCode::OlderClient, message)));
        }
        Some(number) if number < API_NUMBER => return Err(CallError::OlderNode { number }),
        Some(_) | None => {}
    }
    let length: usize =
        header("content-length").and_then(|value| value.parse().ok()).ok_or_else(|| nonsense("no length"))?;
    let body = answer.split_off(start);
    if body.len() != length {
        return Err(CallError::Broken(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)));
    }
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 8\r\nx-penpal-api: 1\r\n\r\n{\"v\": 1}";

    #[test]
    fn an_answer_is_whole_with_its_last_byte_and_not_before() {
        for len in 0..ANSWER.len() {
            assert!(!is_whole(&ANSWER[..len]), "{len} bytes");
        }
        assert!(is_whole(ANSWER));
    }

    #[test]
    fn what_is_no_answer_never_looks_whole() {
        for text in [b"SSH-2.0\r\n\r\n".as_slice(), b"HTTP/1.1 200 OK\r\n\r\n{}", b"\0\0\0\0"] {
            assert!(!is_whole(text));
        }
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}"));
    }
}
