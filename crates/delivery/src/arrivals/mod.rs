//! What comes out of the spool: every envelope ends in one record, then it is acknowledged.

mod opened;
mod order;

pub(crate) use opened::revives;

use penpal_protocol::ids::{Fingerprint, KeyId, MsgId, ShortHash};
use penpal_protocol::limits::{DAY_MS, DUPLICATE_MARK_GRACE_MS, SPOOL_ROW_LIFE_MS};
use penpal_protocol::sealed::{Body, Content, Stage as StatedStage};

use crate::address::{MailKey, Mailbox, Peer};
use crate::event::Event;
use crate::ledger::{ReadFailed, Records, Table};
use crate::machine::Delivery;
use crate::receipts::Statement;
use crate::record::{MailRecord, SeenRecord};
use crate::spool::SpoolRow;
use crate::step::Step;

/// Chain value before the first message of a pair.
pub(crate) const NO_CHAIN: ShortHash = ShortHash::from_bytes([0; 16]);

/// How long the mark of an envelope is kept that could not be read, in milliseconds: as long as a relay may show it again.
const UNREAD_MARK_MS: u64 = SPOOL_ROW_LIFE_MS + DAY_MS;

/// One envelope from the spool, with what the shell found out about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its row; absent for an envelope that did not come through the spool.
    pub row: Option<SpoolRow>,
    /// Labelled hash of its encapsulation: the mark by which it is known again.
    pub enc: ShortHash,
    /// Labelled hash of the whole envelope: the name by which it is asked for.
    pub envelope: ShortHash,
    /// What the shell found.
    pub verdict: Verdict,
}

/// What the shell found out about an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It opened, its signature verifies, and sender and recipient are who they should be.
    Opened(Box<Opened>),
    /// The hint names a contact, but the key is unknown or opening failed.
    Unreadable {
        /// The contact.
        account: Fingerprint,
    },
    /// No contact's hint fits.
    Foreign,
    /// It opened and verifies like [`Verdict::Opened`], and its letter does not count here: only its mark stays, so that it ends so
    /// however often it comes, and its sender is told.
    Declined {
        /// The envelope.
        opened: Box<Opened>,
        /// Why, in one word such as `not-a-member`.
        reason: String,
    },
    /// It opened, and nothing is to be made of it or answered.
    Ignored,
    /// It opened and is not taken, for a reason that is told to its sender when `from` is given.
    Refused {
        /// A device of the contact's manifest that signed it.
        from: Option<Peer>,
        /// Its id.
        msg_id: MsgId,
        /// When it ends, Unix milliseconds.
        expires_ms: u64,
        /// Why, in one word such as `malformed`.
        reason: String,
    },
}

/// An envelope's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Key that opened it.
    pub key: KeyId,
    /// The body.
    pub body: Body,
    /// Its content, parsed.
    pub content: Content,
    /// Where a letter goes; ignored for other kinds.
    pub placement: Placement,
}

/// Where a letter goes on this machine, as the shell resolved its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Why it waits there for something else.
    pub held: Option<HeldReason>,
    /// For somebody else in its room: it is kept, and waits for nobody here.
    pub quiet: bool,
}

/// Why a message is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeldReason {
    /// This machine has no session of that name; it is in the desk.
    NoSuchSession,
    /// The session is gone; it was moved to the desk.
    SessionGone,
    /// Waking the session is used up for now.
    WakeBudget,
    /// The contact was accepted by no person yet.
    AwaitingPerson,
    /// It was sent more than a day from now; one of the clocks is wrong.
    ClockAhead,
    /// It names an entry of its room's membership log that has not come.
    RoomEpoch,
}

impl HeldReason {
    /// The word in receipts and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchSession => "no-such-session",
            Self::SessionGone => "session-gone",
            Self::WakeBudget => "wake-budget",
            Self::AwaitingPerson => "awaiting-person",
            Self::ClockAhead => "clock-ahead",
            Self::RoomEpoch => "room-epoch",
        }
    }
}

/// What became of an arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// New mail.
    Stored {
        /// The message.
        key: MailKey,
    },
    /// A new control message: its content is for the contact machine, in this step.
    Control {
        /// The message.
        key: MailKey,
    },
    /// Receipts, or a request to seal again: taken.
    Taken,
    /// Known already.
    Duplicate,
    /// Not taken; the sender is told when it can be.
    Refused {
        /// Why.
        reason: String,
    },
    /// Nothing is kept of it but its mark: from nobody, from a blocked contact, unreadable, or of a kind that has no place here.
    Dropped,
    /// A row of an earlier life of the spool: not even acknowledged.
    Stale,
}

impl Delivery {
    /// Whether an envelope with this mark was processed, so that it need not be opened: see [`Self::handle_seen`].
    ///
    /// # Errors
    /// [`ReadFailed`].
    pub fn is_seen(&self, enc: &ShortHash, records: &dyn Records) -> Result<bool, ReadFailed> {
        self.ledger.peek_bytes(records, Table::Seen, enc.as_bytes()).map(|mark| mark.is_some())
    }

