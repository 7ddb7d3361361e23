//! One file a command.

pub(crate) mod account;
pub(crate) mod completions;
pub(crate) mod contact;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod dismiss;
pub(crate) mod doctor;
pub(crate) mod hook;
pub(crate) mod inbox;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod mcp;
pub(crate) mod outbox;
pub(crate) mod overview;
pub(crate) mod read;
pub(crate) mod register;
pub(crate) mod reply;
pub(crate) mod retry;
pub(crate) mod send;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod statusline;
pub(crate) mod trace;
pub(crate) mod uninstall;
pub(crate) mod version;
