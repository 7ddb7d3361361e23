//! The ladder under virtual time.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::{Fingerprint, SessionId};
use penpal_wake::{
    Command, Facts, HOUR, Health, Outcome, PATIENCE, REST, Rung, SPACING, Source, WAKES_AN_HOUR, WakeId,
    Wakes,
};
use proptest::prelude::*;

const API: SessionId = SessionId::from_bytes([1; 16]);
const BOB: Source = Source::Contact(Fingerprint::from_bytes([7; 16]));
const EVE: Source = Source::Contact(Fingerprint::from_bytes([8; 16]));

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The machine, and what was last said of one session.
#[derive(Default)]
struct One {
    wakes: Wakes,
    facts: Facts,
}

impl One {
    fn ready(&mut self, ready: bool, now: Duration) {
        self.facts.ready = ready;
        self.wakes.handle_facts(API, &self.facts, now);
    }

    fn outcome(&mut self, wake: WakeId, outcome: Outcome, now: Duration) {
        self.wakes.handle_outcome(wake, outcome, now);
        self.wakes.handle_facts(API, &self.facts, now);
    }

    fn rungs(&mut self, rungs: &[Rung], now: Duration) {
        self.facts.rungs = rungs.iter().copied().collect();
        self.wakes.handle_facts(API, &self.facts, now);
    }
}

impl std::ops::Deref for One {
    type Target = Wakes;

    fn deref(&self) -> &Wakes {
        &self.wakes
    }
}

impl std::ops::DerefMut for One {
    fn deref_mut(&mut self) -> &mut Wakes {
        &mut self.wakes
    }
}

fn idle(rungs: &[Rung]) -> One {
    let mut wakes = One::default();
    wakes.rungs(rungs, at(0));
    wakes.ready(true, at(0));
    wakes
}

fn waits(one: &mut One, sources: &[Source], now: Duration) {
    one.facts.waiting = sources.iter().copied().collect();
    one.wakes.handle_facts(API, &one.facts, now);
}

fn woken(wakes: &mut One) -> Option<(WakeId, Rung)> {
    match wakes.poll_command()? {
        Command::Wake { session, wake, rung } => {
            assert_eq!(session, API);
            Some((wake, rung))
        }
        Command::Hold { .. } => panic!("held"),
    }
}

#[test]
fn many_messages_are_one_wake_and_the_next_comes_a_minute_later() {
    let mut wakes = idle(&[Rung::Plugin]);
    waits(&mut wakes, &[BOB], at(100));
    let (wake, rung) = woken(&mut wakes).expect("woken");
    assert_eq!(rung, Rung::Plugin);
    // More comes before it took the first.
    waits(&mut wakes, &[BOB, EVE], at(101));
    assert_eq!(woken(&mut wakes), None, "one outstanding");
    wakes.outcome(wake, Outcome::Woken, at(102));
    wakes.ready(false, at(102));
    waits(&mut wakes, &[], at(102));
    wakes.ready(true, at(110));
    waits(&mut wakes, &[EVE], at(111));
    assert_eq!(woken(&mut wakes), None, "too early");
    assert_eq!(wakes.poll_timeout(), Some(at(100) + SPACING));
    wakes.handle_timeout(at(160));
    assert!(woken(&mut wakes).is_some());
}

#[test]
fn a_busy_or_muted_session_is_left_alone_and_woken_once_it_is_idle() {
    let mut wakes = idle(&[Rung::Queue]);
    wakes.ready(false, at(1));
    waits(&mut wakes, &[BOB], at(2));
    assert_eq!((woken(&mut wakes), wakes.poll_timeout()), (None, None));
    wakes.ready(true, at(3));
    assert!(woken(&mut wakes).is_some());
}

