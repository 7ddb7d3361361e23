//! What people should know, in words, kept until they are older than a day or many.

use std::collections::VecDeque;

use penpal_contact::{AddFailure, KeyChange, Notice, RegistrationFailure};

/// Notices that are kept, at most.
const MAX_NOTICES: usize = 16;

/// How long one is shown, in milliseconds.
const LIFE_MS: u64 = penpal_protocol::limits::DAY_MS;

/// The latest notices of this run, oldest first. What must not be forgotten is state of a machine and shown from there.
#[derive(Debug, Default)]
pub(super) struct Notices(VecDeque<(u64, String)>);

impl Notices {
    pub(super) fn add(&mut self, now_ms: u64, text: String) {
        tracing::info!(text, "notice");
        self.0.retain(|(_, known)| *known != text);
        self.0.push_back((now_ms, text));
        if self.0.len() > MAX_NOTICES {
            self.0.pop_front();
        }
    }

    pub(super) fn list(&self, now_ms: u64) -> Vec<String> {
        let fresh = self.0.iter().filter(|(at_ms, _)| at_ms.saturating_add(LIFE_MS) > now_ms);
        fresh.map(|(_, text)| text.clone()).collect()
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
        Notice::OldManifest { name, .. } => {
            format!("the relay showed an older list of {name}'s devices; ignored")
        }
        Notice::StaleManifest { name, .. } => {
            format!("{name}'s list of devices is out of date; no new device counts")
        }
        Notice::ForeignManifest { .. } => "your account's key is in use on another machine".to_owned(),
        Notice::AccountRefused { code } => format!("the relay does not serve this account ({code:?})"),
        _ => return None,
    })
}
