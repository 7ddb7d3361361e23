//! Shapes of mail: `send`, `inbox`, `read`, `trace` and their like.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::contacts::Trust;

/// What a message is, to people and agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Information; never wakes.
    Note,
    /// A question.
    Ask,
    /// An answer.
    Reply,
}

/// How far a message got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Durable here.
    Queued,
    /// Durable at the relay.
    Relayed,
    /// Durable on the recipient's machine.
    Delivered,
    /// Durable there, and waiting for something.
    Held,
    /// Handed to the agent's program, or shown to a person.
    Surfaced,
    /// Answered.
    Answered,
    /// Not taken; final.
    Refused,
    /// Nobody took it in its time; final.
    Expired,
}

/// Sends a message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// Who sends.
    #[serde(default)]
    pub caller: Caller,
    /// Address; absent with `reply_to` answers whoever sent that message.
    #[serde(default)]
    pub to: Option<String>,
    /// The text, at most 64 KiB.
    pub text: String,
    /// One line.
    #[serde(default)]
    pub subject: Option<String>,
    /// Note or ask; a reply follows from `reply_to`.
    #[serde(default)]
    pub ask: bool,
    /// Id of the message that this answers.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// Session that sends, instead of the caller's own.
    #[serde(default)]
    pub from_session: Option<String>,
    /// Send although the contact announced no such session, or is gone: then it waits here.
    #[serde(default)]
    pub anyway: bool,
    /// Artifacts that go with it, at most 16; their contents are here.
    #[serde(default)]
    pub artifacts: Vec<Attached>,
    /// Life in milliseconds; 14 days when absent, at most 30.
    #[serde(default)]
    pub life_ms: Option<u64>,
    /// How long to wait; absent waits up to 2 s for a better stage.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Where a reply that is returned goes: it counts as shown by this mechanism.
    #[serde(default)]
    pub mechanism: Option<String>,
}

/// An artifact that goes with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attached {
    /// BLAKE3 of its content.
    pub hash: String,
    /// File name.
    pub name: String,
}

/// Tells all sessions on this machine something.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BroadcastRequest {
    /// Who tells it.
    #[serde(default)]
    pub caller: Caller,
    /// The text, at most 4 KiB.
    pub text: String,
    /// How long it waits for each of them, in milliseconds; an hour when absent, at most a day.
    #[serde(default)]
    pub life_ms: Option<u64>,
}

/// Who will see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broadcast {
    /// Shape version.
    pub v: u32,
    /// The sessions, each with its message.
    pub sessions: Vec<BroadcastTo>,
    /// When it is over for whoever has not seen it, Unix milliseconds.
    pub ends_ms: u64,
}

/// One session that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BroadcastTo {
    /// Its name.
    pub session: String,
    /// The message.
    pub id: String,
    /// Its short id here.
    pub short: String,
}

/// Waits on for a message that was sent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendWaitRequest {
    /// Who waits.
    #[serde(default)]
    pub caller: Caller,
    /// The message.
    pub id: String,
    /// How long, in milliseconds.
    pub wait_ms: u64,
    /// Where a reply that is returned goes.
    #[serde(default)]
    pub mechanism: Option<String>,
}

/// What became of a message so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// Shape version.
    pub v: u32,
    /// Its id.
    pub id: String,
    /// Its short id here.
    pub short: String,
    /// The address that was resolved.
    pub to: String,
    /// The weakest thing that is true.
    pub stage: Stage,
    /// Why it is held, refused or expired.
    pub reason: Option<String>,
    /// Each device's copy.
    pub copies: Vec<CopyStage>,
    /// The answer, when it was waited for.
    pub reply: Option<Message>,
    /// The answer in the marked quote that a model is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_quote: Option<String>,
    /// Whether what was waited for did not come in time.
    pub timed_out: bool,
    /// Facts the sender should know: "name not checked", how the session will see it.
    pub remarks: Vec<String>,
    /// Lease of the reply: commit it once it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

/// Stage of one copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopyStage {
    /// The device.
    pub device: String,
    /// The contact whose device it is; absent for this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Its stage.
    pub stage: Stage,
    /// Why it is held, refused or expired.
    pub reason: Option<String>,
    /// Session it reached.
    pub session: Option<String>,
    /// How it was surfaced.
    pub mechanism: Option<String>,
}

/// Asks for mail.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InboxRequest {
    /// Who asks: inside an agent only its own session's mail is listed.
    pub caller: Caller,
    /// Only this session's mail; `desk` for the desk; `#room` for everything said in a room.
    pub session: Option<String>,
    /// Read mail too.
    pub all: bool,
    /// Only mail from and to this contact or session, both directions; or said in this `#room`.
    pub with: Option<String>,
    /// At most so many, the newest.
    pub limit: Option<u32>,
    /// Only what came after this message, for following.
    pub after: Option<String>,
    /// How long to wait for something to list, in milliseconds.
    pub wait_ms: u64,
}

/// Mail, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inbox {
    /// Shape version.
    pub v: u32,
    /// The messages.
    pub messages: Vec<Message>,
}

