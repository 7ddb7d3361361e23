//! What people and agents of a world were told, against which its end is held.

use std::collections::{BTreeMap, BTreeSet};

/// What whoever wrote a message was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is durable.
    Accepted,
    /// It was refused, and nothing of it exists.
    Denied,
    /// Nothing: the node died.
    Nothing,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dest {
    /// To a person.
    Person(usize),
    /// Into a room of the plan.
    Room(usize),
}

/// One message that somebody tried to send.
#[derive(Debug, Clone)]
pub struct Written {
    /// Who.
    pub from: usize,
    /// Where to.
    pub to: Dest,
    /// Its place among all of the world, in the order in which writing began.
    pub number: usize,
    /// What the writer was told.
    pub told: Told,
    /// Its id, when it was told.
    pub id: Option<String>,
    /// Whether its life is short, or clocks were wrong: it may expire.
    pub may_expire: bool,
    /// Its writer's node was put back to a time before it: that it was written may be forgotten.
    pub forgotten: bool,
    /// Whose nodes were put back to a time before it was there: it may be gone with what was lost.
    pub lost_by: BTreeSet<usize>,
}

/// What a node says of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Number of the newest change of its membership.
    pub epoch: Option<u64>,
    /// Everybody else in it, and whether messages can go there.
    pub others: BTreeMap<usize, bool>,
}

/// Something said in a room.
#[derive(Debug, Clone)]
pub struct Said {
    /// The session that it is for, by its person; for everybody when absent.
    pub to: Option<usize>,
    /// What the speaker's node said of the room just before.
    pub before: Seen,
    /// And just after; nothing when it could not be asked.
    pub after: Option<Seen>,
    /// When it was begun and when its speaker was told something, in milliseconds of the world.
    pub at_ms: (u64, u64),
}

/// Something done to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// What.
    pub deed: Deed,
    /// To whom, or by whom.
    pub whom: usize,
    /// When it was begun and when whoever did it was told something, in milliseconds of the world.
    pub at_ms: (u64, u64),
    /// Number of the change that came of it, as its owner was told.
    pub epoch: Option<u64>,
    /// Whether it is known to be done.
    pub certain: bool,
}

/// What can be done to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It was made.
    Created,
    /// Somebody was invited.
    Invited,
    /// Somebody asked to be let in.
    Joined,
    /// Somebody went, or said no.
    Left,
    /// Somebody was taken out.
    Removed,
    /// It was closed.
    Closed,
}

impl Deed {
    /// For counting.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Created => "rooms made",
            Self::Invited => "invited into a room",
            Self::Joined => "joined a room",
            Self::Left => "left a room, or declined",
            Self::Removed => "taken out of a room",
            Self::Closed => "rooms closed",
        }
    }
}

/// A machine that was cut off from its account.
#[derive(Debug, Clone, Copy, Default)]
pub struct Revoked {
    /// Messages that had been begun when its person was told that it is done; nothing when nobody was told.
    pub number: Option<usize>,
    /// When its relay knew, by the machine's own clock in Unix milliseconds.
    pub at_relay_ms: Option<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Messages by the mark in their text.
    pub written: BTreeMap<String, Written>,
    /// Hashes of the files that went with messages, by mark.
    pub files: BTreeMap<String, String>,
    /// Marks that agents of each node were shown and that the node was told of, in order.
    pub shown: BTreeMap<usize, Vec<String>>,
    /// Pairs, smaller first, of which one removed or blocked the other: mail between them may be refused.
    pub parted: BTreeSet<(usize, usize)>,
    /// Nodes that were put back to an earlier state, or cloned, at some time.
    pub unsteady: BTreeSet<usize>,
    /// Those of them that could not know it: put back to a copy taken while they ran, or one of two that ran.
    pub unaware: BTreeSet<usize>,
    /// Nodes that were put back within the seconds of which a relay keeps nothing, and who had come into a room in them: so they became contacts.
    pub unkept: BTreeSet<(usize, usize)>,
    /// Who was put back to a time before they asked to come into a room, or made it, which they do not know any more then.
    pub unjoined: BTreeSet<(usize, usize)>,
    /// Nodes that lost their receive keys at some time.
    pub keys_lost: BTreeSet<usize>,
    /// Nodes whose clock was wrong at some time.
    pub wrong_clock: BTreeSet<usize>,
    /// What was said in rooms, by mark.
    pub said: BTreeMap<String, Said>,
    /// What people did to each room, in the order in which they were told so.
    pub rooms: BTreeMap<usize, Vec<Done>>,
    /// Who has what was said in rooms, at the end.
    pub read_in_rooms: BTreeSet<(usize, String)>,
    /// Whose each machine is.
    pub people: Vec<usize>,
    /// People who were contacts before the storm, smaller first.
    pub acquainted: BTreeSet<(usize, usize)>,
    /// Second machines that became devices of their account, and their names there.
    pub linked: BTreeMap<usize, String>,
    /// Those that are to be linked in the storm.
    pub linked_late: BTreeSet<usize>,
    /// Names under which machines were cut off that had not come, as far as their person knew.
    pub cut_off_unseen: BTreeMap<(usize, String), Revoked>,
    /// Second machines that somebody tried to cut off.
    pub revoked: BTreeMap<usize, Revoked>,
    /// What people read at which machine.
    pub read: BTreeSet<(usize, String)>,
    /// Messages that had been begun when the storm ended.
    pub storm_ended: usize,
    /// What was written when all was mended.
    pub probes: BTreeSet<String>,
    /// Whether a relay was put back to an earlier state.
    pub relay_restored: bool,
    /// What was found wrong.
    pub wrong: Vec<String>,
}

