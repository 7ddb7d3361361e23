//! The machine: its state, its inputs and its timers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use penpal_protocol::cbor::Text;
use penpal_protocol::ids::{DeviceId, Fingerprint, Incarnation, SessionId};
use penpal_protocol::limits::MAX_SUMMARY_BYTES;
use penpal_protocol::sealed::{Presence, Reach};
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use rand_core::CryptoRng;

use crate::announce::Outgoing;
use crate::command::{Command, Table};
use crate::error::{CloseError, NameError, RegisterError, RestoreError, UnknownSession};
use crate::input::{Binding, DeliveryMode, Placed, ProcessRef, Registration, Sign};
use crate::life::Local;
use crate::peer::{Peer, PresenceOutcome};
use crate::record::{self, Restored, SessionRecord};

/// All sessions of this node, and what is known of contacts' sessions.
///
/// # How it is driven
///
/// 1. [`Sessions::new`], then [`Sessions::restore`] for every stored record, in any order, then
///    [`Sessions::handle_started`] once.
/// 2. For every input: one `handle_*`, then [`Sessions::poll_command`] until it returns `None`. Changes of one step are
///    stored in one batch before anything else of that step leaves the machine's owner; the machine never waits for it.
/// 3. Call [`Sessions::handle_timeout`] when [`Sessions::poll_timeout`] has passed. Calling it early is harmless.
///
/// Views and [`Sessions::resolve`] may be used at any time between inputs. Reach and activity are not stored: after a
/// start a live session is `unknown` until its agent gives a sign.
///
/// # What always holds
///
/// Every session has its own `sid` and its own name. A process that runs one conversation at a time belongs to at most
/// one session. At most one session has a given agent's conversation.
#[derive(Debug, Default)]
pub struct Sessions {
    pub(crate) local: BTreeMap<SessionId, Local>,
    pub(crate) aliases: BTreeMap<SessionId, SessionId>,
    pub(crate) peers: BTreeMap<(Fingerprint, DeviceId), Peer>,
    pub(crate) outgoing: Outgoing,
    commands: VecDeque<Command>,
    /// Sessions whose record changed in this step.
    touched: BTreeSet<SessionId>,
    watched: BTreeSet<ProcessRef>,
    deadline: Option<Duration>,
}

impl Sessions {
    /// A machine that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one stored record; records may come in any order.
    ///
    /// # Errors
    /// [`RestoreError`]; the machine is unchanged and the others can still be restored.
    pub fn restore(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        match record::read(table, key, value)? {
            Restored::Session(sid, record) => {
                self.local.insert(sid, Local::new(*record));
            }
            Restored::Alias(sid, into) => {
                self.aliases.insert(sid, into);
            }
            Restored::Peer(account, device, record) => {
                self.peers.insert((account, device), Peer::restored(*record));
            }
            Restored::Revision(reserved) => self.outgoing.restore(reserved),
            Restored::Skipped => {}
        }
        Ok(())
    }

    /// Begins after the records are restored: asks to watch processes and puts right what contradicts itself.
    pub fn handle_started(&mut self, now: Now) {
        self.mend(now);
        self.settle(now);
    }

    /// Gives a caller that belongs to no session its own: a known one it turns out to be, an ended one that it takes
    /// over, or a new one.
    ///
    /// # Errors
    /// [`RegisterError`]
    pub fn handle_register(
        &mut self,
        registration: Registration,
        now: Now,
        rng: &mut dyn CryptoRng,
    ) -> Result<Placed, RegisterError> {
        let placed = self.register(registration, now, rng)?;
        self.settle(now);
        Ok(placed)
    }

