//! Runs a plan: everybody gets acquainted, a storm of faults, everything is mended, and the end is held against what people were told.
//!
//! What must hold at the end:
//!
//! | promise | file |
//! | --- | --- |
//! | no message for which success was reported is lost, nor one that was denied delivered | `checks` |
//! | nothing is there twice, or was shown twice; nothing is there that this sender did not write | `checks`, `people` |
//! | what one sender wrote is there in its order, or marked as late | `checks` |
//! | every message has a true last stage: who says delivered has it there, who says refused or expired has it not | `checks` |
//! | what is said in a room is there once for every member, for nobody who was out or not yet in as the speaker knew, and to be read only by whom it is for | `room_checks` |
//! | mail is on all machines of an account, and read on all; devices and contacts are the same on all; one that was cut off gets nothing since | `devices`, `device_checks` |
//! | what members in touch say of a room is the same at last | `rooms` |
//! | nothing waits any more, at nodes or relays; spools never exceeded their bounds | `mending` |
//! | a relay never held or heard a word of a message; no encapsulation and no receive key served two envelopes | `crate::party`, here |
//! | the code under test logged no error that the world did not cause | `crate::alarms` |

mod acquaintance;
mod checks;
mod device_checks;
mod devices;
mod mending;
mod people;
mod room_checks;
mod rooms;
mod storm;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use penpal_relay_core::Limits;
use penpal_store::disk::Crash;
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::alarms;
use crate::dice::{Dice, derive};
use crate::ledger::Ledger;
use crate::net::{Counts, Machine, Net};
use crate::note;
use crate::party::{NodeHost, RelayHost};
use crate::plan::Plan;
use crate::trace::Trace;

/// What became of a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What was wrong; empty when every promise held.
    pub wrong: Vec<String>,
    /// Number of events.
    pub events: u64,
    /// Their hash.
    pub hash: String,
    /// Faults of each kind that struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// What people did besides writing to each other, by kind.
    pub deeds: BTreeMap<&'static str, u64>,
    /// Messages that somebody tried to send.
    pub messages: u64,
    /// Envelopes that relays were handed.
    pub envelopes: u64,
    /// What the network did.
    pub net: Counts,
    /// How long it took in the world's own time.
    pub lasted: Duration,
}

/// A running world.
pub(crate) struct World {
    plan: Plan,
    trace: Trace,
    net: Net,
    began: Instant,
    canary: String,
    /// The machines on which nodes are now: the first of each person, then the second ones.
    nodes: RefCell<Vec<Rc<NodeHost>>>,
    relays: Vec<Rc<RelayHost>>,
    ledger: RefCell<Ledger>,
    faults: RefCell<BTreeMap<&'static str, u64>>,
    /// How long a machine stays off after its process died.
    pauses: RefCell<BTreeMap<Machine, u64>>,
    /// Machines that must not be started at present.
    held: RefCell<BTreeSet<Machine>>,
    /// Whose machines have a copy that runs beside them.
    copies: RefCell<Vec<(usize, Rc<NodeHost>)>>,
    /// Blocked contacts that will be unblocked: who blocked whom.
    blocked: RefCell<BTreeSet<(usize, usize)>>,
    next_machine: Cell<u8>,
    tasks: RefCell<Vec<AbortHandle>>,
}

/// Runs the world of a plan. `shown` prints its events.
#[must_use]
pub fn run(plan: &Plan, shown: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(plan.seed, format!("no runtime: {error}")),
    };
    drop((alarms::take(), alarms::take_keys()));
    let local = LocalSet::new();
    local.block_on(&runtime, World::live(plan.clone(), shown))
}

fn failed(seed: u64, wrong: String) -> Outcome {
    Outcome {
        seed,
        wrong: vec![wrong],
        events: 0,
        hash: String::new(),
        faults: BTreeMap::new(),
        deeds: BTreeMap::new(),
        messages: 0,
        envelopes: 0,
        net: Counts::default(),
        lasted: Duration::ZERO,
    }
}

/// Relays are the machines 1, 2 …, nodes 11, 12 …, copies of nodes 101, 102 ….
const FIRST_RELAY: u8 = 1;
const FIRST_NODE: u8 = 11;
const FIRST_COPY: u8 = 101;

fn machine(first: u8, number: usize) -> Machine {
    Machine(first.saturating_add(u8::try_from(number).unwrap_or(u8::MAX)))
}