#[test]
fn a_rung_that_fails_gives_way_to_the_next_at_once_and_rests() {
    let mut wakes = idle(&[Rung::NativeInbox, Rung::Terminal]);
    waits(&mut wakes, &[BOB], at(100));
    assert_eq!(woken(&mut wakes).expect("woken").1, Rung::NativeInbox);
    // Nothing shows.
    wakes.handle_timeout(at(100) + PATIENCE);
    let (wake, rung) = woken(&mut wakes).expect("the next rung");
    assert_eq!(rung, Rung::Terminal);
    assert_eq!(wakes.poll_timeout(), None, "a person may write as long as they like");
    wakes.outcome(wake, Outcome::Woken, at(150));
    assert!(wakes.can_wake(API));
    let health: BTreeMap<Rung, Health> = wakes.wakes.rungs(API).collect();
    assert_eq!(health[&Rung::Terminal], Health::Proved);
    assert!(matches!(health[&Rung::NativeInbox], Health::Failed { .. }));
    waits(&mut wakes, &[], at(150));
    waits(&mut wakes, &[BOB], at(200));
    assert_eq!(woken(&mut wakes).expect("woken").1, Rung::Terminal, "the one that failed rests");
}

#[test]
fn a_session_whose_only_rung_failed_cannot_be_woken_until_it_has_rested() {
    let mut wakes = idle(&[Rung::Plugin]);
    waits(&mut wakes, &[BOB], at(100));
    let (wake, _) = woken(&mut wakes).expect("woken");
    wakes.outcome(wake, Outcome::Failed, at(101));
    assert_eq!(woken(&mut wakes), None);
    assert!(!wakes.can_wake(API));
    assert_eq!(wakes.poll_timeout(), Some(at(101) + REST));
    // One that comes back is the same: a hook that fails comes back after every turn.
    wakes.rungs(&[], at(200));
    wakes.rungs(&[Rung::Plugin], at(201));
    assert!(!wakes.can_wake(API));
    wakes.handle_timeout(at(101) + REST);
    assert!(woken(&mut wakes).is_some());
}

#[test]
fn a_rung_that_goes_away_under_a_wake_has_failed() {
    let mut wakes = idle(&[Rung::RewakeHook, Rung::Terminal]);
    waits(&mut wakes, &[BOB], at(100));
    assert_eq!(woken(&mut wakes).expect("woken").1, Rung::RewakeHook);
    wakes.rungs(&[Rung::Terminal], at(101));
    assert_eq!(woken(&mut wakes).expect("the next").1, Rung::Terminal);
}

#[test]
fn a_contact_wakes_six_times_an_hour_and_is_held_then() {
    let mut wakes = idle(&[Rung::Plugin]);
    let mut now = at(1_000);
    for _ in 0..WAKES_AN_HOUR {
        waits(&mut wakes, &[BOB], now);
        let (wake, _) = woken(&mut wakes).expect("woken");
        wakes.outcome(wake, Outcome::Woken, now);
        waits(&mut wakes, &[], now);
        now += SPACING;
    }
    waits(&mut wakes, &[BOB], now);
    assert_eq!(wakes.poll_command(), Some(Command::Hold { session: API, source: BOB }));
    waits(&mut wakes, &[BOB], now + at(1));
    assert_eq!(wakes.poll_command(), None, "said once");
    // Somebody else still wakes; what waits of the first is shown along.
    waits(&mut wakes, &[BOB, EVE], now + at(2));
    let (wake, _) = woken(&mut wakes).expect("woken by eve");
    wakes.outcome(wake, Outcome::Woken, now + at(3));
    waits(&mut wakes, &[BOB], now + SPACING + at(3));
    assert_eq!(wakes.poll_command(), None);
    assert_eq!(wakes.poll_timeout(), Some(at(1_000) + HOUR), "a pause, and no end");
    wakes.handle_timeout(at(1_000) + HOUR);
    assert!(woken(&mut wakes).is_some());
}

#[test]
fn the_person_of_this_machine_is_not_counted() {
    let mut wakes = idle(&[Rung::Plugin]);
    for round in 0..20 {
        let now = at(1_000) + SPACING * round;
        waits(&mut wakes, &[Source::Desk], now);
        let (wake, _) = woken(&mut wakes).expect("woken");
        wakes.outcome(wake, Outcome::Woken, now);
        waits(&mut wakes, &[], now);
    }
}

