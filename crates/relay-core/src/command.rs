//! What goes into the machine beside requests, and what comes out.

use std::net::IpAddr;

use bytes::Bytes;
use penpal_protocol::ids::{AccountId, BlobId, SpoolEpoch};
use penpal_protocol::text::Label;
use penpal_protocol::wire::{Answer, DepositAnswer, Event, FrameKind};

use crate::rows::Usage;
use crate::spool;

/// One connection, numbered by the shell; a number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One request, numbered by the shell; unique among the unanswered ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Where a connection comes from, as coarse as providers hand out addresses: IPv4 /24, IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressPrefix([u8; 7]);

impl AddressPrefix {
    /// The prefix of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self([4, a, b, c, 0, 0, 0])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.octets();
                Self([6, a, b, c, d, e, f])
            }
        }
    }
}

/// What may be done with a part of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Its bytes may come. Once they are durable [`RelayCore::handle_blob_written`](crate::RelayCore::handle_blob_written) answers.
    Write {
        /// Whose blob it is.
        account: AccountId,
    },
    /// It may be read, and that is the answer.
    Read {
        /// Its length in bytes.
        bytes: usize,
    },
}

/// Why the relay ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// A newer connection of the same device took over.
    Replaced,
    /// The key is not welcome any more: its account is gone.
    Refused,
    /// The operator suspended its account.
    Suspended,
    /// Too many connections.
    Busy,
}

/// Something for a node's delivery stream. Order on one connection is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// A small event.
    Event(Event),
    /// A spool row.
    Row {
        /// Life of the spool.
        epoch: SpoolEpoch,
        /// Number of the row.
        seq: u64,
        /// The row as stored.
        row: Bytes,
    },
}

impl Push {
    /// The frame to send, or `None` for a stored row that nobody wrote.
    #[must_use]
    pub fn frame(&self) -> Option<(FrameKind, Bytes)> {
        match self {
            Self::Event(event) => Some((event.kind(), Bytes::from(event.encode()))),
            Self::Row { epoch, seq, row } => spool::frame(*epoch, *seq, row),
        }
    }

    /// The event that the node will see.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        match self {
            Self::Event(event) => Some(event.clone()),
            Self::Row { epoch, seq, row } => spool::event(*epoch, *seq, row),
        }
    }

    /// Whether it may be dropped when the connection's queue is full.
    #[must_use]
    pub fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Event(Event::Ephemeral(_)))
    }
}

/// What the shell has to do. All of it is true only after the step's commit, and comes only then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answer a request and end its stream.
    Answer {
        /// On which connection.
        conn: ConnId,
        /// Which request.
        request: RequestId,
        /// With what.
        answer: Answer,
    },
    /// Move a part of a blob as a request asks, in place of an answer.
    Grant {
        /// On which connection.
        conn: ConnId,
        /// Which request.
        request: RequestId,
        /// What may be done.
        grant: Grant,
    },
    /// Answer a deposit on the deposits stream.
    DepositAnswer {
        /// On which connection.
        conn: ConnId,
        /// With what.
        answer: DepositAnswer,
    },
    /// Send something on the delivery stream.
    Push {
        /// On which connection.
        conn: ConnId,
        /// What.
        push: Push,
    },
    /// End a connection; the machine has forgotten it already.
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// Remove the file of a blob.
    RemoveBlob {
        /// Which.
        blob: BlobId,
    },
    /// Answer the operator.
    Admin {
        /// Which request.
        request: RequestId,
        /// With what.
        answer: AdminAnswer,
    },
    /// Tell the operator that stored data is unusable. Once for each time it is met.
    Alarm {
        /// What is wrong, without ids of people.
        what: String,
    },
}

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminRequest {
    /// Mint a registration token.
    TokenNew {
        /// The operator's words for it, cut at 64 bytes.
        note: String,
        /// How long it may be used, in milliseconds.
        life_ms: u64,
        /// How many accounts it makes.
        uses: u32,
    },
    /// List the tokens that can be used.
    TokenList,
    /// Revoke tokens.
    TokenRevoke {
        /// A token, or the beginning of an id as [`TokenInfo`] gives it.
        which: String,
    },
    /// List accounts by handle: from after `after`, at most `limit`.
    Accounts {
        /// The handle shown last.
        after: Option<Label>,
        /// Most accounts in one answer.
        limit: usize,
    },
    /// Show one account.
    Account {
        /// Its handle.
        handle: Label,
    },
    /// Suspend an account, or take the suspension back.
    Suspend {
        /// Its handle.
        handle: Label,
        /// Whether it is suspended from now on.
        suspended: bool,
    },
    /// Remove an account with everything that is its own.
    Delete {
        /// Its handle.
        handle: Label,
    },
    /// Count what there is.
    Census,
}

/// What an operator is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAnswer {
    /// The new token. It is stored only as a hash: this is the one time it can be shown.
    TokenNew {
        /// Groups of four characters with dashes.
        token: String,
        /// About it.
        info: TokenInfo,
    },
    /// The tokens, oldest first.
    Tokens(Vec<TokenInfo>),
    /// These are revoked.
    TokensRevoked(Vec<TokenInfo>),
    /// Accounts, by handle.
    Accounts(Vec<AccountInfo>),
    /// One account, after whatever was asked to do with it. Of a removed one, what it was.
    Account(AccountInfo),
    /// No account has this handle.
    NoAccount,
    /// What there is.
    Census(Census),
    /// The disk is full.
    Full,
    /// Could not be done because of stored data; there is an alarm about it.
    Failed,
}

/// A token, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Names it: the beginning of its hash, 8 characters.
    pub id: String,
    /// The operator's words.
    pub note: String,
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
    /// Until when it works, Unix milliseconds.
    pub expires_ms: u64,
    /// How many accounts it can still make.
    pub uses_left: u32,
}

/// An account, as far as the relay knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its name.
    pub handle: Label,
    /// When it was made, minutes since the Unix epoch.
    pub made_minute: u32,
    /// Whether it is served.
    pub state: AccountState,
    /// Its devices, in the order in which they were added.
    pub devices: Vec<DeviceInfo>,
    /// Edges of its own: who may write to it.
    pub edges: u64,
    /// Edges of others here that it has linked: to whom it may write.
    pub links: u64,
    /// Invites that can be used, or were used and not taken up yet.
    pub invites: u64,
    /// Blobs of its own.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
}

/// Whether an account is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// It is.
    Active,
    /// Registered with an invite that is not redeemed yet.
    Provisional,
    /// The operator suspended it.
    Suspended,
}

/// A device of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Whether it receives now.
    pub receiving: bool,
    /// What waits for it.
    pub waiting: Usage,
}

/// What there is at a relay. Costs a look at every queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Accounts.
    pub accounts: u64,
    /// Edges, linked or not.
    pub edges: u64,
    /// Invites.
    pub invites: u64,
    /// Spools in which something waits.
    pub spools: u64,
    /// Rows in all spools.
    pub rows: u64,
    /// Bytes in all spools.
    pub bytes: u64,
    /// Minute of the row that waits longest, since the Unix epoch; `None` when nothing waits.
    pub oldest_minute: Option<u32>,
    /// Accounts that receive now.
    pub receiving: u64,
    /// Deposit ids remembered.
    pub deposit_marks: u64,
    /// Entries in memory, deposit ids among them.
    pub remembered: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes that their owners announced.
    pub blob_bytes: u64,
}

/// What became of a step's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// They are durable.
    Done,
    /// There was no room; none of them happened.
    Full,
}
