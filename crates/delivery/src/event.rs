//! What the machine tells the shell: for waiting callers, wakes, notices and logs.

use penpal_protocol::ids::{Fingerprint, MsgId};
use penpal_protocol::sealed::Kind;

use crate::address::{MailKey, Mailbox, Peer};
use crate::stage::Stage;

/// Something that happened. Shown or acted upon once the step is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Mail can be seen in a mailbox from now on: it arrived, or its hold ended.
    Arrived {
        /// The message.
        key: MailKey,
        /// Where it is.
        mailbox: Mailbox,
        /// What it is.
        kind: Kind,
        /// Kind of the own message that it answers.
        answers: Option<Kind>,
        /// Wakes that its sender allowed.
        wake_budget: u8,
    },
    /// An own message, over all its copies, reached another stage.
    Stage {
        /// The message.
        msg_id: MsgId,
        /// The stage that is true for it as a whole.
        stage: Stage,
        /// The answer, when `stage` is answered.
        reply: Option<MailKey>,
    },
    /// An own message got through to somebody, and one of the accounts that it went to will not have it.
    FailedFor {
        /// The message.
        msg_id: MsgId,
        /// The account.
        account: Fingerprint,
        /// Refused or expired.
        stage: Stage,
    },
    /// Mail was surfaced, read or moved: the mailbox's counts changed.
    Mailbox {
        /// The mailbox.
        mailbox: Mailbox,
    },
    /// A message of somebody else was read or answered here.
    Read {
        /// The message.
        key: MailKey,
        /// Where it is.
        mailbox: Mailbox,
        /// Whether it was answered.
        answered: bool,
    },
    /// The contact's relay takes nothing for it any more: removed there, or the account is gone.
    Gone {
        /// The contact.
        account: Fingerprint,
    },
    /// A deposit was taken again after [`Event::Gone`].
    Back {
        /// The contact.
        account: Fingerprint,
    },
    /// The peer's database is another one than before: restored from a backup, or new.
    IncarnationChanged {
        /// The device.
        peer: Peer,
    },
    /// Messages of this device are missing, or their chain does not fit.
    Gap {
        /// The device.
        peer: Peer,
    },
    /// A message came under the id of an earlier one that was different.
    IdReused {
        /// The device.
        peer: Peer,
        /// The id.
        msg_id: MsgId,
    },
    /// An envelope from nobody that is known was dropped.
    Foreign,
    /// An envelope from this contact could not be opened; it is asked for again.
    Unreadable {
        /// The contact.
        account: Fingerprint,
    },
}
