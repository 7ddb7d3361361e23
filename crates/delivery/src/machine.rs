//! The machine: what it holds, how it starts, and how a step ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use penpal_protocol::ids::{DeviceId, Fingerprint, Incarnation, KeyId, SpoolEpoch};
use penpal_protocol::sealed::OfferedKey;
use penpal_protocol::time::Now;

use crate::address::{MailKey, Mailbox, Peer};
use crate::command::Command;
use crate::contacts::Contacts;
use crate::event::Event;
use crate::inbox::Inbox;
use crate::keyring::{Keyring, SeedReport};
use crate::lane::Lane;
use crate::later::Later;
use crate::ledger::{Change, Ledger, LedgerError, Records, Table};
use crate::outbox::Outbox;
use crate::record::{
    CopyRecord, KeyRecord, MailRecord, NodeRecord, PairRecord, QueuedReceipt, SpoolRecord, UnreadableRecord,
};
use crate::spool::Spool;
use crate::step::Step;
use crate::sweep::Sweep;

/// Delivery of one node: outbox, receipts, arrivals, keys and inboxes.
///
/// # Drive contract
///
/// The shell owns sockets, clocks, keys and the store. One thread repeats:
///
/// 1. take what waits and call one `handle_*` (or [`Self::send`], [`Self::take`], …) for each;
/// 2. call [`Self::flush`] once;
/// 3. read [`Self::poll_command`] until empty. A [`Command::Seal`] is carried out at once: seal, keep the envelope
///    aside, call [`Self::handle_sealed`], go on reading. All other commands are kept aside;
/// 4. call [`Self::take_changes`] and commit them in one atomic, durable batch, together with what the step changed
///    elsewhere; if either fails, drop the machine and whatever was kept aside, and [`Self::open`] it again;
/// 5. release: deposit envelopes in the order of their commands, carry out the commands, publish
///    [`Self::poll_event`], answer callers;
/// 6. sleep until an input or [`Self::poll_timeout`], then [`Self::handle_timeout`] as an input.
///
/// Between steps 1 and 4 the machine sees its own uncommitted changes, so [`Records`] shows committed rows only.
/// Deposits to one relay travel on one stream, in order; an envelope that was not written within ten minutes of its
/// sealing must not be: report the connection lost instead.
///
/// At start: [`Self::open`], [`Self::reconcile_seeds`] with what the key file holds, [`Self::set_contact`] for every
/// contact, then a step. For each connection: [`Self::handle_relay_up`] when deposits can be made,
/// [`Self::handle_connected`] with the answer to `Hello` (home relay only), [`Self::handle_relay_lost`] at the end.
#[derive(Debug)]
pub struct Delivery {
    pub(crate) ledger: Ledger,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) node: NodeRecord,
    pub(crate) contacts: Contacts,
    pub(crate) lanes: BTreeMap<Peer, Lane>,
    pub(crate) outbox: Outbox,
    pub(crate) keyring: Keyring,
    pub(crate) inbox: Inbox,
    pub(crate) spool: Spool,
    pub(crate) sweep: Sweep,
    pub(crate) later: Later,
    pub(crate) last: Now,
    next_ordinal: u64,
    /// Lanes to look at when the step ends.
    touched: BTreeSet<Peer>,
    /// Deadline of each lane that has one.
    wakes: BTreeSet<(Duration, Peer)>,
    wake_of: BTreeMap<Peer, Duration>,
}

/// The records cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A row is damaged or the store cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

const NODE: &[u8] = b"node";
const SPOOL: &[u8] = b"spool";

/// How many places are reserved with one record.
const ORDINALS_AT_A_TIME: u64 = 1024;

impl Delivery {
    /// Opens the records of a node, or starts new ones.
    ///
    /// Reads all rows of the short-lived tables but marks; history is read when it is asked for.
    ///
    /// # Errors
    /// [`OpenError`] names the damaged row.
    pub fn open(step: &mut Step<'_>) -> Result<Self, OpenError> {
        let ledger = Ledger::default();
        let records = step.records;
        let node = match ledger.peek::<NodeRecord>(records, Table::State, NODE)? {
            Some(node) => node,
            None => NodeRecord { incarnation: Incarnation::from_bytes(step.random()), ordinals: 1 },
        };
        let spool = ledger.peek::<SpoolRecord>(records, Table::State, SPOOL)?.unwrap_or_default();
        let mut machine = Self {
            ledger,
            commands: VecDeque::new(),
            events: VecDeque::new(),
            next_ordinal: node.ordinals,
            node,
            contacts: Contacts::default(),
            lanes: BTreeMap::new(),
            outbox: Outbox::default(),
            keyring: Keyring::default(),
            inbox: Inbox::default(),
            spool: Spool::new(spool, step.now.mono),
            sweep: Sweep::starting(step.now.mono),
            later: Later::default(),
            last: step.now,
            touched: BTreeSet::new(),
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
        };
        machine.ledger.put(Table::State, NODE, &machine.node);
        machine.restore_lanes(records)?;
        machine.restore_copies(step)?;
        machine.restore_inbox(step)?;
        Ok(machine)
    }