    /// An envelope came again that was processed before; it was not opened.
    pub fn handle_seen(&mut self, row: Option<SpoolRow>, enc: &ShortHash, step: &mut Step<'_>) -> Outcome {
        self.begin(step);
        if !self.is_current(row) {
            return Outcome::Stale;
        }
        let mark: Option<SeenRecord> = self.ledger.get(step.records, Table::Seen, enc.as_bytes());
        if let Some(SeenRecord { from: Some(peer), msg_id: Some(msg_id), .. }) = mark {
            let key = MailKey::from_contact(msg_id, peer.account).to_key();
            if let Some(mail) = self.ledger.get::<MailRecord>(step.records, Table::Mail, &key) {
                self.owe_present_stage(peer, &mail);
            }
        }
        self.row_done(row, step);
        Outcome::Duplicate
    }

    /// Takes one envelope. All that follows from it is one set of changes, and only then is its row acknowledged.
    pub fn handle_arrival(&mut self, arrival: Arrival, step: &mut Step<'_>) -> Outcome {
        self.begin(step);
        if !self.is_current(arrival.row) {
            return Outcome::Stale;
        }
        if self.ledger.get_bytes(step.records, Table::Seen, arrival.enc.as_bytes()).is_some() {
            return self.handle_seen(arrival.row, &arrival.enc, step);
        }
        let now_ms = step.now.wall_ms;
        let mut seen = SeenRecord {
            until_ms: now_ms.saturating_add(UNREAD_MARK_MS),
            from: None,
            msg_id: None,
            answered: None,
        };
        let outcome = match arrival.verdict {
            Verdict::Opened(opened) => {
                note(&mut seen, &opened.body);
                self.opened(*opened, None, step)
            }
            Verdict::Declined { opened, reason } => {
                note(&mut seen, &opened.body);
                self.opened(*opened, Some(reason), step)
            }
            Verdict::Unreadable { account } => {
                if self.contacts.get(&account).is_some() {
                    self.want_reseal(account, arrival.envelope, step);
                }
                Outcome::Dropped
            }
            Verdict::Foreign => {
                self.events.push_back(Event::Foreign);
                // No mark: the relay can make up any number of these, and one that comes again is foreign again.
                self.row_done(arrival.row, step);
                return Outcome::Dropped;
            }
            Verdict::Ignored => Outcome::Dropped,
            Verdict::Refused { from, msg_id, expires_ms, reason } => {
                seen.until_ms = expires_ms.saturating_add(DUPLICATE_MARK_GRACE_MS);
                if let Some(peer) = from {
                    let mut statement = Statement::new(msg_id, StatedStage::Refused, now_ms, expires_ms);
                    statement.reason = Some(reason.clone());
                    self.owe(peer, statement);
                }
                Outcome::Refused { reason }
            }
        };
        self.ledger.put(Table::Seen, arrival.enc.as_bytes(), &seen);
        self.row_done(arrival.row, step);
        outcome
    }

    /// A row that is no envelope, such as a redeemed invite, is recorded in this step by another machine.
    pub fn handle_other_row(&mut self, row: SpoolRow, step: &mut Step<'_>) -> bool {
        self.begin(step);
        let current = self.spool.is_current(row);
        self.row_done(Some(row), step);
        current
    }

    /// A row cannot be processed yet; it stays at the relay and comes again after the next connection.
    pub fn defer_row(&mut self, row: SpoolRow, step: &mut Step<'_>) {
        self.begin(step);
        self.spool.defer(row, step.now.mono);
        self.save_spool();
    }

    /// The relay answered an acknowledgement. Returns `false` when its spool has another life: say `Hello` again.
    pub fn handle_acked(
        &mut self,
        epoch: penpal_protocol::ids::SpoolEpoch,
        newest: u64,
        step: &mut Step<'_>,
    ) -> bool {
        self.begin(step);
        self.spool.acked(epoch, newest)
    }

    /// An acknowledgement was refused, or not answered in time.
    pub fn handle_ack_lost(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        self.spool.ack_lost();
    }

    fn is_current(&self, row: Option<SpoolRow>) -> bool {
        row.is_none_or(|row| self.spool.is_current(row))
    }

    fn row_done(&mut self, row: Option<SpoolRow>, step: &Step<'_>) {
        let Some(row) = row else { return };
        let drained = self.spool.done(row, step.now.mono);
        self.save_spool();
        self.keyring.spool_moved(step.now.mono);
        if drained {
            self.touch_all();
        }
    }
}

/// Notes in the mark of an envelope what it was.
fn note(seen: &mut SeenRecord, body: &Body) {
    seen.until_ms = body.expires_ms.saturating_add(DUPLICATE_MARK_GRACE_MS);
    seen.from = Some(Peer::new(body.from, body.from_device));
    seen.msg_id = Some(body.msg_id);
}
