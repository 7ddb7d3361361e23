//! What contacts tell of rooms.

use std::collections::BTreeSet;
use std::time::Duration;

use penpal_protocol::cbor::Blob;
use penpal_protocol::ids::{Fingerprint, RoomId, ShortHash};
use penpal_protocol::limits::MAX_ROOM_ENTRY_BYTES;
use penpal_protocol::sealed::{RoomChange, RoomHead, RoomInvitation, RoomMember, RoomNews, RoomWish, Stamp};
use penpal_seal::SignedRoomEntry;

use crate::asking::NOTHING;
use crate::command::Notice;
use crate::devices::kept_elsewhere;
use crate::error::NewsError;
use crate::log::{Log, Taken};
use crate::machine::{Before, Room, Rooms, Step, entries_news, no_news};
use crate::own::new_record;
use crate::record::{self, Standing};

/// Most invitations of one contact that wait for an answer.
const MAX_INVITATIONS: usize = 8;

/// How long after news of a room of ours it is looked whether it is to be taken over.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(60);

impl Rooms {
    /// Takes what a contact's device said of a room, in a message that verified.
    ///
    /// # Errors
    /// [`NewsError`]: nothing of what is wrong was taken.
    pub fn handle_news(
        &mut self,
        from: Fingerprint,
        news: &RoomNews,
        step: &mut Step<'_>,
    ) -> Result<(), NewsError> {
        self.begin(step);
        let id = news.room;
        let ours = step.me.is_some_and(|me| me.account == from);
        if ours {
            self.heard_from_ours(&id, news, step)?;
        } else if let Some(invitation) = &news.invitation {
            self.invited(&id, from, invitation, step)?;
        }
        if let Some(entries) = &news.entries {
            self.entries(&id, from, entries, step)?;
        }
        if let Some(wish) = news.wish.filter(|_| !ours) {
            self.wished(&id, from, wish, step);
        }
        if let Some(have) = &news.have {
            self.answer(&id, from, have, step);
        }
        for introduction in news.introductions.as_deref().unwrap_or_default() {
            self.introduced(&id, from, introduction, step);
        }
        if !ours {
            self.heard_of(&id, &from, step);
        }
        Ok(())
    }

    fn invited(
        &mut self,
        id: &RoomId,
        from: Fingerprint,
        invitation: &RoomInvitation,
        step: &Step<'_>,
    ) -> Result<(), NewsError> {
        let waiting = self.rooms.get(id).is_some_and(|room| room.record.standing == Standing::Invited);
        match self.rooms.get(id) {
            Some(room) if room.record.owner != from => return Err(NewsError::NotOwner),
            Some(room) => match room.record.standing {
                Standing::Member | Standing::Closed => return Ok(()),
                // Another device of the owner may keep the room by now, and know of no wish. The device on which the person said yes says it again;
                // another one may have heard of that yes when what came of it was over.
                Standing::Joining => {
                    let elsewhere = |stamp: Stamp| step.me.is_some_and(|me| me.device != stamp.device);
                    if !room.record.decided.is_some_and(elsewhere) {
                        self.send(from, RoomNews { wish: Some(RoomWish::Join), ..no_news(id) });
                    }
                    return Ok(());
                }
                Standing::Invited => {}
                Standing::Left | Standing::Removed => self.may_invite(&from)?,
            },
            None => {
                self.may_invite(&from)?;
                self.make_place().map_err(|_| NewsError::TooMany)?;
                let name = self.free_name(&invitation.name, id);
                self.put(new_record(*id, name, from, Standing::Invited, step.now.wall_ms));
            }
        }
        let Some(room) = self.rooms.get_mut(id) else { return Ok(()) };
        room.record.standing = Standing::Invited;
        room.record.told = invitation.members.clone();
        let name = room.record.name.clone();
        self.save(id);
        if !waiting {
            self.notice(Notice::Invited { room: *id, name, by: from });
        }
        Ok(())
    }

    /// Whether one more invitation of a contact may wait here.
    fn may_invite(&self, from: &Fingerprint) -> Result<(), NewsError> {
        let waits = |room: &&Room| room.record.owner == *from && room.record.standing == Standing::Invited;
        if self.rooms.values().filter(waits).count() < MAX_INVITATIONS {
            Ok(())
        } else {
            Err(NewsError::TooMany)
        }
    }

