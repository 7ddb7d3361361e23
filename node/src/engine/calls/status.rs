//! `status`, `doctor`, `daemon/stop`.

use penpal_contact::State;
use penpal_delivery::OutboxEntry;
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::daemon::{StopRequest, Stopping};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::status::{
    AccountLine, Check, CheckState, Doctor, Node, RecoveryLine, Relay, RelayState, Status,
};
use penpal_protocol::sealed::SessionState;
use penpal_protocol::wire::RefusalCode;

use super::{Outcome, now};
use crate::engine::LinkId;
use crate::engine::links::LinkState;
use crate::engine::machines::Engine;
use crate::engine::relay::refusal_words;
use crate::engine::views::{count, unreadable};

impl Engine {
    pub(super) fn status(&mut self) -> Outcome {
        let unread: usize =
            self.delivery.mailboxes().map(|mailbox| self.delivery.unread(mailbox).unread).sum();
        // As the outbox lists them: neither what nodes say to each other nor what is through.
        let owed = self.delivery.outbox(&self.storage).map_err(|error| unreadable(&error))?;
        let through = |entry: &OutboxEntry| entry.report.copies.iter().all(|copy| copy.stage.is_receipted());
        let queued = owed.iter().filter(|entry| entry.kind.is_mail() && !through(entry)).count();
        let sessions = self.sessions.local().iter().filter(|row| row.state != SessionState::Ended).count();
        let account = self.contacts.account().map(|me| AccountLine {
            handle: me.handle.to_string(),
            fingerprint: me.account.to_text(),
            device: me.device_name.to_string(),
            recovery: self.contacts.recovery_code().is_some().then(|| RecoveryLine {
                shown: self.contacts.is_code_shown(),
                kept: self.contacts.is_kept(),
            }),
        });
        now(&Status {
            v: SHAPE_VERSION,
            node: Node {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_ms: self.started_ms,
                home: self.home.path().display().to_string(),
            },
            account,
            relay: self.relay_line(),
            unread: count(unread),
            requests: count(self.contacts.request_count()),
            asked: count(self.contacts.list().iter().filter(|row| row.state == State::PendingOut).count()),
            invitations: self.room_invitations(),
            held: count(self.delivery.hidden_count()),
            dead: count(self.delivery.dead_count()),
            queued: count(queued),
            sessions: count(sessions),
            notices: self.notices_now(),
        })
    }

    pub(in crate::engine) fn relay_line(&self) -> Option<Relay> {
        let address = self.contacts.home_relay()?.to_string();
        let link = self.links.get(LinkId::HOME).map(|link| &link.state);
        if let Some(code) = self.home_refusal() {
            let remedy = match code {
                RefusalCode::NotRegistered => ErrorCode::DeviceRevoked.remedy(),
                _ => "ask whoever runs the relay",
            };
            return Some(Relay {
                address,
                state: RelayState::Offline,
                trouble: Some(refusal_words(code)),
                remedy: Some(remedy.to_owned()),
            });
        }
        let (state, trouble) = match link {
            Some(LinkState::Up) if self.greeting.greeted => (RelayState::Connected, None),
            Some(LinkState::Up | LinkState::Dialing) => (RelayState::Connecting, None),
            Some(LinkState::Down(None)) | None => (RelayState::Connecting, None),
            Some(LinkState::Down(Some(trouble))) => (RelayState::Offline, Some(trouble.text().to_owned())),
        };
        Some(Relay { address, state, trouble, remedy: None })
    }

    pub(super) fn doctor(&mut self) -> Outcome {
        let check = |name: &str, state: CheckState, fact: String, repair: Option<&str>| Check {
            name: name.to_owned(),
            state,
            fact,
            repair: repair.map(str::to_owned),
        };
        let mut checks = vec![check(
            "node",
            CheckState::Ok,
            format!("version {} runs as pid {}", env!("CARGO_PKG_VERSION"), std::process::id()),
            None,
        )];
        checks.push(match self.relay_line() {
            None => check(
                "account",
                CheckState::Ok,
                "none; sessions on this machine can write to each other".to_owned(),
                None,
            ),
            Some(Relay { address, state: RelayState::Connected, .. }) => {
                check("relay", CheckState::Ok, format!("connected to {address}"), None)
            }
            Some(Relay { address, trouble, remedy, .. }) => {
                let fact = trouble.unwrap_or_else(|| format!("connecting to {address}"));
                let repair = "check the network and the firewall for UDP, or ask whoever runs the relay";
                check("relay", CheckState::Failed, fact, Some(remedy.as_deref().unwrap_or(repair)))
            }
        });
        if self.foreign_envelopes > 0 {
            let fact =
                format!("{} envelopes came from nobody known here and were dropped", self.foreign_envelopes);
            checks.push(check(
                "envelopes",
                CheckState::Warning,
                fact,
                Some("nothing to do: a contact that was removed, or a relay that makes things up"),
            ));
        }
        let dead = self.delivery.dead_count();
        if dead > 0 {
            let fact = format!("{dead} own messages were refused or expired");
            checks.push(check(
                "mail",
                CheckState::Warning,
                fact,
                Some("penpal outbox; penpal retry ID, or penpal dismiss ID"),
            ));
        }
        now(&Doctor { v: SHAPE_VERSION, checks })
    }

    pub(super) fn daemon_stop(&mut self, request: &StopRequest) -> Outcome {
        if request.keep_stopped {
            std::fs::write(self.home.stopped(), b"").map_err(|error| {
                ApiError::new(
                    ErrorCode::HomeUnusable,
                    format!("cannot leave the mark {}: {error}", self.home.stopped().display()),
                )
            })?;
        }
        self.stopping = true;
        now(&Stopping { v: SHAPE_VERSION, pid: std::process::id() })
    }
}
