//! Delivery of messages between nodes: outbox, stages and receipts, retry, expiry, duplicates, sealing again, receive keys,
//! and the inboxes of one node. A pure state machine: no clock, no socket, no file, no key material.
//!
//! ```text
//!  send ──▶ outbox ──▶ lanes (one a peer device) ──Command::Seal──▶ shell seals, deposits
//!                        ▲        ▲                                       │ handle_deposit_answer
//!                 receipts owed   └────────────────────────────────────────┘
//!                        │
//!  spool row ──shell opens──▶ handle_arrival ──▶ duplicate? order, receipts, keys ──▶ inbox ──take / commit──▶ agent
//!                                   └─ one record, then Command::Ack
//! ```
//!
//! [`Delivery`] is the machine; its documentation is the drive contract. It never seals or opens: it says what to seal
//! to which key ([`SealJob`]) and is told what an envelope held ([`Arrival`]). What it must remember are rows of
//! [`Table`]s, given out as [`Change`]s and read back through [`Records`].
//!
//! What it does not do: contacts and their keys, names of sessions, presence, wakes. Those are other machines; the
//! shell connects them.
//!
//! Rules: `docs/protocol.md` §1 (key rule), §3 (envelopes, sending again, receipts) and §5 (spool, deposits).

mod address;
mod arrivals;
mod command;
mod contacts;
mod event;
mod inbox;
mod keyring;
mod lane;
mod later;
mod ledger;
mod machine;
mod outbox;
mod receipts;
mod record;
mod spool;
mod stage;
mod step;
mod sweep;

pub use address::{MailKey, Mailbox, Peer};
pub use arrivals::{Arrival, HeldReason, Opened, Outcome, Placement, Verdict};
pub use command::{BodyParts, Command, KeyOffer, SealJob, SealKey, Sealed};
pub use contacts::{ContactInfo, Standing};
pub use event::Event;
pub use inbox::{
    Lease, LeaseId, MailView, QueryError, ResolveError, Selection, SurfaceError, Surfacing, Waiting, exact_id,
};
pub use keyring::{OFFER_LIFE_MS, PREKEY_PERIOD_MS, SEEDS_AT_A_TIME, SeedReport};
pub use ledger::{Change, LedgerError, Life, ReadFailed, Records, Row, Table};
pub use machine::{Delivery, OpenError};
pub use outbox::{
    Accepted, CopyReport, Destination, DismissError, NewMessage, OutboxEntry, RetryError, SendError,
    SentElsewhere, StageReport,
};
pub use record::{MailState, Marks, RecordError};
pub use spool::SpoolRow;
pub use stage::{Stage, TrailEvent, Witness};
pub use step::Step;
pub use sweep::HistoryLimits;
