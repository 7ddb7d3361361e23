//! Commits what was shown, once it was shown: after the last byte of a tool's result reached the agent's pipe.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use penpal_local_api::mail::CommitRequest;
use penpal_local_api::methods::Commit;
use rmcp::RoleServer;
use rmcp::model::{JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::{StdioReader, StdioWriter, Transport};

use crate::launch::Node;

/// Leases of mail that answers under way will show, by request.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<RequestId, String>>);

impl Leases {
    /// Remembers that the answer to `request` shows the mail of `lease`.
    pub(super) fn shows(&self, request: RequestId, lease: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(request, lease);
    }

    fn take(&self, request: &RequestId) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(request)
    }
}

/// Standard input and output, with a commit behind each answer that shows mail.
pub(super) struct Committing {
    inner: AsyncRwTransport<RoleServer, StdioReader, StdioWriter>,
    node: Node,
    leases: Arc<Leases>,
}

impl Committing {
    pub(super) fn new((input, output): (StdioReader, StdioWriter), node: Node, leases: Arc<Leases>) -> Self {
        Self { inner: AsyncRwTransport::new(input, output), node, leases }
    }
}

impl Transport<RoleServer> for Committing {
    type Error = std::io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let lease = match &item {
            JsonRpcMessage::Response(response) => self.leases.take(&response.id),
            JsonRpcMessage::Error(_) | JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let node = self.node.clone();
        let sent = self.inner.send(item);
        async move {
            sent.await?;
            if let Some(lease) = lease {
                // Without this commit the mail is unread again after its lease: seen twice perhaps, never lost.
                let commit = move || node.call::<Commit>(&CommitRequest { lease });
                if let Ok(Err(error)) = tokio::task::spawn_blocking(commit).await {
                    tracing::debug!(%error, "shown mail could not be committed");
                }
            }
            Ok(())
        }
    }

    fn receive(&mut self) -> impl Future<Output = Option<RxJsonRpcMessage<RoleServer>>> + Send {
        self.inner.receive()
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}