#[test]
fn a_wake_that_found_nothing_costs_nothing() {
    let mut wakes = idle(&[Rung::Terminal]);
    for round in 0..20 {
        let now = at(1_000) + SPACING * round;
        waits(&mut wakes, &[BOB], now);
        let (wake, _) = woken(&mut wakes).expect("woken");
        waits(&mut wakes, &[], now);
        wakes.outcome(wake, Outcome::Nothing, now);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ready(bool),
    Rungs(u8),
    Waiting(u8),
    Outcome(u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Ready),
        any::<u8>().prop_map(Step::Rungs),
        any::<u8>().prop_map(Step::Waiting),
        any::<u8>().prop_map(Step::Outcome),
        (0_u16..400).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(steps in proptest::collection::vec(step(), 1..120)) {
        let sources = [Source::Desk, BOB, EVE, Source::Session(SessionId::from_bytes([9; 16]))];
        let mut wakes = One::default();
        let mut now = at(10);
        let (mut ready, mut waiting) = (false, BTreeSet::new());
        let mut rungs: BTreeSet<Rung> = BTreeSet::new();
        let mut under_way: Option<(WakeId, Rung)> = None;
        let mut begun: Vec<Duration> = Vec::new();
        let mut by: BTreeMap<Source, Vec<Duration>> = BTreeMap::new();
        let mut failed_last = false;
        for step in steps {
            failed_last &= matches!(step, Step::Rungs(_));
            match step {
                Step::Ready(is) => { ready = is; wakes.ready(is, now); }
                Step::Rungs(bits) => {
                    rungs = Rung::ALL.into_iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, rung)| rung).collect();
                    if under_way.is_some_and(|(_, rung)| !rungs.contains(&rung)) { under_way = None; failed_last = true; }
                    wakes.rungs(&rungs.iter().copied().collect::<Vec<_>>(), now);
                }
                Step::Waiting(bits) => {
                    waiting = sources.into_iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, source)| source).collect();
                    waits(&mut wakes, &waiting.iter().copied().collect::<Vec<_>>(), now);
                }
                Step::Outcome(which) => if let Some((wake, _)) = under_way.take() {
                    let outcome = [Outcome::Woken, Outcome::Failed][usize::from(which % 2)];
                    failed_last = outcome == Outcome::Failed;
                    wakes.outcome(wake, outcome, now);
                },
                Step::Pass(seconds) => {
                    now += at(u64::from(seconds));
                    if let Some((_, rung)) = under_way && rung != Rung::Terminal && seconds >= 20 { under_way = None; failed_last = true; }
                    else if under_way.is_some() && wakes.poll_timeout().is_some_and(|due| due <= now) { under_way = None; failed_last = true; }
                    wakes.handle_timeout(now);
                }
            }
            while let Some(command) = wakes.poll_command() {
                let Command::Wake { wake, rung, .. } = command else { continue };
                prop_assert!(under_way.is_none(), "one outstanding");
                prop_assert!(ready && !waiting.is_empty() && rungs.contains(&rung));
                let spaced = begun.last().is_none_or(|last| now >= *last + SPACING);
                prop_assert!(spaced || failed_last, "wakes at {begun:?} and {now:?}");
                begun.push(now);
                if !failed_last {
                    for source in &waiting {
                        by.entry(*source).or_default().push(now);
                    }
                }
                under_way = Some((wake, rung));
            }
            prop_assert_eq!(wakes.under_way(API), under_way);
        }
        // However many wait, no hour has more attempts than its sources may cause together.
        let attempts: BTreeSet<Duration> = by.values().flatten().copied().collect();
        for start in &attempts {
            let within = attempts.range(*start..*start + HOUR).count();
            let desk = by.get(&Source::Desk).is_some_and(|times| times.iter().any(|at| (*start..*start + HOUR).contains(at)));
            prop_assert!(desk || within <= 3 * WAKES_AN_HOUR, "{within} wakes within an hour");
        }
    }
}
