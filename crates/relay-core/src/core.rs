//! The machine: inputs in, changes and commands out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use penpal_protocol::cbor::Text;
use penpal_protocol::ids::{AccountId, EdgeId, SlotId, TransportPublicKey};
use penpal_protocol::time::Now;
use penpal_protocol::version::{MIN_PROTOCOL_REVISION, PROTOCOL_REVISION};
use penpal_protocol::wire::{Answer, Deposit, DepositOutcome, Event, Refusal, RefusalCode, Request, Welcome};
use rand_core::CryptoRng;

use crate::acks::Acks;
use crate::command::{
    AddressPrefix, AdminAnswer, AdminRequest, CloseReason, Command, Committed, ConnId, Push, RequestId,
};
use crate::config::Config;
use crate::connections::{Conn, Connections};
use crate::db::Db;
use crate::delivery::Backlog;
use crate::effect::Effect;
use crate::error::{Fault, StartError, hex};
use crate::expiry::Expiry;
use crate::handle::May;
use crate::limiter::{Bucket, Limiter};
use crate::presence::Presence;
use crate::rows::records::Known;
use crate::rows::{Change, Rows, RowsError};
use crate::secrets::GraphKey;

/// How long after a full disk nothing but freeing is tried.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Keys remembered by each limiter.
const LIMITED_KEYS: usize = 16_384;

/// A relay without its input and output.
///
/// # How to drive it
///
/// The shell repeats a *step*:
///
/// 1. Hand in what has come, in order: [`handle_connected`](Self::handle_connected),
///    [`handle_request`](Self::handle_request), [`handle_deposit`](Self::handle_deposit),
///    [`handle_closed`](Self::handle_closed), [`handle_admin`](Self::handle_admin), and
///    [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) is due. Stop when there is no
///    more, or when [`pending_bytes`](Self::pending_bytes) comes near what one commit may hold.
/// 2. [`take_changes`](Self::take_changes), and commit all of them as one atomic batch. When there are none nothing need
///    be committed.
/// 3. [`handle_committed`](Self::handle_committed) with what became of it.
/// 4. Drain [`poll_command`](Self::poll_command). Nothing is said to anybody before this point, so what was said is durable.
///
/// Then sleep until something comes or until [`poll_timeout`](Self::poll_timeout). Inputs must not come between 2 and 3.
/// If the process dies before the commit, nothing of the step has happened.
///
/// `rows` must be the same storage throughout and show exactly the commits that have returned. `now.mono` must never go
/// back; `now.wall_ms` may. Any [`RowsError`] means that the machine must be dropped and made anew from storage.
///
/// Connection numbers are given by the shell and never used twice. After [`Command::Close`] the machine has forgotten the
/// connection: a later [`handle_closed`](Self::handle_closed) is ignored, and so are its requests.
///
/// One exception to "nothing is said before it is durable": acknowledged rows leave storage with a later commit, at most
/// 20 ms later. After a crash in between they are delivered again, which nodes must bear anyway.
#[derive(Debug)]
pub struct RelayCore {
    pub(crate) config: Config,
    pub(crate) graph: GraphKey,
    pub(crate) db: Db,
    pub(crate) conns: Connections,
    pub(crate) presence: Presence,
    pub(crate) acks: Acks,
    pub(crate) expiry: Expiry,
    pub(crate) edge_limiter: Limiter<EdgeId>,
    pub(crate) depositor_limiter: Limiter<Depositor>,
    pub(crate) prefix_limiter: Limiter<AddressPrefix>,
    /// What to do once the step is durable.
    pub(crate) effects: Vec<Effect>,
    pub(crate) commands: VecDeque<Command>,
    /// Connections with backlog and room in their window.
    pub(crate) backlog: Backlog,
    /// Runs that were answered while the disk was full.
    pub(crate) unsaved_runs: BTreeMap<SlotId, Known>,
    /// Those of them that this step writes.
    pub(crate) saving_runs: BTreeMap<SlotId, Known>,
    pub(crate) full_until: Option<Duration>,
    /// A stored row was unusable: this step is undone.
    poisoned: bool,
    /// A device was removed as the first thing of this step: how many changes that made.
    pub(crate) removal: Option<usize>,
    urgent: bool,
    counted_changes: usize,
    counted_bytes: usize,
}

