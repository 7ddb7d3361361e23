//! Everything stored, as the present step sees it: committed rows with the step's changes over them.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use penpal_protocol::hash::labelled;
use penpal_protocol::ids::{AccountId, BlobId, EdgeId, InviteId, ShortHash, SlotId, SpoolEpoch};
use penpal_protocol::time::Now;
use rand_core::CryptoRng;

use crate::config::Limits;
use crate::error::{Fault, StartError};
use crate::marks::Marks;
use crate::rows::records::{
    Account, Blob, Bundle, Device, Edge, HandleOwner, Invite, Link, Manifest, Meta, ProofOwner, Slot,
    StatePiece, Token,
};
use crate::rows::{Cached, Change, Rows, RowsError, Table, keys};
use crate::secrets::GraphKey;
use crate::shares::Shares;
use crate::spool::Spools;

/// Kinds of rows that are large and rarely read are remembered in this number.
const LARGE_ROWS: usize = 64;

/// Parts of states that are remembered, of 32 KiB each: hardly any is asked for twice.
const STATE_PIECES: usize = 4;

/// Keys read at a time.
const KEYS_PAGE: usize = 4_096;

/// All tables and queues with their memories, and the changes of the present step.
#[derive(Debug)]
pub(crate) struct Db {
    pub(crate) accounts: Cached<Account>,
    pub(crate) handles: Cached<HandleOwner>,
    pub(crate) devices: Cached<Device>,
    pub(crate) slots: Cached<Slot>,
    pub(crate) manifests: Cached<Manifest>,
    pub(crate) bundles: Cached<Bundle>,
    pub(crate) edges: Cached<Edge>,
    pub(crate) invites: Cached<Invite>,
    pub(crate) tokens: Cached<Token>,
    pub(crate) blobs: Cached<Blob>,
    pub(crate) proofs: Cached<ProofOwner>,
    pub(crate) pieces: Cached<StatePiece>,
    /// Bytes of all blobs: as committed, and as this step sees them.
    blob_bytes: (u64, u64),
    pub(crate) spools: Spools,
    pub(crate) shares: Shares,
    pub(crate) marks: Marks,
    /// Index keys that this step adds (true) or removes (false).
    index: BTreeMap<(Table, Vec<u8>), bool>,
    /// What the step has changed so far, in order.
    pub(crate) changes: Vec<Change>,
    generation: ShortHash,
}

impl Db {
    /// Opens what is stored, or begins anew; then the change that marks the data as begun is in `changes`.
    pub(crate) fn open(
        limits: &Limits,
        graph: &GraphKey,
        restored: bool,
        rows: &dyn Rows,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, StartError> {
        let mut metas = Cached::<Meta>::new(2);
        let mut changes = Vec::new();
        let stored = metas.get(&(), rows)?.cloned();
        if stored.as_ref().is_some_and(|meta| meta.key_check != graph.check()) {
            return Err(StartError::WrongKeys);
        }
        let generation = match stored {
            Some(meta) if !restored => meta.generation,
            Some(_) | None => {
                let generation = ShortHash::from_bytes(random(rng));
                metas.put((), Meta { generation, key_check: graph.check() }, &mut changes);
                generation
            }
        };
        let cached = limits.cached_rows;
        let blob_bytes = all_blob_bytes(rows)?;
        Ok(Self {
            accounts: Cached::new(cached),
            handles: Cached::new(LARGE_ROWS),
            devices: Cached::new(cached),
            slots: Cached::new(cached),
            manifests: Cached::new(LARGE_ROWS),
            bundles: Cached::new(LARGE_ROWS),
            edges: Cached::new(cached),
            invites: Cached::new(LARGE_ROWS),
            tokens: Cached::new(LARGE_ROWS),
            blobs: Cached::new(LARGE_ROWS),
            proofs: Cached::new(LARGE_ROWS),
            pieces: Cached::new(STATE_PIECES),
            blob_bytes: (blob_bytes, blob_bytes),
            spools: Spools::new(cached),
            shares: Shares::default(),
            marks: Marks::load(limits.deposit_marks, rows)?,
            index: BTreeMap::new(),
            changes,
            generation,
        })
    }

    /// The life of a slot's numbering: another one in each slot, and in all of them after a restore.
    pub(crate) fn epoch(&self, slot: &Slot) -> SpoolEpoch {
        let hash = labelled("spool-epoch", &[self.generation.as_bytes(), slot.epoch.as_bytes()]);
        let mut epoch = [0; SpoolEpoch::BYTES];
        for (to, from) in epoch.iter_mut().zip(hash) {
            *to = from;
        }
        SpoolEpoch::from_bytes(epoch)
    }

    /// Forgets what was not used since the time before the last; it is read again when it is wanted.
    pub(crate) fn age(&mut self) {
        self.accounts.age();
        self.handles.age();
        self.devices.age();
        self.slots.age();
        self.manifests.age();
        self.bundles.age();
        self.edges.age();
        self.invites.age();
        self.tokens.age();
        self.blobs.age();
        self.proofs.age();
        self.pieces.age();
        self.spools.age();
    }

    /// Entries in memory, deposit marks aside.
    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
            + self.handles.len()
            + self.devices.len()
            + self.slots.len()
            + self.manifests.len()
            + self.bundles.len()
            + self.edges.len()
            + self.invites.len()
            + self.tokens.len()
            + self.blobs.len()
            + self.proofs.len()
            + self.pieces.len()
            + self.spools.len()
            + self.shares.len()
            + self.index.len()
    }

