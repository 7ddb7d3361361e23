//! Rooms in the storm: people make them, come, speak, go, and are taken out; and what nodes say of them at the end.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use penpal_local_api::caller::Caller;
use penpal_local_api::error::ErrorCode;
use penpal_local_api::mail::{Message, SendRequest};
use penpal_local_api::methods::{
    Call, RoomClose, RoomCreate, RoomInvite, RoomJoin, RoomLeave, RoomList, RoomMembers, RoomRemove,
};
use penpal_local_api::room::{ListRequest, MemberRequest, NameRequest, Room, RoomRow, Standing};
use tokio::time::sleep;

use super::World;
use super::people::plain;
use crate::ledger::{Deed, Dest, Done, Said, Seen, Told};
use crate::note;
use crate::party::CallError;
use crate::plan::Act;

/// How often a person tries again what a node could not do.
const TRIES: usize = 12;

/// How long a person waits between.
const PAUSE: Duration = Duration::from_millis(1_500);

impl World {
    /// Name of a room, the same for everybody.
    pub(super) fn room_name(&self, room: usize) -> String {
        format!("{}-r{room}", self.canary)
    }

    fn room_request(&self, room: usize) -> NameRequest {
        NameRequest { caller: Caller::default(), name: self.room_name(room) }
    }

