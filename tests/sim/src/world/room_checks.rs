//! The end of what was said in rooms.

use std::collections::BTreeMap;

use penpal_local_api::mail::{Message, ReadState, Stage};

use super::World;
use super::checks::{Copy, End};
use super::people::mark_of;
use crate::ledger::{Deed, Dest, Ledger, Said, Told, Written};

impl World {
    /// Notes who has what was said in rooms.
    pub(super) fn count_rooms(&self, ends: &[End]) {
        let mut ledger = self.ledger.borrow_mut();
        for (who, end) in ends.iter().enumerate() {
            let marks =
                end.received.iter().filter(|one| one.room.is_some()).filter_map(|one| mark_of(&one.body));
            ledger.read_in_rooms.extend(marks.map(|mark| (who, mark.to_owned())));
        }
    }

    /// Everything that was said in a room, held against who has it.
    pub(super) fn compare_rooms(
        &self,
        ledger: &Ledger,
        all: &BTreeMap<String, Written>,
        ends: &[End],
        found: &mut Vec<String>,
    ) {
        for (mark, said) in &ledger.said {
            let Some(written) = all.get(mark) else { continue };
            let Dest::Room(room) = written.to else { continue };
            let end = ends[written.from].sent.get(mark);
            let kept = written.told == Told::Accepted && !written.forgotten;
            if end.is_none() && kept {
                found.push(format!("{mark}: its writer was told that it is durable, and it is forgotten"));
            }
            for (who, theirs) in ends.iter().enumerate() {
                if ledger.person(who) == ledger.person(written.from) {
                    continue;
                }
                let there =
                    theirs.received.iter().find(|message| mark_of(&message.body) == Some(mark.as_str()));
                let copies = end.map(|end| end.copies.as_slice()).unwrap_or_default();
                let theirs: Vec<&Copy> =
                    copies.iter().filter(|copy| copy.person == Some(ledger.person(who))).collect();
                let copy = ledger.copy_for(written.from, who, &theirs, |copy| &copy.device).copied();
                let facts = Facts { ledger, mark, said, written, room, who, there, copy };
                let mut wrong = |what: &str| {
                    found.push(format!("{mark} of p{} in room {room}, p{who}: {what}", written.from));
                };
                facts.listed().into_iter().for_each(&mut wrong);
                facts.may_read(self.plan.rooms[room].owner).into_iter().for_each(&mut wrong);
                facts.fate(self.plan.rooms[room].owner, end.is_some()).into_iter().for_each(&mut wrong);
                facts.addressed().into_iter().for_each(&mut wrong);
            }
        }
    }
}

/// One message of a room, and one who is not its speaker.
struct Facts<'f> {
    ledger: &'f Ledger,
    mark: &'f str,
    said: &'f Said,
    written: &'f Written,
    room: usize,
    who: usize,
    there: Option<&'f Message>,
    copy: Option<&'f Copy>,
}

