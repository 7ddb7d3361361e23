//! What this command can say about who runs it.

use penpal_local_api::caller::Caller;

/// Evidence about this process: the agent above it, if any, and where it stands.
pub(crate) fn gather() -> Caller {
    penpal_agents::evidence::of_this_process()
}
