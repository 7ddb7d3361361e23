//! `penpal contact …`

mod add;
mod invite;
mod verify;

use penpal_local_api::contacts::{
    Contact, ContactRow, ContactSession, ContactState, InvitesRequest, ListRequest, NameRequest,
    RenameRequest, SessionsRequest, Trust,
};
use penpal_local_api::error::ApiError;
use penpal_local_api::methods::{
    ContactAccept, ContactBlock, ContactDecline, ContactInvites, ContactList, ContactRemove, ContactRename,
    ContactSessions, ContactUnblock, RoomList,
};
use penpal_local_api::room::{RoomRow, Standing};

use super::sessions;
use crate::cli::output::{Output, Unprinted, clean};
use crate::cli::{Context, Done, caller, parse};
use crate::launch::Node;

/// Connect to people: invites, requests, contacts and their sessions
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    Invite(invite::Args),
    Add(add::Args),
    /// Accept somebody who used your invite
    Accept(Name),
    /// Decline somebody who used your invite, or take an own request back
    Decline(Name),
    /// End a contact: here at once, at the relay as soon as it can be reached
    Remove(Name),
    /// Take no mail of a contact any more, without telling
    Block(Name),
    /// Take a contact's mail again
    Unblock(Name),
    /// Give a contact another name here
    Rename {
        /// Its name
        name: String,
        /// Its new name
        new: String,
    },
    /// List contacts and requests
    List,
    /// List sessions of contacts: who is there, and how each can be reached
    Sessions {
        /// Only of this contact
        name: Option<String>,
    },
    Verify(verify::Args),
    /// List your invites and where they stand
    Invites,
}

/// Names a contact.
#[derive(Debug, clap::Args)]
pub(crate) struct Name {
    /// The contact
    name: String,
}

impl Name {
    fn request(&self) -> NameRequest {
        NameRequest { caller: caller::gather(), name: self.name.clone() }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let (node, out) = (context.node(), context.out);
    match args {
        Args::Invite(args) => return invite::run(args, context),
        Args::Add(args) => return add::run(args, context),
        Args::Verify(args) => return verify::run(args, context),
        Args::Accept(name) => {
            let accepted = node.call::<ContactAccept>(&name.request())?;
            out.show(&accepted, |accepted| print_accepted(out, accepted))?;
        }
        Args::Decline(name) => {
            let declined = node.call::<ContactDecline>(&name.request())?;
            out.show(&declined, |declined| {
                out.line(format_args!("  {} is declined", declined.contact.name))
            })?;
        }
        Args::Remove(name) => {
            let shared = shared_rooms(&rooms_of(&node)?, &name.name);
            let removed = node.call::<ContactRemove>(&name.request())?;
            out.show(&removed, |removed| {
                let relay =
                    if removed.at_relay { "" } else { "; the relay is told as soon as it can be reached" };
                out.line(format_args!("  {} {} is no contact any more{relay}", out.good("✓"), removed.name))?;
                shared.iter().try_for_each(|line| out.line(format_args!("    {}", clean(line))))
            })?;
        }
        Args::Block(name) => {
            let blocked = node.call::<ContactBlock>(&name.request())?;
            let rooms = rooms_of(&node)?;
            out.show(&blocked, |blocked| {
                out.line(format_args!(
                    "  {} is blocked and not told (penpal contact unblock {})",
                    blocked.contact.name, blocked.contact.name
                ))?;
                // Nothing goes there, so in a room it stays until it is taken out, and does not hear who else is.
                let name = blocked.contact.name.as_str();
                rooms.iter().filter(|room| room.owner == "me").try_for_each(|room| {
                    if !room.members.iter().any(|member| member.name == name) {
                        return Ok(());
                    }
                    let room = clean(&room.room);
                    out.line(format_args!("    still in {room}: penpal room remove '{room}' {}", clean(name)))
                })
            })?;
        }
        Args::Unblock(name) => {
            let contact = node.call::<ContactUnblock>(&name.request())?;
            out.show(&contact, |contact| {
                let name = &contact.contact.name;
                match contact.contact.state {
                    ContactState::Blocked => out.line(format_args!(
                        "  {name} is not blocked by you any more, but its key changed: penpal contact verify {name}"
                    )),
                    _ => out.line(format_args!("  {name} is a contact again")),
                }
            })?;
        }
        Args::Rename { name, new } => {
            let request = RenameRequest { caller: caller::gather(), name: name.clone(), new: new.clone() };
            let contact = node.call::<ContactRename>(&request)?;
            out.show(&contact, |contact| {
                out.line(format_args!("  {} is its name here now", contact.contact.name))
            })?;
        }
        Args::List => {
            let list = node.call::<ContactList>(&ListRequest { caller: caller::gather() })?;
            out.show(&list, |list| print_list(out, &list.contacts))?;
        }
        Args::Sessions { name } => {
            let request = SessionsRequest { caller: caller::gather(), name: name.clone() };
            let answer = node.call::<ContactSessions>(&request)?;
            out.show(&answer, |answer| print_sessions(out, &answer.sessions))?;
        }
        Args::Invites => {
            let answer = node.call::<ContactInvites>(&InvitesRequest { caller: caller::gather() })?;
            out.show(&answer, |answer| {
                if answer.invites.is_empty() {
                    return out.line("  no invites: penpal contact invite");
                }
                let rows = answer.invites.iter().map(|invite| {
                    let until = parse::day_and_time(invite.expires_ms);
                    [
                        invite.id.clone(),
                        invite.state.clone(),
                        sessions::text(invite.by.as_deref()),
                        sessions::text(invite.meant_for.as_deref()),
                        until,
                        sessions::text(invite.code.as_deref()),
                    ]
                });
                out.table(["ID", "STATE", "BY", "FOR", "UNTIL", "CODE"], rows.collect())
            })?;
        }
    }
    Ok(())
}

fn print_accepted(out: Output, accepted: &Contact) -> Result<(), Unprinted> {
    let contact = &accepted.contact;
    let number = contact.safety_number.as_deref().unwrap_or("unknown yet");
    out.line(format_args!(
        "  {} {} is a contact. Compare on a call if it matters:",
        out.good("✓"),
        contact.name
    ))?;
    out.line(format_args!("    {number}   (penpal contact verify {})", contact.name))?;
    out.line(format_args!(
        "  {} sees your sessions' names, folders (last part), agents, states and summaries",
        contact.name
    ))
}

fn print_list(out: Output, contacts: &[ContactRow]) -> Result<(), Unprinted> {
    if contacts.is_empty() {
        return out.line("  no contacts: penpal contact invite, or penpal contact add CODE");
    }
    let rows = contacts.iter().map(|contact| {
        let online = if contact.online { "online" } else { "–" };
        let short: String =
            contact.safety_number.as_deref().unwrap_or("–").split(' ').take(3).collect::<Vec<_>>().join(" ");
        [
            contact.name.clone(),
            state(contact.state).to_owned(),
            trust(contact.trust).to_owned(),
            online.to_owned(),
            short,
            clean(contact.notice.as_deref().unwrap_or(next_step(contact.state))),
        ]
    });
    out.table(["CONTACT", "STATE", "TRUST", "ONLINE", "SAFETY NUMBER", ""], rows.collect())
}

fn next_step(state: ContactState) -> &'static str {
    match state {
        ContactState::PendingIn => "penpal contact accept NAME, or decline",
        ContactState::PendingOut => "the other side must accept",
        ContactState::Active | ContactState::Blocked | ContactState::Declined => "",
        ContactState::Gone => "removed there, or the account is gone",
    }
}

