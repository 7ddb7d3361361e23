//! Members who are no contacts yet: an invite of one travels through the owner to the other.

use std::time::Duration;

use penpal_protocol::cbor::{List, Text};
use penpal_protocol::ids::{Fingerprint, InviteId, RoomId};
use penpal_protocol::sealed::{RoomIntroduction, RoomNews};

use crate::command::Command;
use crate::devices::kept_elsewhere;
use crate::machine::{Rooms, Step, no_news};
use crate::record::{IntroducedRecord, Standing};

/// How long the owner passes on no other code of one member to the same one: a code lives for three days, and may have waited for the owner.
const PASS_ON_AGAIN: Duration = Duration::from_secs(48 * 3600);

/// An invite for another member.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// The member.
    pub to: Fingerprint,
    /// The invite.
    pub invite: InviteId,
    /// Its code.
    pub code: String,
    /// When it ends, Unix milliseconds.
    pub until_ms: u64,
}

impl Rooms {
    /// Asks for invites for those who came later than this account: of two members the one that was there first makes it.
    pub(crate) fn introduce_newcomers(&mut self, id: &RoomId, step: &Step<'_>) {
        let Some(me) = step.me else { return };
        let Some(room) = self.rooms.get(id) else { return };
        // Of our devices one makes codes and uses them; whoever owns the room has all of them as contacts.
        if !step.is_primary() {
            return;
        }
        if room.record.standing != Standing::Member || room.record.owner == me.account {
            return;
        }
        let Some(now) = room.log.membership() else { return };
        let known = |account: &Fingerprint| {
            let mut invites = room.record.introduced.iter();
            invites.any(|known| known.account == *account && known.until_ms > step.now.wall_ms)
        };
        let to: Vec<Fingerprint> = now
            .accounts()
            .into_iter()
            .filter(|account| now.came_before(&me.account, account) && !known(account))
            .collect();
        if !to.is_empty() {
            self.look_again(step);
            self.commands.push_back(Command::Introduce { room: *id, to });
        }
    }

    /// Sends invites for other members on their way, through the room's owner.
    pub fn introduce(&mut self, id: &RoomId, made: &[Introduction], step: &mut Step<'_>) {
        self.begin(step);
        let Some(me) = step.me else { return };
        let Some(room) = self.rooms.get_mut(id) else { return };
        let owner = room.record.owner;
        if owner == me.account {
            // The owner has all of them as contacts.
            return;
        }
        let mut known = std::mem::take(&mut room.record.introduced).into_vec();
        let mut out = Vec::new();
        for one in made {
            let Ok(code) = Text::new(one.code.clone()) else { continue };
            known.retain(|known| known.account != one.to);
            known.push(IntroducedRecord { account: one.to, invite: one.invite, until_ms: one.until_ms });
            out.push(RoomIntroduction { from: me.account, to: one.to, code });
        }
        room.record.introduced = List::truncated(known);
        self.save(id);
        if !out.is_empty() {
            self.send(owner, RoomNews { introductions: Some(List::truncated(out)), ..no_news(id) });
        }
    }

    /// The member for whom an invite was made here; only that one may use it.
    #[must_use]
    pub fn meant_for(&self, invite: &InviteId) -> Option<(RoomId, Fingerprint)> {
        self.rooms.values().find_map(|room| {
            let made = room.record.introduced.iter().find(|made| made.invite == *invite)?;
            let in_room = room.record.standing == Standing::Member
                && room.log.membership().is_some_and(|now| now.contains(&made.account));
            in_room.then_some((room.record.id, made.account))
        })
    }

    pub(crate) fn introduced(
        &mut self,
        id: &RoomId,
        from: Fingerprint,
        introduction: &RoomIntroduction,
        step: &Step<'_>,
    ) {
        let Some(me) = step.me else { return };
        let Some(room) = self.rooms.get(id) else { return };
        let Some(now) = room.log.membership() else { return };
        let both = now.contains(&introduction.from) && now.contains(&introduction.to);
        if !both
            || !now.came_before(&introduction.from, &introduction.to)
            || room.record.standing != Standing::Member
        {
            return;
        }
        if room.record.owner == me.account && from == introduction.from && introduction.to != me.account {
            if kept_elsewhere(&room.log, step).is_some() {
                return;
            }
            let (pair, now) = ((introduction.from, introduction.to), step.now.mono);
            let Some(room) = self.rooms.get_mut(id) else { return };
            if room.passed_on.get(&pair).is_some_and(|at| now < at.saturating_add(PASS_ON_AGAIN)) {
                tracing::debug!("a member has more codes for another than it should");
                return;
            }
            room.passed_on.insert(pair, now);
            let list = List::truncated(vec![introduction.clone()]);
            self.send(introduction.to, RoomNews { introductions: Some(list), ..no_news(id) });
        } else if room.record.owner == from && introduction.to == me.account && step.is_primary() {
            let code = introduction.code.as_str().to_owned();
            self.commands.push_back(Command::Meet { room: *id, with: introduction.from, code });
        }
    }
}
