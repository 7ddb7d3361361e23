//! Devices of one account: they are in the same rooms, and one of them alone appends to a room of the account.

use penpal_protocol::ids::{DeviceId, Fingerprint, RoomId};
use penpal_protocol::sealed::{
    DeviceEntry, RoomChange, RoomInvitation, RoomMember, RoomNews, RoomShared, RoomWish, Stamp,
};
use penpal_protocol::text::Label;
use penpal_seal::VerifiedManifest;

use crate::command::Notice;
use crate::error::NewsError;
use crate::log::Log;
use crate::machine::{Before, Room, Rooms, Step, entries_news, is_in, no_news};
use crate::own::new_record;
use crate::record::Standing;

/// Before any decision.
const NEVER: Stamp = Stamp { counter: 0, device: DeviceId::from_bytes([0; 16]) };

/// How far ahead of the one held the counter of a decision may be: what is further would use the numbers up.
const MAX_JUMP: u64 = 1 << 20;

/// Most rooms of which nothing but a decision is remembered; any of them gives way, and none outlasts the process.
const MAX_OVERHEARD: usize = 256;

impl Step<'_> {
    fn own(&self) -> Option<&VerifiedManifest> {
        self.manifests.manifest(&self.me?.account)
    }

    /// The device that signs for the account.
    fn primary(&self) -> Option<&DeviceEntry> {
        let devices = &self.own()?.manifest().devices;
        devices.iter().find(|device| device.primary == Some(true)).or_else(|| devices.first())
    }

    /// Whether this is the device that signs for the account.
    pub(crate) fn is_primary(&self) -> bool {
        self.primary().is_none_or(|primary| Some(primary.id) == self.me.map(|me| me.device))
    }
}

/// Name of another device of ours, when that one appends to a room of ours: it made the newest entry and is a device still, or it signs for
/// the account. So the right to append moves only when a device is revoked, and no two have it.
pub(crate) fn kept_elsewhere(log: &Log, step: &Step<'_>) -> Option<Label> {
    let newest = log.get(&log.head()?.entry).map(|signed| signed.entry().device);
    let keeper = newest.and_then(|newest| step.own()?.device(&newest)).or_else(|| step.primary())?;
    (Some(keeper.id) != step.me.map(|me| me.device)).then(|| keeper.name.clone())
}

impl Rooms {
    /// The person decided something here: it holds on all our devices. The caller stores the room.
    pub(crate) fn decide(&mut self, id: &RoomId, wish: RoomWish, step: &Step<'_>) {
        let Some((me, room)) = step.me.zip(self.rooms.get_mut(id)) else { return };
        let overheard = self.overheard.get(id).copied();
        let counter = room.record.decided.max(overheard).unwrap_or(NEVER).counter.saturating_add(1);
        room.record.decided = Some(Stamp { counter, device: me.device });
        if me.shared {
            self.say_decided(id, wish, step);
        }
    }

    /// A decision about a room of which nothing is kept here: what the person decides when it comes again is later.
    fn overhear(&mut self, id: &RoomId, stamp: Stamp) {
        let held = self.overheard.get(id).copied().unwrap_or(NEVER);
        if stamp <= held || stamp.counter.saturating_sub(held.counter) > MAX_JUMP {
            return;
        }
        if self.overheard.len() >= MAX_OVERHEARD && !self.overheard.contains_key(id) {
            self.overheard.pop_first();
        }
        self.overheard.insert(*id, stamp);
    }

    /// Tells our other devices what the person decided last, with the stamp that it had then.
    pub(crate) fn say_decided(&mut self, id: &RoomId, wish: RoomWish, step: &Step<'_>) {
        let Some((me, room)) = step.me.zip(self.rooms.get(id)) else { return };
        let Some(stamp) = room.record.decided else { return };
        let shared = RoomShared { owner: room.record.owner, name: room.record.name.clone(), stamp };
        self.send(me.account, RoomNews { wish: Some(wish), shared: Some(shared), ..no_news(id) });
    }