    fn restore_lanes(&mut self, records: &dyn Records) -> Result<(), LedgerError> {
        let lanes = &mut self.lanes;
        self.ledger.for_each::<PairRecord>(records, Table::Pair, &[], |key, pair| {
            if let Some(peer) = Peer::from_key(key) {
                lanes.entry(peer).or_default().pair = pair;
            }
        })?;
        self.ledger.for_each::<OfferedKey>(records, Table::Offer, &[], |key, offer| {
            if let Some(peer) = Peer::from_key(key) {
                lanes.entry(peer).or_default().offer = Some(offer);
            }
        })?;
        self.ledger.for_each::<QueuedReceipt>(records, Table::Receipt, &[], |key, receipt| {
            let index = key.get(32..).and_then(|index| <[u8; 8]>::try_from(index).ok());
            if let (Some(peer), Some(index)) = (Peer::from_key(key), index) {
                lanes.entry(peer).or_default().receipts.restore(u64::from_be_bytes(index), receipt);
            }
        })?;
        let keyring = &mut self.keyring;
        self.ledger.for_each::<KeyRecord>(records, Table::Key, &[], |key, record| {
            if let Some(id) = KeyId::from_slice(key) {
                keyring.restore(id, record);
            }
        })?;
        self.touched = self.lanes.keys().copied().collect();
        Ok(())
    }

    fn restore_copies(&mut self, step: &mut Step<'_>) -> Result<(), LedgerError> {
        let mut copies = Vec::new();
        self.ledger.for_each::<CopyRecord>(step.records, Table::Outbox, &[], |_, copy| copies.push(copy))?;
        for copy in copies {
            let key = MailKey::own(copy.msg_id).to_key();
            let mail = self.ledger.peek::<MailRecord>(step.records, Table::Mail, &key)?;
            if let Some(mail) = mail {
                self.restore_copy(copy, &mail, step.now);
            }
        }
        let unreadable = &mut self.outbox.unreadable;
        self.ledger.for_each::<UnreadableRecord>(step.records, Table::Unreadable, &[], |key, record| {
            if let Some(peer) = key.get(..16).and_then(Fingerprint::from_slice) {
                unreadable.entry(peer).or_default().insert(record.envelope);
            }
        })?;
        let dead = &mut self.outbox.dead;
        self.ledger.for_each::<MailKey>(step.records, Table::Dead, &[], |_, key| {
            dead.insert(key.msg_id);
        })
    }

    fn restore_inbox(&mut self, step: &mut Step<'_>) -> Result<(), LedgerError> {
        let mut keys = Vec::new();
        self.ledger.for_each::<MailKey>(step.records, Table::Unread, &[], |_, key| keys.push(key))?;
        for key in keys {
            let mail = self.ledger.peek::<MailRecord>(step.records, Table::Mail, &key.to_key())?;
            if let Some(mail) = mail {
                self.inbox.restore(&mail);
            }
        }
        Ok(())
    }

    /// Compares the keys that the records know with the seeds that the key file holds. Called once, after [`Self::open`].
    pub fn reconcile_seeds(&mut self, present: &BTreeSet<KeyId>, step: &mut Step<'_>) -> SeedReport {
        self.begin(step);
        self.keyring.reconcile(present, step.now, &mut self.ledger)
    }

