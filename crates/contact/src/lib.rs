//! Who may write to us: our account, invites, requests, contacts, and what becomes of their keys.
//!
//! [`Contacts`] is a pure machine. It makes and uses invites, keeps the devices and keys of contacts, publishes our own profile,
//! and tells other parts which edges, keys and devices count. It never sees mail, opens no socket and reads no clock; its shell
//! carries out [`Command`]s. The drive contract stands on [`Contacts`].
//!
//! ```text
//!            operations, answers, redeemed, control ──▶ ┌──────────┐ ──▶ Persist        (the step's batch)
//!                                                       │ Contacts │ ──▶ Relay          (a request; its answer comes back)
//!            delivered, refused, timeout ─────────────▶ └──────────┘ ──▶ Deliver        (a control message for the outbox)
//!                                                             │     ──▶ KeepSecret/EraseSecret (the key file)
//!   which keys open, where to deposit, which devices ◀────────┘     ──▶ Notice         (for people)
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `machine` | the machine: own account, inviting, adding, accepting, keeping, learning |
//! | `record` | what is stored |
//! | `jobs` | which requests are wanted, under way, or waiting for another try |
//! | `command`, `notice` | what it asks of its shell and tells people |
//! | `error` | why an operation was refused |
//!
//! Source: `docs/protocol.md` §1, §2, §4, §5.

mod command;
mod error;
mod jobs;
mod machine;
mod notice;
mod record;

pub use command::{At, By, Command, Deliver, KeepSecret, RelayCall, Route, Token, Unreachable};
pub use error::{
    AcceptRequestError, AddError, ContactError, ControlError, DeviceError, InviteError, JoinError,
    LinkDeviceError, PublishError, RecoverError, RegisterError, UnknownName,
};
pub use machine::{
    ContactView, Contacts, DeviceView, Found, Heard, InviteStatus, InviteView, MAX_INVITE_LIFE_MS,
    MAX_INVITES_AT_ONCE, MAX_OPEN_INVITES, MIN_INVITE_LIFE_MS, Me, NewAccount, NewCode, Opener, OwnDevice,
    PeerKeys, Removed, Restoring, Revoke, State, Step, Via,
};
pub use notice::{AddFailure, JoinFailure, Notice, RecoveryFailure, RegistrationFailure};
pub use record::{Change, InviteEnd, KeyChange, RowError, Table, Trust};