/// One message as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its short id here.
    pub short: String,
    /// Address of the sender; answering goes there.
    pub from: String,
    /// Mailbox it came to; `desk` for the desk; `#room` for what was said in a room, with `@who` when it is for one session.
    pub to: String,
    /// What it is.
    pub kind: Kind,
    /// One line.
    pub subject: Option<String>,
    /// The text.
    pub body: String,
    /// When it was sent, Unix milliseconds by the sender's clock.
    pub sent_ms: u64,
    /// When it was durable here, Unix milliseconds.
    pub received_ms: u64,
    /// Whether it was seen.
    pub state: ReadState,
    /// Whether device signature and manifest were checked; true for all remote mail that was accepted.
    pub verified: bool,
    /// How the contact's key was checked by people.
    pub trust: Trust,
    /// Device it came from, for mail of contacts.
    pub device: Option<String>,
    /// The message it answers.
    pub reply_to: Option<String>,
    /// The same as its short id here, when that message is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
    /// What it belongs to: the same for a message and the answers to it.
    #[serde(default)]
    pub conversation: String,
    /// Room it was said in, as `#name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// Files.
    pub artifacts: Vec<Artifact>,
    /// Why it is held.
    pub held: Option<String>,
    /// Marks a reader should see: `again`, `gap-before`, `sent to an earlier conversation` …
    pub marks: Vec<String>,
}

/// Whether a message was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReadState {
    /// Nobody saw it.
    Unread,
    /// It was handed to the agent's program.
    Surfaced,
    /// Somebody read it, or answered.
    Read,
    /// Said in a room to somebody else: kept, and waiting for nobody here.
    History,
}

/// A file that belongs to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// BLAKE3 of the content, in hexadecimal digits.
    pub hash: String,
    /// File name, as the sender calls it.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// Reads one message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    /// Who reads.
    #[serde(default)]
    pub caller: Caller,
    /// The message.
    pub id: String,
    /// Also what it answers, and the answers to it.
    #[serde(default)]
    pub thread: bool,
}

/// One message, alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadAnswer {
    /// Shape version.
    pub v: u32,
    /// The message.
    pub message: Message,
    /// It with what it answers and the answers to it, oldest first, when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thread: Vec<Message>,
}

/// Takes unread mail for showing it to a model.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TakeRequest {
    /// Who takes.
    pub caller: Caller,
    /// One message by id, also when it was seen before.
    pub id: Option<String>,
    /// With an id, also what it answers and the answers to it.
    pub thread: bool,
    /// Also mail that was seen before.
    pub all: bool,
    /// Only mail with this contact or session.
    pub with: Option<String>,
    /// How it will be shown: `mcp`, `hook` …
    pub mechanism: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
    /// How long to wait for something to take, in milliseconds.
    pub wait_ms: u64,
}

/// Mail that was taken, ready for showing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// Shape version.
    pub v: u32,
    /// Commit with this within ten seconds of showing; absent when nothing needs it.
    pub lease: Option<String>,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// The same as one text in the marked quote that a model is shown.
    pub quote: String,
    /// Unread messages that were left.
    pub more: u64,
}

/// Says that taken mail reached the agent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitRequest {
    /// The lease.
    pub lease: String,
}

/// The mail is surfaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Committed {
    /// Shape version.
    pub v: u32,
}

/// Asks for own messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutboxRequest {
    /// Who asks.
    pub caller: Caller,
    /// Finished ones too.
    pub all: bool,
    /// At most so many, the newest.
    pub limit: Option<u32>,
}

/// Own messages, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outbox {
    /// Shape version.
    pub v: u32,
    /// The messages.
    pub messages: Vec<OutMessage>,
}

/// One own message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutMessage {
    /// Its id.
    pub id: String,
    /// Its short id here.
    pub short: String,
    /// Mailbox it was sent from.
    pub from: String,
    /// Address it went to.
    pub to: String,
    /// What it is.
    pub kind: Kind,
    /// One line.
    pub subject: Option<String>,
    /// The text.
    pub body: String,
    /// When, Unix milliseconds.
    pub sent_ms: u64,
    /// When nobody needs it any more, Unix milliseconds.
    pub expires_ms: u64,
    /// How far it got.
    pub stage: Stage,
    /// Why it is held, refused or expired.
    pub reason: Option<String>,
    /// When it is tried again, Unix milliseconds.
    pub next_try_ms: Option<u64>,
    /// Each device's copy.
    pub copies: Vec<CopyStage>,
}

/// Names a message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdRequest {
    /// Who asks.
    #[serde(default)]
    pub caller: Caller,
    /// The message: short id, or a unique prefix.
    pub id: String,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// Shape version.
    pub v: u32,
    /// The message.
    pub id: String,
    /// Its short id here.
    pub short: String,
    /// In the order they became known.
    pub events: Vec<TraceEvent>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceEvent {
    /// The stage that was reached.
    pub stage: Stage,
    /// When, Unix milliseconds by the clock of whoever says it.
    pub at_ms: u64,
    /// Who says it: `here`, a relay's host, a contact's device, a session, or the id of the answer.
    pub by: String,
    /// How it was surfaced.
    pub mechanism: Option<String>,
    /// Why it is held, refused or expired.
    pub reason: Option<String>,
    /// Whether a device signed it.
    pub signed: bool,
}

/// A dead message was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dismissed {
    /// Shape version.
    pub v: u32,
    /// The message.
    pub id: String,
}
