//! What a method is, and the list of all of them with their schemas.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One method of the API: `POST /v1/<NAME>`.
pub trait Method {
    /// Name in the path.
    const NAME: &'static str;
    /// How long a client waits for the answer when the request asks for no longer wait, in milliseconds.
    const TIMEOUT_MS: u64 = 10_000;
    /// Request body.
    type Request: Serialize + DeserializeOwned + JsonSchema;
    /// Answer body.
    type Answer: Serialize + DeserializeOwned + JsonSchema;
}

/// Schema of one method, for documents and for anybody's script.
#[derive(Debug, Clone, Serialize)]
pub struct MethodSchema {
    /// Name in the path.
    pub name: &'static str,
    /// JSON Schema of the request.
    pub request: schemars::Schema,
    /// JSON Schema of the answer.
    pub answer: schemars::Schema,
}

/// Schemas of everything that the API says.
#[derive(Debug, Clone, Serialize)]
pub struct ApiSchema {
    /// Shape version.
    pub v: u32,
    /// Number of the API.
    pub api: u32,
    /// The methods.
    pub methods: Vec<MethodSchema>,
    /// One event of `GET /v1/events`.
    pub event: schemars::Schema,
    /// A failure, in place of any answer.
    pub error: schemars::Schema,
}

impl ApiSchema {
    /// The schemas of this version.
    #[must_use]
    pub fn present() -> Self {
        Self {
            v: crate::SHAPE_VERSION,
            api: crate::API_NUMBER,
            methods: crate::methods::schemas(),
            event: schemars::schema_for!(crate::events::Told),
            error: schemars::schema_for!(crate::error::ApiError),
        }
    }
}

impl MethodSchema {
    /// The schema of `M`.
    #[must_use]
    pub fn of<M: Method>() -> Self {
        Self {
            name: M::NAME,
            request: schemars::schema_for!(M::Request),
            answer: schemars::schema_for!(M::Answer),
        }
    }
}
