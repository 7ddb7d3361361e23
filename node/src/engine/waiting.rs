//! Calls that wait for something: each is looked at in every step, and answered when it holds or its time is over.

use std::time::Duration;

use penpal_contact::Notice;
use penpal_delivery::{MailKey, Stage};
use penpal_local_api::mail::{InboxRequest, TakeRequest};
use penpal_protocol::ids::{BlobId, Fingerprint, Hash, InviteId, MsgId, SessionId};
use penpal_wake::Rung;

use super::{CallId, LinkId};
use crate::daemon::link::Trouble;

/// Most calls that wait at once; one more is answered with what is true now.
pub(super) const MAX_WAITING: usize = 512;

/// What a call waits for.
#[derive(Debug)]
pub(super) enum Wait {
    /// A better stage of an own message.
    Sent(SentWait),
    /// Mail to list. Who calls was told when the call came: waiting is no sign of life.
    Inbox { request: Box<InboxRequest>, own: Option<SessionId> },
    /// Mail to take.
    Take { request: Box<TakeRequest>, session: SessionId },
    /// A session that is to be woken by the caller: by itself, or as the one of a supervised terminal.
    Wake { session: Option<SessionId>, run: Option<String>, rung: Rung },
    /// A content that is fetched.
    Fetched { hash: Hash, blob: BlobId, name: String, bytes: u64 },
    /// An account.
    Account,
    /// Invites that the relay must take first.
    Invites(Vec<InviteId>),
    /// A code that is being used.
    Added {
        invite: InviteId,
        inviter: Fingerprint,
        /// An account was made with it.
        registers: bool,
        /// Wait for the other side's decision, too.
        decision: bool,
    },
    /// A code for a device that the relay must take first.
    Linked { invite: InviteId, code: String, expires_ms: u64 },
    /// Becoming a device.
    Joined,
    /// What the relay keeps of the account of a recovery code, or being that account.
    Recovered { decided: bool },
    /// The relay must hear of a revoked device.
    Revoked { name: String },
    /// The relay must hear of a removed contact.
    Removed { contact: Fingerprint, name: String },
}

/// Waiting for a message that was sent.
#[derive(Debug, Clone)]
pub(super) struct SentWait {
    pub(super) msg_id: MsgId,
    pub(super) goal: Goal,
    /// Whether not reaching the goal is to be said.
    pub(super) strict: bool,
    pub(super) remarks: Vec<String>,
    pub(super) mechanism: Option<String>,
}

/// What is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Durable here.
    Queued,
    /// This stage or a better one.
    Stage(Stage),
    /// The answer.
    Reply,
}

/// One waiting call.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) call: CallId,
    pub(super) wait: Wait,
    /// On the monotonic clock.
    pub(super) until: Duration,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) parked: Vec<Parked>,
    /// What the contact machine said in this step.
    pub(super) heard: Vec<Notice>,
    /// Name of the exchange in which a relay refused something in this step.
    pub(super) refused: Option<String>,
    /// Why the home link failed, since it was last up.
    pub(super) trouble: Option<Trouble>,
}

impl Waiting {
    pub(super) fn forget(&mut self, call: CallId) {
        self.parked.retain(|parked| parked.call != call);
    }

    pub(super) fn drop_all(&mut self) -> Vec<CallId> {
        self.parked.drain(..).map(|parked| parked.call).collect()
    }

    pub(super) fn note(&mut self, notice: &Notice) {
        self.heard.push(notice.clone());
    }

    pub(super) fn note_trouble(&mut self, link: LinkId, trouble: &Trouble) {
        if link == LinkId::HOME {
            self.trouble = Some(trouble.clone());
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.parked.iter().map(|parked| parked.until).min()
    }
}

/// Whether the messages name the same one.
pub(super) fn own(msg_id: MsgId) -> MailKey {
    MailKey::own(msg_id)
}
