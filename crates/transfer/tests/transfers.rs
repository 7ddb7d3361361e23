//! Transfers against a far side that fails in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::blob::PartSet;
use penpal_protocol::ids::BlobId;
use penpal_transfer::{
    Command, Direction, FIRST_IN_FLIGHT, MAX_IN_FLIGHT, MAX_PACED, Outcome, Transfers, Trouble,
};
use proptest::prelude::*;

const NOW: Duration = Duration::ZERO;

fn blob(number: u8) -> BlobId {
    BlobId::from_bytes([number; 16])
}

fn commands(transfers: &mut Transfers) -> Vec<Command> {
    commands_at(transfers, NOW)
}

fn commands_at(transfers: &mut Transfers, now: Duration) -> Vec<Command> {
    std::iter::from_fn(|| transfers.poll_command(now)).collect()
}

#[test]
fn parts_go_side_by_side_and_transfers_take_turns() {
    let mut transfers = Transfers::default();
    for number in [1, 2] {
        transfers.add(blob(number), Direction::Up, 100, NOW);
    }
    assert_eq!(commands(&mut transfers).len(), 2);
    for number in [1, 2] {
        transfers.handle_opened(blob(number), Ok(PartSet::default()), NOW);
    }
    let moves = commands(&mut transfers);
    assert_eq!(moves.len(), FIRST_IN_FLIGHT);
    let of_first = moves.iter().filter(|one| matches!(one, Command::Move { blob: of, .. } if *of == blob(1)));
    assert_eq!(of_first.count(), FIRST_IN_FLIGHT / 2);
}

/// Streams that share a link get equal parts of it. A part ends when it is whole, or after ten minutes.
fn over_a_link(bytes_a_second: u64, parts: u32) -> (Duration, usize) {
    const PART: u64 = 1_048_832;
    let mut transfers = Transfers::default();
    transfers.add(blob(1), Direction::Up, parts, NOW);
    commands(&mut transfers);
    transfers.handle_opened(blob(1), Ok(PartSet::default()), NOW);
    let mut under_way: BTreeMap<u32, (u64, Duration)> = BTreeMap::new();
    let (mut now, mut most) = (NOW, 0);
    loop {
        for command in commands_at(&mut transfers, now) {
            match command {
                Command::Move { part, .. } => drop(under_way.insert(part, (0, now))),
                Command::Finish { .. } => return (now, most),
                Command::Open { .. } => unreachable!("a part was given up after {now:?}"),
            }
        }
        most = most.max(under_way.len());
        now += Duration::from_millis(100);
        let share = bytes_a_second / 10 / u64::try_from(under_way.len().max(1)).expect("few");
        for (got, begun) in under_way.values_mut() {
            *got += share;
            assert!(now - *begun < Duration::from_secs(600), "{bytes_a_second}");
        }
        let whole: Vec<u32> =
            under_way.iter().filter(|(_, (got, _))| *got >= PART).map(|(part, _)| *part).collect();
        for part in whole {
            under_way.remove(&part);
            transfers.handle_moved(blob(1), part, Ok(()), now);
        }
    }
}

#[test]
fn few_parts_are_under_way_over_a_slow_link_and_many_over_a_fast_one() {
    let (took, most) = over_a_link(16_000, 40);
    assert!(most <= FIRST_IN_FLIGHT && took < Duration::from_secs(2_800), "{took:?} {most}");
    let (took, most) = over_a_link(125_000, 40);
    assert!(most <= FIRST_IN_FLIGHT && took < Duration::from_secs(360), "{took:?} {most}");
    let (took, most) = over_a_link(20_000_000, 400);
    assert!(most == MAX_PACED && took < Duration::from_secs(30), "{took:?} {most}");
}

/// Opens a transfer, and gives what of it goes at once.
fn open(transfers: &mut Transfers, number: u8, direction: Direction) -> Vec<Command> {
    transfers.add(blob(number), direction, 100, NOW);
    assert_eq!(commands(transfers), [Command::Open { blob: blob(number) }]);
    transfers.handle_opened(blob(number), Ok(PartSet::default()), NOW);
    commands(transfers)
}

