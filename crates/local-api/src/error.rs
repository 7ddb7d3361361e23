//! Failures as every client sees them: a code, a fact, a next step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A failure of one call, and the shape of `{"error":…}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure; stable.
    pub code: ErrorCode,
    /// One line of fact, lower case, no full stop.
    pub message: String,
    /// The next command to run, or the next thing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was perhaps meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// Name under which logs have it, for quoting: of an exchange with a relay, in the relay's log too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

impl ApiError {
    /// A failure with the usual remedy of its code as hint.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: Some(code.remedy().to_owned()),
            candidates: Vec::new(),
            request: None,
        }
    }

    /// The same failure with another hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with the name under which logs have it.
    #[must_use]
    pub fn request(mut self, request: Option<String>) -> Self {
        self.request = request;
        self
    }

    /// The same failure with candidates.
    #[must_use]
    pub fn candidates(mut self, candidates: Vec<String>) -> Self {
        self.candidates = candidates;
        self
    }
}

macro_rules! error_codes {
    ($($name:ident, $text:literal, $exit:literal, $meaning:literal, $remedy:literal;)*) => {
        /// Codes of failures. Each has one exit status and one usual remedy; `docs/errors.md` is made from this list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $text, "`: see [`ErrorCode::meaning`].")] #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as it stands in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Exit status of a command that fails with it.
            #[must_use]
            pub const fn exit_status(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What usually helps.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

error_codes! {
    Usage, "usage", 2, "The command or request cannot be understood.", "run the command with --help";
    BadName, "bad-name", 2, "A name is not of the form [a-z0-9][a-z0-9._-]{0,63}, is reserved, or is in use.", "use letters, digits, `.`, `_` and `-`";
    BadCode, "bad-code", 2, "The text holds no invite code, or one with a typing mistake.", "copy the whole code again, from `pp1-` to its end";
    BadRecoveryCode, "bad-recovery-code", 2, "The text is no recovery code, or one with a typing mistake.", "compare it with what you wrote down, line by line";
    BadAddress, "bad-address", 2, "The text is not a relay address of the form penpal://host[:port]/pin.", "ask whoever runs the relay: penpal-relay address";
    BodyTooLarge, "body-too-large", 2, "The text is longer than 64 KiB.", "put the text into a file and send its path or a summary";
    UnknownAddress, "unknown-address", 1, "No session or contact has that name.", "penpal sessions; penpal contact sessions";
    AmbiguousAddress, "ambiguous-address", 1, "More than one session or contact has that name.", "use one of the candidates";
    UnknownId, "unknown-id", 1, "No message has that id.", "penpal inbox --all; penpal outbox";
    AmbiguousId, "ambiguous-id", 1, "More than one message has an id that starts like this.", "use one of the candidates";
    UnknownContact, "unknown-contact", 1, "There is no contact of that name.", "penpal contact list";
    ContactState, "contact-state", 1, "The contact is not in a state in which this can be done.", "penpal contact list";
    ContactBlocked, "contact-blocked", 1, "The contact is blocked, here or because its key changed.", "penpal contact list; penpal contact verify NAME";
    ContactGone, "contact-gone", 1, "The contact's relay refuses: the contact was removed there, or the account is gone.", "ask the person on another way and exchange a new invite";
    InviteUsed, "invite-used", 1, "The invite was already used. If it was not by you, it may have been intercepted.", "ask for a new invite: penpal contact invite";
    InviteExpired, "invite-expired", 1, "The invite's time is over.", "ask for a new invite: penpal contact invite";
    InviteGone, "invite-gone", 1, "The relay knows no such invite: it was taken back, declined or is over.", "ask for a new invite: penpal contact invite";
    InviteOwn, "invite-own", 1, "The invite is your own.", "send the code to the other person";
    InviteForged, "invite-forged", 1, "What the relay holds for this invite does not fit the code. The relay or somebody between may be hostile.", "do not use this relay; ask for a new invite on another way";
    HandleTaken, "handle-taken", 1, "Somebody else at this relay has that handle. The invite or token is not spent.", "choose another one: --handle NAME";
    NeedsToken, "needs-token", 1, "The relay registers only with a token or an invite.", "ask whoever runs the relay: penpal-relay token new";
    Registered, "already-registered", 1, "This node has an account already.", "penpal account show";
    WrongPin, "wrong-pin", 1, "The relay at this address shows another key than the address pins. Nothing was sent.", "ask whoever runs the relay for its address: penpal-relay address";
    NoPin, "no-published-pin", 1, "The domain publishes no pin of a relay.", "ask whoever runs the relay for its whole address: penpal-relay address";
    RelayAway, "relay-away", 1, "The relay cannot be reached and this cannot be done without it.", "penpal doctor";
    RelayRefused, "relay-refused", 1, "The relay refused.", "penpal doctor";
    RelayVersion, "relay-version", 1, "The relay speaks another version of the protocol.", "update penpal, or ask whoever runs the relay to update it";
    UnknownDevice, "unknown-device", 1, "The account has no device of that name.", "penpal device list";
    DeviceRevoked, "device-revoked", 1, "The relay does not know this device any more: it was revoked, or the account is gone there. Nothing goes out from it.", "penpal device link on a device that is left, and here, in a fresh home: penpal --home DIR device link CODE; or penpal --home DIR recover";
    NothingToRecover, "nothing-to-recover", 1, "The relay has nothing for this recovery code.", "ask whoever runs the relay; with another address of it: penpal recover --relay ADDRESS";
    StateForged, "state-forged", 1, "What the relay keeps of the account was not sealed with its key. The relay or somebody between may be hostile.", "ask whoever runs the relay";
    NotPrimary, "not-primary", 1, "Only the device that holds the account's root key can do this.", "penpal device list; run it on the device that is marked primary";
    SessionBusy, "session-taken", 1, "A live session has that name.", "penpal sessions";
    NotRetryable, "not-retryable", 1, "Only own messages that are still on their way, refused or expired can be sent again.", "penpal trace ID";
    Refused, "refused", 1, "The message was refused.", "penpal trace ID";
    WhichSession, "which-session", 1, "It cannot be told which session is calling.", "name it: --as SESSION";
    NotFound, "not-found", 1, "There is no such thing.", "penpal status";
    UnknownRoom, "unknown-room", 1, "There is no room of that name here.", "penpal room list";
    RoomState, "room-state", 1, "The room, or your place in it, is not in a state in which this can be done.", "penpal room list; penpal room members ROOM";
    UnknownArtifact, "unknown-artifact", 1, "No artifact has that hash, or its content is not here any more.", "penpal artifact list";
    AmbiguousArtifact, "ambiguous-artifact", 1, "More than one artifact's hash starts like this.", "give more digits of the hash";
    BadFile, "bad-file", 1, "The file cannot be read, written or sent.", "check the path";
    FileExists, "file-exists", 1, "There is a file of that name already; nothing was written.", "choose another place with --output, or --force";
    ArtifactDamaged, "artifact-damaged", 1, "The content is not what its hash says; nothing was written.", "ask whoever sent it to send it again";
    BadExport, "bad-export", 1, "The file is no export of an account, its passphrase is another, or it was cut or altered. Nothing was changed.", "check the passphrase and the file";
    DiskFull, "disk-full", 1, "The disk of the node's home is full. Nothing was lost.", "free some space and try again";
    Output, "output", 1, "Standard output cannot be written, as to a file on a full disk. What the command was to do may be done all the same.", "give the output another place; whether it was done: penpal status; penpal outbox --all";
    Busy, "busy", 1, "The node has as much to do as it can take.", "try again in a moment";
    NoNode, "no-node", 3, "The node does not run and could not be started.", "penpal daemon start; penpal doctor";
    Sandboxed, "sandboxed", 3, "This shell may not reach the node.", "this shell is sandboxed; use the penpal MCP tools (they run outside it)";
    Stopped, "stopped", 3, "The node was stopped by hand.", "penpal daemon start";
    OlderClient, "older-client", 3, "The node is newer than this program.", "restart this agent window";
    OlderNode, "older-node", 3, "The node is older than this program and did not make way.", "penpal daemon stop; penpal daemon start";
    BadConfig, "bad-config", 3, "A setting of the node is unknown or cannot be used; it does not start with it.", "correct the setting: penpal doctor says where it is";
    HomeUnusable, "home-unusable", 3, "The node's home folder cannot be used.", "penpal doctor";
    NeedsPerson, "needs-person", 4, "Only a person may do this, in a terminal of their own.", "ask your person to run this in their own terminal";
    NeedsAnswer, "needs-answer", 4, "The command has to ask something and there is no terminal.", "give the flag that answers it";
    UnconfirmedPin, "unconfirmed-pin", 4, "The pin of a relay came through DNS only, and nobody has confirmed it.", "compare it with what whoever runs the relay says, then give it: --accept-pin PIN";
    NoAccount, "no-account", 4, "There is no account; only sessions on this machine can be reached.", "penpal contact add CODE, or penpal register ADDRESS --handle NAME";
    NotInTime, "not-in-time", 5, "Accepted, but what was waited for did not come in time.", "do not send again; penpal trace ID";
    Interrupted, "interrupted", 130, "The command was ended from outside, by Ctrl-C or another signal. What it had begun was cleared away, or goes on as it says.", "run the same command again";
    Internal, "internal", 70, "A defect of penpal.", "penpal daemon logs; please report it";
}

impl ErrorCode {
    /// Whether it tells what a relay answered.
    #[must_use]
    pub fn is_said_by_relay(self) -> bool {
        [
            Self::HandleTaken,
            Self::NeedsToken,
            Self::RelayRefused,
            Self::RelayVersion,
            Self::InviteUsed,
            Self::InviteExpired,
            Self::InviteGone,
            Self::ContactGone,
        ]
        .contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_text_of_every_code_is_its_name_in_the_list() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), serde_json::Value::from(code.as_str()));
        }
    }
}
