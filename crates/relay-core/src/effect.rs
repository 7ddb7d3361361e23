//! What a step does once it is durable, and what it says when it is not.

use penpal_protocol::ids::{AccountId, BlobId, DepositId, EdgeId, RunId, SlotId};
use penpal_protocol::limits::MAX_CONTACTS;
use penpal_protocol::time::Now;
use penpal_protocol::wire::{
    Answer, DepositAnswer, DepositOutcome, EdgeState, Event, HelloAnswer, RefusalCode,
};

use crate::command::{AdminAnswer, CloseReason, Command, ConnId, Grant, Push, RequestId};
use crate::connections::Receiving;
use crate::core::RelayCore;
use crate::rows::{Rows, RowsError, Table, keys};
use crate::secrets::LinkTag;

/// Index keys read for one announcement: more than any account has.
const MAX_ANNOUNCED: usize = 4 * MAX_CONTACTS;

/// Something to do after the commit.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Answer a request.
    Answer { conn: ConnId, request: RequestId, answer: Answer },
    /// Let a part of a blob move, in place of an answer.
    Grant { conn: ConnId, request: RequestId, grant: Grant },
    /// Answer an acknowledgement, which needs no commit.
    Acknowledged {
        conn: ConnId,
        request: RequestId,
        answer: Answer,
        slot: SlotId,
        up_to: u64,
        gaps: Vec<u64>,
    },
    /// Answer a deposit.
    DepositAnswer { conn: ConnId, deposit: DepositId, outcome: DepositOutcome },
    /// Send something.
    Push { conn: ConnId, push: Push },
    /// Pass an envelope on if its device is there.
    Ephemeral { slot: SlotId, push: Push },
    /// A row is in a spool.
    Spooled { slot: SlotId, seq: u64, row: bytes::Bytes },
    /// Start sending a spool.
    Receive(Box<Receive>),
    /// Two copies of a device: neither receives.
    Clone { conn: ConnId, request: RequestId, answer: HelloAnswer, other: ConnId },
    /// A local account has linked an edge.
    Linked { edge: EdgeId, owner: AccountId, linker: LinkTag },
    /// An edge is gone.
    Unlinked { edge: EdgeId, linker: LinkTag },
    /// Tell everybody who linked an edge of the account that nobody is there, unless somebody is again.
    Down { account: AccountId },
    /// An account was made over this connection.
    Registered { conn: ConnId },
    /// A key is worth nothing any more.
    Dismiss { peer: penpal_protocol::ids::TransportPublicKey, reason: CloseReason },
    /// A blob is gone, and its file goes.
    RemoveBlob { blob: BlobId },
    /// Answer the operator.
    Admin { request: RequestId, answer: AdminAnswer },
}

/// A `Hello` that starts receiving.
#[derive(Debug)]
pub(crate) struct Receive {
    pub(crate) conn: ConnId,
    pub(crate) request: RequestId,
    pub(crate) answer: HelloAnswer,
    pub(crate) account: AccountId,
    pub(crate) slot: SlotId,
    /// What the connection had said before, in case the step does not happen.
    pub(crate) before: Option<(SlotId, RunId)>,
}

impl RelayCore {
    /// Does one effect of a step that happened.
    pub(crate) fn carry_out(&mut self, effect: Effect, rows: &dyn Rows, now: Now) -> Result<(), RowsError> {
        match effect {
            Effect::Answer { conn, request, answer } => self.say(conn, request, answer),
            Effect::Grant { conn, request, grant } => {
                if self.conns.get(conn).is_some() {
                    self.commands.push_back(Command::Grant { conn, request, grant });
                }
            }
            Effect::Acknowledged { conn, request, answer, slot, up_to, gaps } => {
                self.say(conn, request, answer);
                self.acknowledged(&slot, up_to, &gaps);
            }
            Effect::DepositAnswer { conn, deposit, outcome } => self.say_deposit(conn, deposit, outcome),
            Effect::Push { conn, push } => self.send(conn, push),
            Effect::Ephemeral { slot, push } => {
                if let Some(conn) = self.conns.receiver(&slot) {
                    self.send(conn, push);
                }
            }
            Effect::Spooled { slot, seq, row } => self.spooled(&slot, seq, row),
            Effect::Receive(receive) => self.receive(*receive, rows, now)?,
            Effect::Clone { conn, request, answer, other } => {
                self.stop(other, now);
                self.send(other, Push::Event(Event::Cloned));
                self.stop(conn, now);
                self.say(conn, request, Answer::Hello(answer));
            }
            Effect::Linked { edge, owner, linker } => {
                if self.presence.is_up(&owner) {
                    self.tell(&linker, edge, true);
                }
            }
            Effect::Unlinked { edge, linker } => self.tell(&linker, edge, false),
            Effect::Down { account } => self.announce_down(&account, rows)?,
            Effect::Registered { conn } => self.conns.no_stranger(conn),
            Effect::Dismiss { peer, reason } => {
                for conn in self.conns.of_peer(&peer).to_vec() {
                    self.close(conn, reason, now);
                }
            }
            Effect::RemoveBlob { blob } => self.commands.push_back(Command::RemoveBlob { blob }),
            Effect::Admin { request, answer } => self.commands.push_back(Command::Admin { request, answer }),
        }
        Ok(())
    }

