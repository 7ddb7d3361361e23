//! What the person here does with rooms.

use penpal_protocol::cbor::List;
use penpal_protocol::ids::{Fingerprint, RoomId};
use penpal_protocol::limits::MAX_ROOM_MEMBERS;
use penpal_protocol::sealed::{RoomChange, RoomInvitation, RoomMember, RoomNews, RoomWish};
use penpal_protocol::text::Label;

use crate::command::Notice;
use crate::devices::kept_elsewhere;
use crate::error::RoomError;
use crate::log::MAX_ENTRIES_TO_ADD;
use crate::machine::{MAX_ROOMS, Room, Rooms, Step, no_news};
use crate::record::{self, InvitedRecord, RoomRecord, Standing};

impl Rooms {
    /// Makes a room of ours.
    ///
    /// # Errors
    /// [`RoomError`]: no account, the name is taken, or there are too many rooms.
    pub fn create(&mut self, name: &Label, step: &mut Step<'_>) -> Result<RoomId, RoomError> {
        self.begin(step);
        let me = step.me.ok_or(RoomError::NoAccount)?;
        let named = self.by_name(name);
        // An invitation gives way: whoever sent it chose its name. So does what is over.
        let gives_way = |id: &RoomId| {
            self.rooms
                .get(id)
                .is_some_and(|room| !matches!(room.record.standing, Standing::Joining | Standing::Member))
        };
        if named.is_some_and(|id| !gives_way(&id)) {
            return Err(RoomError::NameTaken { name: name.clone() });
        }
        self.make_place()?;
        let mut id = [0; 16];
        step.rng.fill_bytes(&mut id);
        let id = RoomId::from_bytes(id);
        self.put(new_record(id, name.clone(), me.account, Standing::Member, step.now.wall_ms));
        self.append(&id, RoomChange { created: Some(name.clone()), ..RoomChange::default() }, step)?;
        if let Some(other) = named {
            let other_name = self.free_name(name, &other);
            if let Some(room) = self.rooms.get_mut(&other) {
                room.record.name = other_name;
            }
            self.save(&other);
        }
        Ok(id)
    }

