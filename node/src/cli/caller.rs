//! What this command can say about who runs it.

use penpal_local_api::caller::Caller;
use penpal_local_api::error::{ApiError, ErrorCode};

use super::Failure;

/// Evidence about this process: the agent above it, if any, and where it stands.
pub(crate) fn gather() -> Caller {
    penpal_agents::evidence::of_this_process()
}

/// Whether this runs inside an agent, as far as this process can see by itself; the node may know more.
pub(crate) fn in_agent() -> bool {
    let caller = gather();
    caller.agent.is_some() || penpal_agents::caller::inside_agent(&caller, &[])
}

/// Refuses what is no affair of an agent before anything is asked, read or shown.
pub(crate) fn person_only() -> Result<(), Failure> {
    if in_agent() {
        let message = "only a person may do this, and this runs inside an agent";
        return Err(ApiError::new(ErrorCode::NeedsPerson, message).into());
    }
    Ok(())
}