    /// Tells our other devices of all rooms: one of them is new, or an older copy of itself.
    pub fn tell_devices(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        let Some(me) = step.me else { return };
        let ids: Vec<RoomId> = self.rooms.keys().copied().collect();
        for id in ids {
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            let record = &mut room.record;
            let is_ours = record.owner == me.account;
            // Rooms of the time before devices shared them: what was joined here holds.
            let joined = || Stamp { counter: 1, device: me.device };
            let (wish, stamp) = match (record.standing, record.decided) {
                _ if is_ours => (None, NEVER),
                (Standing::Member | Standing::Joining, decided) => {
                    (Some(RoomWish::Join), *record.decided.insert(decided.unwrap_or_else(joined)))
                }
                (Standing::Left, Some(decided)) => (Some(RoomWish::Leave), decided),
                (Standing::Invited, _) => (None, NEVER),
                (Standing::Left | Standing::Removed | Standing::Closed, _) => continue,
            };
            let invitation = (record.standing == Standing::Invited)
                .then(|| RoomInvitation { name: record.name.clone(), members: record.told.clone() });
            let shared = RoomShared { owner: record.owner, name: record.name.clone(), stamp };
            let entries = (wish != Some(RoomWish::Leave)).then(|| entries_news(&id, &room.log.chain()));
            if !is_ours {
                self.save(&id);
                let shared = Some(shared);
                self.send(me.account, RoomNews { invitation, wish, shared, ..no_news(&id) });
            }
            if let Some(news) =
                entries.filter(|news| news.entries.as_ref().is_some_and(|all| !all.is_empty()))
            {
                self.send(me.account, news);
            }
        }
    }

    /// The list of our devices changed, or the node started: whoever signs for the account looks for members who are no contacts, and takes over
    /// what a device kept that is none any more.
    pub fn handle_devices_changed(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        self.look_at = Some(step.now.mono);
        let Some(me) = step.me else { return };
        self.handle_list_changed(&me.account, step);
        self.take_over_all(step);
    }

    /// Goes on with every room of ours that none of the devices which are left keeps, where the primary is.
    pub(crate) fn take_over_all(&mut self, step: &mut Step<'_>) {
        let Some(me) = step.me.filter(|_| step.is_primary()) else { return };
        for id in self.rooms.keys().copied().collect::<Vec<_>>() {
            self.take_over(&id, me.account, step);
        }
    }

    /// The list of an account's devices changed: what a device appended that is none of them any more may count no more.
    pub fn handle_list_changed(&mut self, account: &Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        let Some(list) = step.manifests.manifest(account) else { return };
        let theirs = self.rooms.values().filter(|room| room.record.owner == *account);
        for id in theirs.map(|room| room.record.id).collect::<Vec<_>>() {
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            let before = Before::of(&room.log);
            if !room.log.judge(list, step.now.wall_ms) {
                continue;
            }
            self.changed(&id, &before, step);
            // What the others appended instead may have given way to it here.
            if step.me.is_some_and(|me| me.account != *account) && self.rooms.contains_key(&id) {
                self.ask(&id, *account, step);
            }
        }
    }

    /// Goes on with a room that none of the devices which are left keeps: an entry that changes nobody says so. What the other one appended
    /// counts as far as it is known here, and nothing that it told others only.
    fn take_over(&mut self, id: &RoomId, me: Fingerprint, step: &mut Step<'_>) {
        let Some(room) = self.rooms.get(id) else { return };
        let ours = room.record.owner == me && room.record.standing == Standing::Member;
        let newest = room.log.head().and_then(|head| room.log.get(&head.entry));
        let kept = newest.and_then(|newest| step.own().map(|own| own.device(&newest.entry().device)));
        if !ours || !matches!(kept, Some(None)) {
            return;
        }
        let name = room.record.name.clone();
        let added = RoomMember { account: me, name: name.clone() };
        match self.append(id, RoomChange { added: Some(added), ..RoomChange::default() }, step) {
            Ok(()) => self.notice(Notice::TookOver { name }),
            Err(error) => tracing::warn!(%error, "a room of a revoked device cannot be taken over"),
        }
    }

