//! `penpal room …`

use penpal_local_api::mail::InboxRequest;
use penpal_local_api::methods::{
    Inbox, RoomClose, RoomCreate, RoomInvite, RoomJoin, RoomLeave, RoomList, RoomMembers, RoomRemove,
};
use penpal_local_api::room::{ListRequest, MemberRequest, NameRequest, Room, RoomRow, Standing};

use crate::cli::output::{Output, Unprinted, clean};
use crate::cli::{Context, Done, caller, parse};

/// Make rooms, invite contacts into them, join and leave
///
/// What is said in a room goes to every member, sealed for each of their machines: `penpal send '#ROOM' TEXT`. Nobody is woken by it;
/// `penpal send '#ROOM @CONTACT/SESSION' TEXT` is for one session in it, and can wake that one when it asks.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Make a room; you own it
    Create {
        /// Its name
        room: String,
    },
    /// Invite a contact into a room of yours
    ///
    /// They join when they want. Whoever joins reads what is said from then on, nothing from before, and becomes a contact of every member. Only a
    /// person can invite; inside an agent this refuses.
    Invite {
        /// The room
        room: String,
        /// The contacts
        #[arg(required = true)]
        contacts: Vec<String>,
    },
    /// Join a room that a contact invites you into
    ///
    /// Joining makes you a contact of its members, and of whoever joins later: your nodes exchange invites by way of the room's owner. Only a person
    /// can join; inside an agent this refuses.
    Join {
        /// The room
        room: String,
    },
    /// Leave a room, or say no to an invitation; refused inside an agent
    Leave {
        /// The room
        room: String,
    },
    /// Take somebody out of a room of yours, or an invitation back; refused inside an agent
    Remove {
        /// The room
        room: String,
        /// The member
        contact: String,
    },
    /// End a room of yours for everybody; what was said stays with whoever has it. Refused inside an agent
    Close {
        /// The room
        room: String,
    },
    /// List rooms and invitations
    List,
    /// Show who is in a room
    Members {
        /// The room
        room: String,
    },
    /// Show what was said in a room, oldest first
    History {
        /// The room
        room: String,
        /// At most so many, the newest
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let (node, out) = (context.node(), context.out);
    let named = |room: &str| NameRequest { caller: caller::gather(), name: room.to_owned() };
    let about = |room: &str, contact: &str| MemberRequest {
        caller: caller::gather(),
        name: room.to_owned(),
        contact: contact.to_owned(),
    };
    match args {
        Args::Create { room } => {
            let made = node.call::<RoomCreate>(&named(room))?;
            show(out, &made, &format!("is yours: penpal room invite '{}' CONTACT", made.row.room))?;
        }
        Args::Invite { room, contacts } => {
            let (mut last, mut invited, mut failed) = (None, Vec::new(), Vec::new());
            for contact in contacts {
                match node.call::<RoomInvite>(&about(room, contact)) {
                    Ok(room) => {
                        last = Some(room);
                        invited.push(contact.as_str());
                    }
                    Err(error) => failed.push((contact.as_str(), error)),
                }
            }
            if let Some(room) = last {
                let what = format!(
                    "{} can join it once their machine has the invitation: penpal status shows it there",
                    invited.join(", ")
                );
                show(out, &room, &format!("· {}", clean(&what)))?;
            }
            // The first says why, and the others are named.
            let mut failed = failed.into_iter();
            if let Some((_, first)) = failed.next() {
                for (contact, error) in failed {
                    out.remark(format_args!("not invited: {}: {}", clean(contact), clean(&error.message)));
                }
                return Err(first.into());
            }
        }
        Args::Join { room } => {
            let joined = node.call::<RoomJoin>(&named(room))?;
            let what = match joined.row.standing {
                Standing::Member => "is joined".to_owned(),
                _ => format!("is joined once {}'s machine has heard of it", clean(&joined.row.owner)),
            };
            show(out, &joined, &what)?;
        }
        Args::Leave { room } => show(out, &node.call::<RoomLeave>(&named(room))?, "is left")?,
        Args::Remove { room, contact } => {
            let left = node.call::<RoomRemove>(&about(room, contact))?;
            show(
                out,
                &left,
                &format!(
                    "goes on without {}, for each member once their machine has heard of it",
                    clean(contact)
                ),
            )?;
        }
        Args::Close { room } => show(
            out,
            &node.call::<RoomClose>(&named(room))?,
            "is closed, for each member once their machine has heard of it",
        )?,
        Args::List => {
            let rooms = node.call::<RoomList>(&ListRequest { caller: caller::gather() })?;
            out.show(&rooms, |rooms| {
                if rooms.rooms.is_empty() {
                    return out.line("  no rooms; make one: penpal room create NAME");
                }
                let rows = rooms.rooms.iter().map(row).collect();
                out.table(["ROOM", "OWNER", "YOU ARE", "MEMBERS", "SINCE"], rows)
            })?;
        }
        Args::Members { room } => {
            let room = node.call::<RoomMembers>(&named(room))?;
            out.show(&room, |room| members(out, room))?;
        }
        Args::History { room, limit } => {
            let name = room.strip_prefix('#').unwrap_or(room);
            let request = InboxRequest {
                caller: caller::gather(),
                session: Some(format!("#{name}")),
                limit: *limit,
                ..InboxRequest::default()
            };
            let history = node.call::<Inbox>(&request)?;
            super::inbox::show(out, &history, "nothing was said there yet")?;
        }
    }
    Ok(())
}

fn show(out: Output, room: &Room, what: &str) -> Result<(), Unprinted> {
    out.show(room, |room| {
        out.line(format_args!("  {} {} {what}", out.good("✓"), clean(&room.row.room)))?;
        remarks(out, room)
    })
}

fn remarks(out: Output, room: &Room) -> Result<(), Unprinted> {
    for remark in &room.remarks {
        out.line(format_args!("    {}", clean(remark)))?;
    }
    Ok(())
}

fn members(out: Output, room: &Room) -> Result<(), Unprinted> {
    out.line(format_args!("  {}  {}", clean(&room.row.room), standing(&room.row)))?;
    for member in &room.row.members {
        let owner = if member.owner { ", owner" } else { "" };
        let linked = match (member.linked, member.blocked) {
            (true, _) => "",
            (false, true) => ", blocked",
            (false, false) => ", not your contact",
        };
        out.line(format_args!("    {}{owner}{linked}", clean(&member.name)))?;
    }
    for invited in &room.row.invited {
        out.line(format_args!("    {}, invited", clean(invited)))?;
    }
    remarks(out, room)
}

fn row(room: &RoomRow) -> [String; 5] {
    [
        clean(&room.room),
        clean(&room.owner),
        standing(room),
        room.members.iter().map(|member| clean(&member.name)).collect::<Vec<_>>().join(", "),
        parse::ago(room.since_ms),
    ]
}

fn standing(room: &RoomRow) -> String {
    match room.standing {
        Standing::Invited => format!("invited: penpal room join '{}'", clean(&room.room)),
        Standing::Joining => format!("joining, once {} has heard of it", clean(&room.owner)),
        Standing::Member => "in it".to_owned(),
        Standing::Left => "out of it".to_owned(),
        Standing::Removed => "taken out of it".to_owned(),
        Standing::Closed => "closed".to_owned(),
    }
}