    fn entries(
        &mut self,
        id: &RoomId,
        from: Fingerprint,
        entries: &[Blob<MAX_ROOM_ENTRY_BYTES>],
        step: &mut Step<'_>,
    ) -> Result<(), NewsError> {
        let Some(me) = step.me else { return Ok(()) };
        let entries: Result<Vec<SignedRoomEntry>, _> =
            entries.iter().map(|bytes| SignedRoomEntry::read(bytes)).collect();
        let entries = entries?;
        let Some(first) = entries.first() else { return Ok(()) };
        // Nothing of another room may even make a place for this one.
        if entries.iter().any(|signed| signed.entry().room != *id) {
            return Err(NewsError::Misfit);
        }
        let owner = self.rooms.get(id).map_or(first.entry().owner, |room| room.record.owner);
        if from != owner && owner != me.account && from != me.account {
            return Err(NewsError::NotOwner);
        }
        self.vouched(id, (from, owner), &entries, step)?;
        if !self.rooms.contains_key(id) {
            // The owner says that this account is in a room that nobody here joined: it is an invitation like any other.
            if from != owner {
                // A room that this account forgot is not brought back by what somebody kept of it.
                return Err(NewsError::NotOwner);
            }
            let follows = |pair: &[SignedRoomEntry]| match pair {
                [before, after] => {
                    after.entry().prev == before.name()
                        && before.entry().epoch.checked_add(1) == Some(after.entry().epoch)
                }
                _ => false,
            };
            if !entries.windows(2).all(follows) {
                return Err(NewsError::Misfit);
            }
            let Some(called) = first.entry().change.created.clone() else {
                // It overtook the beginning, or that is lost.
                if from == me.account || self.may_reply(&from, step) {
                    self.send(from, RoomNews { have: Some(NOTHING), ..no_news(id) });
                }
                return Ok(());
            };
            if owner != me.account {
                // What is over when it comes was never for anybody here, and needs no place and no name.
                let mut log = Log::default();
                for signed in &entries {
                    log.insert(id, signed.clone());
                }
                if !log.membership().is_some_and(|now| now.contains(&me.account) && !now.closed) {
                    return Ok(());
                }
                self.may_invite(&owner)?;
            }
            self.make_place().map_err(|_| NewsError::TooMany)?;
            let name = self.free_name(&called, id);
            if owner == me.account {
                // A room of ours that another of our devices made.
                self.put(new_record(*id, name, owner, Standing::Member, step.now.wall_ms));
            } else {
                self.put(new_record(*id, name.clone(), owner, Standing::Invited, step.now.wall_ms));
                self.notice(Notice::Invited { room: *id, name, by: owner });
            }
        }
        let Some(room) = self.rooms.get_mut(id) else { return Ok(()) };
        let before = Before::of(&room.log);
        let last = entries.last().map(SignedRoomEntry::name);
        let mut taken = Vec::new();
        let mut outcome = Ok(());
        let mut orphan = false;
        for signed in entries {
            match room.log.insert(id, signed.clone()) {
                Taken::New => taken.push(signed),
                Taken::Known => {}
                Taken::Orphan => orphan = true,
                Taken::Misfit => outcome = Err(NewsError::Misfit),
                Taken::Full => outcome = Err(NewsError::Full),
            }
        }
        if let Some(manifest) = step.manifests.manifest(&owner) {
            room.log.judge(manifest, step.now.wall_ms);
        }
        // Whoever sent entries that do not count here lacks those that do, from where the two part.
        let lacks = last.filter(|last| room.log.get(last).is_some()).and_then(|last| {
            let theirs: BTreeSet<ShortHash> =
                room.log.chain_to(&last).iter().map(|signed| signed.name()).collect();
            let counts = room.log.chain();
            if counts.iter().any(|signed| signed.name() == last) {
                return None;
            }
            let shared = counts.into_iter().rev().find(|signed| theirs.contains(&signed.name()));
            Some(shared.map_or(NOTHING, head_of))
        });
        // Who is out is answered when it asks, and only up to its end: sent back and forth that would never rest.
        let is_in = room.log.membership().is_some_and(|now| now.contains(&from));
        // Let in by an entry that gave way: it hears that once.
        let was_in = last.filter(|last| !taken.is_empty() && lets_in(&room.log, last, &from));
        let was_in = was_in.and_then(|last| room.log.get(&last)).map(head_of);
        // What did not fit before this came may be newer than it.
        let asked = (!taken.is_empty()).then(|| room.asked.remove(&from)).flatten();
        orphan |= asked.is_some_and(|asked| asked.again);
        for signed in &taken {
            self.persist_entry(id, signed);
        }
        if let Some(have) = lacks.and_then(|lacks| if is_in { Some(lacks) } else { was_in }) {
            self.answer(id, from, &have, step);
        }
        if !taken.is_empty() {
            self.changed(id, &before, step);
        } else if self.rooms.get(id).is_some_and(|room| room.record.standing == Standing::Joining) {
            // All of it was here from before.
            self.changed(id, &before, step);
        }
        if orphan {
            self.ask(id, from, step);
        }
        if owner == me.account && step.is_primary() {
            // Perhaps nobody who is left keeps it. More of it may be on its way: that is waited for.
            let at = step.now.mono.saturating_add(TAKE_OVER_AFTER);
            self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
        }
        outcome
    }