#[test]
fn a_relay_that_does_not_answer_keeps_no_other_transfer_from_going_on() {
    let mut transfers = Transfers::default();
    assert_eq!(open(&mut transfers, 1, Direction::Down).len(), FIRST_IN_FLIGHT);
    // As many as there may be: then it says nothing more.
    for part in 0..20 {
        transfers.handle_moved(blob(1), part, Ok(()), NOW);
        commands(&mut transfers);
    }
    assert_eq!(open(&mut transfers, 2, Direction::Up), [Command::Move { blob: blob(2), part: 0 }]);
    transfers.handle_moved(blob(2), 0, Ok(()), NOW);
    assert_eq!(commands(&mut transfers), [Command::Move { blob: blob(2), part: 1 }]);
    transfers.cancel(&blob(2));
    let others: usize = (3..20).map(|number| open(&mut transfers, number, Direction::Up).len()).sum();
    assert_eq!(MAX_PACED + others, MAX_IN_FLIGHT, "memory has a bound");
}

#[test]
fn a_part_that_fails_makes_fewer_be_under_way() {
    let mut transfers = Transfers::default();
    transfers.add(blob(1), Direction::Up, 100, NOW);
    commands(&mut transfers);
    transfers.handle_opened(blob(1), Ok(PartSet::default()), NOW);
    assert_eq!(commands(&mut transfers).len(), FIRST_IN_FLIGHT);
    for part in 0..4 {
        transfers.handle_moved(blob(1), part, Err(Trouble::Away), NOW);
    }
    transfers.handle_online();
    commands(&mut transfers);
    transfers.handle_opened(blob(1), Ok(PartSet::default()), NOW);
    assert_eq!(commands(&mut transfers).len(), 1);
    transfers.handle_moved(blob(1), 0, Ok(()), NOW);
    assert_eq!(commands(&mut transfers).len(), 2);
}

#[test]
fn a_relay_that_is_away_is_asked_again_later_and_at_once_when_it_is_there() {
    let mut transfers = Transfers::default();
    transfers.add(blob(1), Direction::Up, 3, NOW);
    let mut now = NOW;
    for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        assert_eq!(commands(&mut transfers), [Command::Open { blob: blob(1) }]);
        transfers.handle_opened(blob(1), Err(Trouble::Away), now);
        assert_eq!((commands(&mut transfers), transfers.progress(&blob(1)).unwrap().waits), (vec![], true));
        now += Duration::from_secs(pause);
        assert_eq!(transfers.poll_timeout(), Some(now));
        transfers.handle_timeout(now);
    }
    transfers.handle_opened(blob(1), Err(Trouble::Away), now);
    commands(&mut transfers);
    transfers.handle_opened(blob(1), Err(Trouble::Away), now);
    transfers.handle_online();
    assert_eq!(commands(&mut transfers), [Command::Open { blob: blob(1) }]);
    transfers.handle_opened(blob(1), Ok(PartSet::default()), now);
    assert_eq!(commands(&mut transfers).len(), 3);
    // A try ends with its last part, and is one failure.
    for part in 0..3 {
        assert_eq!(transfers.poll_timeout(), None);
        transfers.handle_moved(blob(1), part, Err(Trouble::Away), now);
    }
    assert!(transfers.poll_timeout().is_some());
}

#[test]
fn what_cannot_work_ends_it() {
    for trouble in [Trouble::Refused, Trouble::Gone, Trouble::SourceGone, Trouble::DiskFull] {
        let mut transfers = Transfers::default();
        transfers.add(blob(1), Direction::Down, 2, NOW);
        commands(&mut transfers);
        transfers.handle_opened(blob(1), Ok(PartSet::default()), NOW);
        commands(&mut transfers);
        transfers.handle_moved(blob(1), 1, Err(trouble), NOW);
        assert_eq!(transfers.poll_outcome(), Some(Outcome::Failed { blob: blob(1), trouble }));
        transfers.handle_moved(blob(1), 0, Ok(()), NOW);
        assert_eq!((transfers.poll_outcome(), commands(&mut transfers)), (None, vec![]));
    }
}

