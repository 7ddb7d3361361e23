//! What the engine itself remembers: the runs of this node that its relay may not know yet.

use minicbor::{Decode, Encode};
use penpal_protocol::cbor::{self, List};
use penpal_protocol::ids::RunId;
use penpal_protocol::limits::MAX_RUNS;

const RUNS: &[u8] = b"runs";

/// Most runs that are remembered when the relay has answered to the last: every greeting carries them.
const MAX_ANSWERED: usize = 16;

/// Longest value in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// Starts of this node, oldest first: the last one that the relay answered, all after it, and some before it. A relay that was put back to an
/// earlier state knows one of those, and no state later than this one has it for its last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Runs {
    #[n(0)]
    known: List<RunId, MAX_RUNS>,
    /// The last one that was answered. Without it the first is.
    #[n(1)]
    answered: Option<RunId>,
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

    /// Adds a run that begins. With too many the oldest go, but the last that was answered stays: the relay knows that one or none.
    pub(super) fn begin(&mut self, run: RunId) {
        let mut runs = std::mem::take(&mut self.known).into_vec();
        let answered = self.answered.or(runs.first().copied());
        if runs.len() >= MAX_RUNS {
            runs.remove(usize::from(runs.first() == answered.as_ref()));
        }
        runs.push(run);
        self.known = List::truncated(runs);
        self.answered = answered;
    }

    /// The relay answered to this run.
    pub(super) fn answered(&mut self, run: RunId) {
        let mut runs = std::mem::take(&mut self.known).into_vec();
        let surplus = runs.len().saturating_sub(MAX_ANSWERED);
        self.known = List::truncated(runs.split_off(surplus));
        self.answered = Some(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_was_put_back_finds_an_earlier_run_among_those_of_this_node() {
        let mut runs = Runs::default();
        let run = |number: u8| RunId::from_bytes([number; 8]);
        for number in 1..=200 {
            runs.begin(run(number));
            runs.answered(run(number));
        }
        let since = runs.since(run(200));
        assert!(since.contains(&run(199)) && since.contains(&run(185)) && !since.contains(&run(184)));
    }

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
