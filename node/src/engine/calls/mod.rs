//! The methods of the local API, one file a group.

mod account;
mod artifact;
mod broadcast;
mod caller;
mod contacts;
mod devices;
mod finish;
mod hook;
mod mail;
mod recipients;
mod recovery;
mod room;
mod room_send;
mod search;
mod send;
mod sessions;
mod status;
mod wake;

use std::time::Duration;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::Call;
use penpal_protocol::text::Label;

pub(super) use hook::HookMemory;
pub(super) use recipients::DISOWNED;

use super::CallId;
use super::machines::Engine;
use super::waiting::{MAX_WAITING, Parked, Wait};

/// What a call comes to in this step.
pub(super) enum Reply {
    /// Its answer.
    Now(Vec<u8>),
    /// It waits, at most so long.
    Later(Wait, Duration),
}

/// Outcome of a call.
pub(super) type Outcome = Result<Reply, ApiError>;

/// A shape as an answer.
pub(super) fn now<T: serde::Serialize>(shape: &T) -> Outcome {
    json(shape).map(Reply::Now)
}

/// A shape as JSON.
pub(super) fn json<T: serde::Serialize>(shape: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(shape)
        .map_err(|error| ApiError::new(ErrorCode::Internal, format!("an answer cannot be written: {error}")))
}

/// What to do about a name that is well formed and not free.
const OTHER_NAME: &str = "choose another name";

/// A name from a request.
pub(super) fn label(text: &str) -> Result<Label, ApiError> {
    Label::new(text).map_err(|error| ApiError::new(ErrorCode::BadName, error.to_string()))
}

/// A span in milliseconds as a duration, an hour at most.
pub(super) fn wait(ms: u64) -> Duration {
    Duration::from_millis(ms).min(Duration::from_secs(30 * 24 * 3600))
}

impl Engine {
    /// Takes a call; its answer comes with this step or a later one.
    pub(super) fn call(&mut self, id: CallId, call: Call) {
        tracing::debug!(method = call.name(), "call");
        if self.stopping {
            self.answers.push((id, Err(super::run::ending())));
            return;
        }
        match self.dispatch(call) {
            Ok(Reply::Now(body)) => self.answers.push((id, Ok(body))),
            Ok(Reply::Later(wait, span)) => {
                let span = if self.waiting.parked.len() < MAX_WAITING { span } else { Duration::ZERO };
                let until = self.now.mono.saturating_add(span);
                self.waiting.parked.push(Parked { call: id, wait, until });
            }
            Err(error) => self.answers.push((id, Err(error))),
        }
    }

    fn dispatch(&mut self, call: Call) -> Outcome {
        match call {
            Call::Status(_) => self.status(),
            Call::Doctor(_) => self.doctor(),
            Call::Register(request) => self.register(&request),
            Call::AccountShow(_) => self.account_show(),
            Call::AccountRecoveryCode(request) => self.recovery_code(&request),
            Call::Recover(request) => self.recover(&request),
            Call::DeviceLink(request) => self.device_link(&request),
            Call::DeviceJoin(request) => self.device_join(&request),
            Call::DeviceList(_) => self.device_list(),
            Call::DeviceRename(request) => self.device_rename(&request),
            Call::DeviceRevoke(request) => self.device_revoke(&request),
            Call::ContactInvite(request) => self.invite(&request),
            Call::ContactInvites(_) => self.invites(),
            Call::ContactAdd(request) => self.add(&request),
            Call::ContactAccept(request) => self.accept(&request),
            Call::ContactDecline(request) => self.decline(&request),
            Call::ContactRemove(request) => self.remove(&request),
            Call::ContactBlock(request) => self.block(&request),
            Call::ContactUnblock(request) => self.unblock(&request),
            Call::ContactRename(request) => self.rename(&request),
            Call::ContactVerify(request) => self.verify(&request),
            Call::ContactList(_) => self.contact_list(),
            Call::ContactSessions(request) => self.contact_sessions(&request),
            Call::Send(request) => self.send(request),
            Call::Broadcast(request) => self.broadcast(&request),
            Call::SendWait(request) => self.send_wait(request),
            Call::Inbox(request) => self.inbox(request),
            Call::Read(request) => self.read(&request),
            Call::Take(request) => self.take(request),
            Call::Commit(request) => self.commit_lease(&request),
            Call::Search(request) => self.search(&request),
            Call::Outbox(request) => self.outbox(&request),
            Call::Trace(request) => self.trace(&request),
            Call::Retry(request) => self.retry(&request),
            Call::Dismiss(request) => self.dismiss(&request),
            Call::ArtifactPut(request) => self.artifact_put(&request),
            Call::ArtifactList(request) => self.artifact_list(&request),
            Call::ArtifactGet(request) => self.artifact_get(&request),
            Call::ArtifactSending(request) => self.artifact_sending(&request),
            Call::ArtifactGc(request) => self.artifact_gc(&request),
            Call::RoomList(_) => self.room_list(),
            Call::RoomCreate(request) => self.room_create(&request),
            Call::RoomInvite(request) => self.room_invite(&request),
            Call::RoomJoin(request) => self.room_join(&request),
            Call::RoomLeave(request) => self.room_leave(&request),
            Call::RoomRemove(request) => self.room_remove(&request),
            Call::RoomClose(request) => self.room_close(&request),
            Call::RoomMembers(request) => self.room_members(&request),
            Call::Sessions(request) => self.list_sessions(&request),
            Call::Whoami(request) => self.whoami(&request),
            Call::SessionOpen(request) => self.session_open(&request),
            Call::SessionClose(request) => self.session_close(&request),
            Call::SessionRename(request) => self.session_rename(&request),
            Call::SessionSummary(request) => self.session_summary(&request),
            Call::SessionMute(request) => self.session_mute(&request),
            Call::SessionHide(request) => self.session_hide(&request),
            Call::SessionDesk(request) => self.session_desk(&request),
            Call::WakeWait(request) => self.wake_wait(request),
            Call::WakeTake(request) => self.wake_take(&request),
            Call::Hook(request) => self.hook(&request),
            Call::Glance(request) => self.glance(&request),
            Call::DaemonStop(request) => self.daemon_stop(&request),
        }
    }
}
