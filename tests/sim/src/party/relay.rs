//! A relay's machine: the program's engine and connections, stepped in virtual time over a disk in memory.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use penpal_protocol::envelope::{ENCAPSULATION_BYTES, HEADER_BYTES};
use penpal_protocol::text::{HostPort, RelayAddress};
use penpal_relay::hosted::{HostedRelay, Said};
use penpal_relay::{AdminAnswer, AdminRequest, KeysError, Mark, Parts, RegistrationPolicy};
use penpal_relay_core::{Config, GraphKey, Limits, Table};
use penpal_store::disk::{Crash, Fault, MemDisk};
use penpal_store::{LogPosition, LogStore, MemIndex, Options, QueueId, Store, Usage};
use penpal_transport::{Listener, Offload, ServerOptions, ServerSecrets, TransportKey};
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::{Contents, Doom, Files, PartyClock};
use crate::alarms;
use crate::dice::{Dice, derive, generator};
use crate::net::{Machine, Net, Tasks};
use crate::note;
use crate::trace::Trace;

/// Port of every relay.
pub const PORT: u16 = 4433;

const SEGMENT_BYTES: u64 = 256 * 1024;

/// A relay's data at one moment, without its keys folder.
#[derive(Debug, Clone)]
pub struct RelaySnapshot(MemDisk, Contents);

/// `log.mark` in memory.
#[derive(Debug, Clone, Default)]
struct MemMark(Arc<Mutex<Option<LogPosition>>>);

impl Mark for MemMark {
    fn read(&self) -> Result<Option<LogPosition>, KeysError> {
        Ok(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&mut self, mark: LogPosition) -> Result<(), KeysError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
        Ok(())
    }
}

struct Life {
    relay: HostedRelay,
    tasks: Tasks,
    driver: Option<AbortHandle>,
    doom: Option<(Doom, Crash)>,
    _stop: oneshot::Sender<()>,
}

/// What a relay was ever told, as far as the promises are about it.
#[derive(Debug, Default)]
pub struct Heard {
    /// Encapsulation of each envelope → the whole of it: one must never serve two.
    encapsulations: BTreeMap<[u8; 16], [u8; 16]>,
    /// What is wrong with what was heard.
    pub wrong: Vec<String>,
    /// Envelopes heard.
    pub envelopes: u64,
    /// Their names in logs.
    pub names: BTreeSet<String>,
}

/// The machine.
pub struct RelayHost {
    /// Its place on the network.
    pub machine: Machine,
    /// Its name in traces.
    pub name: String,
    /// Its clocks.
    pub clock: Arc<PartyClock>,
    /// What is given to people.
    pub address: RelayAddress,
    /// What it heard.
    pub heard: RefCell<Heard>,
    seed: u64,
    limits: Limits,
    /// Bytes that nobody may ever show it.
    canary: Vec<u8>,
    net: Net,
    trace: Trace,
    dice: RefCell<Dice>,
    disk: RefCell<MemDisk>,
    files: Files,
    mark: MemMark,
    life: RefCell<Option<Life>>,
    lives: Cell<u64>,
    bell: Arc<Notify>,
}