    /// This life of the node's database.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.node.incarnation
    }

    /// The life of the spool that rows were last taken from; `None` before the first.
    #[must_use]
    pub fn spool_epoch(&self) -> Option<SpoolEpoch> {
        self.spool.epoch()
    }

    pub(crate) fn begin(&mut self, step: &Step<'_>) {
        self.last = step.now;
    }

    /// Ends the inputs of a step: decides what is sealed, acknowledged and asked for.
    pub fn flush(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        self.commands.extend(self.keyring.check(step.now, &mut self.spool, &mut self.ledger));
        if self.spool.is_connected() || self.keyring.wanted {
            self.commands.extend(self.keyring.publish(step.now, &mut self.ledger));
        }
        let touched = std::mem::take(&mut self.touched);
        for peer in &touched {
            self.pump(*peer, step);
        }
        self.commands.extend(self.keyring.want_seeds(step.now.mono));
        if let Some(ack) = self.spool.take_ack() {
            self.commands.push_back(Command::Ack { epoch: ack.epoch, up_to: ack.up_to, gaps: ack.gaps });
        }
        for peer in touched {
            self.register_wake(peer);
        }
    }

    fn register_wake(&mut self, peer: Peer) {
        let deadline = self.lanes.get(&peer).and_then(Lane::deadline);
        let before = match deadline {
            Some(at) => self.wake_of.insert(peer, at),
            None => self.wake_of.remove(&peer),
        };
        if let Some(before) = before {
            self.wakes.remove(&(before, peer));
        }
        if let Some(at) = deadline {
            self.wakes.insert((at, peer));
        }
    }

    /// The next command of the step.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next event of the step.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Gives every change of the step, once, directly before it is committed.
    ///
    /// # Errors
    /// [`LedgerError`] when a record could not be read during the step: nothing of it may become visible.
    pub fn take_changes(&mut self) -> Result<Vec<Change>, LedgerError> {
        self.ledger.take()
    }

    /// How many changes there were since the machine was opened: as many as before when a call changed nothing.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.ledger.changes()
    }

    /// How many bytes the step's changes have, at most: a shell that takes several inputs into one step commits before they are too many.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.ledger.bytes()
    }

    /// When [`Self::handle_timeout`] is due, on the clock of [`Now::mono`]; `None` when nothing waits for time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let until = |wall_ms: u64| {
            let rest = Duration::from_millis(wall_ms.saturating_sub(self.last.wall_ms));
            self.last.mono.saturating_add(rest)
        };
        // Work that came up after the last flush.
        let unflushed = (!self.touched.is_empty()).then_some(self.last.mono);
        let publish = self.keyring.publish_deadline().filter(|_| self.spool.is_connected());
        [
            unflushed,
            self.wakes.first().map(|(at, _)| *at),
            self.outbox.next_expiry_ms().map(until),
            self.outbox.deadline(),
            self.contacts.deadline(),
            self.keyring.deadline(),
            publish,
            self.inbox.deadline(),
            self.inbox.next_release_ms().map(until),
            self.inbox.next_end_ms().map(until),
            self.spool.deadline(),
            self.sweep.deadline(),
            self.later.deadline(self.last.mono),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what became due. To be called as well after either clock jumped.
    pub fn handle_timeout(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        let now = step.now.mono;
        if self.spool.timeout(now) {
            self.touch_all();
        }
        self.go_on(step);
        // What finds no room stays due.
        while self.ledger.has_room()
            && let Some((at, peer)) = self.wakes.first().copied().filter(|(at, _)| *at <= now)
        {
            self.wakes.remove(&(at, peer));
            self.wake_of.remove(&peer);
            self.wake_lane(peer, step);
        }
        self.retry_fetches(now);
        self.expire_copies(step);
        self.release_held(step);
        self.end_unread(step);
        self.inbox.end_leases(now, &mut self.events);
        self.sweep_some(step);
    }

    fn wake_lane(&mut self, peer: Peer, step: &mut Step<'_>) {
        let now = step.now;
        self.end_gap(peer, step);
        let Some(lane) = self.lanes.get_mut(&peer) else { return };
        if lane.backoff_until.is_some_and(|until| until <= now.mono) {
            lane.backoff_until = None;
        }
        while let Some((at, place)) = lane.waiting.first().copied().filter(|(at, _)| *at <= now.mono) {
            lane.waiting.remove(&(at, place));
            lane.ready.insert(place);
            self.outbox.ready(peer, place.1, now.mono);
        }
        let floor = &mut lane.pair.receipts_floor;
        lane.receipts.begin_repeat(peer, floor, now.mono, now.wall_ms, &mut self.ledger);
        lane.save(peer, &mut self.ledger);
        self.touch(peer);
    }

    pub(crate) fn touch(&mut self, peer: Peer) {
        self.touched.insert(peer);
    }

    pub(crate) fn touch_account(&mut self, account: &Fingerprint) {
        let peers: Vec<Peer> = self.lanes_of(account);
        self.touched.extend(peers);
    }

    pub(crate) fn touch_all(&mut self) {
        let now = self.last.mono;
        self.touched.extend(self.lanes.iter().filter(|(_, lane)| lane.has_work(now)).map(|(peer, _)| *peer));
    }

    pub(crate) fn lanes_of(&self, account: &Fingerprint) -> Vec<Peer> {
        let first = Peer { account: *account, device: DeviceId::from_bytes([0; 16]) };
        self.lanes
            .range(first..)
            .take_while(|(peer, _)| peer.account == *account)
            .map(|(peer, _)| *peer)
            .collect()
    }

    pub(crate) fn lane(&mut self, peer: Peer) -> &mut Lane {
        self.lanes.entry(peer).or_default()
    }

    pub(crate) fn save_node(&mut self) {
        self.ledger.put(Table::State, NODE, &self.node);
    }

    pub(crate) fn save_spool(&mut self) {
        self.ledger.put(Table::State, SPOOL, &self.spool.record);
    }

    /// Gives the next place among all messages of this node.
    pub(crate) fn take_ordinal(&mut self) -> u64 {
        let ordinal = self.next_ordinal;
        self.next_ordinal = ordinal.saturating_add(1);
        if self.next_ordinal >= self.node.ordinals {
            self.node.ordinals = self.next_ordinal.saturating_add(ORDINALS_AT_A_TIME);
            self.save_node();
        }
        ordinal
    }

    /// No message has this place or a later one yet.
    #[must_use]
    pub fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    /// Counts of mail that waits, per mailbox.
    #[must_use]
    pub fn unread(&self, mailbox: Mailbox) -> crate::inbox::Waiting {
        self.inbox.waiting(mailbox)
    }
}