/// Whom a depositor's quota belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Depositor {
    Account(AccountId),
    Stranger(AddressPrefix),
}

/// What every handler is given.
pub(crate) struct Cx<'a> {
    pub(crate) rows: &'a dyn Rows,
    pub(crate) now: Now,
    pub(crate) rng: &'a mut dyn CryptoRng,
}

/// Who speaks on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) conn: ConnId,
    pub(crate) peer: TransportPublicKey,
    pub(crate) prefix: AddressPrefix,
    pub(crate) device: Option<CallerDevice>,
}

/// The registered device that speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerDevice {
    pub(crate) account: AccountId,
    pub(crate) slot: SlotId,
    pub(crate) suspended: bool,
    pub(crate) provisional: bool,
}

impl RelayCore {
    /// Makes the machine from what is stored; empty storage is a new relay.
    ///
    /// `restored` says that the stored data is older than something this relay has already said, which gives every spool
    /// a new epoch. What must be written for that is in the first step's changes.
    ///
    /// # Errors
    /// [`StartError`]: other keys, an unusable row, failing storage.
    pub fn new(
        config: Config,
        graph: GraphKey,
        restored: bool,
        rows: &dyn Rows,
        now: Now,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, StartError> {
        let db = Db::open(&config.limits, &graph, restored, rows, rng)?;
        let limits = &config.limits;
        Ok(Self {
            edge_limiter: Limiter::new(limits.edge_deposits, LIMITED_KEYS),
            depositor_limiter: Limiter::new(limits.depositor_kib, LIMITED_KEYS),
            prefix_limiter: Limiter::new(limits.prefix_requests, LIMITED_KEYS),
            conns: Connections::default(),
            presence: Presence::default(),
            acks: Acks::default(),
            expiry: Expiry::new(now),
            effects: Vec::new(),
            commands: VecDeque::new(),
            backlog: Backlog::default(),
            unsaved_runs: BTreeMap::new(),
            saving_runs: BTreeMap::new(),
            full_until: None,
            poisoned: false,
            removal: None,
            urgent: false,
            counted_changes: 0,
            counted_bytes: 0,
            config,
            graph,
            db,
        })
    }

    /// A client has connected and proved its key. The first thing pushed to it is `Welcome`.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn handle_connected(
        &mut self,
        conn: ConnId,
        peer: TransportPublicKey,
        prefix: AddressPrefix,
        rows: &dyn Rows,
        now: Now,
    ) -> Result<(), RowsError> {
        let registered = match self.db.devices.get(&peer, rows) {
            Ok(device) => device.is_some(),
            Err(fault) => return self.fault(fault),
        };
        let limits = &self.config.limits;
        let busy = self.conns.len() >= limits.connections
            || self.conns.of_prefix(&prefix) >= limits.connections_per_prefix
            || (!registered && self.conns.strangers() >= limits.unregistered_connections);
        if busy {
            self.commands.push_back(Command::Close { conn, reason: CloseReason::Busy });
            return Ok(());
        }
        if let [oldest, ..] = self.conns.of_peer(&peer)
            && self.conns.of_peer(&peer).len() >= limits.connections_per_key
        {
            self.close(*oldest, CloseReason::Replaced, now);
        }
        let requests = Bucket::full(self.config.limits.requests, now.mono);
        let stranger = !registered;
        self.conns.insert(conn, Conn { peer, prefix, stranger, requests, hello: None, receiving: None });
        let welcome = Welcome {
            min_revision: MIN_PROTOCOL_REVISION,
            max_revision: PROTOCOL_REVISION,
            now_ms: now.wall_ms,
            registered,
            software: self.config.software.clone(),
        };
        self.push(conn, Push::Event(Event::Welcome(welcome)));
        Ok(())
    }

    /// A connection has ended.
    pub fn handle_closed(&mut self, conn: ConnId, now: Now) {
        self.forget(conn, now);
    }