impl std::fmt::Debug for RelayHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayHost").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RelayHost {
    /// A machine that does not run yet.
    #[must_use]
    pub fn new(
        seed: u64,
        machine: Machine,
        limits: Limits,
        canary: &[u8],
        began: Instant,
        net: Net,
        trace: Trace,
    ) -> Rc<Self> {
        let key = TransportKey::from_seed(&derive(seed, &format!("relay key {}", machine.0)));
        let pin = penpal_protocol::ids::RelayPin::from_bytes(key.public().pin().0);
        let address = RelayAddress { at: HostPort { host: machine.ip().into(), port: PORT }, pin };
        let stream = |what: &str| Dice::new(seed, &format!("{what} {}", machine.0));
        Rc::new(Self {
            machine,
            name: format!("relay{}", machine.0),
            clock: Arc::new(PartyClock::new(began, stream("jitter"))),
            address,
            heard: RefCell::default(),
            seed,
            limits,
            canary: canary.to_vec(),
            net,
            trace,
            dice: RefCell::new(stream("pace")),
            disk: RefCell::default(),
            files: Files::make(),
            mark: MemMark::default(),
            life: RefCell::new(None),
            lives: Cell::new(0),
            bell: Arc::new(Notify::new()),
        })
    }

    /// Whether the process runs.
    pub fn is_up(&self) -> bool {
        self.life.borrow().is_some()
    }

    /// Starts the process.
    ///
    /// # Errors
    /// What it would tell its operator.
    pub fn start(self: &Rc<Self>) -> Result<(), String> {
        if self.is_up() {
            return Ok(());
        }
        self.lives.set(self.lives.get() + 1);
        let life = self.lives.get();
        let named = |what: &str| derive(self.seed, &format!("{what} {} {life}", self.machine.0));
        let opened = self.open_store(named("log")).and_then(|store| {
            let parts = Parts {
                blobs: self.files.path().join("blobs"),
                offload: Offload::Inline,
                config: Config {
                    registration: RegistrationPolicy::Invite,
                    limits: self.limits.clone(),
                    ..Config::default()
                },
                store,
                graph: GraphKey::from_bytes(derive(self.seed, &format!("graph {}", self.machine.0))),
                mark: Box::new(self.mark.clone()),
                clock: Arc::clone(&self.clock) as Arc<dyn penpal_transport::clock::Clock>,
                rng: Box::new(generator(self.seed, &format!("relay {} {life}", self.machine.0))),
            };
            HostedRelay::open(parts, Arc::clone(&self.bell)).map_err(|error| error.to_string())
        });
        let relay = match opened {
            Ok(relay) => relay,
            Err(error) => {
                self.disk.borrow().crash(Crash::Process);
                note!(self.trace, "{} does not start: {error}", self.name);
                return Err(error);
            }
        };
        let tasks = Tasks::default();
        let key = TransportKey::from_seed(&derive(self.seed, &format!("relay key {}", self.machine.0)));
        let secrets = ServerSecrets::new([self.machine.0; 64], [self.machine.0.wrapping_add(100); 64]);
        let mut options = ServerOptions::new((self.machine.ip(), PORT).into(), key, secrets);
        options.rng_seed_for_tests = Some(named("quic"));
        let socket = self.net.socket(self.machine, PORT);
        let listener = Listener::with_socket(options, socket, Arc::new(tasks.clone()))
            .map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel();
        tasks.add(tokio::spawn(relay.serve(listener, stopped)).abort_handle());
        *self.life.borrow_mut() = Some(Life { relay, tasks, driver: None, doom: None, _stop: stop });
        let driver = spawn_local(Rc::clone(self).drive()).abort_handle();
        if let Some(life) = &mut *self.life.borrow_mut() {
            life.driver = Some(driver);
        }
        note!(self.trace, "{} starts", self.name);
        Ok(())
    }

    fn open_store(&self, id: [u8; 32]) -> Result<Box<dyn Store>, String> {
        open(&self.disk.borrow(), id)
    }

    async fn drive(self: Rc<Self>) {
        loop {
            let Some(pause) = self.turn() else { return };
            tokio::select! {
                biased;
                () = self.bell.notified() => {}
                () = sleep(pause.max(Duration::from_millis(1))) => {}
            }
            let pace = self.dice.borrow_mut().below(3);
            if pace > 0 {
                sleep(Duration::from_millis(pace)).await;
            }
        }
    }

    /// One turn of the engine; how long it has nothing to do, or nothing when the process died in it.
    fn turn(&self) -> Option<Duration> {
        let mut slot = self.life.borrow_mut();
        let life = slot.as_mut()?;
        let struck = match &mut life.doom {
            Some((doom, crash)) => doom.strikes().then_some((*doom, *crash)),
            None => None,
        };
        if let Some((Doom::BeforeStep(_), crash)) = struck {
            drop(slot);
            self.kill(crash);
            return None;
        }
        let alarms = alarms::count();
        let result = life.relay.turn(&mut |said| self.heard.borrow_mut().hear(said, &self.canary));
        // With the power gone nothing is said: what this turn says waits in memory for tasks that die with the process.
        let powerless = self.disk.borrow().is_cut();
        if powerless {
            alarms::excuse(alarms);
        }
        let crash = match (struck, result) {
            (Some((_, crash)), _) => crash,
            (None, _) if powerless => life.doom.map_or(Crash::LoseAll, |(_, crash)| crash),
            (None, Ok(turned)) => {
                if turned.inputs > 0 {
                    note!(self.trace, "{} turn: {} in", self.name, turned.inputs);
                }
                return Some(turned.sleep);
            }
            (None, Err(error)) => {
                note!(self.trace, "{} cannot go on: {error}", self.name);
                Crash::Process
            }
        };
        drop(slot);
        self.kill(crash);
        None
    }

    /// Ends the process; `crash` says what its disk keeps.
    pub fn kill(&self, crash: Crash) {
        let Some(life) = self.life.borrow_mut().take() else { return };
        self.net.close(self.machine);
        life.tasks.kill();
        if let Some(driver) = &life.driver {
            driver.abort();
        }
        drop(life);
        self.disk.borrow().crash(crash);
        note!(self.trace, "{} dies: {crash:?}", self.name);
    }

    /// Arranges the death of the process.
    pub fn doom(&self, doom: Doom, crash: Crash) {
        if let Some(life) = &mut *self.life.borrow_mut() {
            life.doom = Some((doom, crash));
        }
    }

    /// Arranges that the power goes in so many steps of the disk.
    pub fn cut_power_in(&self, steps: u64, crash: Crash) {
        if let Some(life) = &mut *self.life.borrow_mut() {
            let disk = self.disk.borrow().clone();
            disk.inject(Fault::PowerCut(disk.steps() + steps));
            life.doom = Some((Doom::BeforeStep(u32::MAX), crash));
        }
    }

    /// Fills the disk, or makes room.
    pub fn set_full(&self, full: bool) {
        let disk = self.disk.borrow().clone();
        disk.set_capacity(full.then(|| disk.used_bytes()));
    }

    /// Takes back what was arranged and has not struck.
    pub fn calm(&self) {
        if self.life.borrow().as_ref().is_some_and(|life| life.doom.is_some()) {
            self.kill(Crash::Process);
        }
    }

    /// A copy of the data as it is.
    #[must_use]
    pub fn snapshot(&self) -> RelaySnapshot {
        let disk = self.disk.borrow().fork();
        disk.crash(Crash::Process);
        disk.set_capacity(None);
        RelaySnapshot(disk, self.files.contents())
    }

    /// Puts other data into a machine that does not run; its keys folder stays.
    pub fn put(&self, snapshot: &RelaySnapshot) {
        let disk = snapshot.0.fork();
        disk.crash(Crash::Process);
        *self.disk.borrow_mut() = disk;
        self.files.replace(&snapshot.1);
    }

    /// Asks as the operator.
    pub async fn admin(&self, request: AdminRequest) -> Option<AdminAnswer> {
        let answer = self.life.borrow().as_ref()?.relay.admin(request);
        answer.await.ok()
    }

    /// What waits for each device, as the disk has it now.
    ///
    /// # Errors
    /// The data cannot be read, which is a failure of the store.
    pub fn spools(&self) -> Result<Vec<Usage>, String> {
        let copy = self.disk.borrow().fork();
        copy.crash(Crash::Process);
        copy.set_capacity(None);
        let store = open(&copy, [0; 32])?;
        let table = penpal_store::Table::new(
            Table::Slot.number(),
            if Table::Slot.is_long_lived() { penpal_store::Life::Long } else { penpal_store::Life::Short },
        );
        let slots = store.keys(table, &[], None, 1000).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for slot in slots {
            let Ok(slot) = <[u8; 16]>::try_from(slot.as_slice()) else { continue };
            let usage = store.usage(QueueId(slot)).map_err(|error| error.to_string())?;
            found.extend(usage);
        }
        Ok(found)
    }

    /// The bounds that it runs with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the canary is anywhere on the disk.
    #[must_use]
    pub fn disk_has_canary(&self) -> bool {
        let disk = self.disk.borrow();
        let names = penpal_store::disk::Disk::list(&*disk).unwrap_or_default();
        let blobs = self.files.contents();
        names.iter().filter_map(|name| disk.content(name)).any(|content| contains(&content, &self.canary))
            || blobs.values().any(|content| contains(content, &self.canary))
    }
}