impl Facts<'_> {
    /// Whether the speaker's node said the same of the room before and after, and did not count them a member.
    fn is_stranger(&self) -> bool {
        let Said { before, after, .. } = self.said;
        let steady = after.as_ref().is_some_and(|after| after.epoch == before.epoch);
        let person = self.ledger.person(self.who);
        steady && !std::iter::once(before).chain(after).any(|seen| seen.others.contains_key(&person))
    }

    /// Nothing is sent to whom the speaker's node does not list, whatever becomes of it there.
    fn listed(&self) -> Option<&'static str> {
        (self.copy.is_some() && self.is_stranger())
            .then_some("its speaker did not count them a member, and sent it to them")
    }

    /// Whoever reads it had joined, and was not out, as far as the speaker knew.
    fn may_read(&self, owner: usize) -> Option<&'static str> {
        self.there?;
        let Self { ledger, said, written, room, who, .. } = *self;
        if written.told == Told::Denied {
            return Some("its writer was told that it was not sent, and it is there");
        }
        if self.is_stranger() {
            return Some("its speaker did not count them a member, and it is there");
        }
        let joins = || ledger.deeds(room, Deed::Joined, who);
        if ledger.person(who) != owner && !joins().any(|join| join.at_ms.0 <= said.at_ms.1) {
            return Some("said before they came, and it is there");
        }
        // Whoever was taken out, and did not ask to come back before it was said.
        let back = |since: u64| joins().any(|join| join.at_ms.1 >= since && join.at_ms.0 <= said.at_ms.1);
        let mut removals = ledger
            .deeds(room, Deed::Removed, who)
            .filter(|done| done.certain && !self.met_next_invitation(done.at_ms.0));
        let known = |epoch: Option<u64>| epoch.is_some() && said.before.epoch >= epoch;
        if !ledger.unsteady.contains(&owner)
            && removals.any(|done| known(done.epoch) && !back(done.at_ms.0) && said.at_ms.0 >= done.at_ms.0)
        {
            return Some("its speaker knew that they were taken out, and it is there");
        }
        let mut left = ledger.deeds(room, Deed::Left, who).filter(|done| done.certain);
        let steady = !ledger.unsteady.contains(&who);
        // What its speaker said before hearing that they had gone comes when they are back.
        let listed = said.before.others.contains_key(&ledger.person(who));
        let returned = |since: u64| listed && joins().any(|join| join.at_ms.1 >= since);
        if steady
            && left.any(|done| done.whom == who && said.at_ms.0 > done.at_ms.1 && !returned(done.at_ms.0))
        {
            return Some("said after they had gone, and it is there");
        }
        None
    }

    /// Each copy comes to its own true end.
    fn fate(&self, owner: usize, kept: bool) -> Option<&'static str> {
        let Self { ledger, said, written, who, .. } = *self;
        let there = self.there.is_some();
        let parted = ledger.are_parted(written.from, who) || ledger.is_way_lost(written.from, who);
        let unsteady = |who: usize| ledger.unsteady.contains(&who);
        let certain = |seen: &crate::ledger::Seen| seen.others.get(&who) == Some(&true);
        let is_member = certain(&said.before)
            && said.after.as_ref().is_some_and(|after| certain(after) && after.epoch == said.before.epoch);
        // Of a machine that was linked lately its speaker may not have known.
        let is_second = ledger.linked.contains_key(&who) || ledger.person(who) != who;
        let Some(copy) = self.copy else {
            let missing = kept && is_member && !is_second && !parted && written.told == Told::Accepted;
            return missing.then_some("a member to whom nothing was sent");
        };
        let wrong_clock = ledger.wrong_clock.contains(&written.from) || ledger.wrong_clock.contains(&who);
        let cut_off = |machine: usize| ledger.revoked.contains_key(&machine);
        let withdrawn = copy.reason.as_deref() == Some("out-of-room");
        match copy.stage {
            Stage::Delivered | Stage::Surfaced | Stage::Answered => {
                let cut_off = cut_off(who) || cut_off(written.from);
                let gone = parted || written.may_expire || ledger.relay_restored || cut_off;
                // Whoever forgot that they joined takes nothing that is sent again, nor does who was put back and is out, or whose speaker is.
                let unjoined = ledger.unjoined.contains(&(who, self.room))
                    || (unsteady(who) && (self.was_out(owner, who) || self.was_out(owner, written.from)));
                let lost = unjoined || written.lost_by.contains(&who) || (gone && unsteady(who));
                (!there && !lost).then_some("said to be delivered, and is not there")
            }
            Stage::Held => {
                let waits = copy.reason.as_deref() == Some("room-epoch");
                let over = parted || ledger.are_parted(owner, who) || cut_off(who) || cut_off(written.from);
                let excused = over || unsteady(owner) || unsteady(who);
                // To its sender it stays held until somebody reads it; here it must not be hidden any more.
                (waits && !there && !excused).then_some("still waits for an entry of the room")
            }
            // A speaker that was put back does not know that it left before its reader went out, and sends it no more.
            Stage::Refused if there && withdrawn && unsteady(written.from) => None,
            Stage::Refused if there => {
                (!parted && !unsteady(who) && !cut_off(who)).then_some("said to be refused, and is there")
            }
            // What was on its way to it ends so.
            Stage::Refused if cut_off(who) => None,
            Stage::Refused => (!parted && !self.may_be_refused(owner)).then_some("refused without a reason"),
            Stage::Expired if there => {
                (!unsteady(written.from) && !parted).then_some("said to be expired, and is there")
            }
            // Whether it left before its reader went out was not known.
            Stage::Expired if withdrawn => {
                (!parted && !self.may_be_refused(owner)).then_some("expired without a reason")
            }
            Stage::Expired => {
                (!written.may_expire && !wrong_clock && !parted).then_some("expired within its life")
            }
            Stage::Queued | Stage::Relayed => {
                (!parted && !cut_off(written.from)).then_some("never came to an end")
            }
        }
    }

    /// Whether it was only an invitation that was taken back then, as far as is known, and another one came before this was said: the owner takes
    /// a yes to the first for one to the second.
    fn met_next_invitation(&self, since: u64) -> bool {
        let Self { ledger, said, room, who, .. } = *self;
        let person = ledger.person(who);
        let in_it =
            ledger.said.iter().filter(|(_, earlier)| earlier.at_ms.0 <= since).any(|(mark, earlier)| {
                let here = ledger.written.get(mark).is_some_and(|written| written.to == Dest::Room(room));
                here && earlier.before.others.get(&person) == Some(&true)
            });
        // One yes brought them in; another one, of a machine that was put back or of their other one, may have been under way.
        let answers = ledger.deeds(room, Deed::Joined, who).filter(|join| join.at_ms.0 <= since).count();
        let mut asked = ledger.deeds(room, Deed::Invited, who);
        (!in_it || answers > 1) && asked.any(|done| done.at_ms.1 >= since && done.at_ms.0 <= said.at_ms.1)
    }

    /// Whether somebody was out of the room at some time.
    fn was_out(&self, owner: usize, one: usize) -> bool {
        let deeds = [Deed::Left, Deed::Removed];
        deeds.into_iter().any(|deed| self.ledger.deeds(self.room, deed, one).next().is_some())
            || self.ledger.are_parted(owner, one)
    }

    /// Whether one of the two may have been out of the room when it came.
    fn may_be_refused(&self, owner: usize) -> bool {
        let Self { ledger, written, said, room, who, .. } = *self;
        let out = |one: usize| self.was_out(owner, one);
        let closed = ledger.deeds(room, Deed::Closed, owner).next().is_some();
        let unsteady = [written.from, who, owner].into_iter().any(|one| ledger.unsteady.contains(&one));
        let reason = self.copy.and_then(|copy| copy.reason.as_deref());
        match reason {
            Some("not-a-member") if ledger.was_yes_cut_off(room, who, said.at_ms.1) => true,
            Some("not-a-member" | "out-of-room") => out(who) || out(written.from) || closed || unsteady,
            Some("no-such-room") => unsteady,
            _ => false,
        }
    }

    /// Only the session that it is for has it to read; with everybody else it is history.
    fn addressed(&self) -> Option<&'static str> {
        let Self { ledger, mark, said, who, .. } = *self;
        let message = self.there?;
        let history = message.state == ReadState::History;
        let shown = ledger.shown.get(&who).is_some_and(|marks| marks.iter().any(|one| one == mark));
        match said.to {
            Some(to) if to == who => history.then_some("it is for them, and waits for nobody"),
            Some(_) if !history || shown => Some("it is for somebody else, and is not only history"),
            None if history => Some("it is for everybody, and is history"),
            None if shown => Some("it is for everybody, and was shown to an agent"),
            Some(_) | None => None,
        }
    }
}
