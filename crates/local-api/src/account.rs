//! Shapes of `register` and `account`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// Asks for an account at a relay.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// Relay address with pin.
    pub address: String,
    /// Wanted handle.
    pub handle: String,
    /// Name of this machine; its host name when absent.
    #[serde(default)]
    pub device: Option<String>,
    /// Token from the operator.
    #[serde(default)]
    pub token: Option<String>,
}

/// Asks for the account.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccountRequest {
    /// Who asks.
    pub caller: Caller,
}

/// The account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Shape version.
    pub v: u32,
    /// Handle at the relay.
    pub handle: String,
    /// Fingerprint of the root key.
    pub fingerprint: String,
    /// Name of this machine.
    pub device: String,
    /// Relay address with pin.
    pub relay: String,
    /// Whether this machine holds the account's root key: losing it loses the right to change the list of devices, and without another
    /// device the account.
    #[serde(default)]
    pub primary: bool,
    /// Newest version of the manifest.
    pub manifest_version: u64,
    /// When the account was made here, Unix milliseconds.
    pub created_ms: u64,
}
