//! `sessions`, `session/…`.

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::sessions::{
    DeskRequest, HideRequest, Mode, MuteRequest, NameRequest, OpenRequest, RenameRequest, Session, Sessions,
    SessionsRequest, SummaryRequest, Whoami, WhoamiRequest,
};
use penpal_protocol::cbor::Text;
use penpal_protocol::ids::SessionId;
use penpal_protocol::sealed::SessionState;
use penpal_sessions::DeliveryMode;

use super::{Outcome, label, now};
use crate::engine::machines::Engine;

impl Engine {
    pub(super) fn list_sessions(&mut self, request: &SessionsRequest) -> Outcome {
        self.note_caller(&request.caller);
        let rows = self.sessions.local();
        let shown = rows.iter().filter(|row| request.all || row.state != SessionState::Ended);
        let sessions = shown.map(|row| self.session_row(row)).collect();
        let others = self.sessions.remote(&self.own_directory(), self.now).into_iter();
        let others = others.map(super::contacts::remote_session).collect();
        now(&Sessions { v: SHAPE_VERSION, sessions, rooms: self.open_rooms(), others })
    }

    /// Lets a call show that its session lives; who it is does not matter to the answer.
    pub(super) fn note_caller(&mut self, caller: &penpal_local_api::caller::Caller) {
        if let Err(error) = self.caller_session(caller) {
            tracing::debug!(%error, "a caller without session");
        }
    }

    pub(super) fn whoami(&mut self, request: &WhoamiRequest) -> Outcome {
        let session = self.caller_session(&request.caller)?.and_then(|sid| self.sessions.session(sid));
        let handle = self.contacts.account().map(|me| me.handle.to_string());
        let address = match (&session, handle) {
            (Some(view), Some(handle)) => Some(format!("{handle}/{}", view.name)),
            (None, handle) => handle,
            (Some(_), None) => None,
        };
        now(&Whoami {
            v: SHAPE_VERSION,
            session: session.as_ref().map(|view| self.session_row(view)),
            address,
            inside_agent: self.acts_in_agent(&request.caller),
        })
    }

    pub(super) fn session_open(&mut self, request: &OpenRequest) -> Outcome {
        let name = label(&request.name)?;
        let agent = label(request.agent.as_deref().unwrap_or(penpal_agents::kind::BY_HAND))?;
        // Opening what is open already is what a script that runs twice does.
        if let Some(sid) = self.sessions.by_name(&name)
            && self.sessions.session(sid).is_some_and(|view| {
                view.model == penpal_sessions::ProcessModel::ByHand && view.state != SessionState::Ended
            })
        {
            return self.session_shape(sid);
        }
        self.refuse_agents_name(&request.caller, &name)?;
        let placed = self.sessions.handle_open(name, agent, self.now, &mut self.rng);
        let placed = placed.map_err(|error| name_error(&error))?;
        self.session_shape(placed.session)
    }

    /// An agent takes no name of another agent's session: one that ended comes back under it, and has the mail that waits there.
    fn refuse_agents_name(
        &self,
        caller: &penpal_local_api::caller::Caller,
        name: &penpal_protocol::text::Label,
    ) -> Result<(), ApiError> {
        let holder = self.sessions.by_name(name).and_then(|sid| self.sessions.session(sid));
        let agents = holder.is_some_and(|view| view.model != penpal_sessions::ProcessModel::ByHand);
        if agents && self.acts_in_agent(caller) {
            let message = format!("{name} is another agent's session, and this runs inside an agent");
            return Err(ApiError::new(ErrorCode::NeedsPerson, message));
        }
        Ok(())
    }

    pub(super) fn session_close(&mut self, request: &NameRequest) -> Outcome {
        let sid = self.session_named(&request.name)?;
        let closed = self.sessions.handle_close(sid, self.now);
        closed.map_err(|error| {
            ApiError::new(ErrorCode::SessionBusy, error.to_string())
                .hint("it ends with its agent; penpal sessions")
        })?;
        self.session_shape(sid)
    }

    pub(super) fn session_rename(&mut self, request: &RenameRequest) -> Outcome {
        let sid = self.acting_session(&request.caller, &request.name)?;
        let new = label(&request.new)?;
        if self.sessions.by_name(&new) != Some(sid) {
            self.refuse_agents_name(&request.caller, &new)?;
        }
        self.sessions.handle_rename(sid, new, self.now).map_err(|error| name_error(&error))?;
        self.session_shape(sid)
    }

    pub(super) fn session_summary(&mut self, request: &SummaryRequest) -> Outcome {
        let sid = match &request.name {
            Some(name) => self.acting_session(&request.caller, name)?,
            None => self.caller_session(&request.caller)?.ok_or_else(|| {
                ApiError::new(ErrorCode::WhichSession, "this call belongs to no session")
                    .hint("penpal session summary NAME TEXT")
            })?,
        };
        let line = request.text.lines().next().unwrap_or_default().trim();
        let summary = (!line.is_empty()).then(|| Text::truncated(line));
        let set = self.sessions.handle_summary(sid, summary, self.now);
        set.map_err(|error| ApiError::new(ErrorCode::UnknownAddress, error.to_string()))?;
        self.session_shape(sid)
    }

    pub(super) fn session_mute(&mut self, request: &MuteRequest) -> Outcome {
        self.person_only(&request.caller)?;
        let sid = self.session_named(&request.name)?;
        let mode = match request.mode {
            Mode::Wake => DeliveryMode::Wake,
            Mode::Quiet => DeliveryMode::Quiet,
            Mode::Off => DeliveryMode::Off,
        };
        let muted = self.sessions.handle_mute(sid, mode, self.now);
        muted.map_err(|error| ApiError::new(ErrorCode::UnknownAddress, error.to_string()))?;
        self.session_shape(sid)
    }

    pub(super) fn session_hide(&mut self, request: &HideRequest) -> Outcome {
        self.person_only(&request.caller)?;
        let sid = self.session_named(&request.name)?;
        let hidden = self.sessions.handle_hide(sid, request.hidden, self.now);
        hidden.map_err(|error| ApiError::new(ErrorCode::UnknownAddress, error.to_string()))?;
        self.session_shape(sid)
    }

    pub(super) fn session_desk(&mut self, request: &DeskRequest) -> Outcome {
        self.person_only(&request.caller)?;
        let sid = self.session_named(&request.name)?;
        let allowed = self.sessions.handle_desk(sid, request.allowed, self.now);
        allowed.map_err(|error| ApiError::new(ErrorCode::UnknownAddress, error.to_string()))?;
        self.session_shape(sid)
    }

    pub(super) fn session_named(&self, name: &str) -> Result<SessionId, ApiError> {
        let name = label(name)?;
        self.sessions.by_name(&name).ok_or_else(|| self.no_session(&name))
    }

    fn session_shape(&self, sid: SessionId) -> Outcome {
        let view = self.sessions.session(sid);
        let view = view.ok_or_else(|| ApiError::new(ErrorCode::UnknownAddress, "the session is gone"))?;
        now(&Session { v: SHAPE_VERSION, row: self.session_row(&view) })
    }
}

fn name_error(error: &penpal_sessions::NameError) -> ApiError {
    use penpal_sessions::NameError as E;
    let code = match error {
        E::Unknown => ErrorCode::UnknownAddress,
        E::Reserved { .. } => {
            return ApiError::new(ErrorCode::BadName, error.to_string()).hint(super::OTHER_NAME);
        }
        E::Taken { .. } => ErrorCode::SessionBusy,
        _ => ErrorCode::SessionBusy,
    };
    ApiError::new(code, error.to_string())
}
