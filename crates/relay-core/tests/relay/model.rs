//! The machine against the simplest thing that behaves as a relay must.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penpal_protocol::ids::SpoolEpoch;
use penpal_protocol::wire::{DepositOutcome, EdgeRevoke, Request, Verdict};
use penpal_relay_core::{Config, Limits};
use proptest::prelude::*;

use crate::people::Person;
use crate::world::{Way, World, delivered};

const WINDOW: usize = 6;
const SPOOL: usize = 10;

#[derive(Debug, Clone)]
enum Step {
    /// Somebody deposits: from, to, which of its deposits.
    Deposit { from: usize, to: usize, id: u64 },
    /// Somebody acknowledges what it has received, but for the last few.
    Ack { who: usize, keep: usize, gap: bool },
    /// Somebody loses its connection and comes back.
    Reconnect { who: usize },
    /// Somebody ends the way from somebody else.
    Revoke { who: usize, from: usize },
    /// The relay dies and starts again.
    Restart,
    /// The relay dies in the middle of a deposit: nothing was committed.
    Crash { from: usize, to: usize, id: u64 },
    /// Time passes.
    Pass { ms: u64 },
}

fn steps() -> impl Strategy<Value = Step> {
    let who = || 0..3_usize;
    prop_oneof![
        8 => (who(), who(), 0..40_u64).prop_map(|(from, to, id)| Step::Deposit { from, to, id }),
        4 => (who(), 0..4_usize, any::<bool>()).prop_map(|(who, keep, gap)| Step::Ack { who, keep, gap }),
        2 => who().prop_map(|who| Step::Reconnect { who }),
        1 => (who(), who()).prop_map(|(who, from)| Step::Revoke { who, from }),
        1 => Just(Step::Restart),
        1 => (who(), who(), 0..40_u64).prop_map(|(from, to, id)| Step::Crash { from, to, id }),
        2 => (0..3_000_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What one spool must hold and its device must have seen.
#[derive(Debug, Default)]
struct Model {
    /// Every row ever, by number; gone ones are `None`.
    rows: BTreeMap<u64, Option<u8>>,
    last: u64,
    /// Acknowledged, and certainly not there after time has passed.
    gone_soon: BTreeSet<u64>,
    /// Seen on this connection and not acknowledged.
    seen: BTreeMap<u64, u8>,
    /// What each has added since less than an eighth waited.
    shares: BTreeMap<usize, usize>,
}

impl Model {
    /// Whether somebody may add a row to so many that wait.
    fn takes(&mut self, from: usize, own: bool, waiting: usize) -> bool {
        if waiting < SPOOL / 8 {
            self.shares.clear();
            return true;
        }
        let share = self.shares.entry(from).or_default();
        if *share >= SPOOL / 4 && !own {
            return false;
        }
        *share += 1;
        true
    }
}

struct Run {
    world: World,
    people: Vec<Person>,
    ways: BTreeMap<(usize, usize), Way>,
    revoked: BTreeSet<(usize, usize)>,
    accepted: BTreeSet<(usize, usize, u64)>,
    models: Vec<Model>,
    epochs: Vec<SpoolEpoch>,
}

fn byte(from: usize, id: u64) -> u8 {
    u8::try_from(from * 64).unwrap() + u8::try_from(id).unwrap()
}

impl Run {
    fn new() -> Self {
        let limits = Limits {
            window_rows: WINDOW,
            spool_rows: SPOOL as u64,
            requests: penpal_relay_core::Rate { per_second: 1_000_000, burst: 1_000_000 },
            ..Limits::default()
        };
        let mut world = World::with(Config { limits, ..Config::default() });
        let people: Vec<Person> = (0..3).map(|number| world.person(number, &format!("p{number}"))).collect();
        let mut ways = BTreeMap::new();
        for from in 0..3 {
            for to in 0..3 {
                ways.insert((from, to), world.way(&people[to], people[from].conn));
            }
        }
        let epochs = people.iter().map(|person| world.online(person)).collect();
        let mut run = Self {
            world,
            people,
            ways,
            revoked: BTreeSet::new(),
            accepted: BTreeSet::new(),
            models: Default::default(),
            epochs,
        };
        run.models.resize_with(3, Model::default);
        run.look();
        run
    }

    fn deposit(&mut self, from: usize, to: usize, id: u64) -> penpal_protocol::wire::Deposit {
        self.ways[&(from, to)].deposit(id, vec![byte(from, id); 16])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deposit { from, to, id } => {
                // Acknowledgements are written by now, so that room in the spool is what the model says.
                self.world.advance(Duration::from_millis(30));
                let deposit = self.deposit(from, to, id);
                let outcome = self.world.deposit(self.people[from].conn, deposit);
                let model = &mut self.models[to];
                let waiting = model.rows.values().flatten().count();
                let full = waiting >= SPOOL;
                let expected = if self.revoked.contains(&(from, to)) {
                    DepositOutcome::No
                } else if self.accepted.contains(&(from, to, id)) {
                    DepositOutcome::Accepted
                } else if full {
                    DepositOutcome::RecipientFull
                } else if !model.takes(from, from == to, waiting) {
                    DepositOutcome::Quota
                } else {
                    self.accepted.insert((from, to, id));
                    model.last += 1;
                    model.rows.insert(model.last, Some(byte(from, id)));
                    DepositOutcome::Accepted
                };
                assert_eq!(outcome, expected);
            }
            Step::Ack { who, keep, gap } => {
                let model = &mut self.models[who];
                let seen: Vec<u64> = model.seen.keys().copied().collect();
                let Some(done) = seen.len().checked_sub(keep).filter(|done| *done > 0) else { return };
                let up_to = seen[done - 1];
                let gaps: Vec<u64> = seen[..done].first().copied().filter(|_| gap).into_iter().collect();
                for seq in &seen[..done] {
                    if !gaps.contains(seq) {
                        model.rows.insert(*seq, None);
                        model.gone_soon.insert(*seq);
                        model.seen.remove(seq);
                    }
                }
                let answer = self.world.ack(self.people[who].conn, self.epochs[who], up_to, &gaps);
                assert_eq!((answer.epoch, answer.newest), (self.epochs[who], self.models[who].last));
            }
            Step::Reconnect { who } => {
                self.world.disconnect(self.people[who].conn);
                self.back(who);
            }
            Step::Revoke { who, from } => {
                let edge = self.ways[&(from, who)].edge;
                self.world.ask(self.people[who].conn, Request::EdgeRevoke(EdgeRevoke { edge }));
                self.revoked.insert((from, who));
            }
            Step::Restart => {
                self.world.advance(Duration::from_millis(30));
                self.restart();
            }
            Step::Crash { from, to, id } => {
                self.world.advance(Duration::from_millis(30));
                let deposit = self.deposit(from, to, id);
                self.world.put_deposit(self.people[from].conn, deposit);
                self.restart();
            }
            Step::Pass { ms } => self.world.advance(Duration::from_millis(ms)),
        }
        self.look();
    }

    /// The relay starts anew, and everybody comes back.
    fn restart(&mut self) {
        self.world.restart();
        self.models.iter_mut().for_each(|model| model.shares.clear());
        (0..3).for_each(|who| self.back(who));
    }

    /// A connection anew: everything unacknowledged comes again.
    fn back(&mut self, who: usize) {
        let conn = self.world.connect(self.people[who].key);
        self.people[who].conn = conn;
        self.models[who].seen.clear();
        let answer = self.world.receive(conn);
        assert_eq!(answer.verdict, Verdict::Known);
        assert_eq!((answer.epoch, answer.newest), (self.epochs[who], self.models[who].last));
    }

    /// Takes what was delivered and compares.
    fn look(&mut self) {
        self.world.settle();
        for who in 0..3 {
            let model = &mut self.models[who];
            for (seq, content) in delivered(&self.world.events(self.people[who].conn)) {
                let last = model.seen.keys().next_back().copied().unwrap_or(0);
                assert!(seq > last, "row {seq} after {last}");
                let row = model.rows.get(&seq).copied().expect("only rows that were accepted");
                assert!(row == Some(content) || model.gone_soon.contains(&seq), "row {seq} is another");
                model.seen.insert(seq, content);
            }
            // Whatever waits is out, unless the window is not yet half empty.
            let waiting = model.rows.iter().filter(|(_, row)| row.is_some());
            let missing: Vec<u64> =
                waiting.map(|(seq, _)| *seq).filter(|seq| !model.seen.contains_key(seq)).collect();
            assert!(missing.is_empty() || model.seen.len() > WINDOW / 2, "{who}: {missing:?} not delivered");
            assert!(model.seen.len() <= WINDOW, "beyond the window");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spools_are_what_the_model_says(steps in proptest::collection::vec(steps(), 0..80)) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
    }
}
