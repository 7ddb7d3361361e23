//! `register`, `account/show`.

use std::time::Duration;

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::account::{Account, RegisterRequest};
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::cbor::Text;
use penpal_protocol::text::{Label, RelayAddress};

use super::{Outcome, Reply, label, now};
use crate::daemon::link::LinkCommand;
use crate::engine::machines::{Engine, contact_step};
use crate::engine::waiting::Wait;
use crate::engine::{LinkId, Output};

/// How long an account may take to be made.
pub(super) const REGISTER_LIMIT: Duration = Duration::from_secs(20);

impl Engine {
    pub(super) fn register(&mut self, request: &RegisterRequest) -> Outcome {
        let address: RelayAddress = request
            .address
            .parse()
            .map_err(|error| ApiError::new(ErrorCode::BadAddress, format!("no relay address: {error}")))?;
        let handle = label(&request.handle)?;
        let device = device_name(request.device.as_deref())?;
        let token = request.token.as_deref().map(Text::new).transpose();
        let token = token.map_err(|_| ApiError::new(ErrorCode::NeedsToken, "that is no token"))?;
        self.waiting.trouble = None;
        self.contacts
            .register(address, handle, device, token, &mut contact_step!(self))
            .map_err(|error| register_error(&error))?;
        self.hurry();
        Ok(Reply::Later(Wait::Account, REGISTER_LIMIT))
    }

    /// A person waits: the home link dials now if it is down.
    pub(super) fn hurry(&mut self) {
        if self.links.get(LinkId::HOME).is_some() {
            self.outputs.push(Output::Link { link: LinkId::HOME, command: LinkCommand::Hurry });
        }
    }

    pub(super) fn account_show(&mut self) -> Outcome {
        let account = self.account_shape();
        now(&account.ok_or_else(|| ApiError::new(ErrorCode::NoAccount, "there is no account yet"))?)
    }

    /// The account as shown.
    pub(super) fn account_shape(&self) -> Option<Account> {
        let me = self.contacts.account()?;
        let own = self.contacts.own_manifest();
        let created_ms =
            own.and_then(|manifest| manifest.manifest().device(&me.device).map(|device| device.added_ms));
        Some(Account {
            v: SHAPE_VERSION,
            handle: me.handle.to_string(),
            fingerprint: me.account.to_text(),
            device: me.device_name.to_string(),
            relay: me.relay.to_string(),
            primary: self.contacts.devices().iter().any(|device| device.here && device.primary),
            manifest_version: me.manifest.version,
            created_ms: created_ms.unwrap_or_default(),
        })
    }
}

/// The name for this machine: what was asked for, else its host name.
pub(super) fn device_name(wanted: Option<&str>) -> Result<Label, ApiError> {
    match wanted {
        Some(name) => label(name),
        None => {
            let host = hostname::get().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
            Ok(Label::reduce(host.split('.').next().unwrap_or_default(), "machine"))
        }
    }
}

/// Why no account can be asked for.
pub(super) fn register_error(error: &penpal_contact::RegisterError) -> ApiError {
    use penpal_contact::RegisterError as E;
    let code = match error {
        E::Registered { .. } => ErrorCode::Registered,
        E::Reserved { .. } => {
            return ApiError::new(ErrorCode::BadName, error.to_string()).hint(super::OTHER_NAME);
        }
        E::Running { .. } => ErrorCode::Registered,
        _ => ErrorCode::RelayRefused,
    };
    ApiError::new(code, error.to_string())
}
