//! The methods, in the order of the command line's table.

use crate::method::{Method, MethodSchema};
use crate::{
    account as a, artifact as f, contacts as c, daemon as d, devices as dv, hook as h, mail as m,
    recovery as rc, room as r, search as se, sessions as s, status as st, wake as w,
};

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident $path:literal $timeout:literal $request:ty => $answer:ty;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl Method for $name {
                const NAME: &'static str = $path;
                const TIMEOUT_MS: u64 = $timeout;
                type Request = $request;
                type Answer = $answer;
            }
        )*

        /// One request of any method, parsed.
        #[derive(Debug, Clone)]
        pub enum Call {
            $(
                #[doc = concat!("`", $path, "`")]
                $name($request),
            )*
        }

        impl Call {
            /// Parses a request body; `None` when there is no such method.
            ///
            /// # Errors
            /// The parser's, with the place in the body.
            pub fn parse(name: &str, body: &[u8]) -> Option<Result<Self, serde_json::Error>> {
                match name {
                    $($path => Some(serde_json::from_slice(body).map(Self::$name)),)*
                    _ => None,
                }
            }

            /// Name of the method.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $path,)*
                }
            }
        }

        /// Schemas of all methods.
        #[must_use]
        pub fn schemas() -> Vec<MethodSchema> {
            vec![$(MethodSchema::of::<$name>()),*]
        }
    };
}

