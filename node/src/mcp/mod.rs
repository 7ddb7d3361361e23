//! The MCP server that agents start: nine tools over the node's local API, on standard input and output.
//!
//! It decides nothing. Every call gathers evidence about its caller and goes to the node; mail that a tool's result shows is committed once
//! the result's last byte was handed to the agent (`transport`). Only protocol is written to standard output.

mod rooms;
mod schema;
mod server;
mod shapes;
mod texts;
mod transport;

use std::sync::Arc;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;
use rmcp::ServiceExt;

use crate::launch::{Node, Start};
use server::Server;
use transport::{Committing, Leases};

/// Serves until the agent closes the input or ends this process.
///
/// # Errors
/// When the streams cannot be used.
pub fn run(home: &Home) -> Result<(), ApiError> {
    // A new server means that an agent's window was opened: a stop by hand is over. Later calls of this server respect the next one.
    if let Err(error) = crate::launch::clear_stop_mark(home) {
        tracing::debug!(%error, "the mark of a stop by hand stays");
    }
    let failed = |what: String| ApiError::new(ErrorCode::Internal, what);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_stack_size(256 * 1024)
        .build()
        .map_err(|error| failed(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let node = Node::new(home.clone(), Start::UnlessStopped);
        let leases = Arc::new(Leases::default());
        let server = Server::new(node.clone(), Arc::clone(&leases));
        let streams = Committing::new(rmcp::transport::stdio_pipes(), node, leases);
        let running =
            server.serve(streams).await.map_err(|error| failed(format!("MCP did not begin: {error}")))?;
        running.waiting().await.map_err(|error| failed(format!("MCP ended: {error}")))?;
        Ok(())
    })?;
    // A blocked call to the node must not keep a server whose agent is gone.
    runtime.shutdown_background();
    Ok(())
}
