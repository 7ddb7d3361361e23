//! Rooms: who is in which, and which messages count.
//!
//! A room is a log of signed entries that only its owner's devices append to ([`Log`]); everybody in it holds the whole log and sends each message
//! to each device of each member. [`Rooms`] is the machine of one node: it appends for rooms of its own, takes the entries of others, tells members
//! what they lack, and says of every message from a room whether it is taken, held until an entry comes, or refused.
//!
//! Devices of one account are in the same rooms: they tell each other what their person decides, and of a room of theirs one device alone
//! appends.
//!
//! It knows entries and ids, never texts, sockets or files. Time and randomness are arguments; everything it must remember leaves it as
//! [`Command::Persist`]. How it is driven stands on [`Rooms`]. The rules are in `docs/protocol.md`, section 7.
//!
//! ```text
//! create, invite, join, … ─┐                ┌─ Persist  rows
//! news of contacts ────────┼─▶ Rooms ───────┼─ Send     news for contacts
//! a message from a room ───┘   (judge)      └─ Release, Refuse  messages that waited
//! ```

mod asking;
mod command;
mod devices;
mod error;
mod introduce;
mod judge;
mod log;
mod machine;
mod news;
mod own;
mod record;
mod restore;
mod view;

pub use command::{Command, Notice};
pub use error::{NewsError, RoomError};
pub use introduce::Introduction;
pub use judge::{MAX_HELD, Said};
pub use log::{Log, Member, Membership, Taken};
pub use machine::{MAX_ROOMS, Manifests, Me, Rooms, Step};
pub use record::{Change, RowError, Standing, Table};
pub use restore::Restoring;
pub use view::{Fanout, RoomView};
