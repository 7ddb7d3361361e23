//! `penpal mcp`

use crate::cli::{Context, Done, Failure};

/// Serve MCP on standard input and output (started by agents)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: &Args, context: &Context) -> Done {
    crate::mcp::run(&context.home).map_err(Failure::Api)
}
