//! Shapes of artifacts: files named by the BLAKE3 hash of their content.
//!
//! Bytes never pass through this API. A client that runs as the node's user copies a file into [`crate::home::Home::incoming`] and hands
//! over its name, and reads contents where [`Got::path`] says.

use penpal_protocol::ids::Hash;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;

/// Fewest characters of a hash that name an artifact.
pub const LEAST_HASH_CHARACTERS: usize = 6;

/// Artifacts that one answer lists at most.
pub const MAX_LISTED: usize = 1000;

/// A hash as people see it: 64 lower-case hexadecimal digits, as `b3sum` prints it.
#[must_use]
pub fn hash_text(hash: &Hash) -> String {
    use std::fmt::Write;
    hash.as_bytes().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads a whole hash; `None` for anything else.
#[must_use]
pub fn parse_hash(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let digit = |character: u8| char::from(character).to_digit(16);
        *byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
    }
    Some(Hash::from_bytes(bytes))
}

/// Hands over a file that was copied into the folder for incoming ones, synced.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRequest {
    /// Who hands it over.
    #[serde(default)]
    pub caller: Caller,
    /// Name of the copy in that folder.
    pub incoming: String,
    /// BLAKE3 of its content, 64 hexadecimal digits.
    pub hash: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// File name, for people.
    pub name: String,
}

/// The content is kept here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Put {
    /// Shape version.
    pub v: u32,
    /// BLAKE3 of the content.
    pub hash: String,
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Whether the content was not here before.
    pub new: bool,
}

/// Asks for all artifacts that the caller may see: inside an agent those of its own session's mail.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListRequest {
    /// Who asks.
    pub caller: Caller,
}

/// Artifacts, newest first, at most 1000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifacts {
    /// Shape version.
    pub v: u32,
    /// Bytes of all contents that are kept here, the caller's or not.
    pub kept_bytes: u64,
    /// How many older ones there are, which are not listed.
    #[serde(default)]
    pub older: u64,
    /// The artifacts.
    pub artifacts: Vec<ArtifactRow>,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactRow {
    /// BLAKE3 of the content.
    pub hash: String,
    /// File name, as whoever sent it calls it.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Whether the content is here.
    pub here: bool,
    /// Messages that refer to it.
    pub messages: u64,
    /// Whose messages, by address.
    pub from: Vec<String>,
    /// Since when it is known here, Unix milliseconds.
    pub since_ms: u64,
}

/// Asks for one artifact's content.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// Its hash, or a unique beginning of at least 6 digits.
    pub hash: String,
    /// How long to wait for a content that is fetched, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Where the content is, or how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Got {
    /// Shape version.
    pub v: u32,
    /// BLAKE3 of the content: compare it while reading.
    pub hash: String,
    /// File name, as whoever sent it calls it: not to be trusted.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// The content, to be read and never written; absent while it is fetched, which goes on whether or not anybody asks.
    pub path: Option<String>,
    /// Bytes that are here.
    pub here_bytes: u64,
    /// What is in the way of fetching it.
    pub waits_for: Option<String>,
}

/// Asks how far the files of an own message are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendingRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The message.
    pub id: String,
}

/// How far they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sending {
    /// Shape version.
    pub v: u32,
    /// Whether the message waits for them; it goes when all are at the relay.
    pub waits: bool,
    /// Bytes that are at the relay.
    pub sent_bytes: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// What is in the way.
    pub waits_for: Option<String>,
}

/// Removes contents that no message refers to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GcRequest {
    /// Who asks.
    pub caller: Caller,
    /// Keeps what was put or fetched within so many milliseconds; 7 days when absent.
    pub keep_ms: Option<u64>,
    /// Only tells what would be removed.
    pub dry_run: bool,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Collected {
    /// Shape version.
    pub v: u32,
    /// Contents that are gone, or would be.
    pub removed: Vec<Removed>,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Contents that are left.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
}

/// One content that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// BLAKE3 of it.
    pub hash: String,
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written_and_nothing_else_is() {
        let hash = Hash::from_bytes(std::array::from_fn(|at| u8::try_from(at * 8).unwrap_or(255)));
        let text = hash_text(&hash);
        assert_eq!((text.len(), parse_hash(&text)), (64, Some(hash)));
        assert_eq!(parse_hash(&text.to_uppercase()), Some(hash));
        for bad in ["", "00", &text[1..], &format!("{text}0"), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(parse_hash(bad), None, "{bad}");
        }
    }
}
