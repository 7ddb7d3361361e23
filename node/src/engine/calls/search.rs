//! `search`.

use penpal_agents::quote::Shown;
use penpal_delivery::{MailState, MailView, Mailbox};
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::mail::Message;
use penpal_local_api::search::{Hit, Hits, SearchRequest};
use penpal_search::{BadWords, Filter, Words};

use super::{Outcome, now};
use crate::engine::machines::Engine;
use crate::engine::search::IndexError;

/// Messages that are found when no number is given, and at most.
const USUAL: usize = 20;
const MOST: usize = 100;

/// Hits that are read from the index at once, and looked at in all: more of them may not be for the caller's eyes.
const PAGE: usize = 64;
const MOST_SEEN: usize = 8 * 1024;

/// How often messages are added to the index before a question is answered without the rest.
const MOST_BITES: usize = 2;

impl Engine {
    pub(super) fn search(&mut self, request: &SearchRequest) -> Outcome {
        let words = Words::parse(&request.words).map_err(|error| bad(&error))?;
        let own = self.acting_mailbox(&request.caller, request.session.as_deref())?;
        let room = request.with.as_deref().filter(|name| name.starts_with('#'));
        let contact = request.with.as_deref().filter(|_| room.is_none());
        let contact = contact.map(|name| self.with(name)).transpose()?;
        let room = room.map(|name| self.room_named(name)).transpose()?;
        // What was said in a room every session here may look up.
        let one_mailbox = request.session.is_some() || (own != Mailbox::Desk && room.is_none());
        let filter = Filter {
            contact: contact.map(|contact| contact.as_bytes().to_vec()),
            place: one_mailbox.then(|| own.to_key().to_vec()),
            room: room.map(|room| room.as_bytes().to_vec()),
            since_ms: request.since_ms,
            until_ms: request.until_ms,
        };
        let agent = self.caller_session(&request.caller)?;
        if agent.is_none() && self.acts_in_agent(&request.caller) {
            let message =
                "an agent finds mail of its own session, and it cannot be told which one is calling";
            return Err(ApiError::new(ErrorCode::WhichSession, message));
        }
        let limit = request.limit.map_or(USUAL, |limit| usize::try_from(limit).unwrap_or(MOST)).min(MOST);
        self.wake_search();
        let agent = agent.map(Mailbox::Session);
        let found = match self.find(&words, &filter, agent, limit) {
            Err(error) if self.searching.mend(&error) => self.find(&words, &filter, agent, limit),
            found => found,
        };
        let found = found.map_err(IndexError::api)?;
        let mut messages = Vec::new();
        for view in found.iter().take(limit) {
            let message = self.message(view)?;
            let body = words.excerpt(&message.body);
            messages.push(Message { body, ..message });
        }
        let quote = request.quote.then(|| self.quote(&messages, Shown::Whole));
        now(&Hits {
            v: SHAPE_VERSION,
            hits: messages.into_iter().map(hit).collect(),
            more: found.len() > limit,
            behind: self.search_is_behind(),
            quote,
        })
    }

    /// Messages, one more than asked for when there are more. An agent is shown unread mail as mail, once, and not in passing: only its own
    /// letters are found before they are read.
    fn find(
        &mut self,
        words: &Words,
        filter: &Filter,
        agent: Option<Mailbox>,
        limit: usize,
    ) -> Result<Vec<MailView>, IndexError> {
        for _ in 0..MOST_BITES {
            if !self.search_is_behind() || !self.index_some()? {
                break;
            }
        }
        let mut views = Vec::new();
        let (mut before, mut looked) = (None, 0);
        while views.len() <= limit && looked < MOST_SEEN {
            let page = self.search_index()?.find(words, filter, before, PAGE)?;
            looked += page.len();
            for found in &page {
                let view = self.found_view(found)?.filter(|view| self.delivery.is_shown(view));
                let unseen = |view: &MailView| {
                    // Of a room only what waits for the agent itself.
                    let waits_for = |own| {
                        view.sent_from != Some(own) && (filter.room.is_none() || view.mailbox == Some(own))
                    };
                    view.state == Some(MailState::Unread) && agent.is_some_and(waits_for)
                };
                views.extend(view.filter(|view| !unseen(view)));
            }
            match page.last() {
                Some(last) if page.len() == PAGE => before = Some(last.ordinal),
                _ => break,
            }
        }
        views.truncate(limit.saturating_add(1));
        Ok(views)
    }
}

fn bad(error: &BadWords) -> ApiError {
    ApiError::new(ErrorCode::Usage, error.to_string())
        .hint("penpal search deploy 'pay*' '\"exact phrase\"' -- -without")
}

fn hit(message: Message) -> Hit {
    Hit {
        id: message.id,
        short: message.short,
        from: message.from,
        to: message.to,
        kind: message.kind,
        subject: message.subject,
        excerpt: message.body,
        artifacts: message.artifacts,
        sent_ms: message.sent_ms,
        state: message.state,
    }
}
