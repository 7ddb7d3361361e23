//! Decides how blobs move between a node and relays: which parts next, what again and when.
//!
//! It knows numbers of parts, never bytes, files or connections: whoever drives it does what its commands say and reports what came of it.
//! What is moved already is asked of whoever has it (the relay, or the half-written file), so nothing of a transfer needs to be stored.
//!
//! ```
//! use std::time::Duration;
//! use penpal_protocol::{blob::PartSet, ids::BlobId};
//! use penpal_transfer::{Command, Direction, Outcome, Transfers};
//!
//! let (blob, now) = (BlobId::from_bytes([1; 16]), Duration::ZERO);
//! let mut transfers = Transfers::default();
//! transfers.add(blob, Direction::Up, 2, now);
//! assert_eq!(transfers.poll_command(now), Some(Command::Open { blob }));
//! // The relay has the first part of an earlier try.
//! let mut there = PartSet::default();
//! there.insert(0);
//! transfers.handle_opened(blob, Ok(there), now);
//! assert_eq!(transfers.poll_command(now), Some(Command::Move { blob, part: 1 }));
//! transfers.handle_moved(blob, 1, Ok(()), now);
//! assert_eq!(transfers.poll_command(now), Some(Command::Finish { blob }));
//! transfers.handle_finished(blob, Ok(()), now);
//! assert_eq!(transfers.poll_outcome(), Some(Outcome::Done { blob }));
//! ```

mod job;
mod transfers;

pub use job::{Direction, Progress, Trouble};
pub use transfers::{Command, FIRST_IN_FLIGHT, MAX_IN_FLIGHT, MAX_PACED, Outcome, Transfers};
