//! What people should know, in words, kept until they are older than a day or many.

use std::collections::VecDeque;

use penpal_contact::{
    AddFailure, ContactView, KeyChange, Notice, RecoveryFailure, RegistrationFailure, State,
};
use penpal_protocol::ids::Fingerprint;
use penpal_protocol::text::Label;
use penpal_room::Standing;

use super::machines::Engine;

/// Notices that are kept, at most.
const MAX_NOTICES: usize = 16;

/// How long one is shown, in milliseconds.
const LIFE_MS: u64 = penpal_protocol::limits::DAY_MS;

/// For how long a notice is true, besides [`LIFE_MS`]. What is not true any more is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// It tells of something that happened.
    Always,
    /// Until the relay receives this node.
    UntilGreeted,
    /// Until there is an account.
    UntilRegistered,
    /// While this contact's request waits for a decision.
    Asks(Fingerprint),
    /// While mail of this contact is held.
    Held(Fingerprint),
    /// While this contact's key is in doubt.
    Changed(Fingerprint),
    /// While this contact's list of devices is out of date.
    Stale(Fingerprint),
    /// While this contact is gone.
    Gone(Fingerprint),
    /// While this contact is one that can be written to.
    Active(Fingerprint),
    /// While this contact is known at all.
    Contact(Fingerprint),
    /// While this account is a member of the room of this name here.
    InRoom(Label),
    /// While it is not.
    OutOfRoom(Label),
    /// While it is, and this contact too.
    Member(Label, Fingerprint),
    /// While it is, and this contact is not.
    NotMember(Label, Fingerprint),
}

/// One notice.
#[derive(Debug)]
struct Noted {
    at_ms: u64,
    holds: Holds,
    text: String,
}

/// The latest notices of this run, oldest first. What must not be forgotten is state of a machine and shown from there.
#[derive(Debug, Default)]
pub(super) struct Notices(VecDeque<Noted>);

impl Notices {
    pub(super) fn add(&mut self, now_ms: u64, holds: Holds, text: String) {
        tracing::info!("a notice for whoever looks at status");
        tracing::debug!(text, "notice");
        self.0.retain(|known| known.text != text);
        self.0.push_back(Noted { at_ms: now_ms, holds, text });
        if self.0.len() > MAX_NOTICES {
            self.0.pop_front();
        }
    }

    /// Those that are fresh and still true.
    fn list(&self, now_ms: u64, is_true: impl Fn(&Holds) -> bool) -> Vec<String> {
        let fresh = self.0.iter().filter(|noted| noted.at_ms.saturating_add(LIFE_MS) > now_ms);
        fresh.filter(|noted| is_true(&noted.holds)).map(|noted| noted.text.clone()).collect()
    }
}

impl Engine {
    /// What people should know now.
    pub(super) fn notices_now(&self) -> Vec<String> {
        self.notices.list(self.now.wall_ms, |holds| self.still_holds(holds))
    }

    fn still_holds(&self, holds: &Holds) -> bool {
        let is = |contact: &Fingerprint, what: fn(&ContactView) -> bool| {
            self.contacts.view(contact).is_some_and(|view| what(&view))
        };
        let members = |name: &Label| {
            let view = self.rooms.by_name(name).and_then(|id| self.rooms.view(&id))?;
            (view.standing == Standing::Member).then_some(view.members)
        };
        let among = |name: &Label, whom: &Fingerprint| {
            members(name).map(|members| members.iter().any(|(member, _)| member == whom))
        };
        match holds {
            Holds::Always => true,
            Holds::UntilGreeted => !self.greeting.greeted,
            Holds::UntilRegistered => self.contacts.account().is_none(),
            Holds::Asks(contact) => is(contact, |view| view.state == State::PendingIn || view.asks),
            Holds::Held(contact) => is(contact, |view| view.held),
            Holds::Changed(contact) => is(contact, |view| view.changed.is_some()),
            Holds::Stale(contact) => is(contact, |view| view.stale),
            Holds::Gone(contact) => is(contact, |view| view.state == State::Gone),
            Holds::Active(contact) => is(contact, |view| view.state == State::Active),
            Holds::Contact(contact) => is(contact, |_| true),
            Holds::InRoom(room) => members(room).is_some(),
            Holds::OutOfRoom(room) => members(room).is_none(),
            Holds::Member(room, whom) => among(room, whom) == Some(true),
            Holds::NotMember(room, whom) => among(room, whom) == Some(false),
        }
    }
}

/// For how long a notice of the contact machine is true.
pub(super) fn holds(notice: &Notice) -> Holds {
    match notice {
        Notice::RecoveryFailed(RecoveryFailure::Overtaken) => Holds::Always,
        Notice::RegistrationFailed(_) | Notice::RecoveryFailed(_) => Holds::UntilRegistered,
        Notice::Requested { contact, accepted: false, .. } => Holds::Asks(*contact),
        Notice::Requested { contact, accepted: true, .. } => Holds::Held(*contact),
        Notice::NameTaken { contact, .. } | Notice::OldManifest { contact, .. } => Holds::Contact(*contact),
        Notice::Connected { contact, .. } | Notice::Back { contact, .. } => Holds::Active(*contact),
        Notice::Gone { contact, .. } => Holds::Gone(*contact),
        Notice::KeyChanged { contact, .. } => Holds::Changed(*contact),
        Notice::StaleManifest { contact, .. } => Holds::Stale(*contact),
        Notice::AccountRefused { .. } => Holds::UntilGreeted,
        Notice::NewDevices { contact, .. } | Notice::NewPrimary { contact, .. } => Holds::Contact(*contact),
        _ => Holds::Always,
    }
}