impl Ledger {
    /// Notes something wrong.
    pub fn blame(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    /// Whether the way between the people of two machines may be lost: the relay was put back to a time before they became contacts, or before
    /// one of them made it anew because a device was cut off; or one of the two forgot either, and cannot know.
    #[must_use]
    pub fn is_way_lost(&self, a: usize, b: usize) -> bool {
        let renewed = self.is_way_renewed(a, b);
        let (a, b) = (self.person(a), self.person(b));
        let of_them = |machine: &usize| [a, b].contains(&self.person(*machine));
        let is_new = !self.acquainted.contains(&(a.min(b), a.max(b)));
        let made = renewed || is_new;
        (made && (self.unaware.iter().any(of_them) || self.relay_restored))
            || (is_new && self.unkept.iter().any(|(back, came)| of_them(back) && of_them(came)))
    }

    /// Whether one of the people of two machines linked a device in the storm or cut one off: the way between them is made anew, and what was on the old one may be lost.
    #[must_use]
    pub fn is_way_renewed(&self, a: usize, b: usize) -> bool {
        let people = [self.person(a), self.person(b)];
        self.revoked.keys().chain(&self.linked_late).any(|machine| people.contains(&self.person(*machine)))
    }

    /// Whether this is what contacts call a machine.
    #[must_use]
    pub fn is_named(&self, machine: usize, device: &str) -> bool {
        match self.linked.get(&machine) {
            Some(name) => name == device,
            None => self.person(machine) == machine && device == "desktop",
        }
    }

    /// The copy for a machine among those for its person. What was cut off, and devices of whoever was removed, have no names any more.
    #[must_use]
    pub fn copy_for<'c, C>(
        &self,
        from: usize,
        machine: usize,
        copies: &'c [C],
        device: impl Fn(&C) -> &str,
    ) -> Option<&'c C> {
        let named = copies.iter().find(|copy| self.is_named(machine, device(copy)));
        let nameless = |copy: &&C| !(0..self.people.len()).any(|one| self.is_named(one, device(copy)));
        let parted = self.are_parted(from, machine);
        let excused = (self.revoked.contains_key(&machine) || parted) && !self.are_alike(from, machine);
        named.or_else(|| copies.iter().find(nameless).filter(|_| excused))
    }

    /// Whether nobody can tell copies for the machines of a person apart: the person was removed, and has or had more machines than one.
    #[must_use]
    pub fn are_alike(&self, from: usize, machine: usize) -> bool {
        let person = self.person(machine);
        let mut others = self.linked.keys().chain(self.revoked.keys()).chain(&self.linked_late);
        self.are_parted(from, machine) && others.any(|one| self.person(*one) == person)
    }

    /// Whose a machine is.
    #[must_use]
    pub fn person(&self, machine: usize) -> usize {
        self.people.get(machine).copied().unwrap_or(machine)
    }

    /// Whether the people of two machines were parted.
    #[must_use]
    pub fn are_parted(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.person(a), self.person(b));
        self.parted.contains(&(a.min(b), a.max(b)))
    }

    /// What was done, by kind.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let certain = self.rooms.values().flatten().filter(|done| done.certain);
        let said = self.written.values().filter(|one| matches!(one.to, Dest::Room(_)));
        let said = said.filter(|one| one.told == Told::Accepted).map(|_| "said in rooms");
        let linked = self.linked.keys().map(|_| "second devices linked");
        let revoked = self.revoked.values().filter(|one| one.number.is_some()).map(|_| "devices cut off");
        let read = self.read_in_rooms.iter().map(|_| "read in rooms");
        let mut counts = BTreeMap::new();
        for kind in certain.map(|done| done.deed.kind()).chain(said).chain(read).chain(linked).chain(revoked)
        {
            *counts.entry(kind).or_default() += 1;
        }
        counts
    }

    /// Whether somebody's invitation was taken back and another one came, and a yes to the first may have met that.
    #[must_use]
    pub fn was_asked_again(&self, room: usize, whom: usize) -> bool {
        let begun = |deed| self.deeds(room, deed, whom).map(|done| done.at_ms.0);
        let between = |removed: u64| {
            begun(Deed::Invited).any(|at| at <= removed) && begun(Deed::Invited).any(|at| at >= removed)
        };
        // Who said yes as often as it was asked need not be asked again.
        let answered = begun(Deed::Joined).count();
        begun(Deed::Removed).any(between) && answered > 0 && answered < begun(Deed::Invited).count()
    }

    /// Whether somebody's last yes until then was said on a machine that was cut off since, perhaps before their other one heard of it: that
    /// one asks.
    #[must_use]
    pub fn was_yes_cut_off(&self, room: usize, whom: usize, until_ms: u64) -> bool {
        let yes = self.deeds(room, Deed::Joined, whom).filter(|done| done.at_ms.0 <= until_ms);
        yes.max_by_key(|done| done.at_ms).is_some_and(|done| self.revoked.contains_key(&done.whom))
    }

    /// Deeds of this kind to somebody in a room, at any machine.
    pub fn deeds(&self, room: usize, deed: Deed, whom: usize) -> impl Iterator<Item = &Done> {
        let all = self.rooms.get(&room).into_iter().flatten();
        all.filter(move |done| done.deed == deed && self.person(done.whom) == self.person(whom))
    }
}