    /// Says for one effect that its step did not happen.
    pub(crate) fn refuse(
        &mut self,
        effect: Effect,
        code: RefusalCode,
        rows: &dyn Rows,
    ) -> Result<(), RowsError> {
        match effect {
            Effect::Answer { conn, request, .. }
            | Effect::Grant { conn, request, .. }
            | Effect::Clone { conn, request, .. } => {
                self.say(conn, request, Answer::refused(code));
            }
            // Acknowledgements stand on their own: they are kept until a commit takes them.
            Effect::Acknowledged { conn, request, answer, slot, up_to, gaps } => {
                self.say(conn, request, answer);
                self.acknowledged(&slot, up_to, &gaps);
            }
            Effect::DepositAnswer { conn, deposit, .. } => {
                self.say_deposit(conn, deposit, DepositOutcome::Full);
            }
            Effect::Receive(receive) => {
                self.conns.set_hello(receive.conn, receive.before);
                self.say(receive.conn, receive.request, Answer::refused(code));
            }
            Effect::Admin { request, .. } => {
                let answer = if code == RefusalCode::Full { AdminAnswer::Full } else { AdminAnswer::Failed };
                self.commands.push_back(Command::Admin { request, answer });
            }
            // True whether or not anything was stored.
            Effect::Push { conn, push } => self.send(conn, push),
            Effect::Down { account } => self.announce_down(&account, rows)?,
            Effect::Ephemeral { .. }
            | Effect::Spooled { .. }
            | Effect::Linked { .. }
            | Effect::Unlinked { .. }
            | Effect::Registered { .. }
            | Effect::RemoveBlob { .. }
            | Effect::Dismiss { .. } => {}
        }
        Ok(())
    }

    fn say(&mut self, conn: ConnId, request: RequestId, answer: Answer) {
        if self.conns.get(conn).is_some() {
            self.commands.push_back(Command::Answer { conn, request, answer });
        }
    }

    fn say_deposit(&mut self, conn: ConnId, deposit: DepositId, outcome: DepositOutcome) {
        if self.conns.get(conn).is_some() {
            self.commands
                .push_back(Command::DepositAnswer { conn, answer: DepositAnswer { deposit, outcome } });
        }
    }

    pub(crate) fn send(&mut self, conn: ConnId, push: Push) {
        if self.conns.get(conn).is_some() {
            self.commands.push_back(Command::Push { conn, push });
        }
    }

    /// Starts sending a spool; older connections of the same device end.
    fn receive(&mut self, what: Receive, rows: &dyn Rows, now: Now) -> Result<(), RowsError> {
        if self.conns.get(what.conn).is_none() {
            return Ok(());
        }
        for older in self.conns.of_slot(&what.slot).to_vec() {
            if older != what.conn {
                self.close(older, CloseReason::Replaced, now);
            }
        }
        let epoch = what.answer.epoch;
        self.say(what.conn, what.request, Answer::Hello(what.answer));
        self.conns.start_receiving(
            what.conn,
            Receiving {
                account: what.account,
                slot: what.slot,
                epoch,
                cursor: 0,
                caught_up: false,
                in_flight: std::collections::VecDeque::new(),
                in_flight_bytes: 0,
            },
        );
        let tag = self.graph.link_tag(&what.account);
        if self.presence.join(what.account, tag, what.conn) {
            self.announce(&what.account, true, rows)?;
        }
        for key in rows.keys(Table::LinkedEdge, tag.as_bytes(), None, MAX_ANNOUNCED)? {
            if let Some((edge, owner)) = keys::read_linked_edge(&key)
                && self.presence.is_up(&owner)
            {
                self.send(what.conn, Push::Event(Event::EdgeState(EdgeState { edge, up: true })));
            }
        }
        self.wants_backlog(what.conn);
        Ok(())
    }

    /// Says that an account has gone; not of one that came again in the same step, which has said so already.
    fn announce_down(&mut self, account: &AccountId, rows: &dyn Rows) -> Result<(), RowsError> {
        if self.presence.is_up(account) {
            return Ok(());
        }
        self.announce(account, false, rows)
    }

    /// Tells everybody connected who linked an edge of this account.
    fn announce(&mut self, account: &AccountId, up: bool, rows: &dyn Rows) -> Result<(), RowsError> {
        for key in rows.keys(Table::OwnedEdge, account.as_bytes(), None, MAX_ANNOUNCED)? {
            if let Some((edge, Some(linker))) = keys::read_owned_edge(&key) {
                self.tell(&linker, edge, up);
            }
        }
        Ok(())
    }

    fn tell(&mut self, linker: &LinkTag, edge: EdgeId, up: bool) {
        let conns: Vec<ConnId> = self.presence.conns_of(linker).collect();
        for conn in conns {
            self.send(conn, Push::Event(Event::EdgeState(EdgeState { edge, up })));
        }
    }

    /// Stops sending on a connection, which stays.
    fn stop(&mut self, conn: ConnId, now: Now) {
        self.backlog.remove(conn);
        if let Some(account) = self.conns.stop_receiving(conn) {
            self.presence.leave(account, conn, now.mono);
        }
    }

    /// Forgets a connection.
    pub(crate) fn forget(&mut self, conn: ConnId, now: Now) {
        self.stop(conn, now);
        self.conns.remove(conn);
    }

    /// Ends a connection.
    pub(crate) fn close(&mut self, conn: ConnId, reason: CloseReason, now: Now) {
        self.forget(conn, now);
        self.commands.push_back(Command::Close { conn, reason });
    }
}