    fn member_request(&self, room: usize, whom: usize) -> MemberRequest {
        let contact = self.node(whom).name.clone();
        MemberRequest { caller: Caller::default(), name: self.room_name(room), contact }
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Something of the plan is done in a room.
    pub(super) async fn act(self: Rc<Self>, room: usize, act: Act) {
        let owner = self.plan.rooms[room].owner;
        match act {
            Act::Say { from, to, bytes } => self.say(room, from, to, bytes).await,
            Act::Create => {
                let call = || Call::RoomCreate(self.room_request(room));
                self.deed::<RoomCreate>(room, Deed::Created, owner, owner, call).await;
            }
            Act::Invite(guest) => {
                let call = || Call::RoomInvite(self.member_request(room, guest));
                self.deed::<RoomInvite>(room, Deed::Invited, owner, guest, call).await;
            }
            Act::Remove(guest) => {
                let call = || Call::RoomRemove(self.member_request(room, guest));
                self.deed::<RoomRemove>(room, Deed::Removed, owner, guest, call).await;
            }
            Act::Leave(guest) => {
                let call = || Call::RoomLeave(self.room_request(room));
                self.deed::<RoomLeave>(room, Deed::Left, guest, guest, call).await;
            }
            Act::Close => {
                let call = || Call::RoomClose(self.room_request(room));
                self.deed::<RoomClose>(room, Deed::Closed, owner, owner, call).await;
            }
        }
    }

    /// `who` does something to a room, again and again while the node does not answer; what is refused is given up.
    async fn deed<M: penpal_local_api::method::Method<Answer = Room>>(
        &self,
        room: usize,
        deed: Deed,
        who: usize,
        whom: usize,
        call: impl Fn() -> Call,
    ) {
        let begun = self.elapsed_ms();
        let place = {
            let mut ledger = self.ledger.borrow_mut();
            let all = ledger.rooms.entry(room).or_default();
            all.push(Done { deed, whom, at_ms: (begun, u64::MAX), epoch: None, certain: false });
            all.len() - 1
        };
        for _ in 0..TRIES {
            match self.node(who).call::<M>(call()).await {
                Ok(answer) => {
                    let now = self.elapsed_ms();
                    let mut ledger = self.ledger.borrow_mut();
                    if let Some(done) = ledger.rooms.get_mut(&room).and_then(|all| all.get_mut(place)) {
                        done.at_ms.1 = now;
                        (done.epoch, done.certain) = (answer.row.epoch, true);
                    }
                    return;
                }
                Err(CallError::Api(error)) if error.code == ErrorCode::RoomState => return,
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// A person who looks for invitations now and then and joins, mostly.
    pub(super) async fn answer_invitations(self: Rc<Self>, who: usize) {
        let mut dice = self.dice(&format!("guest {who}"));
        loop {
            sleep(Duration::from_millis(dice.between(1_000, 5_000))).await;
            let Some(rows) = self.rooms_of(who).await else { continue };
            for (room, row) in rows {
                if row.standing != Standing::Invited {
                    continue;
                }
                if dice.chance(60) {
                    let call = || Call::RoomLeave(self.room_request(room));
                    self.deed::<RoomLeave>(room, Deed::Left, who, who, call).await;
                } else {
                    let call = || Call::RoomJoin(self.room_request(room));
                    self.deed::<RoomJoin>(room, Deed::Joined, who, who, call).await;
                }
            }
        }
    }

    /// What a node says of the rooms of the plan.
    pub(super) async fn rooms_of(&self, who: usize) -> Option<Vec<(usize, RoomRow)>> {
        let request = Call::RoomList(ListRequest::default());
        let listed = self.node(who).call::<RoomList>(request).await.ok()?;
        let number = |row: &RoomRow| (0..self.plan.rooms.len()).find(|room| self.is_room(*room, &row.room));
        Some(listed.rooms.into_iter().filter_map(|row| Some((number(&row)?, row))).collect())
    }

    /// Whether an address is that of a room.
    pub(super) fn is_room(&self, room: usize, address: &str) -> bool {
        address.strip_prefix('#') == Some(&self.room_name(room))
    }

    async fn look_into(&self, who: usize, room: usize) -> Option<Seen> {
        let request = Call::RoomMembers(self.room_request(room));
        let found = self.node(who).call::<RoomMembers>(request).await.ok()?;
        Some(self.seen(&found.row))
    }

    /// What a listing says, by the numbers of people.
    pub(super) fn seen(&self, row: &RoomRow) -> Seen {
        let others = row.members.iter().filter_map(|one| Some((self.number_of(&one.name)?, one.linked)));
        Seen { epoch: row.epoch, others: others.collect() }
    }

    async fn say(&self, room: usize, from: usize, to: Option<usize>, bytes: usize) {
        let mut address = format!("#{}", self.room_name(room));
        if let Some(to) = to {
            address = format!("{address} @{}/{}", self.node(to).name, self.canary);
        }
        self.say_to(room, from, to, bytes, SendRequest { to: Some(address), ..plain(String::new()) }).await;
    }

    /// An agent answers what was said to it in a room: to the session that said it, or to everybody when a person did.
    pub(super) async fn answer_in_room(&self, who: usize, message: &Message) {
        let room = (0..self.plan.rooms.len())
            .find(|room| message.room.as_deref().is_some_and(|name| self.is_room(*room, name)));
        let Some(room) = room else { return };
        let to = message.from.contains('/').then(|| self.number_of(&message.from)).flatten();
        let request = SendRequest { reply_to: Some(message.id.clone()), ..plain(String::new()) };
        self.say_to(room, who, to, 20, request).await;
    }

    async fn say_to(&self, room: usize, from: usize, to: Option<usize>, bytes: usize, request: SendRequest) {
        let Some(before) = self.look_into(from, room).await else { return };
        let begun = self.elapsed_ms();
        let (mark, text) = self.begin(from, Dest::Room(room), false, bytes);
        let said = Said { to, before, after: None, at_ms: (begun, u64::MAX) };
        self.ledger.borrow_mut().said.insert(mark.clone(), said);
        self.send(from, mark.clone(), SendRequest { text, ..request }).await;
        let told = self.elapsed_ms();
        let denied = self.ledger.borrow().written.get(&mark).is_some_and(|one| one.told == Told::Denied);
        let after = if denied { None } else { self.look_into(from, room).await };
        if let Some(said) = self.ledger.borrow_mut().said.get_mut(&mark) {
            (said.after, said.at_ms.1) = (after, told);
        }
    }

    /// Says in the trace what nodes say of rooms.
    pub(super) async fn note_rooms(&self) {
        for who in self.plan.machines().filter(|_| !self.plan.rooms.is_empty()) {
            for (room, row) in self.rooms_of(who).await.unwrap_or_default() {
                note!(self.trace, "room {room} at m{who}: {:?}, {:?}", row.standing, self.seen(&row));
            }
        }
    }

    /// What nodes that are in touch say differently of a room.
    pub(super) async fn rooms_apart(&self) -> Option<String> {
        if self.plan.rooms.is_empty() {
            return None;
        }
        let mut all = Vec::new();
        for who in 0..self.plan.homes.len() {
            let Some(rows) = self.rooms_of(who).await else { return Some(format!("p{who} lists no rooms")) };
            all.push(rows);
        }
        let row =
            |who: usize, room: usize| all[who].iter().find(|(number, _)| *number == room).map(|(_, row)| row);
        for (room, gathering) in self.plan.rooms.iter().enumerate() {
            let owner = gathering.owner;
            let Some(owned) = row(owner, room) else { continue };
            let counts = self.seen(owned);
            for guest in (0..all.len()).filter(|guest| *guest != owner) {
                if self.out_of_touch(owner, guest) {
                    continue;
                }
                let theirs = row(guest, room);
                if let Some(apart) = self.apart(room, owned, &counts, guest, theirs) {
                    return Some(format!("room {room} of p{owner}, p{guest}: {apart}"));
                }
            }
        }
        self.rooms_apart_at_home(&all).await
    }

    /// What two machines of one account say differently of its rooms.
    async fn rooms_apart_at_home(&self, firsts: &[Vec<(usize, RoomRow)>]) -> Option<String> {
        for (first, second) in self.siblings() {
            let of = |machine: usize| self.ledger.borrow().unsteady.contains(&machine);
            if of(first) || of(second) {
                continue;
            }
            let Some(rows) = self.rooms_of(second).await else {
                return Some(format!("m{second} lists no rooms"));
            };
            let in_it = |rows: &[(usize, RoomRow)]| {
                let open = rows.iter().filter(|(_, row)| row.standing == Standing::Member);
                open.map(|(room, row)| (*room, row.epoch)).collect::<BTreeSet<_>>()
            };
            let (one, other) = (in_it(&firsts[first]), in_it(&rows));
            if one != other {
                return Some(format!("m{first} is in the rooms {one:?}, m{second} in {other:?}"));
            }
        }
        None
    }

    /// What is wrong between a room and what one guest says of it.
    fn apart(
        &self,
        room: usize,
        owned: &RoomRow,
        counts: &Seen,
        guest: usize,
        theirs: Option<&RoomRow>,
    ) -> Option<String> {
        let ledger = self.ledger.borrow();
        let is_in = counts.others.contains_key(&guest);
        let standing = theirs.map(|row| row.standing);
        let unsteady =
            ledger.unsteady.contains(&guest) || ledger.unsteady.contains(&self.plan.rooms[room].owner);
        let unaware = |who: usize| ledger.unaware.contains(&who);
        let owner = self.plan.rooms[room].owner;
        match (is_in, standing) {
            // Nobody tells it again what it was told before, nor an owner who does not know that it forgot.
            (_, Some(Standing::Member)) if unaware(guest) || unaware(owner) => None,
            (true, Some(Standing::Closed)) if unaware(owner) => None,
            (true, Some(Standing::Member)) if owned.standing == Standing::Closed => {
                Some("it was closed, and a member does not know".to_owned())
            }
            (true, Some(Standing::Member)) => {
                let seen = theirs.map(|row| self.seen(row)).unwrap_or_default();
                let members = |seen: &Seen, without: usize| {
                    seen.others.keys().copied().filter(|one| *one != without).collect::<Vec<_>>()
                };
                let same = seen.epoch == counts.epoch
                    && members(&seen, self.plan.rooms[room].owner) == members(counts, guest);
                (!same).then(|| format!("{seen:?}, and its owner says {counts:?}"))
            }
            (true, Some(Standing::Closed | Standing::Left)) if owned.standing == Standing::Closed => None,
            // What was put back does not know that it went, or came.
            (true, None | Some(Standing::Invited | Standing::Left | Standing::Removed)) if unsteady => None,
            // The yes to an invitation that was taken back met the next one, which asks the person again.
            (true, Some(Standing::Invited)) if ledger.was_asked_again(room, guest) => None,
            (true, Some(Standing::Invited)) if ledger.was_yes_cut_off(room, guest, u64::MAX) => None,
            (true, found) => Some(format!("a member says {found:?}")),
            (false, Some(Standing::Member)) => Some("it was taken out and does not know".to_owned()),
            (false, _) => None,
        }
    }
}