impl World {
    fn new(plan: Plan, shown: bool) -> Rc<Self> {
        let (trace, began, seed) = (Trace::new(shown), Instant::now(), plan.seed);
        let net = Net::new(seed, trace.clone());
        let mark = derive(seed, "canary");
        let canary = format!("kanarie-{:02x}{:02x}{:02x}{:02x}", mark[0], mark[1], mark[2], mark[3]);
        let limits = Limits { spool_rows: plan.spool_rows, ..Limits::default() };
        let relay = |number| {
            let machine = machine(FIRST_RELAY, number);
            let limits = limits.clone();
            RelayHost::new(seed, machine, limits, canary.as_bytes(), began, net.clone(), trace.clone())
        };
        let relays = (0..plan.relays).map(relay).collect();
        let node = |number| {
            let machine = machine(FIRST_NODE, number);
            let second = if number < plan.homes.len() { "" } else { "b" };
            let name = format!("p{}{second}", plan.person(number));
            NodeHost::new(seed, machine, &name, began, net.clone(), trace.clone(), None)
        };
        let nodes = plan.machines().map(node).collect();
        let ledger = Ledger {
            people: plan.machines().map(|one| plan.person(one)).collect(),
            acquainted: plan.pairs.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect(),
            linked_late: plan.machines().filter(|machine| plan.is_linked_late(*machine)).collect(),
            ..Ledger::default()
        };

        Rc::new(Self {
            plan,
            trace,
            net,
            began,
            canary,
            nodes: RefCell::new(nodes),
            relays,
            ledger: RefCell::new(ledger),
            faults: RefCell::default(),
            pauses: RefCell::default(),
            held: RefCell::default(),
            copies: RefCell::default(),
            blocked: RefCell::default(),
            next_machine: Cell::new(FIRST_COPY),
            tasks: RefCell::default(),
        })
    }

    async fn live(plan: Plan, shown: bool) -> Outcome {
        let world = Self::new(plan, shown);
        spawn_local(world.net.clone().run());
        world.supervise();
        if let Err(error) = Rc::clone(&world).get_acquainted().await {
            world.blame(format!("while nothing was wrong: {error}"));
        } else {
            Rc::clone(&world).storm().await;
            world.mend().await;
            if !world.ledger.borrow().linked.is_empty() {
                world.probe().await;
                world.mend().await;
            }
            world.check().await;
        }
        world.outcome()
    }

    fn outcome(&self) -> Outcome {
        let mut wrong = std::mem::take(&mut self.ledger.borrow_mut().wrong);
        for relay in &self.relays {
            wrong.append(&mut relay.heard.borrow_mut().wrong);
            if relay.disk_has_canary() {
                wrong.push(format!("{} has words of a message on its disk", relay.name));
            }
        }
        wrong.extend(self.keys_used_twice());
        wrong.extend(alarms::take().into_iter().map(|text| format!("logged as an error: {text}")));
        wrong.dedup();
        for what in &wrong {
            note!(self.trace, "WRONG {what}");
        }
        let (events, hash) = self.trace.finish();
        let messages = self.ledger.borrow().written.len();
        Outcome {
            seed: self.plan.seed,
            wrong,
            events,
            hash,
            faults: self.faults.borrow().clone(),
            deeds: self.ledger.borrow().counts(),
            messages: u64::try_from(messages).unwrap_or(u64::MAX),
            envelopes: self.relays.iter().map(|relay| relay.heard.borrow().envelopes).sum(),
            net: self.net.counts(),
            lasted: self.began.elapsed(),
        }
    }

    /// A receive key serves one envelope. Whoever was put back to an earlier state does not know that it was used.
    fn keys_used_twice(&self) -> Option<String> {
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        for (envelope, key) in alarms::take_keys() {
            if self.relays.iter().any(|relay| relay.heard.borrow().names.contains(&envelope)) {
                *uses.entry(key).or_default() += 1;
            }
        }
        let steady = self.ledger.borrow().unsteady.is_empty();
        let key = uses.into_iter().find(|(_, times)| *times > 1 && steady);
        key.map(|(key, times)| format!("{times} envelopes were sealed to {key}"))
    }

    fn node(&self, number: usize) -> Rc<NodeHost> {
        Rc::clone(&self.nodes.borrow()[number])
    }

    fn blame(&self, what: impl Into<String>) {
        self.ledger.borrow_mut().blame(what);
    }

    fn dice(&self, name: &str) -> Dice {
        Dice::new(self.plan.seed, name)
    }

    /// Starts machines whose process has died, after the pause that a fault asked for.
    fn supervise(self: &Rc<Self>) {
        let world = Rc::clone(self);
        spawn_local(async move {
            let mut due: BTreeMap<Machine, Instant> = BTreeMap::new();
            loop {
                let nodes: Vec<_> = world.nodes.borrow().clone();
                for node in nodes {
                    let up = node.is_up();
                    world.revive(&mut due, node.machine, up, || node.start().is_ok());
                }
                for relay in &world.relays {
                    world.revive(&mut due, relay.machine, relay.is_up(), || relay.start().is_ok());
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
    }

    fn revive(
        &self,
        due: &mut BTreeMap<Machine, Instant>,
        machine: Machine,
        up: bool,
        start: impl Fn() -> bool,
    ) {
        if up || self.held.borrow().contains(&machine) {
            due.remove(&machine);
            return;
        }
        let pause = || Duration::from_millis(self.pauses.borrow_mut().remove(&machine).unwrap_or(0));
        let at = *due.entry(machine).or_insert_with(|| Instant::now() + pause());
        if at <= Instant::now() {
            due.insert(machine, Instant::now() + Duration::from_secs(2));
            if start() {
                due.remove(&machine);
            }
        }
    }

    fn hold(&self, node: &NodeHost) {
        self.held.borrow_mut().insert(node.machine);
        node.kill(Crash::Process);
    }

    fn release(&self, node: &NodeHost) {
        self.held.borrow_mut().remove(&node.machine);
    }
}