methods! {
    /// Node, account, relay and counts.
    Status "status" 10_000 st::StatusRequest => st::Status;
    /// Checks with their repairs.
    Doctor "doctor" 30_000 st::DoctorRequest => st::Doctor;
    /// Makes an account at a relay.
    Register "register" 30_000 a::RegisterRequest => a::Account;
    /// The account.
    AccountShow "account/show" 10_000 a::AccountRequest => a::Account;
    /// The recovery code of the account; only a person may see it.
    AccountRecoveryCode "account/recovery-code" 10_000 rc::CodeRequest => rc::Code;
    /// Brings an account back with its recovery code, or looks for it.
    Recover "recover" 60_000 rc::RecoverRequest => rc::Recovery;
    /// Makes a code for a further device.
    DeviceLink "device/link" 30_000 dv::LinkRequest => dv::LinkCode;
    /// Makes this machine a device of an account.
    DeviceJoin "device/join" 60_000 dv::JoinRequest => a::Account;
    /// Devices of the account.
    DeviceList "device/list" 10_000 dv::ListRequest => dv::Devices;
    /// Gives a device another name.
    DeviceRename "device/rename" 10_000 dv::RenameRequest => dv::Device;
    /// Cuts a device off.
    DeviceRevoke "device/revoke" 30_000 dv::RevokeRequest => dv::Revoked;
    /// Makes invites.
    ContactInvite "contact/invite" 30_000 c::InviteRequest => c::Invites;
    /// Invites and where they stand.
    ContactInvites "contact/invites" 10_000 c::InvitesRequest => c::InviteList;
    /// Uses a code. Registers first when there is no account.
    ContactAdd "contact/add" 60_000 c::AddRequest => c::Added;
    /// Accepts a request.
    ContactAccept "contact/accept" 30_000 c::NameRequest => c::Contact;
    /// Declines a request, or takes an own one back.
    ContactDecline "contact/decline" 30_000 c::NameRequest => c::Contact;
    /// Ends a contact.
    ContactRemove "contact/remove" 30_000 c::NameRequest => c::Removed;
    /// Stops taking a contact's mail, without telling.
    ContactBlock "contact/block" 10_000 c::NameRequest => c::Contact;
    /// Takes a contact's mail again.
    ContactUnblock "contact/unblock" 10_000 c::NameRequest => c::Contact;
    /// Renames a contact here.
    ContactRename "contact/rename" 10_000 c::RenameRequest => c::Contact;
    /// Shows or confirms the safety number.
    ContactVerify "contact/verify" 10_000 c::VerifyRequest => c::Contact;
    /// All contacts.
    ContactList "contact/list" 10_000 c::ListRequest => c::Contacts;
    /// Sessions of contacts.
    ContactSessions "contact/sessions" 10_000 c::SessionsRequest => c::ContactSessions;
    /// Sends a note, an ask or a reply.
    Send "send" 15_000 m::SendRequest => m::Sent;
    /// Tells all sessions on this machine something.
    Broadcast "broadcast" 10_000 m::BroadcastRequest => m::Broadcast;
    /// Waits for a better stage of an own message.
    SendWait "send/wait" 10_000 m::SendWaitRequest => m::Sent;
    /// Lists mail.
    Inbox "inbox" 10_000 m::InboxRequest => m::Inbox;
    /// Reads one message.
    Read "read" 10_000 m::ReadRequest => m::ReadAnswer;
    /// Takes unread mail of the caller's session for showing it to its model; commit or it is unread again.
    Take "take" 10_000 m::TakeRequest => m::Taken;
    /// Says that taken mail reached the agent.
    Commit "commit" 10_000 m::CommitRequest => m::Committed;
    /// Finds messages by their words.
    Search "search" 10_000 se::SearchRequest => se::Hits;
    /// Own messages.
    Outbox "outbox" 10_000 m::OutboxRequest => m::Outbox;
    /// What became of one message.
    Trace "trace" 10_000 m::IdRequest => m::Trace;
    /// Sends again now.
    Retry "retry" 10_000 m::IdRequest => m::Sent;
    /// Forgets a dead message.
    Dismiss "dismiss" 10_000 m::IdRequest => m::Dismissed;
    /// Keeps a file's content.
    ArtifactPut "artifact/put" 30_000 f::PutRequest => f::Put;
    /// Artifacts that mail refers to, or whose content is here.
    ArtifactList "artifact/list" 10_000 f::ListRequest => f::Artifacts;
    /// Where an artifact's content is.
    ArtifactGet "artifact/get" 10_000 f::GetRequest => f::Got;
    /// How far the files of an own message are.
    ArtifactSending "artifact/sending" 10_000 f::SendingRequest => f::Sending;
    /// Removes contents that no message refers to.
    ArtifactGc "artifact/gc" 60_000 f::GcRequest => f::Collected;
    /// All rooms.
    RoomList "room/list" 10_000 r::ListRequest => r::Rooms;
    /// Makes a room.
    RoomCreate "room/create" 10_000 r::NameRequest => r::Room;
    /// Invites a contact into a room of one's own.
    RoomInvite "room/invite" 10_000 r::MemberRequest => r::Room;
    /// Joins a room to which a contact invites.
    RoomJoin "room/join" 10_000 r::NameRequest => r::Room;
    /// Leaves a room, or says no to an invitation.
    RoomLeave "room/leave" 10_000 r::NameRequest => r::Room;
    /// Takes somebody out of a room of one's own, or an invitation back.
    RoomRemove "room/remove" 10_000 r::MemberRequest => r::Room;
    /// Ends a room of one's own.
    RoomClose "room/close" 10_000 r::NameRequest => r::Room;
    /// One room with its members.
    RoomMembers "room/members" 10_000 r::NameRequest => r::Room;
    /// Local sessions.
    Sessions "sessions" 10_000 s::SessionsRequest => s::Sessions;
    /// Who the caller is; makes its session when it has none.
    Whoami "session/whoami" 10_000 s::WhoamiRequest => s::Whoami;
    /// Opens a session by hand.
    SessionOpen "session/open" 10_000 s::OpenRequest => s::Session;
    /// Closes a session that was opened by hand.
    SessionClose "session/close" 10_000 s::NameRequest => s::Session;
    /// Renames a session.
    SessionRename "session/rename" 10_000 s::RenameRequest => s::Session;
    /// Sets a session's summary.
    SessionSummary "session/summary" 10_000 s::SummaryRequest => s::Session;
    /// Says when mail may reach a session's model.
    SessionMute "session/mute" 10_000 s::MuteRequest => s::Session;
    /// Hides a session from contacts, or shows it again.
    SessionHide "session/hide" 10_000 s::HideRequest => s::Session;
    /// Lets a session see its person's desk, or ends that; only a person may.
    SessionDesk "session/desk" 10_000 s::DeskRequest => s::Session;
    /// Waits until the caller is to wake a session.
    WakeWait "wake/wait" 10_000 w::WakeWaitRequest => w::WakeWaited;
    /// Takes what a session is woken with; commit or it is unread again.
    WakeTake "wake/take" 10_000 w::WakeTakeRequest => w::WakeTaken;
    /// Reports an agent's hook and takes the mail that it can show; commit or it is unread again.
    Hook "hook" 150 h::HookRequest => h::HookAnswer;
    /// What waits for the caller's session, for its status line.
    Glance "glance" 150 h::GlanceRequest => h::Glance;
    /// Ends the node after what is under way.
    DaemonStop "daemon/stop" 15_000 d::StopRequest => d::Stopping;
}