#[test]
fn damage_is_tried_again_a_few_times() {
    let mut transfers = Transfers::default();
    transfers.add(blob(1), Direction::Down, 1, NOW);
    commands(&mut transfers);
    transfers.handle_opened(blob(1), Ok(PartSet::default()), NOW);
    for last in [false, true] {
        assert_eq!(commands(&mut transfers), [Command::Move { blob: blob(1), part: 0 }]);
        transfers.handle_moved(blob(1), 0, Err(Trouble::Damaged), NOW);
        assert_eq!(transfers.poll_outcome(), None, "{last}");
    }
    assert_eq!(commands(&mut transfers), [Command::Move { blob: blob(1), part: 0 }]);
    transfers.handle_moved(blob(1), 0, Ok(()), NOW);
    assert_eq!(commands(&mut transfers), [Command::Finish { blob: blob(1) }]);
    transfers.handle_finished(blob(1), Err(Trouble::Damaged), NOW);
    let trouble = Trouble::Damaged;
    assert_eq!(transfers.poll_outcome(), Some(Outcome::Failed { blob: blob(1), trouble }));
}

#[derive(Debug, Clone, Copy)]
enum Luck {
    Well,
    Away,
    Lost,
    Cancelled,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![12 => Just(Luck::Well), 3 => Just(Luck::Away), 1 => Just(Luck::Lost), 1 => Just(Luck::Cancelled)]
}

proptest! {
    /// Whatever fails in between: nothing is under way twice, never too much at once, and a transfer that is done has every part.
    #[test]
    fn a_transfer_is_done_when_every_part_is_there(
        parts in 1..40_u32,
        lucks in prop::collection::vec(luck(), 1..400),
        order in prop::collection::vec(any::<prop::sample::Index>(), 400),
    ) {
        let mut transfers = Transfers::default();
        let mut far: BTreeMap<BlobId, BTreeSet<u32>> = BTreeMap::new();
        let mut under_way: Vec<Command> = Vec::new();
        let mut now = NOW;
        let (one, other) = (blob(1), blob(2));
        transfers.add(one, Direction::Up, parts, now);
        transfers.add(other, Direction::Down, parts, now);
        let mut lucks = lucks.into_iter();
        let mut done = BTreeSet::new();
        for pick in order.iter().cycle().take(20_000) {
            for command in commands_at(&mut transfers, now) {
                prop_assert!(!under_way.contains(&command));
                under_way.push(command);
            }
            let moving = under_way.iter().filter(|one| matches!(one, Command::Move { .. })).count();
            prop_assert!(moving <= MAX_IN_FLIGHT);
            while let Some(outcome) = transfers.poll_outcome() {
                let Outcome::Done { blob } = outcome else { panic!("{outcome:?}") };
                prop_assert_eq!(far.get(&blob).map_or(0, BTreeSet::len), usize::try_from(parts).unwrap());
                done.insert(blob);
            }
            if done.len() == 2 {
                break;
            }
            if under_way.is_empty() {
                now = transfers.poll_timeout().expect("something is due");
                transfers.handle_timeout(now);
                continue;
            }
            let command = under_way.swap_remove(pick.index(under_way.len()));
            let luck = lucks.next().unwrap_or(Luck::Well);
            let failed = !matches!(luck, Luck::Well);
            let (Command::Open { blob } | Command::Move { blob, .. } | Command::Finish { blob }) = command;
            if matches!(luck, Luck::Cancelled) && !done.contains(&blob) {
                // As after a restart of whoever drives it: what was under way is reported to nobody.
                transfers.cancel(&blob);
                under_way.retain(|one| !matches!(one,
                    Command::Open { blob: of } | Command::Move { blob: of, .. } | Command::Finish { blob: of } if *of == blob));
                transfers.add(blob, Direction::Up, parts, now);
                continue;
            }
            match command {
                Command::Open { .. } => {
                    let mut there = PartSet::default();
                    for part in far.entry(blob).or_default().iter() {
                        there.insert(*part);
                    }
                    transfers.handle_opened(blob, if failed { Err(Trouble::Away) } else { Ok(there) }, now);
                }
                Command::Move { part, .. } => {
                    // Lost: it was stored, and the answer did not come.
                    if matches!(luck, Luck::Well | Luck::Lost) {
                        far.entry(blob).or_default().insert(part);
                    }
                    transfers.handle_moved(blob, part, if failed { Err(Trouble::Away) } else { Ok(()) }, now);
                }
                Command::Finish { .. } => {
                    transfers.handle_finished(blob, if failed { Err(Trouble::Away) } else { Ok(()) }, now);
                }
            }
        }
        prop_assert_eq!(done.len(), 2, "it never ends");
    }
}