fn open(disk: &MemDisk, id: [u8; 32]) -> Result<Box<dyn Store>, String> {
    let id = u64::from_be_bytes([id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7]]);
    let options = Options { segment_bytes: SEGMENT_BYTES, log_id: Some(id), ..Options::default() };
    match LogStore::open_in(Arc::new(disk.clone()), Box::new(MemIndex::new()), options) {
        Ok(store) => Ok(Box::new(store)),
        Err(error) => Err(error.to_string()),
    }
}

impl Heard {
    fn hear(&mut self, said: Said<'_>, canary: &[u8]) {
        match said {
            Said::Request(request) => {
                if contains(&request.encode(), canary) {
                    self.wrong.push(format!("a {:?} request shows a canary", request.kind()));
                }
            }
            Said::Deposit(deposit) => {
                self.envelopes += 1;
                let envelope: &[u8] = &deposit.envelope;
                self.names.insert(format!("{:?}", penpal_seal::reseal_hash(envelope)));
                if contains(envelope, canary) {
                    self.wrong.push("an envelope shows a canary".to_owned());
                }
                let Some(encapsulation) = envelope.get(HEADER_BYTES..HEADER_BYTES + ENCAPSULATION_BYTES)
                else {
                    self.wrong.push(format!("an envelope of {} bytes", envelope.len()));
                    return;
                };
                let (key, whole) = (super::node::short(encapsulation), super::node::short(envelope));
                if *self.encapsulations.entry(key).or_insert(whole) != whole {
                    self.wrong.push("one encapsulation serves two envelopes: a key is used twice".to_owned());
                }
            }
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