    /// Sets an index row.
    pub(crate) fn add_index(&mut self, table: Table, key: Vec<u8>) {
        self.changes.push(Change::Put { table, key: key.clone(), value: Bytes::new() });
        self.index.insert((table, key), true);
    }

    /// Removes an index row.
    pub(crate) fn remove_index(&mut self, table: Table, key: Vec<u8>) {
        self.changes.push(Change::Delete { table, key: key.clone() });
        self.index.insert((table, key), false);
    }

    /// Lists index keys with a prefix as this step sees them, at most `limit` of what is committed.
    pub(crate) fn index_keys(
        &self,
        table: Table,
        prefix: &[u8],
        limit: usize,
        rows: &dyn Rows,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let mut keys = rows.keys(table, prefix, None, limit)?;
        if self.index.is_empty() {
            return Ok(keys);
        }
        let from = (table, prefix.to_vec());
        let changed: BTreeMap<&[u8], bool> = self
            .index
            .range(from..)
            .take_while(|((of, key), _)| *of == table && key.starts_with(prefix))
            .map(|((_, key), present)| (key.as_slice(), *present))
            .collect();
        keys.retain(|key| changed.get(key.as_slice()) != Some(&false));
        // A set: one step may add thousands to thousands.
        let there: HashSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let added: Vec<Vec<u8>> = changed
            .into_iter()
            .filter(|(key, present)| *present && !there.contains(key))
            .map(|(key, _)| key.to_vec())
            .collect();
        keys.extend(added);
        Ok(keys)
    }

    /// Puts a row in an edge's place, with its index rows.
    pub(crate) fn put_edge(&mut self, id: EdgeId, edge: Edge) {
        let linker = match &edge.link {
            Link::Local(tag) => Some(tag),
            Link::Open | Link::Foreign => None,
        };
        let owned = keys::owned_edge(&edge.owner, &id, linker);
        if let Some(tag) = linker {
            self.remove_index(Table::OwnedEdge, keys::owned_edge(&edge.owner, &id, None));
            self.add_index(Table::LinkedEdge, keys::linked_edge(tag, &id, &edge.owner));
        }
        self.add_index(Table::OwnedEdge, owned);
        self.edges.put(id, edge, &mut self.changes);
    }

    /// Removes an edge with its index rows.
    pub(crate) fn delete_edge(&mut self, id: EdgeId, edge: &Edge) {
        let linker = match &edge.link {
            Link::Local(tag) => Some(tag),
            Link::Open | Link::Foreign => None,
        };
        if let Some(tag) = linker {
            self.remove_index(Table::LinkedEdge, keys::linked_edge(tag, &id, &edge.owner));
        }
        self.remove_index(Table::OwnedEdge, keys::owned_edge(&edge.owner, &id, linker));
        self.edges.delete(id, &mut self.changes);
    }

