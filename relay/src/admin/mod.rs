//! Commands of the operator: through a socket to the running relay, or on the folder of a stopped one.

mod client;
mod perform;
mod server;
mod shape;

pub(crate) use client::{AskError, is_running, run};
pub(crate) use perform::Office;
pub(crate) use server::serve;
pub use shape::check_question;
pub(crate) use shape::{AccountShape, Ask, Failure, Reply, StatsShape, TokenShape};
