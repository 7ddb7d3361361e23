//! Tells listeners what changed: names what, and leaves what it is now to the methods.

use penpal_contact::Command as ContactCommand;
use penpal_delivery::Event as DeliveryEvent;
use penpal_local_api::events::Event;
use penpal_sessions::{Command as SessionsCommand, Table as SessionsTable};

use super::Output;
use super::machines::Engine;
use super::views::{kind, stage};

impl Engine {
    /// Tells once the step is durable; twice the same in one step is told once.
    pub(super) fn tell(&mut self, event: Event) {
        if self.listeners == 0 {
            return;
        }
        let told =
            self.outputs.iter().any(|output| matches!(output, Output::Event(other) if *other == event));
        if !told {
            self.outputs.push(Output::Event(event));
        }
    }

    pub(super) fn tell_of_contact(&mut self, command: &ContactCommand) {
        match command {
            ContactCommand::Persist(change) if change.table == penpal_contact::Table::Contact => {
                self.tell(Event::Contacts);
            }
            ContactCommand::RouteChanged(_) | ContactCommand::ContactEnded(_) => self.tell(Event::Contacts),
            _ => {}
        }
    }

    pub(super) fn tell_of_sessions(&mut self, command: &SessionsCommand) {
        let SessionsCommand::Change(change) = command else { return };
        match change.table {
            SessionsTable::Peer => self.tell(Event::ContactSessions),
            SessionsTable::Session | SessionsTable::Alias => self.tell(Event::Sessions),
            SessionsTable::Meta => {}
        }
    }

    pub(super) fn tell_of_mail(&mut self, event: &DeliveryEvent) {
        if self.listeners == 0 {
            return;
        }
        match event {
            DeliveryEvent::Arrived { key, mailbox, kind: what, .. } => {
                let (id, to) = (key.msg_id.to_text(), self.mailbox_name(*mailbox));
                self.tell(Event::Mail { id, to, kind: kind(*what) });
            }
            DeliveryEvent::Stage { msg_id, stage: reached, .. } => {
                // What the nodes say to each other is nobody's message.
                let view = self.delivery.view(super::waiting::own(*msg_id), &self.storage);
                if view.is_ok_and(|view| view.is_none_or(|view| view.kind.is_mail())) {
                    self.tell(Event::Stage { id: msg_id.to_text(), stage: stage(*reached) });
                }
            }
            DeliveryEvent::FailedFor { msg_id, stage: failed, .. } => {
                self.tell(Event::Stage { id: msg_id.to_text(), stage: stage(*failed) });
            }
            DeliveryEvent::Mailbox { mailbox } => {
                let name = self.mailbox_name(*mailbox);
                self.tell(Event::Mailbox { name });
            }
            _ => {}
        }
    }

    pub(super) fn tell_of_relay(&mut self) {
        if let Some(relay) = self.relay_line() {
            self.tell(Event::Relay { state: relay.state });
        }
    }

    /// Notes something that a person should know.
    pub(super) fn notice(&mut self, holds: super::notices::Holds, text: String) {
        self.tell(Event::Notice { text: text.clone() });
        self.notices.add(self.now.wall_ms, holds, text);
    }
}