    /// Removes an invite with its index rows; not the account registered with it.
    pub(crate) fn delete_invite(&mut self, id: InviteId, invite: &Invite) {
        self.remove_index(Table::OwnedInvite, keys::owned_invite(&invite.owner, &id));
        self.remove_index(Table::InviteEnd, keys::invite_end(invite.expires_ms, &id));
        self.invites.delete(id, &mut self.changes);
    }

    /// Bytes of all blobs, as this step sees them.
    pub(crate) fn blob_bytes(&self) -> u64 {
        self.blob_bytes.1
    }

    /// Adds a blob with its index rows.
    pub(crate) fn put_blob(&mut self, id: BlobId, blob: Blob) {
        self.add_index(Table::OwnedBlob, keys::owned_blob(&blob.owner, &id, blob.bytes));
        self.add_index(Table::BlobEnd, keys::blob_end(blob.expires_ms, &id));
        self.blob_bytes.1 = self.blob_bytes.1.saturating_add(blob.bytes);
        self.blobs.put(id, blob, &mut self.changes);
    }

    /// Removes a blob with its index rows; not its file.
    pub(crate) fn delete_blob(&mut self, id: BlobId, blob: &Blob) {
        self.remove_index(Table::OwnedBlob, keys::owned_blob(&blob.owner, &id, blob.bytes));
        self.remove_index(Table::BlobEnd, keys::blob_end(blob.expires_ms, &id));
        self.blob_bytes.1 = self.blob_bytes.1.saturating_sub(blob.bytes);
        self.blobs.delete(id, &mut self.changes);
    }

    /// Ends the step: everything to commit.
    pub(crate) fn take_changes(&mut self, now: Now) -> Vec<Change> {
        self.marks.finish_step(now, &mut self.changes);
        std::mem::take(&mut self.changes)
    }

    /// The step happened.
    pub(crate) fn commit(&mut self) {
        self.accounts.commit();
        self.handles.commit();
        self.devices.commit();
        self.slots.commit();
        self.manifests.commit();
        self.bundles.commit();
        self.edges.commit();
        self.invites.commit();
        self.tokens.commit();
        self.blobs.commit();
        self.proofs.commit();
        self.pieces.commit();
        self.blob_bytes.0 = self.blob_bytes.1;
        self.spools.commit();
        self.shares.commit();
        self.marks.commit();
        self.index.clear();
    }

    /// The step did not happen.
    pub(crate) fn abort(&mut self) {
        self.accounts.abort();
        self.handles.abort();
        self.devices.abort();
        self.slots.abort();
        self.manifests.abort();
        self.bundles.abort();
        self.edges.abort();
        self.invites.abort();
        self.tokens.abort();
        self.blobs.abort();
        self.proofs.abort();
        self.pieces.abort();
        self.blob_bytes.1 = self.blob_bytes.0;
        self.spools.abort();
        self.shares.abort();
        self.marks.abort();
        self.index.clear();
        self.changes.clear();
    }
}

/// Bytes of all blobs that are stored.
fn all_blob_bytes(rows: &dyn Rows) -> Result<u64, RowsError> {
    let (mut bytes, mut after): (u64, Option<Vec<u8>>) = (0, None);
    loop {
        let page = rows.keys(Table::OwnedBlob, &[], after.as_deref(), KEYS_PAGE)?;
        let lengths = page.iter().filter_map(|key| keys::read_owned_blob(key)).map(|(_, bytes)| bytes);
        bytes = lengths.fold(bytes, u64::saturating_add);
        match page.last() {
            Some(last) if page.len() == KEYS_PAGE => after = Some(last.clone()),
            Some(_) | None => return Ok(bytes),
        }
    }
}

/// Random bytes.
pub(crate) fn random<const N: usize>(rng: &mut dyn CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A new account or slot id, random and unused.
pub(crate) fn new_account_id(rng: &mut dyn CryptoRng) -> AccountId {
    AccountId::from_bytes(random(rng))
}

/// A new slot id.
pub(crate) fn new_slot_id(rng: &mut dyn CryptoRng) -> SlotId {
    SlotId::from_bytes(random(rng))
}
