//! Rooms of a world: who makes one, who is to come, who speaks, and when it changes.

use super::STORM_MS;
use crate::dice::Dice;

/// One room: its owner makes it and invites contacts; whoever is invited joins soon, or says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    /// Who makes it.
    pub owner: usize,
    /// What is done in it, by time in milliseconds since the storm began.
    pub acts: Vec<(u64, Act)>,
}

/// One thing done in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The owner makes it.
    Create,
    /// The owner invites a contact.
    Invite(usize),
    /// Somebody says something.
    Say {
        /// Who.
        from: usize,
        /// To whose session; to everybody when absent.
        to: Option<usize>,
        /// Bytes of text beyond what names it.
        bytes: usize,
    },
    /// A member goes.
    Leave(usize),
    /// The owner takes a member out.
    Remove(usize),
    /// The owner ends it.
    Close,
}

/// In two of five worlds one room, or two.
pub(super) fn gatherings(dice: &mut Dice, nodes: usize, pairs: &[(usize, usize)]) -> Vec<Gathering> {
    let count = if dice.chance(400) { 1 + dice.index(2) } else { 0 };
    (0..count).map(|_| gathering(dice, nodes, pairs)).collect()
}

fn gathering(dice: &mut Dice, nodes: usize, pairs: &[(usize, usize)]) -> Gathering {
    let known = |who: usize| {
        pairs.iter().filter_map(move |(a, b)| match (*a == who, *b == who) {
            (true, _) => Some(*b),
            (_, true) => Some(*a),
            (false, false) => None,
        })
    };
    // Of two, whoever knows more people: a room of two says little.
    let (one, other) = (dice.index(nodes), dice.index(nodes));
    let owner = if known(one).count() >= known(other).count() { one } else { other };
    let mut acts = vec![(dice.below(3_000), Act::Create)];
    let mut invited = Vec::new();
    for guest in known(owner) {
        if dice.chance(850) {
            // Most are there from the beginning; some come late.
            let at = if dice.chance(700) { 3_000 + dice.below(5_000) } else { dice.below(STORM_MS) };
            acts.push((at, Act::Invite(guest)));
            invited.push(guest);
        }
    }
    for _ in 0..dice.index(3) {
        let Some(guest) = invited.get(dice.index(invited.len().max(1))).copied() else { break };
        let act = if dice.chance(600) { Act::Remove(guest) } else { Act::Leave(guest) };
        let at = dice.between(15_000, STORM_MS);
        acts.push((at, act));
        if dice.chance(400) {
            acts.push((at + dice.below(20_000), Act::Invite(guest)));
        }
    }
    if dice.chance(100) {
        acts.push((dice.between(30_000, STORM_MS), Act::Close));
    }
    let speakers: Vec<usize> = invited.iter().copied().chain([owner]).collect();
    for _ in 0..6 + dice.index(14) {
        let from = speakers[dice.index(speakers.len())];
        let mut at = dice.between(8_000, STORM_MS);
        let burst = if dice.chance(200) { dice.between(2, 5) } else { 1 };
        for _ in 0..burst {
            let to = dice.chance(350).then(|| speakers[dice.index(speakers.len())]).filter(|to| *to != from);
            let bytes = if dice.chance(40) { dice.index(30_000) } else { dice.index(300) };
            acts.push((at, Act::Say { from, to, bytes }));
            at += dice.below(500);
        }
    }
    acts.sort_by_key(|(at, _)| *at);
    Gathering { owner, acts }
}
