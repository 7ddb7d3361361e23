//! How connections end: the codes the two sides tell each other, and what the survivor is told.

use quinn::{ConnectionError, TransportErrorCode, VarInt};

/// Why a side closed a connection, as sent in QUIC's application close; also used to reset and stop single streams.
///
/// Numbers are part of the protocol; unknown ones are kept, not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 0: finished, nothing is wrong; also sent when the last handle of a connection is dropped.
    Done,
    /// 1: this side is shutting down or restarting; dial again after a jittered pause.
    GoingAway,
    /// 2: a newer connection of the same device took over.
    Replaced,
    /// 3: the peer is not welcome with this key.
    Refused,
    /// 4: the peer sent something that the protocol does not allow.
    Violation,
    /// 5: a quota or capacity limit; dial again later.
    Busy,
    /// 6: two processes run with one identity.
    Clone,
    /// 7: this side failed in a way that is not the peer's fault.
    Internal,
    /// Any other number, from a newer version.
    Other(u32),
}

impl CloseCode {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::GoingAway => 1,
            Self::Replaced => 2,
            Self::Refused => 3,
            Self::Violation => 4,
            Self::Busy => 5,
            Self::Clone => 6,
            Self::Internal => 7,
            Self::Other(number) => number,
        }
    }

    /// The code of a number; every number has one, and [`Self::number`] gives it back up to `u32::MAX`.
    pub fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::GoingAway,
            2 => Self::Replaced,
            3 => Self::Refused,
            4 => Self::Violation,
            5 => Self::Busy,
            6 => Self::Clone,
            7 => Self::Internal,
            other => Self::Other(u32::try_from(other).unwrap_or(u32::MAX)),
        }
    }

    pub(crate) fn varint(self) -> VarInt {
        VarInt::from_u32(self.number())
    }
}

/// Longest text kept of a peer's close reason, in characters.
pub const MAX_REASON_CHARS: usize = 120;

/// Why a connection is no more, sorted by blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The peer broke QUIC or TLS, or said that we did.
    #[error("connection broke: {detail}")]
    Violation {
        /// What the QUIC layer says of it.
        detail: String,
    },
    /// The peer closed it and said why.
    #[error("closed by peer: {code:?} {reason}")]
    ClosedByPeer {
        /// The peer's code.
        code: CloseCode,
        /// The peer's words: printable characters only, at most [`MAX_REASON_CHARS`].
        reason: String,
    },
    /// The peer does not know this connection any more: it has restarted (stateless reset).
    #[error("peer has restarted")]
    Restarted,
    /// Nothing came for longer than the idle timeout: peer or network is gone.
    #[error("nothing heard from peer within the idle timeout")]
    TimedOut,
    /// This side closed it.
    #[error("closed by this side")]
    ClosedHere,
    /// The endpoint itself failed (its socket, or no connection ids left).
    #[error("local endpoint failed")]
    Environment,
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ClosedByPeer {
                code: CloseCode::from_number(close.error_code.into_inner()),
                reason: printable(&close.reason),
            },
            ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::NO_ERROR => {
                Self::ClosedByPeer { code: CloseCode::Done, reason: printable(&close.reason) }
            }
            ConnectionError::ConnectionClosed(close) => {
                Self::Violation { detail: format!("peer says: {}", close.error_code) }
            }
            ConnectionError::Reset => Self::Restarted,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::CidsExhausted => Self::Environment,
            ConnectionError::TransportError(error) => Self::Violation { detail: error.to_string() },
            ConnectionError::VersionMismatch => {
                Self::Violation { detail: "no common QUIC version".to_owned() }
            }
        }
    }
}

/// Makes a peer's bytes safe to show: no control or formatting characters, bounded length.
pub(crate) fn printable(bytes: &[u8]) -> String {
    // A character is at most four bytes: nothing beyond can survive the cut, so it is not even decoded.
    let bytes = bytes.get(..MAX_REASON_CHARS * 4).unwrap_or(bytes);
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() { c } else { '?' })
        .take(MAX_REASON_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for number in 0..20 {
            assert_eq!(u64::from(CloseCode::from_number(number).number()), number);
        }
        assert_eq!(CloseCode::from_number(u64::MAX).number(), u32::MAX);
    }

    #[test]
    fn reasons_are_defanged() {
        assert_eq!(printable(b"a\x1b[31m\n\xff"), "a?[31m??");
        assert_eq!(printable("x\u{202e}y".as_bytes()), "x?y");
        assert_eq!(printable(&[b'a'; 10_000]).len(), MAX_REASON_CHARS);
    }
}