    /// A contact can be written to: rooms of it of which nothing came are asked for.
    pub fn handle_contact_known(&mut self, account: &Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        let waits = |room: &&Room| {
            room.record.owner == *account && room.record.standing == Standing::Joining && room.log.is_empty()
        };
        // Another device of ours told of the room before it told of the owner.
        let unasked = |room: &&Room| !room.asked.contains_key(account);
        if step.me.is_none_or(|me| !me.shared) {
            return;
        }
        let ids = self.rooms.values().filter(waits).filter(unasked).map(|room| room.record.id);
        for id in ids.collect::<Vec<_>>() {
            self.ask(&id, *account, step);
        }
    }

    /// Takes what another device of ours says that our person decided.
    pub(crate) fn heard_from_ours(
        &mut self,
        id: &RoomId,
        news: &RoomNews,
        step: &mut Step<'_>,
    ) -> Result<(), NewsError> {
        let (Some(shared), Some(me)) = (&news.shared, step.me) else { return Ok(()) };
        // Of a room of ours its entries say all.
        if shared.owner == me.account {
            return Ok(());
        }
        let Some(room) = self.rooms.get_mut(id) else {
            return self.told_by_ours(id, news, shared, step);
        };
        if room.record.owner != shared.owner {
            return Err(NewsError::NotOwner);
        }
        let Some(wish) = news.wish else { return Ok(()) };
        let held = room.record.decided.unwrap_or(NEVER);
        // Of the same yes: another device is in the room by it.
        let same_yes = wish == RoomWish::Join && shared.stamp == held;
        let is_in = is_in(&room.log, &me.account, step);
        if same_yes && !is_in && room.record.standing == Standing::Joining {
            // The owner did not know of this device when it said so.
            self.ask(id, me.account, step);
            return Ok(());
        }
        // The owner took it for an invitation that came later.
        let came_about = same_yes && is_in && room.record.standing == Standing::Invited;
        let is_newer = shared.stamp > held && shared.stamp.counter.saturating_sub(held.counter) <= MAX_JUMP;
        if !is_newer && !came_about {
            return Ok(());
        }
        let before = Before::of(&room.log);
        room.record.decided = Some(shared.stamp);
        match (wish, room.record.standing) {
            (RoomWish::Join, Standing::Invited | Standing::Left | Standing::Removed) => {
                room.record.standing = Standing::Joining;
                self.save(id);
                // The log may have been faster.
                self.changed(id, &before, step);
            }
            (
                RoomWish::Decline | RoomWish::Leave,
                was @ (Standing::Invited | Standing::Joining | Standing::Member),
            ) => {
                room.record.standing = Standing::Left;
                let name = room.record.name.clone();
                self.save(id);
                self.refuse_held(id, "not-a-member");
                if was != Standing::Invited {
                    self.notice(Notice::LeftElsewhere { name });
                }
            }
            (RoomWish::Join, Standing::Joining | Standing::Member | Standing::Closed)
            | (RoomWish::Decline | RoomWish::Leave, Standing::Left | Standing::Removed | Standing::Closed) => {
                self.save(id)
            }
        }
        Ok(())
    }

    /// A room of which this device knew nothing.
    fn told_by_ours(
        &mut self,
        id: &RoomId,
        news: &RoomNews,
        shared: &RoomShared,
        step: &Step<'_>,
    ) -> Result<(), NewsError> {
        let (standing, decided) = match (news.wish, &news.invitation) {
            (Some(RoomWish::Join), _) => (Standing::Joining, Some(shared.stamp)),
            (None, Some(_)) => (Standing::Invited, None),
            (Some(RoomWish::Decline | RoomWish::Leave), _) => {
                self.overhear(id, shared.stamp);
                return Ok(());
            }
            (None, None) => return Ok(()),
        };
        self.make_place().map_err(|_| NewsError::TooMany)?;
        let name = self.free_name(&shared.name, id);
        let mut record = new_record(*id, name.clone(), shared.owner, standing, step.now.wall_ms);
        record.decided = decided;
        if let Some(invitation) = &news.invitation {
            record.told = invitation.members.clone();
        }
        self.put(record);
        if standing == Standing::Invited {
            self.notice(Notice::Invited { room: *id, name, by: shared.owner });
        }
        Ok(())
    }
}
