//! Which messages from a room are taken.

use penpal_protocol::ids::{Fingerprint, MsgId, RoomId, ShortHash};
use penpal_protocol::limits::DAY_MS;
use penpal_protocol::sealed::RoomRef;

use crate::command::Command;
use crate::machine::{Me, Room, Rooms, Step};
use crate::record::{self, HeldRecord, Standing, Table};

/// Most messages of one member that wait in one room for an entry.
pub const MAX_HELD: usize = 32;

/// How long a message waits for an entry, in milliseconds: the owner's machine may be off for days.
const HOLD_MS: u64 = 7 * DAY_MS;

/// How long after its end a room takes what names an entry before it, in milliseconds.
const CLOSING_MS: u64 = 10 * 60 * 1000;

/// What becomes of a message from a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Its sender is in the room, and was when it was sent.
    Take,
    /// It names an entry that has not come.
    Hold,
    /// Not taken, for this reason.
    Refuse(&'static str),
}

impl Rooms {
    /// Judges a message of a contact, sent at `sent_ms` (Unix milliseconds) as it says.
    #[must_use]
    pub fn judge(&self, from: &Fingerprint, said_in: &RoomRef, sent_ms: u64, me: &Me) -> Said {
        let Some(room) = self.rooms.get(&said_in.id) else { return Said::Refuse("no-such-room") };
        match room.record.standing {
            Standing::Member | Standing::Closed => {}
            Standing::Joining => return self.hold_or_refuse(from, &said_in.id),
            // It may have been joined on another device, whose word is on its way. But what came before this account went out waits for no answer to the next invitation.
            Standing::Invited if me.shared && !is_over(room, &said_in.chain, me) => {
                return self.hold_or_refuse(from, &said_in.id);
            }
            Standing::Invited | Standing::Left | Standing::Removed => return Said::Refuse("not-a-member"),
        }
        let Some(now) = room.log.membership() else { return self.hold_or_refuse(from, &said_in.id) };
        let Some(entry) = room.log.get(&said_in.chain) else { return self.hold_or_refuse(from, &said_in.id) };
        if entry.entry().epoch != said_in.epoch {
            return Said::Refuse("malformed");
        }
        // The owner decides when it ended; who had not heard of it has a while.
        let over = room.log.closed_ms().is_some_and(|at| sent_ms > at.saturating_add(CLOSING_MS));
        if over {
            return Said::Refuse("not-a-member");
        }
        let then = room.log.membership_at(&said_in.chain);
        let were_in =
            then.is_some_and(|then| then.contains(from) && then.contains(&me.account) && !then.closed);
        if were_in && now.contains(from) && now.contains(&me.account) {
            Said::Take
        } else {
            Said::Refuse("not-a-member")
        }
    }

    fn hold_or_refuse(&self, from: &Fingerprint, id: &RoomId) -> Said {
        let held = self
            .rooms
            .get(id)
            .map_or(0, |room| room.held.keys().filter(|(sender, _)| sender == from).count());
        if held < MAX_HELD { Said::Hold } else { Said::Refuse("room-epoch") }
    }

    /// A message that waits is stored; whoever can send the entry is asked for it.
    pub fn hold(
        &mut self,
        from: Fingerprint,
        msg_id: MsgId,
        said_in: &RoomRef,
        sent_ms: u64,
        step: &mut Step<'_>,
    ) {
        self.begin(step);
        let id = said_in.id;
        let until_ms = step.now.wall_ms.saturating_add(HOLD_MS);
        let held = HeldRecord { from, msg_id, said_in: said_in.clone(), until_ms, sent_ms: Some(sent_ms) };
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let row = record::encode(&held);
        let owner = room.record.owner;
        room.held.insert((from, msg_id), held);
        self.persist(Table::Held, record::held_key(&id, &from, &msg_id), Some(row));
        let ours = step.me.is_some_and(|me| me.account == owner);
        self.ask(&id, if ours { from } else { owner }, step);
    }

    /// Looks again at what waits in a room.
    pub(crate) fn judge_held(&mut self, id: &RoomId, step: &Step<'_>) {
        let Some(me) = step.me else { return };
        let waiting: Vec<HeldRecord> =
            self.rooms.get(id).map(|room| room.held.values().cloned().collect()).unwrap_or_default();
        for held in waiting {
            // What waits takes its own place.
            let Some(room) = self.rooms.get_mut(id) else { return };
            room.held.remove(&(held.from, held.msg_id));
            // Of a row from before that was kept it is known when it came.
            let sent_ms = held.sent_ms.unwrap_or_else(|| held.until_ms.saturating_sub(HOLD_MS));
            let said = self.judge(&held.from, &held.said_in, sent_ms, &me);
            let (from, msg_id) = (held.from, held.msg_id);
            match said {
                Said::Hold => {
                    if let Some(room) = self.rooms.get_mut(id) {
                        room.held.insert((from, msg_id), held);
                    }
                    continue;
                }
                Said::Take => self.commands.push_back(Command::Release { from, msg_id }),
                Said::Refuse(reason) => self.commands.push_back(Command::Refuse { from, msg_id, reason }),
            }
            self.persist(Table::Held, record::held_key(id, &from, &msg_id), None);
        }
    }

    /// Refuses everything that waits in a room.
    pub(crate) fn refuse_held(&mut self, id: &RoomId, reason: &'static str) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let waiting = std::mem::take(&mut room.held);
        for (from, msg_id) in waiting.into_keys() {
            self.commands.push_back(Command::Refuse { from, msg_id, reason });
            self.persist(Table::Held, record::held_key(id, &from, &msg_id), None);
        }
    }

    /// Refuses what waited too long.
    pub(crate) fn end_held(&mut self, id: &RoomId, now_ms: u64) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let over: Vec<(Fingerprint, MsgId)> = room
            .held
            .values()
            .filter(|held| held.until_ms <= now_ms)
            .map(|held| (held.from, held.msg_id))
            .collect();
        for key in &over {
            room.held.remove(key);
        }
        for (from, msg_id) in over {
            self.commands.push_back(Command::Refuse { from, msg_id, reason: "room-epoch" });
            self.persist(Table::Held, record::held_key(id, &from, &msg_id), None);
        }
    }
}

/// Whether an entry is here, and this account out of the room by now.
fn is_over(room: &Room, entry: &ShortHash, me: &Me) -> bool {
    room.log.get(entry).is_some() && room.log.membership().is_some_and(|now| !now.contains(&me.account))
}
