//! `broadcast`.

use penpal_delivery::{Destination, MailKey, Mailbox, NewMessage};
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::{Broadcast, BroadcastRequest, BroadcastTo};
use penpal_protocol::cbor::Text;
use penpal_protocol::limits::{DAY_MS, HOUR_MS};
use penpal_protocol::sealed::{Content, Kind, Letter, SessionState};

use super::{Outcome, now};
use crate::engine::machines::{Engine, delivery_step};

/// Longest text that everybody is told: it is in the context of every agent here.
const MAX_BYTES: usize = 4 * 1024;

impl Engine {
    /// One note for each session here but the caller's own. It wakes nobody, and is gone when its time is over.
    pub(super) fn broadcast(&mut self, request: &BroadcastRequest) -> Outcome {
        if request.text.len() > MAX_BYTES {
            let message =
                format!("the text has {} bytes, at most {MAX_BYTES} are told to all", request.text.len());
            return Err(ApiError::new(ErrorCode::BodyTooLarge, message));
        }
        if request.text.trim().is_empty() {
            return Err(ApiError::new(ErrorCode::Usage, "there is nothing in the text"));
        }
        let life_ms = request.life_ms.unwrap_or(HOUR_MS);
        if life_ms == 0 || life_ms > DAY_MS {
            return Err(ApiError::new(ErrorCode::Usage, "what is told to all lives for a second to a day"));
        }
        let from = self.acting_mailbox(&request.caller, None)?;
        let rows = self.sessions.local();
        let others = rows
            .into_iter()
            .filter(|row| row.state != SessionState::Ended && Mailbox::Session(row.session) != from);
        let mut told = Vec::new();
        for row in others.collect::<Vec<_>>() {
            let letter = Letter {
                from: self.session_ref(from),
                to: None,
                subject: None,
                text: Text::truncated(&request.text),
                reply_to: None,
                room: None,
                artifacts: None,
                target_device: None,
            };
            let message = NewMessage {
                kind: Kind::Note,
                content: Content::Letter(Box::new(letter)),
                from,
                to: row.name.to_string(),
                destinations: vec![Destination::Local { mailbox: Mailbox::Session(row.session), held: None }],
                reply_to: None,
                trace_id: None,
                hops: 0,
                wake_budget: 0,
                life_ms: Some(life_ms),
                boot: false,
                msg_id: None,
            };
            let sent = self.delivery.send(message, &mut delivery_step!(self));
            let sent = sent.map_err(|error| ApiError::new(ErrorCode::Usage, error.to_string()))?;
            self.delivery.let_end(MailKey::own(sent.msg_id), &mut delivery_step!(self));
            told.push(BroadcastTo {
                session: row.name.to_string(),
                id: sent.msg_id.to_text(),
                short: sent.short,
            });
        }
        now(&Broadcast {
            v: SHAPE_VERSION,
            sessions: told,
            ends_ms: self.now.wall_ms.saturating_add(life_ms),
        })
    }
}
