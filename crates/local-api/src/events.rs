//! What happens at a node, as it happens: `GET /v1/events`, a stream of server-sent events.
//!
//! A listener hears what happens from the moment its stream began and nothing from before: listen first, then list. Each event says that
//! something changed and names it; what it is now is asked by the methods. So nothing is lost by not listening, and a listener that is too
//! slow only has to list again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SHAPE_VERSION;
use crate::mail::{Kind, Stage};
use crate::status::RelayState;

/// Path of the stream.
pub const EVENTS_PATH: &str = "/v1/events";

/// Events kept for slow listeners. Whoever falls behind by more loses the oldest and hears [`Event::Missed`] in their place; nobody
/// else waits for it.
pub const MAX_BEHIND: usize = 256;

/// Most listeners at a time; one more is refused as `busy`.
pub const MAX_LISTENERS: usize = 32;

/// Something happened. On the wire: `event: <name>`, then `data: ` with the JSON of [`Told`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// Mail came.
    Mail {
        /// The message.
        id: String,
        /// Mailbox it is in: a session's name, or `desk`.
        to: String,
        /// What it is.
        kind: Kind,
    },
    /// An own message got further, or failed.
    Stage {
        /// The message.
        id: String,
        /// How far it is.
        stage: Stage,
    },
    /// Mail was read, surfaced or moved: the counts of a mailbox are others.
    Mailbox {
        /// A session's name, or `desk`.
        name: String,
    },
    /// A contact came, changed or went; or a request did.
    Contacts,
    /// Sessions on this machine changed.
    Sessions,
    /// Sessions of contacts changed, or a contact came online or went.
    ContactSessions,
    /// A room, or who is in it, changed.
    Rooms,
    /// The connection to the relay changed.
    Relay {
        /// How it stands.
        state: RelayState,
    },
    /// Something that a person should know; `status` shows it too, for as long as it holds.
    Notice {
        /// One line.
        text: String,
    },
    /// The listener was too slow: so many events before this one are lost to it. List again.
    Missed {
        /// How many.
        count: u64,
    },
    /// The node ends, and the stream with it.
    Ending,
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// Shape version.
    pub v: u32,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl From<Event> for Told {
    fn from(event: Event) -> Self {
        Self { v: SHAPE_VERSION, event }
    }
}

impl Event {
    /// The name that stands in the stream.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mail { .. } => "mail",
            Self::Stage { .. } => "stage",
            Self::Mailbox { .. } => "mailbox",
            Self::Contacts => "contacts",
            Self::Sessions => "sessions",
            Self::ContactSessions => "contact-sessions",
            Self::Rooms => "rooms",
            Self::Relay { .. } => "relay",
            Self::Notice { .. } => "notice",
            Self::Missed { .. } => "missed",
            Self::Ending => "ending",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_is_that_of_its_json() {
        let id = "7k3p".to_owned();
        for event in [
            Event::Mail { id: id.clone(), to: "desk".to_owned(), kind: Kind::Ask },
            Event::Stage { id: id.clone(), stage: Stage::Relayed },
            Event::Mailbox { name: id.clone() },
            Event::Contacts,
            Event::Sessions,
            Event::ContactSessions,
            Event::Relay { state: RelayState::Connected },
            Event::Notice { text: id },
            Event::Missed { count: 3 },
            Event::Ending,
        ] {
            let name = event.name();
            let json = serde_json::to_value(Told::from(event)).unwrap();
            assert_eq!((json["v"].as_u64(), json["event"].as_str()), (Some(1), Some(name)));
        }
    }
}
