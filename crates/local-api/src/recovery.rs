//! Shapes of `account/recovery-code` and `recover`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::caller::Caller;
use crate::devices::DeviceRow;

/// Asks for the recovery code of the account.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CodeRequest {
    /// Who asks.
    pub caller: Caller,
    /// Whether a person sees it now, or said to have it: nobody is reminded any more.
    pub seen: bool,
}

/// The recovery code. Whoever has it is the account; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Code {
    /// Shape version.
    pub v: u32,
    /// Its lines, to be written down.
    pub lines: Vec<String>,
    /// Whether the relay keeps everything that the code brings back, as it is now.
    pub kept: bool,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("v", &self.v).field("kept", &self.kept).finish_non_exhaustive()
    }
}

/// Looks for the account of a recovery code, or, with a choice, makes this machine the one that signs for it. `Debug` shows no code.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The code, on one line or several.
    pub code: String,
    /// Address of the relay, when it moved since the code was written down.
    #[serde(default)]
    pub relay: Option<String>,
    /// Name of this machine; its host name when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// What becomes of the account's devices; absent to look first.
    #[serde(default)]
    pub revoke: Option<Revoke>,
}

impl fmt::Debug for RecoverRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoverRequest").field("revoke", &self.revoke).finish_non_exhaustive()
    }
}

/// Which of the account's devices are revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Revoke {
    /// All but this machine.
    All,
    /// All but this machine and these.
    AllBut(Vec<String>),
    /// These.
    Only(Vec<String>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// Shape version.
    pub v: u32,
    /// Handle of the account.
    pub handle: String,
    /// Its devices before.
    pub devices: Vec<DeviceRow>,
    /// How many contacts come back.
    pub contacts: u64,
    /// The account as it is here now; absent when it was only looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
}
