//! A relay in memory: spools with epochs, prekeys, and refusals on demand.

use std::collections::{BTreeMap, BTreeSet};

use penpal_delivery::{Peer, SpoolRow};
use penpal_protocol::ids::{DeviceId, Fingerprint, KeyId, ShortHash, SpoolEpoch};
use penpal_protocol::sealed::Body;

/// A body, and the key it is sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) from: Peer,
    pub(crate) to: Peer,
    pub(crate) key: KeyId,
    /// The key again, when it was one that the recipient offered to this sender only.
    pub(crate) receive_key: Option<KeyId>,
    pub(crate) enc: ShortHash,
    pub(crate) hash: ShortHash,
    pub(crate) body: Box<Body>,
}

#[derive(Debug, Clone, Default)]
struct Spool {
    generation: u64,
    newest: u64,
    rows: BTreeMap<u64, Envelope>,
}

#[derive(Debug, Clone)]
pub(crate) struct Relay {
    seed: u64,
    spools: BTreeMap<Peer, Spool>,
    prekeys: BTreeMap<Peer, KeyId>,
    /// Deposits from the first to the second are answered *no*.
    pub(crate) refuses: BTreeSet<(Peer, Peer)>,
    pub(crate) down: bool,
}

impl Relay {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            spools: BTreeMap::new(),
            prekeys: BTreeMap::new(),
            refuses: BTreeSet::new(),
            down: false,
        }
    }

    pub(crate) fn register(&mut self, peer: Peer) {
        self.spools.insert(peer, Spool::default());
    }

    fn epoch(&self, peer: Peer) -> SpoolEpoch {
        let spool = &self.spools[&peer];
        let mut bytes = (self.seed ^ (spool.generation << 32)).to_be_bytes();
        bytes[7] ^= peer.account.as_bytes()[0];
        SpoolEpoch::from_bytes(bytes)
    }

    pub(crate) fn hello(&self, peer: Peer) -> (SpoolEpoch, u64) {
        (self.epoch(peer), self.spools[&peer].newest)
    }

    pub(crate) fn rows(&self, peer: Peer) -> Vec<(SpoolRow, Envelope)> {
        let epoch = self.epoch(peer);
        let rows = self.spools[&peer].rows.iter();
        rows.map(|(seq, envelope)| (SpoolRow { epoch, seq: *seq }, envelope.clone())).collect()
    }

    pub(crate) fn store(&mut self, envelope: Envelope) -> SpoolRow {
        let to = envelope.to;
        let epoch = self.epoch(to);
        let spool = self.spools.get_mut(&to).expect("a registered device");
        spool.newest += 1;
        spool.rows.insert(spool.newest, envelope);
        SpoolRow { epoch, seq: spool.newest }
    }

    pub(crate) fn row(&self, peer: Peer, seq: u64) -> Option<&Envelope> {
        self.spools[&peer].rows.get(&seq)
    }

    pub(crate) fn spooled(&self, peer: Peer) -> usize {
        self.spools[&peer].rows.len()
    }

    pub(crate) fn spooled_seqs(&self, peer: Peer) -> Vec<u64> {
        self.spools[&peer].rows.keys().copied().collect()
    }

    pub(crate) fn ack(
        &mut self,
        peer: Peer,
        epoch: SpoolEpoch,
        up_to: u64,
        gaps: &[u64],
    ) -> (SpoolEpoch, u64) {
        let present = self.epoch(peer);
        let spool = self.spools.get_mut(&peer).expect("a registered device");
        if epoch == present {
            spool.rows.retain(|seq, _| *seq > up_to || gaps.contains(seq));
        }
        (present, spool.newest)
    }

    pub(crate) fn publish(&mut self, peer: Peer, key: KeyId) {
        self.prekeys.insert(peer, key);
    }

    pub(crate) fn prekeys(&self, account: Fingerprint) -> BTreeMap<DeviceId, KeyId> {
        let of_account = self.prekeys.iter().filter(|(peer, _)| peer.account == account);
        of_account.map(|(peer, key)| (peer.device, *key)).collect()
    }

    /// What this relay becomes when it is restored from what it was at `backup`.
    pub(crate) fn restored(backup: &Self, present: &Self) -> Self {
        let mut relay = backup.clone();
        for (peer, spool) in &mut relay.spools {
            spool.generation = present.spools[peer].generation + 1;
        }
        relay
    }
}
