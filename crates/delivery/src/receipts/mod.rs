//! Receipts: those this device owes ([`ReceiptQueue`]) and those that come in.

mod merge;
mod owe;
mod queue;

pub(crate) use owe::Statement;
pub(crate) use queue::{Chosen, ReceiptQueue};
