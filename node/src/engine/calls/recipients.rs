//! Who can be written to, and who cannot.

use penpal_contact::State;
use penpal_delivery::{Destination, Peer};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::ids::{DeviceId, Fingerprint};

use crate::engine::machines::Engine;

impl Engine {
    /// The devices of a contact that get a message: one of them, or all. Nothing is sent to a contact that is gone, unless it is to wait for it.
    pub(super) fn devices_of(
        &self,
        account: &Fingerprint,
        device: Option<DeviceId>,
        anyway: bool,
    ) -> Result<Vec<Destination>, ApiError> {
        let view = self.contacts.view(account);
        let view =
            view.ok_or_else(|| ApiError::new(ErrorCode::UnknownContact, "there is no such contact"))?;
        let name = &view.name;
        match view.state {
            State::Gone if !anyway && !self.contacts.is_me(account) => {
                let message = format!("{name} is gone: you were removed there, or the account ended");
                return Err(ApiError::new(ErrorCode::ContactGone, message).hint(format!(
                    "ask {name} on another way and exchange a new invite; penpal send {name} TEXT --anyway keeps it here"
                )));
            }
            State::Active | State::Gone => {}
            State::Blocked if view.changed.is_some() => {
                let message = format!("the key of {name} changed, so nothing goes there");
                return Err(ApiError::new(ErrorCode::ContactBlocked, message)
                    .hint(format!("compare on a call: penpal contact verify {name}")));
            }
            State::Blocked => {
                return Err(ApiError::new(ErrorCode::ContactBlocked, format!("{name} is blocked"))
                    .hint(format!("penpal contact unblock {name}")));
            }
            State::PendingIn | State::PendingOut | State::Declined => {
                return Err(ApiError::new(ErrorCode::ContactState, format!("{name} is not a contact yet")));
            }
        }
        let devices =
            view.devices.iter().map(|one| one.id).filter(|id| device.is_none_or(|wanted| wanted == *id));
        let destinations: Vec<_> = devices.map(|id| Destination::Device(Peer::new(*account, id))).collect();
        if destinations.is_empty() {
            return Err(ApiError::new(
                ErrorCode::ContactState,
                format!("{name} has no such device any more"),
            ));
        }
        Ok(destinations)
    }

    /// Refuses what can only go by a relay that does not know this device any more: it would never leave.
    pub(super) fn refuse_cut_off(&self) -> Result<(), ApiError> {
        if self.is_cut_off() {
            return Err(ApiError::new(ErrorCode::DeviceRevoked, DISOWNED));
        }
        Ok(())
    }
}

/// What a relay says to a device that it does not know.
pub(in crate::engine) const DISOWNED: &str =
    "the relay does not know this device: it was revoked, or the account is gone";
