//! Further devices of people: when each is linked, what comes and goes there, what goes wrong with it, and whether it is cut off.

use super::{Fault, Letter, STORM_MS, fault};
use crate::dice::Dice;

/// A second machine of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second {
    /// Whose.
    pub of: usize,
    /// When it is linked, in milliseconds since the storm began; before the storm when absent.
    pub at_ms: Option<u64>,
    /// When it is cut off, if ever.
    pub revoked_ms: Option<u64>,
}

/// What devices bring into a world.
pub(super) struct Brought {
    pub(super) seconds: Vec<Second>,
    pub(super) letters: Vec<Letter>,
    pub(super) faults: Vec<(u64, Fault)>,
}

/// In three of ten worlds somebody has a second device, now and then somebody else, too.
pub(super) fn brought(dice: &mut Dice, nodes: usize, relays: usize, pairs: &[(usize, usize)]) -> Brought {
    let mut all = Brought { seconds: Vec::new(), letters: Vec::new(), faults: Vec::new() };
    if !dice.chance(300) {
        return all;
    }
    for number in 0..if dice.chance(250) { 2 } else { 1 } {
        let of = dice.index(nodes);
        if all.seconds.iter().any(|second: &Second| second.of == of) {
            break;
        }
        let at_ms = dice.chance(400).then(|| dice.below(STORM_MS / 2));
        let revoked_ms = dice.chance(400).then(|| dice.between(STORM_MS / 3, STORM_MS));
        all.seconds.push(Second { of, at_ms, revoked_ms });
        let seat = nodes + number;
        for _ in 0..6 + dice.index(10) {
            all.letters.push(letter(dice, of, seat, pairs));
        }
        for _ in 0..dice.index(4) {
            all.faults.push((dice.below(STORM_MS), fault(dice, seat, relays, pairs.len())));
        }
    }
    all
}

/// From the new machine to a contact, or from a contact to the person or the session there.
fn letter(dice: &mut Dice, of: usize, seat: usize, pairs: &[(usize, usize)]) -> Letter {
    let contacts = pairs.iter().filter_map(|(a, b)| match (*a == of, *b == of) {
        (true, _) => Some(*b),
        (_, true) => Some(*a),
        (false, false) => None,
    });
    let contacts: Vec<usize> = contacts.collect();
    let other = contacts[dice.index(contacts.len())];
    let (from, to) = match dice.below(4) {
        0 | 1 => (seat, other),
        2 => (other, of),
        _ => (other, seat),
    };
    let session = to == seat || dice.chance(300);
    Letter { at_ms: dice.below(STORM_MS), from, to, session, life_ms: None, bytes: dice.index(300) }
}
