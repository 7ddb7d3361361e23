//! The hostile relay: real nodes, real QUIC, and a relay that lies in every way that the protocol leaves it.
//!
//! Each test is one attack, or attacks of one kind, and says what the nodes do and what their people see. The table of attacks and
//! outcomes stands in `docs/threat-model.md`. Whatever the relay does, four things hold: no receipt that its recipient did not sign,
//! no loss of which the sender is not told, nothing delivered twice, nothing delivered that its sender did not write.
//!
//! | module | attacks |
//! | --- | --- |
//! | `double` | none: the relay itself |
//! | `scene` | none: two people on it |
//! | `mail` | envelopes on their way |
//! | `claims` | what is said of deposits and receipts |
//! | `spool` | epochs, row numbers, rollbacks and clones |
//! | `invites` | becoming contacts |
//! | `profiles` | manifests and bundles |
//! | `silence` | no answers, wrong answers, broken connections |
//! | `floods` | more than anybody can hold |

#![expect(clippy::wildcard_enum_match_arm, reason = "a lie is about one kind of frame; all others pass")]

mod claims;
mod double;
mod floods;
mod invites;
mod mail;
mod profiles;
mod scene;
mod silence;
mod spool;
