//! `wake/wait` and `wake/take`: what wakers inside agents and terminals ask.

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::wake::{WakeTakeRequest, WakeTaken, WakeWaitRequest, WakeWaited};
use penpal_protocol::ids::SessionId;
use penpal_protocol::sealed::SessionState;
use penpal_wake::{Outcome as WakeOutcome, Rung};

use super::{Outcome, Reply, json, now, wait};
use crate::engine::machines::Engine;
use crate::engine::waiting::Wait;

impl Engine {
    pub(super) fn wake_wait(&mut self, request: WakeWaitRequest) -> Outcome {
        let rung = waiting_rung(&request.by)?;
        let session = match &request.run {
            Some(_) => None,
            None => self.caller_session(&request.caller)?,
        };
        if session.is_none() && request.run.is_none() {
            return now(&WakeWaited { v: SHAPE_VERSION, over: true, ..WakeWaited::default() });
        }
        let present = session.or_else(|| self.waking.session_of_run(request.run.as_deref()?));
        if let Some(present) = present {
            self.waits_again(present, rung);
        }
        // One waiter for each rung: a hook that waits comes anew after every turn, and the older one is let go.
        let run = request.run;
        let older = self.waiting.parked.iter().position(|parked| {
            matches!(&parked.wait, Wait::Wake { session: of, run: other, rung: by } if *of == session && *other == run && *by == rung)
        });
        if let Some(older) = older.map(|at| self.waiting.parked.remove(at)) {
            let over = WakeWaited { v: SHAPE_VERSION, over: true, ..WakeWaited::default() };
            self.answers.push((older.call, json(&over)));
        }
        Ok(Reply::Later(Wait::Wake { session, run, rung }, wait(request.wait_ms)))
    }

    /// Answers a waiter whose time or session is over; one that is to wake is answered by the ladder.
    pub(super) fn look_wake(
        &mut self,
        session: Option<SessionId>,
        run: Option<&str>,
        late: bool,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        let view = session
            .or_else(|| self.waking.session_of_run(run?))
            .and_then(|session| self.sessions.session(session));
        // A terminal outlives its sessions: another conversation may begin in it.
        let over = session.is_some() && view.as_ref().is_none_or(|view| view.state == SessionState::Ended);
        if !over && !late {
            return Ok(None);
        }
        let session = view.map(|view| view.name.to_string());
        json(&WakeWaited { v: SHAPE_VERSION, session, wake: false, over }).map(Some)
    }

    pub(super) fn wake_take(&mut self, request: &WakeTakeRequest) -> Outcome {
        let rung = waiting_rung(&request.by)?;
        let session = self.session_named(&request.session)?;
        // Not asked, or asked in vain: it is at work by now.
        let asked = self.waking.ladder.under_way(session).is_some_and(|(_, by)| by == rung);
        let busy = self.sessions.session(session).is_some_and(|view| view.state == SessionState::Busy);
        let taken = if asked && !busy { self.take_for_wake(session, rung) } else { None };
        match taken {
            Some((lease, text)) => now(&WakeTaken { v: SHAPE_VERSION, lease: Some(lease), text }),
            None => {
                self.wake_ended(session, Some(rung), WakeOutcome::Nothing);
                now(&WakeTaken { v: SHAPE_VERSION, ..WakeTaken::default() })
            }
        }
    }
}

fn waiting_rung(by: &str) -> Result<Rung, ApiError> {
    let rung =
        Rung::from_name(by).filter(|rung| matches!(rung, Rung::Plugin | Rung::RewakeHook | Rung::Terminal));
    rung.ok_or_else(|| ApiError::new(ErrorCode::Usage, format!("nothing that waits is called {by}")))
}