    /// Whether every entry is signed by a device of the owner, or named by a later one that is; or told by a device of ours, of a room of ours.
    fn vouched(
        &self,
        id: &RoomId,
        (from, owner): (Fingerprint, Fingerprint),
        entries: &[SignedRoomEntry],
        step: &Step<'_>,
    ) -> Result<(), NewsError> {
        let manifest = step.manifests.manifest(&owner).ok_or(NewsError::NoOwner)?;
        let held = self.rooms.get(id).map(|room| &room.log);
        // Of a room of ours another device of ours may tell what one appended that is revoked: it counts only until this account goes on with it.
        let ours = from == owner && step.me.is_some_and(|me| me.account == owner);
        let mut named: BTreeSet<ShortHash> = BTreeSet::new();
        for signed in entries.iter().rev() {
            let known = held.is_some_and(|log| log.get(&signed.name()).is_some());
            if signed.entry().owner != owner {
                return Err(NewsError::NotOwner);
            }
            if !known && !named.contains(&signed.name()) && !ours {
                signed.verify(manifest, step.now.wall_ms)?;
            }
            named.insert(signed.entry().prev);
        }
        Ok(())
    }

    fn wished(&mut self, id: &RoomId, from: Fingerprint, wish: RoomWish, step: &mut Step<'_>) {
        let Some(me) = step.me else { return };
        let Some(room) = self.rooms.get_mut(id) else {
            // Another device of ours may know it.
            if wish == RoomWish::Join && !me.shared {
                self.refuse_wish(id, from, step);
            }
            return;
        };
        if room.record.owner != me.account {
            if wish == RoomWish::Decline && room.record.owner == from {
                self.invitation_over(id);
            }
            return;
        }
        // One device appends, and is told the same.
        if kept_elsewhere(&room.log, step).is_some() {
            return;
        }
        let name = room.record.name.clone();
        let is_member = room.log.membership().is_some_and(|now| now.contains(&from));
        let invited = room.record.invited.iter().find(|known| known.account == from).cloned();
        record::retain(&mut room.record.invited, |known| known.account != from);
        let closed = room.log.membership().is_some_and(|now| now.closed);
        let outcome = match wish {
            RoomWish::Join => match invited {
                Some(invited) if !is_member && !closed => {
                    let added = RoomMember { account: from, name: invited.name.clone() };
                    self.append(id, RoomChange { added: Some(added), ..RoomChange::default() }, step)
                }
                _ => Ok(()),
            },
            // Declined on one device and joined on another: who does not want to be in it is not.
            RoomWish::Leave | RoomWish::Decline if is_member => {
                self.append(id, RoomChange { left: Some(from), ..RoomChange::default() }, step)
            }
            RoomWish::Leave | RoomWish::Decline => {
                if invited.is_some() {
                    self.notice(Notice::Declined { name, account: from });
                }
                Ok(())
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "a wish of a contact about a room is not met");
        }
        self.save(id);
        let is_in = |room: &Room| room.log.membership().is_some_and(|now| now.contains(&from));
        if wish == RoomWish::Join && !self.rooms.get(id).is_some_and(is_in) {
            self.refuse_wish(id, from, step);
        }
        if wish == RoomWish::Join && is_member {
            self.answer(id, from, &NOTHING, step);
        }
    }

