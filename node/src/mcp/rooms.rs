//! The tool `rooms`.

use penpal_local_api::caller::Caller;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::{RoomCreate, RoomJoin, RoomLeave, RoomList, RoomMembers};
use penpal_local_api::room::{ListRequest, Member, NameRequest, RoomRow};

use super::shapes::{RoomLine, RoomsAction, RoomsResult};
use crate::launch::Node;

/// Does what an agent asks of rooms.
pub(super) fn act(
    node: &Node,
    caller: Caller,
    action: RoomsAction,
    room: Option<String>,
) -> Result<RoomsResult, ApiError> {
    if action == RoomsAction::List {
        let rooms = node.call::<RoomList>(&ListRequest { caller })?.rooms;
        return Ok(RoomsResult { rooms: rooms.into_iter().map(line).collect() });
    }
    let name = room.ok_or_else(|| ApiError::new(ErrorCode::Usage, "say which room"))?;
    let request = NameRequest { caller, name: name.clone() };
    let done = match action {
        RoomsAction::Create => node.call::<RoomCreate>(&request),
        RoomsAction::Join => {
            node.call::<RoomJoin>(&request).map_err(|error| for_person(error, "join", &name))
        }
        RoomsAction::Leave => {
            node.call::<RoomLeave>(&request).map_err(|error| for_person(error, "leave", &name))
        }
        RoomsAction::Members | RoomsAction::List => node.call::<RoomMembers>(&request),
    };
    Ok(RoomsResult { rooms: vec![line(done?.row)] })
}

/// What only a person may do, with the command that does it.
fn for_person(error: ApiError, verb: &str, room: &str) -> ApiError {
    if error.code != ErrorCode::NeedsPerson {
        return error;
    }
    let command = format!("penpal room {verb} '#{}'", room.trim_start_matches('#'));
    error.hint(format!("ask your user to run {command} in their own terminal"))
}

fn line(row: RoomRow) -> RoomLine {
    let standing = serde_json::to_value(row.standing).ok();
    RoomLine {
        address: row.room,
        standing: standing.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default(),
        owner: row.owner,
        members: row.members.into_iter().map(called).collect(),
    }
}

/// A member by name, with what an agent must know before it writes.
fn called(member: Member) -> String {
    match (member.linked, member.blocked) {
        (true, _) => member.name,
        (false, true) => format!("{} (blocked)", member.name),
        (false, false) => format!("{} (not your contact)", member.name),
    }
}

/// The rooms in words.
pub(super) fn text(result: &RoomsResult) -> String {
    if result.rooms.is_empty() {
        return "No rooms.".to_owned();
    }
    let mut text = "Rooms (address · you are · owner · members):\n".to_owned();
    for room in &result.rooms {
        let members = room.members.join(", ");
        text.push_str(&format!("- {} · {} · {} · {members}\n", room.address, room.standing, room.owner));
    }
    text
}