fn rooms_of(node: &Node) -> Result<Vec<RoomRow>, ApiError> {
    let request = penpal_local_api::room::ListRequest { caller: caller::gather() };
    Ok(node.call::<RoomList>(&request)?.rooms)
}

/// What the end of a contact does to rooms: whoever owns one with the other in it is told here.
fn shared_rooms(rooms: &[RoomRow], name: &str) -> Vec<String> {
    let name = name.strip_suffix('/').unwrap_or(name);
    let open = rooms.iter().filter(|room| matches!(room.standing, Standing::Member | Standing::Joining));
    let line = |room: &RoomRow| {
        if room.owner == name {
            return Some(format!("you are out of their room {}", room.room));
        }
        let is_in = room.owner == "me" && room.members.iter().any(|member| member.name == name);
        is_in.then(|| format!("they are out of your room {}", room.room))
    };
    open.filter_map(line).collect()
}

/// The word for a state.
pub(super) fn state(state: ContactState) -> &'static str {
    match state {
        ContactState::PendingIn => "pending-in",
        ContactState::PendingOut => "pending-out",
        ContactState::Active => "active",
        ContactState::Blocked => "blocked",
        ContactState::Declined => "declined",
        ContactState::Gone => "gone",
    }
}

fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::Local => "local",
        Trust::Invited => "invited",
        Trust::Verified => "verified",
        Trust::Changed => "changed",
    }
}

fn print_sessions(out: Output, list: &[ContactSession]) -> Result<(), Unprinted> {
    if list.is_empty() {
        return out.line("  no sessions of contacts are known");
    }
    let rows = list.iter().map(|session| {
        [
            session.contact.clone(),
            session.session.clone(),
            session.device.clone(),
            session.agent.clone(),
            sessions::state(session.state, session.since_ms),
            sessions::reach(session.reach).to_owned(),
            sessions::text(session.folder.as_deref()),
            sessions::summary(session.summary.as_deref()),
        ]
    });
    out.table(
        ["CONTACT", "SESSION", "DEVICE", "AGENT", "STATE", "REACH", "FOLDER", "SUMMARY"],
        rows.collect(),
    )
}