    /// Invites a contact into a room of ours; `name` is what members who do not know it will read.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn invite(
        &mut self,
        id: &RoomId,
        account: Fingerprint,
        name: &Label,
        step: &mut Step<'_>,
    ) -> Result<(), RoomError> {
        self.begin(step);
        self.owned(id, step)?;
        let room = self.rooms.get_mut(id).ok_or(RoomError::Unknown)?;
        let here = room.record.name.clone();
        let membership = room.log.membership().ok_or(RoomError::Unknown)?;
        if membership.contains(&account) {
            return Err(RoomError::Member { name: here });
        }
        if room.log.head().is_some_and(|head| head.epoch.saturating_add(1) >= MAX_ENTRIES_TO_ADD) {
            return Err(RoomError::Worn { name: here });
        }
        let mut invited = std::mem::take(&mut room.record.invited).into_vec();
        invited.retain(|known| known.account != account);
        let expected = invited.len().saturating_add(membership.others.len());
        if expected >= MAX_ROOM_MEMBERS {
            room.record.invited = List::truncated(invited);
            return Err(RoomError::Full { name: here });
        }
        invited.push(InvitedRecord { account, name: name.clone(), at_ms: step.now.wall_ms });
        room.record.invited = List::truncated(invited);
        let members = membership.others.iter();
        let members =
            members.map(|(account, member)| RoomMember { account: *account, name: member.name.clone() });
        let called = room.log.name().cloned().unwrap_or(here);
        let invitation = RoomInvitation { name: called, members: List::truncated(members.collect()) };
        self.save(id);
        self.send(account, RoomNews { invitation: Some(invitation), ..no_news(id) });
        Ok(())
    }

    /// Asks the owner for membership, which its invitation promised.
    ///
    /// # Errors
    /// [`RoomError`]: in it already, not invited, closed.
    pub fn join(&mut self, id: &RoomId, step: &mut Step<'_>) -> Result<(), RoomError> {
        self.begin(step);
        let room = self.rooms.get_mut(id).ok_or(RoomError::Unknown)?;
        let name = room.record.name.clone();
        match room.record.standing {
            Standing::Invited | Standing::Joining => {}
            Standing::Member => return Err(RoomError::InAlready { name }),
            Standing::Left | Standing::Removed => return Err(RoomError::NotInvited { name }),
            Standing::Closed => return Err(RoomError::Closed { name }),
        }
        room.record.standing = Standing::Joining;
        let owner = room.record.owner;
        self.decide(id, RoomWish::Join, step);
        self.save(id);
        self.send(owner, RoomNews { wish: Some(RoomWish::Join), ..no_news(id) });
        Ok(())
    }

    /// Goes out of a room, or says no to an invitation. It holds here at once; the owner is told.
    ///
    /// # Errors
    /// [`RoomError`]: not in it, or it is ours.
    pub fn leave(&mut self, id: &RoomId, step: &mut Step<'_>) -> Result<(), RoomError> {
        self.begin(step);
        let me = step.me.ok_or(RoomError::NoAccount)?;
        let room = self.rooms.get_mut(id).ok_or(RoomError::Unknown)?;
        let name = room.record.name.clone();
        if room.record.owner == me.account {
            return Err(RoomError::Owner { name });
        }
        let wish = match room.record.standing {
            Standing::Invited => RoomWish::Decline,
            Standing::Joining | Standing::Member => RoomWish::Leave,
            Standing::Left | Standing::Removed | Standing::Closed => return Err(RoomError::NotIn { name }),
        };
        room.record.standing = Standing::Left;
        let owner = room.record.owner;
        self.decide(id, wish, step);
        self.save(id);
        self.send(owner, RoomNews { wish: Some(wish), ..no_news(id) });
        self.refuse_held(id, "not-a-member");
        Ok(())
    }

    /// Takes somebody out of a room of ours, or takes an invitation back.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn remove(
        &mut self,
        id: &RoomId,
        account: Fingerprint,
        step: &mut Step<'_>,
    ) -> Result<(), RoomError> {
        self.begin(step);
        let me = self.owned(id, step)?;
        let room = self.rooms.get_mut(id).ok_or(RoomError::Unknown)?;
        let name = room.record.name.clone();
        if account == me {
            return Err(RoomError::Owner { name });
        }
        let invited = room.record.invited.iter().any(|known| known.account == account);
        record::retain(&mut room.record.invited, |known| known.account != account);
        let member = room.log.membership().is_some_and(|now| now.contains(&account));
        if invited {
            self.save(id);
            if !member {
                self.send(account, RoomNews { wish: Some(RoomWish::Decline), ..no_news(id) });
            }
        }
        if member {
            return self.append(id, RoomChange { removed: Some(account), ..RoomChange::default() }, step);
        }
        if invited { Ok(()) } else { Err(RoomError::NotMember { name }) }
    }

    /// Ends a room of ours for everybody.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn close(&mut self, id: &RoomId, step: &mut Step<'_>) -> Result<(), RoomError> {
        self.begin(step);
        self.owned(id, step)?;
        self.append(id, RoomChange { closed: Some(true), ..RoomChange::default() }, step)?;
        // Whoever did not join yet learns that nothing is there to join.
        let Some(room) = self.rooms.get_mut(id) else { return Ok(()) };
        let invited = std::mem::take(&mut room.record.invited).into_vec();
        self.save(id);
        for invited in invited {
            self.send(invited.account, RoomNews { wish: Some(RoomWish::Decline), ..no_news(id) });
        }
        Ok(())
    }

    /// Somebody wants to join what cannot be joined, and is told.
    pub(crate) fn refuse_wish(&mut self, id: &RoomId, account: Fingerprint, step: &Step<'_>) {
        if self.may_reply(&account, step) {
            self.send(account, RoomNews { wish: Some(RoomWish::Decline), ..no_news(id) });
        }
    }

    /// The owner says that its invitation is one no more.
    pub(crate) fn invitation_over(&mut self, id: &RoomId) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let was = room.record.standing;
        if !matches!(was, Standing::Invited | Standing::Joining) {
            return;
        }
        room.record.standing = Standing::Removed;
        let name = room.record.name.clone();
        self.save(id);
        self.refuse_held(id, "not-a-member");
        if was == Standing::Joining {
            self.notice(Notice::InvitationOver { name });
        }
        self.forget_if_never_in(id);
    }

    /// A room of somebody else that is over before anybody here was in it is nothing to remember; tells whether it was one.
    pub(crate) fn forget_if_never_in(&mut self, id: &RoomId) -> bool {
        let Some(room) = self.rooms.get(id) else { return false };
        let over = matches!(room.record.standing, Standing::Left | Standing::Removed | Standing::Closed);
        let forgets = over && room.record.decided.is_none();
        if forgets {
            self.forget(id);
        }
        forgets
    }

    /// A contact is no contact any more: it goes out of our rooms, and we are out of its rooms.
    pub fn handle_contact_ended(&mut self, account: Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        let Some(me) = step.me else { return };
        let ids: Vec<RoomId> = self.rooms.keys().copied().collect();
        for id in ids {
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            let active =
                matches!(room.record.standing, Standing::Member | Standing::Joining | Standing::Invited);
            if room.record.owner == account && active {
                let invited = room.record.standing == Standing::Invited;
                room.record.standing = Standing::Left;
                self.save(&id);
                self.refuse_held(&id, "not-a-member");
                if invited {
                    self.forget_if_never_in(&id);
                }
            } else if room.record.owner == me.account
                && active
                && let Err(error) = self.remove(&id, account, step)
            {
                tracing::debug!(%error, "a contact that is gone was in no room of this name");
            }
        }
    }

    /// The account here, which owns the room and may change it.
    fn owned(&self, id: &RoomId, step: &Step<'_>) -> Result<Fingerprint, RoomError> {
        let me = step.me.ok_or(RoomError::NoAccount)?;
        let room = self.room(id)?;
        let name = room.record.name.clone();
        if room.record.owner != me.account {
            return Err(RoomError::NotOwner { name });
        }
        match room.record.standing {
            Standing::Member => match kept_elsewhere(&room.log, step) {
                Some(device) => Err(RoomError::KeptElsewhere { name, device }),
                None => Ok(me.account),
            },
            Standing::Closed => Err(RoomError::Closed { name }),
            Standing::Invited | Standing::Joining | Standing::Left | Standing::Removed => {
                Err(RoomError::NotIn { name })
            }
        }
    }

    /// Makes place for one more room: the oldest that is over goes, else the oldest invitation.
    pub(crate) fn make_place(&mut self) -> Result<(), RoomError> {
        if self.rooms.len() < MAX_ROOMS {
            return Ok(());
        }
        let rank = |room: &Room| match room.record.standing {
            Standing::Left | Standing::Removed | Standing::Closed => Some(0),
            Standing::Invited => Some(1),
            Standing::Joining | Standing::Member => None,
        };
        let may_go = self.rooms.values().filter_map(|room| Some(((rank(room)?, room.record.since_ms), room)));
        let oldest = may_go.min_by_key(|(rank, _)| *rank).map(|(_, room)| room);
        let id = oldest.map(|room| room.record.id).ok_or(RoomError::TooMany { max: MAX_ROOMS })?;
        self.forget(&id);
        Ok(())
    }

    pub(crate) fn put(&mut self, record: RoomRecord) {
        let id = record.id;
        self.rooms.insert(id, Room::new(record));
        self.save(&id);
    }

    fn forget(&mut self, id: &RoomId) {
        use crate::record::{Table, entry_key};
        self.refuse_held(id, "not-a-member");
        let Some(room) = self.rooms.remove(id) else { return };
        for name in room.log.names() {
            self.persist(Table::Entry, entry_key(id, &name), None);
        }
        self.persist(Table::Room, id.as_bytes().to_vec(), None);
    }
}

pub(crate) fn new_record(
    id: RoomId,
    name: Label,
    owner: Fingerprint,
    standing: Standing,
    now_ms: u64,
) -> RoomRecord {
    RoomRecord {
        id,
        name,
        owner,
        standing,
        since_ms: now_ms,
        invited: List::default(),
        told: List::default(),
        introduced: List::default(),
        decided: None,
        heard_ms: None,
    }
}
