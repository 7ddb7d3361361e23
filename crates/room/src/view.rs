//! What listings and senders are told.

use penpal_protocol::ids::{Fingerprint, RoomId};
use penpal_protocol::sealed::RoomRef;
use penpal_protocol::text::Label;

use crate::error::RoomError;
use crate::machine::{Me, Room, Rooms};
use crate::record::Standing;

/// One room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    /// Its id.
    pub id: RoomId,
    /// Its name here.
    pub name: Label,
    /// Who owns it.
    pub owner: Fingerprint,
    /// How this node stands to it.
    pub standing: Standing,
    /// When it was made or heard of here, Unix milliseconds.
    pub since_ms: u64,
    /// Epoch of the newest entry; `None` before the log came.
    pub epoch: Option<u64>,
    /// Everybody in it, the owner first, with what the owner calls them; before the log came, whom the invitation named.
    pub members: Vec<(Fingerprint, Option<Label>)>,
    /// Owner: who was invited and did not answer.
    pub invited: Vec<Fingerprint>,
}

/// Where a message into a room goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fanout {
    /// Says where it was said.
    pub said_in: RoomRef,
    /// Every other member.
    pub to: Vec<Fingerprint>,
}

impl Rooms {
    /// All rooms, by name.
    #[must_use]
    pub fn list(&self) -> Vec<RoomView> {
        let mut all: Vec<RoomView> = self.rooms.values().map(view).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// One room.
    #[must_use]
    pub fn view(&self, id: &RoomId) -> Option<RoomView> {
        self.rooms.get(id).map(view)
    }

    /// The room of this name.
    #[must_use]
    pub fn by_name(&self, name: &Label) -> Option<RoomId> {
        self.rooms.values().find(|room| room.record.name == *name).map(|room| room.record.id)
    }

    /// Name of a room here.
    #[must_use]
    pub fn name(&self, id: &RoomId) -> Option<&Label> {
        self.rooms.get(id).map(|room| &room.record.name)
    }

    /// Where a message into a room goes now.
    ///
    /// # Errors
    /// [`RoomError`]: not in it, or closed.
    pub fn fanout(&self, id: &RoomId, me: &Me) -> Result<Fanout, RoomError> {
        let room = self.room(id)?;
        let name = room.record.name.clone();
        match room.record.standing {
            Standing::Member => {}
            Standing::Closed => return Err(RoomError::Closed { name }),
            Standing::Invited | Standing::Joining | Standing::Left | Standing::Removed => {
                return Err(RoomError::NotIn { name });
            }
        }
        let (head, now) = room.log.head().zip(room.log.membership()).ok_or(RoomError::NotIn { name })?;
        let to = now.accounts().into_iter().filter(|account| *account != me.account).collect();
        Ok(Fanout { said_in: RoomRef { id: *id, epoch: head.epoch, chain: head.entry }, to })
    }

    /// Invitations that wait for an answer.
    #[must_use]
    pub fn invitations(&self) -> usize {
        self.rooms.values().filter(|room| room.record.standing == Standing::Invited).count()
    }
}

fn view(room: &Room) -> RoomView {
    let record = &room.record;
    let membership = room.log.membership();
    let members = match &membership {
        Some(now) => now
            .accounts()
            .into_iter()
            .map(|account| (account, now.others.get(&account).map(|member| member.name.clone())))
            .collect(),
        None => std::iter::once((record.owner, None))
            .chain(record.told.iter().map(|member| (member.account, Some(member.name.clone()))))
            .collect(),
    };
    RoomView {
        id: record.id,
        name: record.name.clone(),
        owner: record.owner,
        standing: record.standing,
        since_ms: record.since_ms,
        epoch: room.log.head().map(|head| head.epoch),
        members,
        invited: record.invited.iter().map(|invited| invited.account).collect(),
    }
}