    /// Takes what a caller said about its known session.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_bind(&mut self, binding: Binding, now: Now) -> Result<Placed, UnknownSession> {
        let placed = self.bind(binding, now)?;
        self.settle(now);
        Ok(placed)
    }

    /// Takes a sign of life.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_sign(&mut self, session: SessionId, sign: Sign, now: Now) -> Result<(), UnknownSession> {
        self.sign(session, sign, now)?;
        self.settle(now);
        Ok(())
    }

    /// The agent said that its conversation is over. Name, mail and process are kept.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_end(&mut self, session: SessionId, now: Now) -> Result<(), UnknownSession> {
        let session = self.canonical(session).ok_or(UnknownSession)?;
        self.end(session, now);
        self.settle(now);
        Ok(())
    }

    /// A watched process is gone.
    pub fn handle_process_gone(&mut self, process: ProcessRef, now: Now) {
        self.watched.remove(&process);
        for sid in self.sessions_of(process) {
            self.detach(sid, process, now);
        }
        self.settle(now);
    }

    /// A probe found how a session can be reached. Provisional and ended sessions stay `manual` whatever it says.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_reach(&mut self, session: SessionId, reach: Reach, now: Now) -> Result<(), UnknownSession> {
        let session = self.canonical(session).ok_or(UnknownSession)?;
        self.local.get_mut(&session).ok_or(UnknownSession)?.reach = Some(reach);
        self.settle(now);
        Ok(())
    }

    /// Opens a session by hand, or opens again one that was closed.
    ///
    /// `agent` is shown in its row, `by-hand` as a rule.
    ///
    /// # Errors
    /// [`NameError`]
    pub fn handle_open(
        &mut self,
        name: Label,
        agent: Label,
        now: Now,
        rng: &mut dyn CryptoRng,
    ) -> Result<Placed, NameError> {
        let placed = self.open(name, agent, now, rng)?;
        self.settle(now);
        Ok(placed)
    }

    /// Closes a session that was opened by hand. It keeps name and mail like any ended one.
    ///
    /// # Errors
    /// [`CloseError`]
    pub fn handle_close(&mut self, session: SessionId, now: Now) -> Result<(), CloseError> {
        self.close(session, now)?;
        self.settle(now);
        Ok(())
    }

    /// Renames a session. An ended session that has the name gets a number.
    ///
    /// # Errors
    /// [`NameError`]
    pub fn handle_rename(&mut self, session: SessionId, name: Label, now: Now) -> Result<(), NameError> {
        self.rename(session, name)?;
        self.settle(now);
        Ok(())
    }

    /// Mail came for a session: it is kept when its process ends, whatever else happened in it.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_mail(&mut self, session: SessionId, now: Now) -> Result<(), UnknownSession> {
        self.edit_known(session, now, |record| record.kept = true)
    }

    /// Sets or clears the line that says what a session is doing.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_summary(
        &mut self,
        session: SessionId,
        summary: Option<Text<MAX_SUMMARY_BYTES>>,
        now: Now,
    ) -> Result<(), UnknownSession> {
        self.edit_known(session, now, |record| {
            record.kept |= summary.is_some();
            record.summary = summary;
        })
    }

    /// Hides a session from contacts, or shows it again.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_hide(&mut self, session: SessionId, hidden: bool, now: Now) -> Result<(), UnknownSession> {
        self.edit_known(session, now, |record| record.hidden = hidden)
    }

    /// Says when mail may reach a session's model.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_mute(
        &mut self,
        session: SessionId,
        mode: DeliveryMode,
        now: Now,
    ) -> Result<(), UnknownSession> {
        self.edit_known(session, now, |record| record.mode = mode)
    }

    /// Allows a session to read its person's desk, or forbids it.
    ///
    /// # Errors
    /// [`UnknownSession`]
    pub fn handle_desk(&mut self, session: SessionId, allowed: bool, now: Now) -> Result<(), UnknownSession> {
        self.edit_known(session, now, |record| record.desk = allowed)
    }

    /// A contact can receive now: it is told of the sessions here.
    ///
    /// For contacts behind relays that never say *up*, call it when this node connects.
    pub fn handle_contact_up(&mut self, account: Fingerprint, now: Now) {
        self.outgoing.up(account, now);
        self.settle(now);
    }

    /// None of a contact's devices is connected.
    pub fn handle_contact_down(&mut self, account: Fingerprint, now: Now) {
        self.outgoing.down(account);
        self.peers_down(account);
        self.settle(now);
    }

    /// This node lost its relay: nothing is known of any contact until it is heard again.
    pub fn handle_disconnected(&mut self, now: Now) {
        self.outgoing.all_down();
        self.peers_unknown();
        self.settle(now);
    }

    /// A contact is no contact any more: its lists are forgotten.
    pub fn handle_contact_gone(&mut self, account: Fingerprint, now: Now) {
        self.outgoing.down(account);
        self.peers_forget(account);
        self.settle(now);
    }

    /// A contact's device announced its sessions, in a message that was verified.
    pub fn handle_presence(
        &mut self,
        account: Fingerprint,
        device: DeviceId,
        incarnation: Incarnation,
        presence: Presence,
        now: Now,
    ) -> PresenceOutcome {
        let outcome = self.presence(account, device, incarnation, presence, now);
        self.settle(now);
        outcome
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Now) {
        self.lapse(now);
        self.settle(now);
    }

    /// The next thing to do, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Sessions::handle_timeout`] is due, on the monotonic clock.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadline
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// Follows aliases of merged sessions.
    pub(crate) fn canonical(&self, session: SessionId) -> Option<SessionId> {
        if self.local.contains_key(&session) {
            return Some(session);
        }
        // Merging repoints aliases, so one step is enough.
        self.aliases.get(&session).copied().filter(|into| self.local.contains_key(into))
    }

    /// Changes a record and remembers to store it when it differs.
    pub(crate) fn edit(&mut self, session: SessionId, change: impl FnOnce(&mut SessionRecord)) {
        if let Some(local) = self.local.get_mut(&session) {
            let before = local.record.clone();
            change(&mut local.record);
            if local.record != before {
                self.touched.insert(session);
            }
        }
    }

    fn edit_known(
        &mut self,
        session: SessionId,
        now: Now,
        change: impl FnOnce(&mut SessionRecord),
    ) -> Result<(), UnknownSession> {
        let session = self.canonical(session).ok_or(UnknownSession)?;
        self.edit(session, change);
        self.settle(now);
        Ok(())
    }

    pub(crate) fn touch(&mut self, session: SessionId) {
        self.touched.insert(session);
    }

    /// Ends every step: stores what changed, recomputes states, watches, announces, sets the deadline.
    fn settle(&mut self, now: Now) {
        for sid in std::mem::take(&mut self.touched) {
            let change = record::session_change(sid, self.local.get(&sid).map(|local| &local.record));
            self.command(Command::Change(change));
        }
        for local in self.local.values_mut() {
            local.refresh_state(now);
        }
        self.watch();
        self.announce(now);
        self.deadline = self.next_deadline(now);
    }

    fn watch(&mut self) {
        let wanted: BTreeSet<ProcessRef> =
            self.local.values().flat_map(|local| local.record.processes.iter().copied()).collect();
        for gone in self.watched.difference(&wanted).copied().collect::<Vec<_>>() {
            self.command(Command::Unwatch(gone));
        }
        for new in wanted.difference(&self.watched).copied().collect::<Vec<_>>() {
            self.command(Command::Watch(new));
        }
        self.watched = wanted;
    }

    fn next_deadline(&self, now: Now) -> Option<Duration> {
        let lives = self.local.values().filter_map(|local| local.deadline(now));
        lives.chain(self.outgoing.deadline()).min()
    }
}