    /// A contact says what it has and asks for what is newer.
    pub(crate) fn answer(&mut self, id: &RoomId, from: Fingerprint, have: &RoomHead, step: &Step<'_>) {
        let Some(me) = step.me else { return };
        let Some(room) = self.rooms.get(id) else { return };
        let owns = room.record.owner == me.account;
        if !owns && from != room.record.owner && from != me.account {
            return;
        }
        let decided = from == me.account && !owns && room.record.standing == Standing::Member;
        let chain = room.log.chain();
        let last = told_up_to(&chain, &from, &me.account);
        let known = chain.iter().position(|signed| signed.name() == have.entry);
        let start = known.map_or(0, |at| at.saturating_add(1));
        // Of somebody who came after what is here nothing is known, and nothing is told.
        let mut news: Vec<&SignedRoomEntry> =
            chain.get(start..last.unwrap_or_default()).unwrap_or_default().to_vec();
        let is_out = !room.log.membership().is_some_and(|now| now.contains(&from));
        if known.is_none() && is_out && lets_in(&room.log, &have.entry, &from) {
            // It was told of its end before it was let in again, by an entry that gave way.
            let theirs = room.log.chain_to(&have.entry);
            if news.iter().all(|signed| theirs.iter().any(|held| held.name() == signed.name())) {
                news = end_of(&room.log, &have.entry);
            }
        }
        // As long as what is here, and another: an owner that was put back to an older copy may have forgotten it.
        let is_unknown = room.log.get(&have.entry).is_none() && *have != NOTHING;
        let behind = is_unknown && room.log.head().is_some_and(|head| have.epoch >= head.epoch);
        let news = (!news.is_empty()).then(|| entries_news(id, &news));
        if let Some(news) = news
            && self.may_answer(id, from, have, step)
        {
            self.send(from, news);
        }
        if behind {
            self.ask(id, from, step);
        }
        // A device of ours that asks may not know by which yes the account is in.
        if decided {
            self.say_decided(id, RoomWish::Join, step);
        }
    }
}

fn head_of(signed: &SignedRoomEntry) -> RoomHead {
    RoomHead { epoch: signed.entry().epoch, entry: signed.name() }
}

/// Whether an account is in the room at an entry that is held.
fn lets_in(log: &Log, entry: &ShortHash, account: &Fingerprint) -> bool {
    log.membership_at(entry).is_some_and(|then| then.contains(account))
}

/// What counts instead of an entry that does not, from where the two part: as much of it as names nobody new, for it is told to somebody who is
/// not in the room.
fn end_of<'a>(log: &'a Log, entry: &ShortHash) -> Vec<&'a SignedRoomEntry> {
    let theirs: BTreeSet<ShortHash> = log.chain_to(entry).iter().map(|signed| signed.name()).collect();
    let instead = log.chain().into_iter().skip_while(|signed| theirs.contains(&signed.name()));
    instead.take_while(|signed| signed.entry().change.added.is_none()).collect()
}

/// How many of the entries that count an account may know: whoever is out is told up to that, and nothing of what came then. `None` for whoever
/// was never in the room.
pub(crate) fn told_up_to(
    chain: &[&SignedRoomEntry],
    account: &Fingerprint,
    me: &Fingerprint,
) -> Option<usize> {
    let mut last = None;
    for (at, signed) in chain.iter().enumerate() {
        let change = &signed.entry().change;
        let gone = change.removed == Some(*account) || change.left == Some(*account);
        let came = change.added.as_ref().is_some_and(|member| member.account == *account);
        if gone {
            last = Some(at.saturating_add(1));
        } else if came || *account == signed.entry().owner || account == me {
            last = Some(chain.len());
        }
    }
    last
}
