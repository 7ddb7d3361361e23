//! What the engine itself remembers: the runs of this node that its relay may not know yet.

use minicbor::{Decode, Encode};
use penpal_protocol::cbor::{self, List};
use penpal_protocol::ids::RunId;
use penpal_protocol::limits::MAX_RUNS;

const RUNS: &[u8] = b"runs";

/// Longest value in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// Starts of this node: the last one that the relay answered, and all after it, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Runs {
    #[n(0)]
    known: List<RunId, MAX_RUNS>,
}

impl Runs {
    /// The key of the row.
    pub(super) fn key() -> Vec<u8> {
        RUNS.to_vec()
    }

    /// Reads the row.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, cbor::CborError> {
        cbor::decode(bytes, MAX_VALUE_BYTES)
    }

    /// Writes the row.
    pub(super) fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Runs before the present one.
    pub(super) fn since(&self, present: RunId) -> List<RunId, MAX_RUNS> {
        List::truncated(self.known.iter().copied().filter(|run| *run != present).collect())
    }

    /// Adds a run that begins. With too many the ones in the middle go: the relay knows the first or none.
    pub(super) fn begin(&mut self, run: RunId) {
        let mut runs = std::mem::take(&mut self.known).into_vec();
        if runs.len() >= MAX_RUNS {
            runs.remove(1);
        }
        runs.push(run);
        self.known = List::truncated(runs);
    }

    /// The relay answered to this run: what was before does not matter any more.
    pub(super) fn answered(&mut self, run: RunId) {
        self.known = List::truncated(vec![run]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_relay_answered_last_is_kept_however_often_the_node_starts() {
        let mut runs = Runs::default();
        let run = |number: u8| RunId::from_bytes([number; 8]);
        runs.begin(run(1));
        runs.answered(run(1));
        for number in 2..200 {
            runs.begin(run(number));
        }
        let since = runs.since(run(199));
        assert!(since.contains(&run(1)));
        assert!(since.contains(&run(198)));
        assert!(!since.contains(&run(199)));
        assert_eq!(Runs::decode(&runs.encode()), Ok(runs));
    }
}
