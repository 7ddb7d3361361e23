//! `account/recovery-code`, `recover`.

use std::time::Duration;

use penpal_contact::{Notice, OwnDevice, RecoverError, RecoveryFailure, Revoke};
use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::devices::DeviceRow;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::recovery::{Code, CodeRequest, RecoverRequest, Recovery, Revoke as Choice};
use penpal_protocol::text::{Label, RecoveryCode, RecoveryCodeError, RelayAddress};

use super::account::{REGISTER_LIMIT, device_name};
use super::{Outcome, Reply, json, label, now};
use crate::engine::machines::{Engine, contact_step};
use crate::engine::views::count;
use crate::engine::waiting::Wait;

/// How long a relay may take to give what it keeps.
const LOOK_LIMIT: Duration = REGISTER_LIMIT;

impl Engine {
    pub(super) fn recovery_code(&mut self, request: &CodeRequest) -> Outcome {
        self.needs_account()?;
        self.person_only(&request.caller)?;
        let code = self.contacts.recovery_code().ok_or_else(|| {
            let message = "the account's root key is on another device, and the recovery code with it";
            ApiError::new(ErrorCode::NotPrimary, message)
        })?;
        if request.seen {
            self.contacts.code_shown(&mut contact_step!(self));
        }
        let lines = code.to_lines().iter().map(|line| line.as_str().to_owned()).collect();
        now(&Code { v: SHAPE_VERSION, lines, kept: self.contacts.is_kept() })
    }

    pub(super) fn recover(&mut self, request: &RecoverRequest) -> Outcome {
        self.person_only(&request.caller)?;
        self.refuse_cut_off()?;
        let code: RecoveryCode = request.code.parse().map_err(|error: RecoveryCodeError| {
            ApiError::new(ErrorCode::BadRecoveryCode, error.to_string())
        })?;
        let moved = request.relay.as_deref().map(str::parse::<RelayAddress>).transpose();
        let moved = moved
            .map_err(|error| ApiError::new(ErrorCode::BadAddress, format!("no relay address: {error}")))?;
        let code = RecoveryCode { relay: moved.unwrap_or_else(|| code.relay.clone()), ..code };
        let name = device_name(request.name.as_deref())?;
        let names =
            |names: &[String]| names.iter().map(|name| label(name)).collect::<Result<Vec<Label>, _>>();
        let choice = match &request.revoke {
            None => None,
            Some(Choice::All) => Some(Revoke::All),
            Some(Choice::AllBut(kept)) => Some(Revoke::AllBut(names(kept)?)),
            Some(Choice::Only(gone)) => Some(Revoke::Only(names(gone)?)),
        };
        self.waiting.trouble = None;
        let decided = choice.is_some();
        let begun = self.contacts.recover(&code, name, choice, &mut contact_step!(self));
        begun.map_err(|error| recover_error(&error))?;
        self.hurry();
        Ok(Reply::Later(Wait::Recovered { decided }, LOOK_LIMIT.saturating_mul(2)))
    }

    pub(super) fn look_recovered(
        &mut self,
        decided: bool,
        late: bool,
        heard: &[Notice],
    ) -> Result<Option<Vec<u8>>, ApiError> {
        for notice in heard {
            match notice {
                Notice::RecoveryFailed(why) => return Err(recovery_failed(why)),
                Notice::RecoveryFound { .. } if !decided => {
                    return self.recovery_shape(false).map(|shape| json(&shape)).transpose();
                }
                Notice::Recovered { .. } => {
                    return self.recovery_shape(true).map(|shape| json(&shape)).transpose();
                }
                _ => {}
            }
        }
        if !(late || self.waiting.trouble.is_some()) {
            return Ok(None);
        }
        if self.contacts.is_recovering() {
            let message = "the account is being recovered, and the relay did not answer in time";
            let hint = if self.contacts.account().is_some() {
                "it goes on by itself once the relay can be reached: penpal status; if this machine was revoked, use a fresh home: penpal --home DIR recover"
            } else {
                "it goes on by itself once the relay can be reached: penpal status"
            };
            return Err(ApiError::new(ErrorCode::NotInTime, message).hint(hint));
        }
        self.contacts.cancel_recovery(&mut contact_step!(self));
        Err(self.relay_away())
    }

    fn recovery_shape(&self, done: bool) -> Option<Recovery> {
        let row = |device: OwnDevice| DeviceRow {
            name: device.name.to_string(),
            this: device.here,
            primary: device.primary,
            added_ms: device.added_ms,
            online: false,
            last_seen_ms: None,
        };
        if done {
            let account = self.account_shape()?;
            return Some(Recovery {
                v: SHAPE_VERSION,
                handle: account.handle.clone(),
                devices: self.contacts.devices().into_iter().map(row).collect(),
                contacts: count(self.contacts.list().len()),
                account: Some(account),
            });
        }
        let found = self.contacts.recovery_found()?;
        Some(Recovery {
            v: SHAPE_VERSION,
            handle: found.handle.to_string(),
            devices: found.devices.into_iter().map(row).collect(),
            contacts: count(found.contacts),
            account: None,
        })
    }
}

fn recover_error(error: &RecoverError) -> ApiError {
    match error {
        RecoverError::Registered { .. } | RecoverError::Registering { .. } => {
            ApiError::new(ErrorCode::Registered, error.to_string())
                .hint("use another home for a second account: penpal --home DIR recover")
        }
        RecoverError::Primary => ApiError::new(ErrorCode::Registered, error.to_string())
            .hint("nothing is to be recovered here: penpal device list"),
        RecoverError::Joining | RecoverError::Running => ApiError::new(ErrorCode::Busy, error.to_string()),
        _ => ApiError::new(ErrorCode::BadName, error.to_string()),
    }
}

fn recovery_failed(why: &RecoveryFailure) -> ApiError {
    match why {
        RecoveryFailure::NotFound => ApiError::new(
            ErrorCode::NothingToRecover,
            "the relay has no account for this code: it was deleted or suspended there, or is at another relay",
        ),
        RecoveryFailure::NothingKept => ApiError::new(
            ErrorCode::NothingToRecover,
            "the relay knows the account and keeps nothing of it; its node never had the time, or is too old",
        ),
        RecoveryFailure::UnknownDevice { name, candidates } => {
            let names = candidates.iter().map(ToString::to_string).collect();
            ApiError::new(ErrorCode::UnknownDevice, format!("the account has no device {name}"))
                .hint("penpal recover, without --revoke and --keep, shows its devices and asks")
                .candidates(names)
        }
        RecoveryFailure::MustGo { name } => ApiError::new(
            ErrorCode::Usage,
            format!(
                "{name} cannot be kept: it was the account's only device and would never hear of this one"
            ),
        )
        .hint("penpal recover --revoke all; then make it a device anew: penpal device link"),
        RecoveryFailure::TooManyDevices => {
            ApiError::new(ErrorCode::Usage, "the account has as many devices as it may have")
                .hint("penpal recover --revoke NAME")
        }
        RecoveryFailure::Overtaken => ApiError::new(
            ErrorCode::NothingToRecover,
            "another machine recovered the account meanwhile; nothing more is changed from here",
        )
        .hint("is this one to have it all the same? penpal recover, with the code again"),
        RecoveryFailure::Lost => {
            ApiError::new(ErrorCode::HomeUnusable, "the root key is not on this machine any more")
                .hint("penpal recover, with the code again")
        }
        _ => ApiError::new(
            ErrorCode::StateForged,
            "what the relay keeps was not sealed with the key of this code",
        ),
    }
}
