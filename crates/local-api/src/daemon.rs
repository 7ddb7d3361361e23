//! Shapes of `daemon …`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks the node to end.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StopRequest {
    /// Leave the mark that keeps hooks from starting it again.
    pub keep_stopped: bool,
}

/// The node ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stopping {
    /// Shape version.
    pub v: u32,
    /// Process that ends.
    pub pid: u32,
}
