//! Shapes of `device …`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// Asks for a code that makes another machine a device of the account.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinkRequest {
    /// Who asks.
    pub caller: Caller,
}

/// A code for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkCode {
    /// Shape version.
    pub v: u32,
    /// The code. Whoever has it becomes a device of the account.
    pub code: String,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
}

/// Makes this machine a device of the account whose code it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The code, or text with a code in it.
    pub code: String,
    /// Name of this machine; its host name when absent.
    #[serde(default)]
    pub name: Option<String>,
}

/// Asks for the devices of the account.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListRequest {
    /// Who asks.
    pub caller: Caller,
}

/// The devices of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Devices {
    /// Shape version.
    pub v: u32,
    /// By name.
    pub devices: Vec<DeviceRow>,
}

/// One device, alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Shape version.
    pub v: u32,
    /// The device.
    pub device: DeviceRow,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceRow {
    /// Its name.
    pub name: String,
    /// Whether it is this one.
    pub this: bool,
    /// Whether it holds the account's root key: it alone links, renames and revokes.
    pub primary: bool,
    /// When it was added, Unix milliseconds.
    pub added_ms: u64,
    /// Whether it is connected now.
    pub online: bool,
    /// When it was last heard of, Unix milliseconds; absent when it never was.
    pub last_seen_ms: Option<u64>,
}

/// Gives a device another name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The device.
    pub name: String,
    /// Its new name.
    pub new: String,
}

/// Cuts a device off.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The device.
    pub name: String,
}

/// A device was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// Shape version.
    pub v: u32,
    /// Its name.
    pub name: String,
    /// Whether the relay knows; when not, it is told as soon as it can be reached.
    pub at_relay: bool,
}
