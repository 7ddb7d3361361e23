//! `device/…`.

use std::time::Duration;

use penpal_contact::{DeviceError, JoinError, JoinFailure, LinkDeviceError, Notice};
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::devices::{
    Device, DeviceRow, Devices, JoinRequest, LinkCode, LinkRequest, RenameRequest, RevokeRequest, Revoked,
};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::ids::InviteId;
use penpal_protocol::text::{InviteCode, InviteCodeError};

use super::account::{REGISTER_LIMIT, device_name};
use super::{Outcome, Reply, json, label, now};
use crate::engine::machines::{Engine, contact_step};
use crate::engine::waiting::Wait;

/// How long a code may take to reach the relay.
const LINK_LIMIT: Duration = Duration::from_secs(15);
/// How long the relay may take to hear of a revoked device.
const REVOKE_LIMIT: Duration = Duration::from_secs(3);

impl Engine {
    pub(super) fn device_link(&mut self, request: &LinkRequest) -> Outcome {
        self.needs_account()?;
        self.refuse_cut_off()?;
        self.person_only(&request.caller)?;
        let made = self.contacts.link_device(&mut contact_step!(self)).map_err(|error| link_error(&error))?;
        self.waiting.trouble = None;
        self.hurry();
        let code = made.code.to_code().to_string();
        Ok(Reply::Later(Wait::Linked { invite: made.invite, code, expires_ms: made.expires_ms }, LINK_LIMIT))
    }

    pub(super) fn device_join(&mut self, request: &JoinRequest) -> Outcome {
        self.person_only(&request.caller)?;
        let code: InviteCode = request.code.parse().map_err(|error: InviteCodeError| {
            let message = match error {
                InviteCodeError::NotFound => "no code found; a code for a device begins with pp2-".to_owned(),
                other => format!("no usable code: {other}"),
            };
            ApiError::new(ErrorCode::BadCode, message)
                .hint("copy the whole code again, from `pp2-` to its end")
        })?;
        let name = device_name(request.name.as_deref())?;
        self.waiting.trouble = None;
        let begun = self.contacts.join_account(&code, name, &mut contact_step!(self));
        begun.map_err(|error| join_error(&error))?;
        self.hurry();
        Ok(Reply::Later(Wait::Joined, REGISTER_LIMIT.saturating_mul(2)))
    }

    pub(super) fn device_list(&mut self) -> Outcome {
        self.needs_account()?;
        now(&Devices { v: SHAPE_VERSION, devices: self.device_rows() })
    }

    fn device_rows(&self) -> Vec<DeviceRow> {
        let me = self.contacts.account().map(|me| me.account);
        let row = |device: penpal_contact::OwnDevice| {
            let seen = me.and_then(|me| self.sessions.device_seen(me, device.id, self.now));
            DeviceRow {
                name: device.name.to_string(),
                this: device.here,
                primary: device.primary,
                added_ms: device.added_ms,
                online: if device.here {
                    self.greeting.greeted
                } else {
                    seen.is_some_and(|(fresh, _)| fresh)
                },
                last_seen_ms: if device.here { Some(self.now.wall_ms) } else { seen.map(|(_, at_ms)| at_ms) },
            }
        };
        self.contacts.devices().into_iter().map(row).collect()
    }

    pub(super) fn device_rename(&mut self, request: &RenameRequest) -> Outcome {
        self.needs_account()?;
        // It signs a list of devices, and all contacts see it.
        self.person_only(&request.caller)?;
        let (name, new) = (label(&request.name)?, label(&request.new)?);
        let renamed = self.contacts.rename_device(&name, &new, &mut contact_step!(self));
        renamed.map_err(|error| device_error(&error))?;
        let row = self.device_rows().into_iter().find(|row| row.name == new.as_str());
        let device = row.ok_or_else(|| ApiError::new(ErrorCode::Internal, "the device is gone"))?;
        now(&Device { v: SHAPE_VERSION, device })
    }

    pub(super) fn device_revoke(&mut self, request: &RevokeRequest) -> Outcome {
        self.needs_account()?;
        self.person_only(&request.caller)?;
        let name = label(&request.name)?;
        let revoked = self.contacts.revoke_device(&name, &mut contact_step!(self));
        revoked.map_err(|error| device_error(&error))?;
        self.hurry();
        Ok(Reply::Later(Wait::Revoked { name: name.to_string() }, REVOKE_LIMIT))
    }