    /// A client asks for something. It gets exactly one [`Command::Answer`], unless the connection ends first.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn handle_request(
        &mut self,
        conn: ConnId,
        request: RequestId,
        what: Request,
        rows: &dyn Rows,
        now: Now,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), RowsError> {
        let rate = self.config.limits.requests;
        let Some(state) = self.conns.get_mut(conn) else { return Ok(()) };
        if !state.take_request(rate, now.mono) {
            self.answer(conn, request, Answer::refused(RefusalCode::Busy));
            return Ok(());
        }
        let mut cx = Cx { rows, now, rng };
        match self.dispatch(conn, request, what, &mut cx) {
            Ok(()) => Ok(()),
            Err(fault) => {
                self.answer(conn, request, Answer::refused(RefusalCode::Busy));
                self.fault(fault)
            }
        }
    }

    /// A client hands over an envelope. It gets exactly one [`Command::DepositAnswer`], unless the connection ends first.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn handle_deposit(
        &mut self,
        conn: ConnId,
        deposit: Deposit,
        rows: &dyn Rows,
        now: Now,
    ) -> Result<(), RowsError> {
        let id = deposit.deposit;
        let outcome = match self.deposit(conn, deposit, rows, now) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Ok(()),
            Err(fault) => {
                self.effects.push(Effect::DepositAnswer { conn, deposit: id, outcome: DepositOutcome::Full });
                return self.fault(fault);
            }
        };
        self.effects.push(Effect::DepositAnswer { conn, deposit: id, outcome });
        Ok(())
    }

    /// The operator asks for something. Exactly one [`Command::Admin`] follows.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn handle_admin(
        &mut self,
        request: RequestId,
        what: AdminRequest,
        rows: &dyn Rows,
        now: Now,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), RowsError> {
        let answer = match self.admin(what, &mut Cx { rows, now, rng }) {
            Ok(answer) => answer,
            Err(fault) => {
                self.effects.push(Effect::Admin { request, answer: AdminAnswer::Failed });
                return self.fault(fault);
            }
        };
        self.effects.push(Effect::Admin { request, answer });
        Ok(())
    }

    /// The time given by [`Self::poll_timeout`] has come; calling it early does no harm.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn handle_timeout(&mut self, rows: &dyn Rows, now: Now) -> Result<(), RowsError> {
        while let Some(account) = self.presence.pop_down(now.mono) {
            self.effects.push(Effect::Down { account });
        }
        match self.save_runs(rows, now).and_then(|()| self.expire(rows, now)) {
            Ok(()) => Ok(()),
            Err(fault) => self.fault(fault),
        }
    }

    /// When [`Self::handle_timeout`] is due, on the monotonic clock; it may lie in the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let backlog = (!self.backlog.is_empty()).then_some(Duration::ZERO);
        let unsaved = self.full_until.filter(|_| !self.unsaved_runs.is_empty());
        let timers = [self.presence.next_down(), self.acks.due(), Some(self.expiry.next()), backlog, unsaved];
        timers.into_iter().flatten().min()
    }

    /// How many bytes the step's changes need in storage so far, with the acknowledgements that go along.
    pub fn pending_bytes(&mut self) -> usize {
        let new = self.db.changes.get(self.counted_changes..).unwrap_or_default();
        self.counted_bytes += new.iter().map(Change::stored_bytes).sum::<usize>();
        self.counted_changes = self.db.changes.len();
        self.counted_bytes + self.acks.stored_bytes()
    }

    /// Everything that the step changes, for one atomic commit.
    pub fn take_changes(&mut self, now: Now) -> Vec<Change> {
        self.counted_changes = 0;
        self.counted_bytes = 0;
        self.urgent = self.removal.take() == Some(self.db.changes.len());
        if self.poisoned {
            return Vec::new();
        }
        let mut changes = self.db.take_changes(now);
        if !changes.is_empty() || self.acks.is_due(now.mono) {
            self.acks.flush(&mut self.db.spools, &mut changes);
        }
        changes
    }

    /// Whether the changes that were taken last may use what storage keeps for freeing space: they cut a device off and do nothing else.
    /// The shell gives a `DeviceRemove` a step of its own, so that this holds.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Says what became of the changes. Afterwards the step's commands can be polled.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn handle_committed(
        &mut self,
        committed: Committed,
        rows: &dyn Rows,
        now: Now,
    ) -> Result<(), RowsError> {
        let undone = if std::mem::take(&mut self.poisoned) {
            Some(RefusalCode::Busy)
        } else {
            match committed {
                Committed::Done => None,
                Committed::Full => Some(RefusalCode::Full),
            }
        };
        let effects = std::mem::take(&mut self.effects);
        if let Some(code) = undone {
            self.db.abort();
            self.unsaved_runs.append(&mut self.saving_runs);
            self.acks.aborted(now.mono);
            if committed == Committed::Full {
                self.full_until = Some(now.mono.saturating_add(FULL_PAUSE));
            }
            for effect in effects {
                self.refuse(effect, code, rows)?;
            }
        } else {
            self.db.commit();
            self.saving_runs.clear();
            self.acks.committed();
            for effect in effects {
                self.carry_out(effect, rows, now)?;
            }
        }
        self.send_backlog(rows)
    }

    /// The next thing to do, in order. `None` until the next step.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// How many entries the machine keeps in memory: connections, rows read lately, rates, deposit ids, what waits for a commit. What is
    /// not used any more is forgotten within twenty minutes, deposit ids within 28 hours.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.db.len()
            + self.db.marks.len()
            + self.conns.entries()
            + self.presence.len()
            + self.acks.len()
            + self.edge_limiter.len()
            + self.depositor_limiter.len()
            + self.prefix_limiter.len()
            + self.effects.len()
            + self.commands.len()
            + self.backlog.len()
            + self.unsaved_runs.len()
            + self.saving_runs.len()
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    fn dispatch(
        &mut self,
        conn: ConnId,
        id: RequestId,
        request: Request,
        cx: &mut Cx<'_>,
    ) -> Result<(), Fault> {
        let Some(caller) = self.caller(conn, cx.rows)? else { return Ok(()) };
        if let Some(answer) = self.gate(&caller, &request, cx.now) {
            self.answer(conn, id, answer);
            return Ok(());
        }
        let answer = match (request, caller.device) {
            (Request::Register(what), _) => self.register(&caller, &what, cx)?,
            (Request::GetContactState(what), _) => self.contact_state(&caller, &what, cx)?,
            (Request::EdgeLink(what), _) => self.edge_link(&caller, &what, cx)?,
            (Request::InviteFetch(what), _) => self.invite_fetch(&caller, &what, cx)?,
            (Request::InviteRedeem(what), _) => self.invite_redeem(&caller, &what, cx)?,
            (Request::DeviceAdd(what), _) => self.device_add(&what, cx)?,
            (Request::DeviceRemove(what), _) => self.device_remove(&what, cx)?,
            (Request::PutState(what), Some(device)) => self.put_state(device, what, cx)?,
            (Request::GetState(what), _) => self.get_state(&what, cx)?,
            (Request::PutProof(what), Some(device)) => self.put_proof(device, &what, cx)?,
            (Request::Hello(what), Some(device)) => return self.hello(conn, id, device, &what, cx),
            (Request::Ack(what), Some(device)) => return self.ack(conn, id, device, &what, cx),
            (Request::PutManifest(what), Some(device)) => self.put_manifest(device, what, cx)?,
            (Request::PutBundle(what), Some(device)) => self.put_bundle(device, what, cx)?,
            (Request::EdgeCreate(what), Some(device)) => self.edge_create(device, &what, cx)?,
            (Request::EdgeRevoke(what), Some(device)) => self.edge_revoke(device, &what, cx)?,
            (Request::InviteCreate(what), Some(device)) => self.invite_create(device, what, cx)?,
            (Request::InviteRevoke(what), Some(device)) => self.invite_revoke(device, &what, cx)?,
            (Request::BlobCreate(what), Some(device)) => self.blob_create(device, &what, cx)?,
            (Request::BlobPut(what), Some(device)) => match self.blob_put(device, &what, cx)? {
                May::Do(grant) => return self.let_move(conn, id, grant),
                May::Not(answer) => answer,
            },
            (Request::BlobGet(what), _) => match self.blob_get(&what, cx)? {
                May::Do(grant) => return self.let_move(conn, id, grant),
                May::Not(answer) => answer,
            },
            (Request::BlobDelete(what), Some(device)) => self.blob_delete(device, &what, cx)?,
            (
                Request::Hello(_)
                | Request::Ack(_)
                | Request::PutManifest(_)
                | Request::PutBundle(_)
                | Request::EdgeCreate(_)
                | Request::EdgeRevoke(_)
                | Request::InviteCreate(_)
                | Request::InviteRevoke(_)
                | Request::BlobCreate(_)
                | Request::BlobPut(_)
                | Request::BlobDelete(_)
                | Request::PutProof(_)
                | Request::PutState(_),
                None,
            ) => Answer::refused(RefusalCode::NotRegistered),
        };
        self.answer(conn, id, answer);
        Ok(())
    }

    /// What is refused whatever it says in detail.
    fn gate(&mut self, caller: &Caller, request: &Request, now: Now) -> Option<Answer> {
        if caller.device.is_some_and(|device| device.suspended) {
            return Some(Answer::refused(RefusalCode::Suspended));
        }
        let (writes, costly) = match request {
            Request::Register(_)
            | Request::InviteRedeem(_)
            | Request::DeviceAdd(_)
            | Request::PutState(_) => (true, true),
            // A stolen device must be cut off also while the disk is full.
            Request::DeviceRemove(_) => (false, true),
            Request::InviteFetch(_) | Request::GetState(_) => (false, true),
            // While the disk is full a device must still be able to receive, acknowledge and revoke.
            Request::Hello(_)
            | Request::Ack(_)
            | Request::EdgeRevoke(_)
            | Request::InviteRevoke(_)
            | Request::BlobGet(_)
            | Request::BlobDelete(_)
            | Request::GetContactState(_) => (false, false),
            Request::PutManifest(_)
            | Request::PutBundle(_)
            | Request::EdgeCreate(_)
            | Request::EdgeLink(_)
            | Request::BlobCreate(_)
            | Request::BlobPut(_)
            | Request::PutProof(_)
            | Request::InviteCreate(_) => (true, false),
        };
        if writes && self.is_full(now) {
            return Some(Answer::refused(RefusalCode::Full));
        }
        if costly && !self.prefix_limiter.take(caller.prefix, 1, now.mono) {
            return Some(Answer::refused(RefusalCode::Busy));
        }
        None
    }

    /// Who speaks on a connection; `None` when it is gone.
    pub(crate) fn caller(&mut self, conn: ConnId, rows: &dyn Rows) -> Result<Option<Caller>, Fault> {
        let Some(state) = self.conns.get(conn) else { return Ok(None) };
        let (peer, prefix) = (state.peer, state.prefix);
        let device = match self.db.devices.get(&peer, rows)?.copied() {
            None => None,
            Some(device) => self.db.accounts.get(&device.account, rows)?.map(|account| CallerDevice {
                account: device.account,
                slot: device.slot,
                suspended: account.suspended,
                provisional: account.provisional.is_some(),
            }),
        };
        Ok(Some(Caller { conn, peer, prefix, device }))
    }

    /// Whether only freeing is tried now.
    pub(crate) fn is_full(&self, now: Now) -> bool {
        self.full_until.is_some_and(|until| now.mono < until)
    }

    pub(crate) fn answer(&mut self, conn: ConnId, request: RequestId, answer: Answer) {
        self.effects.push(Effect::Answer { conn, request, answer });
    }

    pub(crate) fn push(&mut self, conn: ConnId, push: Push) {
        self.effects.push(Effect::Push { conn, push });
    }

    /// Sorts a fault: failing storage ends everything, an unusable row undoes the step.
    pub(crate) fn fault(&mut self, fault: Fault) -> Result<(), RowsError> {
        match fault {
            Fault::Rows(error) => Err(error),
            Fault::Record { table, key, source } => {
                self.poisoned = true;
                let what = format!("row {} of table {table:?} is unusable: {source}", hex(&key));
                self.commands.push_back(Command::Alarm { what });
                Ok(())
            }
        }
    }
}

/// A refusal with a sentence for a person.
pub(crate) fn refused(code: RefusalCode, detail: &str) -> Answer {
    Answer::Refused(Refusal { code, detail: Some(Text::truncated(detail)) })
}