/// The words for a notice of the contact machine; `None` for what only waiting calls need.
pub(super) fn words(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::RegistrationFailed(why) => match why {
            RegistrationFailure::HandleTaken => "the handle is taken at that relay".to_owned(),
            RegistrationFailure::NotAdmitted => {
                "the relay registers only with a token or an invite".to_owned()
            }
            RegistrationFailure::Incompatible => {
                "the relay speaks another version of the protocol".to_owned()
            }
            _ => "no account was made".to_owned(),
        },
        Notice::InviteFailed { code, .. } => format!("the relay did not take an invite ({code:?})"),
        Notice::InviteExpired { .. } => "an invite expired without being used".to_owned(),
        Notice::InviteLost { .. } => {
            "the secrets of an invite are not on this machine any more; make a new one".to_owned()
        }
        Notice::Requested { name, accepted: false, .. } => {
            format!("{name} asks to be a contact: penpal contact accept {name}, or decline")
        }
        Notice::Requested { name, accepted: true, .. } => {
            format!(
                "{name} is a contact by auto-accept; their mail is held until you write to them or verify them"
            )
        }
        Notice::RequestForged { .. } => {
            "the relay handed over a request that nobody with the code can have made".to_owned()
        }
        Notice::SecondRequest { first, .. } => {
            let first = first.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
            format!("an invite that {first} used was used a second time: the code may be in two hands")
        }
        Notice::NameTaken { wanted, name, .. } => {
            format!("a contact calls itself {wanted}, which you have already: here it is {name}")
        }
        Notice::AddFailed { why, .. } => match why {
            AddFailure::Used => "a code was already used: it may have been intercepted".to_owned(),
            AddFailure::NotFound => "a code is over, or was taken back".to_owned(),
            AddFailure::Record(_) => {
                "what the relay holds for a code does not fit the code: it may be hostile".to_owned()
            }
            _ => return None,
        },
        Notice::Declined { name, .. } => format!("{name} declined, or the invite is over"),
        Notice::Connected { name, .. } => format!("{name} is a contact now"),
        Notice::Withdrawn { name, .. } => format!("{name} had withdrawn the request"),
        Notice::Gone { name, .. } => format!("{name} is gone: removed there, or the account ended"),
        Notice::Back { name, .. } => format!("{name} can be reached again"),
        Notice::KeyChanged { name, why, .. } => {
            let what = match why {
                KeyChange::Fork => "the relay shows two versions of their devices",
                _ => "their key does not add up",
            };
            format!("{name} is blocked: {what}. Compare safety numbers: penpal contact verify {name}")
        }
        Notice::OldManifest { name, .. } if name.is_reserved() => {
            "the relay showed an older list of your devices; ignored".to_owned()
        }
        Notice::OldManifest { name, .. } => {
            format!("the relay showed an older list of {name}'s devices; ignored")
        }
        Notice::StaleManifest { name, .. } => {
            format!("{name}'s list of devices is out of date; no new device counts")
        }
        Notice::ForeignManifest { .. } => "your account's key is in use on another machine".to_owned(),
        Notice::DeviceAdded { name } => {
            format!(
                "{name} is a device of your account now; if that is not yours: penpal device revoke {name}"
            )
        }
        Notice::DeviceNotAdded => {
            "a machine that used a code for a device was not added: the relay gave it no place, or it stands in the list already. Take it out first if it does, and make another code: penpal device list; penpal device revoke NAME; penpal device link".to_owned()
        }
        Notice::DeviceNeverCame { name } => {
            format!(
                "{name} was made a device of your account and never came. With another code it does: penpal device link; or take it out: penpal device revoke {name}"
            )
        }
        Notice::DeviceRevoked { name } => format!("{name} is no device of your account any more"),
        Notice::NewDevices { name, devices, .. } => {
            let devices: Vec<&str> = devices.iter().map(Label::as_str).collect();
            format!("{name} has a new device: {}", devices.join(", "))
        }
        Notice::NewPrimary { name, device, .. } => format!(
            "{name}'s account was recovered on another machine, {device}: ask them whether it was them, and compare numbers: \
             penpal contact verify {name}"
        ),
        Notice::Recovered { handle } => format!("the account {handle} is on this machine now"),
        Notice::RecoveryFailed(RecoveryFailure::Overtaken) => {
            "another machine recovered the account meanwhile, so this one does not: penpal recover, if it is to have it all the same"
                .to_owned()
        }
        Notice::RecoveryFailed(_) => "the account of a recovery code could not be brought here".to_owned(),
        Notice::AccountRefused { code: penpal_protocol::wire::RefusalCode::NotRegistered } => {
            super::calls::DISOWNED.to_owned()
        }
        Notice::AccountRefused { code } => format!("the relay does not serve this account ({code:?})"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_true_any_more_is_not_shown() {
        let contact = Fingerprint::from_bytes([7; 16]);
        let mut notices = Notices::default();
        notices.add(1, Holds::Asks(contact), "bob asks".to_owned());
        notices.add(2, Holds::Always, "an invite expired".to_owned());
        assert_eq!(notices.list(3, |_| true), ["bob asks", "an invite expired"]);
        assert_eq!(notices.list(3, |holds| *holds == Holds::Always), ["an invite expired"]);
        assert_eq!(notices.list(LIFE_MS + 1, |_| true), ["an invite expired"]);
    }

    #[test]
    fn a_recovery_that_failed_is_no_news_once_there_is_an_account() {
        let failed = Notice::RecoveryFailed(RecoveryFailure::NotFound);
        assert_eq!(holds(&failed), Holds::UntilRegistered);
    }
}