    /// A code for a device is shown once the relay has it.
    pub(super) fn look_linked(
        &mut self,
        invite: InviteId,
        code: &str,
        expires_ms: u64,
        late: bool,
        heard: &[Notice],
    ) -> Result<Option<Vec<u8>>, ApiError> {
        for notice in heard {
            match notice {
                Notice::InviteOpen { invite: open } if *open == invite => {
                    let made = LinkCode { v: SHAPE_VERSION, code: code.to_owned(), expires_ms };
                    return json(&made).map(Some);
                }
                Notice::InviteFailed { invite: failed, .. } if *failed == invite => {
                    return Err(ApiError::new(ErrorCode::RelayRefused, "the relay did not take the code"));
                }
                _ => {}
            }
        }
        if late || self.waiting.trouble.is_some() {
            self.contacts.cancel_link(&invite, &mut contact_step!(self));
            return Err(self.relay_away());
        }
        Ok(None)
    }

    pub(super) fn look_joined(&mut self, late: bool, heard: &[Notice]) -> Result<Option<Vec<u8>>, ApiError> {
        for notice in heard {
            if let Notice::JoinFailed(why) = notice {
                return Err(join_failed(why));
            }
        }
        if let Some(account) = self.account_shape() {
            return json(&account).map(Some);
        }
        if late || self.waiting.trouble.is_some() {
            let waits = self.waiting.trouble.is_none();
            let error = if waits {
                ApiError::new(ErrorCode::NotInTime, "the other device did not answer in time")
                    .hint("see that it is on and connected, and run the same command again")
            } else {
                self.contacts.cancel_joining(&mut contact_step!(self));
                self.relay_away()
            };
            return Err(error);
        }
        Ok(None)
    }

    pub(super) fn look_revoked(&mut self, name: &str, late: bool) -> Result<Option<Vec<u8>>, ApiError> {
        let at_relay = !self.contacts.is_revoking();
        if !at_relay && !late {
            return Ok(None);
        }
        json(&Revoked { v: SHAPE_VERSION, name: name.to_owned(), at_relay }).map(Some)
    }
}

fn link_error(error: &LinkDeviceError) -> ApiError {
    let code = match error {
        LinkDeviceError::NoAccount => ErrorCode::NoAccount,
        LinkDeviceError::NoRoot { .. } => ErrorCode::NotPrimary,
        LinkDeviceError::TooMany => ErrorCode::Usage,
        _ => ErrorCode::RelayAway,
    };
    ApiError::new(code, error.to_string())
}

fn device_error(error: &DeviceError) -> ApiError {
    let code = match error {
        DeviceError::NoAccount => ErrorCode::NoAccount,
        DeviceError::Unknown { candidates, .. } => {
            let names = candidates.iter().map(ToString::to_string).collect();
            return ApiError::new(ErrorCode::UnknownDevice, error.to_string()).candidates(names);
        }
        DeviceError::NoRoot { .. } => ErrorCode::NotPrimary,
        DeviceError::NameTaken { .. } | DeviceError::Reserved { .. } => {
            return ApiError::new(ErrorCode::BadName, error.to_string()).hint(super::OTHER_NAME);
        }
        DeviceError::This { .. } => {
            return ApiError::new(ErrorCode::Usage, error.to_string())
                .hint("a device is revoked on another one, which must hold the root key");
        }
        _ => ErrorCode::RelayAway,
    };
    ApiError::new(code, error.to_string())
}

fn join_error(error: &JoinError) -> ApiError {
    match error {
        JoinError::Registered { .. } | JoinError::Registering { .. } | JoinError::Recovering => {
            ApiError::new(ErrorCode::Registered, error.to_string())
                .hint("use another home for a second account: penpal --home DIR device link CODE")
        }
        JoinError::ForContacts => {
            ApiError::new(ErrorCode::BadCode, error.to_string()).hint("penpal contact add CODE")
        }
        JoinError::Expired => ApiError::new(ErrorCode::InviteExpired, error.to_string()).hint(AGAIN),
        _ => ApiError::new(ErrorCode::BadName, error.to_string()),
    }
}

const AGAIN: &str = "make another code on the other device: penpal device link";

fn join_failed(why: &JoinFailure) -> ApiError {
    match why {
        JoinFailure::Used => ApiError::new(
            ErrorCode::InviteUsed,
            "another machine used the code; if it is not yours, revoke it: penpal device list, penpal device revoke NAME",
        )
        .hint(AGAIN),
        JoinFailure::Record(_) | JoinFailure::Answer(_) => ApiError::new(
            ErrorCode::InviteForged,
            "what the relay holds does not fit the code",
        ),
        JoinFailure::NotAnswered => {
            ApiError::new(ErrorCode::InviteGone, "the other device never answered").hint(AGAIN)
        }
        _ => ApiError::new(ErrorCode::InviteGone, "the code is over, or was taken back").hint(AGAIN),
    }
}
