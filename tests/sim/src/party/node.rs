//! A node's machine: the program's engine and links, stepped in virtual time over a disk in memory.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use penpal::config::Config;
use penpal::daemon::inputs::{EngineHandle, MAX_WAITING_INPUTS};
use penpal::daemon::link::{KnownKeys, Links};
use penpal::daemon::transfer::Transfers;
use penpal::engine::{CallId, Clock, Engine, Input, MAX_INPUTS_A_STEP, Output, Parts, Rng};
use penpal_local_api::artifact::PutRequest;
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ApiError;
use penpal_local_api::home::Home;
use penpal_local_api::mail::{InboxRequest, Message};
use penpal_local_api::method::Method;
use penpal_local_api::methods::{Call, Inbox};
use penpal_protocol::hash::labelled16;
use penpal_seal::{KeyFile, KeyStorage as _, MemoryKeys};
use penpal_store::disk::{Crash, Fault, MemDisk};
use penpal_store::{LogStore, MemIndex, Options};
use penpal_transport::{Dialer, DialerOptions, Offload};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::{Contents, Doom, Files, PartyClock};
use crate::alarms;
use crate::dice::{Dice, derive, generator};
use crate::net::{Machine, Net, Tasks};
use crate::note;
use crate::trace::Trace;

/// Small segments, so that worlds reach the places where one ends.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// Longer than any call waits.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    /// The node did not run.
    Down,
    /// The node died, or was silent: whether it was carried out is not known.
    Unknown,
    /// The node said no.
    Api(ApiError),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Down => f.write_str("down"),
            Self::Unknown => f.write_str("unknown"),
            Self::Api(error) => write!(f, "{}: {}", error.code.as_str(), error.message),
        }
    }
}

/// Everything on a node's disk at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    disk: MemDisk,
    keys: MemoryKeys,
    files: Contents,
}

/// A running process.
struct Life {
    engine: Engine,
    inputs: Receiver<Input>,
    handle: EngineHandle,
    links: Links,
    transfers: Transfers,
    tasks: Tasks,
    died: watch::Sender<bool>,
    driver: Option<AbortHandle>,
    doom: Option<(Doom, Crash)>,
    asleep: bool,
}

/// The machine.
pub struct NodeHost {
    /// Its place on the network.
    pub machine: Machine,
    /// The handle of its person.
    pub name: String,
    /// Its clocks.
    pub clock: Arc<PartyClock>,
    seed: u64,
    net: Net,
    trace: Trace,
    dice: RefCell<Dice>,
    disk: RefCell<Snapshot>,
    files: Files,
    life: RefCell<Option<Life>>,
    lives: Cell<u64>,
    bell: Arc<Notify>,
    /// Errors of the disk are arranged.
    armed: Cell<bool>,
    mislaid: RefCell<Option<zeroize::Zeroizing<Vec<u8>>>>,
    /// Steps of the engine.
    pub steps: Cell<u64>,
}

impl std::fmt::Debug for NodeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHost").field("name", &self.name).finish_non_exhaustive()
    }
}

impl NodeHost {
    /// A machine that does not run yet; `disk` is what somebody copied to it, if anything.
    #[must_use]
    pub fn new(
        seed: u64,
        machine: Machine,
        name: &str,
        began: Instant,
        net: Net,
        trace: Trace,
        disk: Option<Snapshot>,
    ) -> Rc<Self> {
        let stream = |what: &str| Dice::new(seed, &format!("{what} {}", machine.0));
        let nothing =
            || Snapshot { disk: MemDisk::new(), keys: MemoryKeys::default(), files: Contents::default() };
        let disk = disk.unwrap_or_else(nothing);
        let files = Files::make();
        files.replace(&disk.files);
        Rc::new(Self {
            machine,
            name: name.to_owned(),
            clock: Arc::new(PartyClock::new(began, stream("jitter"))),
            seed,
            net,
            trace,
            dice: RefCell::new(stream("pace")),
            disk: RefCell::new(disk),
            files,
            life: RefCell::new(None),
            lives: Cell::new(0),
            bell: Arc::new(Notify::new()),
            armed: Cell::new(false),
            mislaid: RefCell::new(None),
            steps: Cell::new(0),
        })
    }

    /// Whether the process runs.
    pub fn is_up(&self) -> bool {
        self.life.borrow().is_some()
    }

    /// Starts the process.
    ///
    /// # Errors
    /// What the node would tell whoever started it.
    pub fn start(self: &Rc<Self>) -> Result<(), String> {
        if self.is_up() {
            return Ok(());
        }
        self.lives.set(self.lives.get() + 1);
        let life = self.lives.get();
        let named = |what: &str| format!("{what} {} {life}", self.machine.0);
        let files = self.disk.borrow().clone();
        let engine = match self.open(files, self.files.path(), life) {
            Ok(engine) => engine,
            Err(error) => {
                self.disk.borrow().disk.crash(Crash::Process);
                note!(self.trace, "{} does not start: {error}", self.name);
                return Err(error);
            }
        };
        let (sender, inputs) = sync_channel(MAX_WAITING_INPUTS);
        let handle = EngineHandle::with_bell(sender, Arc::clone(&self.bell));
        let tasks = Tasks::default();
        let (net, machine, quic) = (self.net.clone(), self.machine, derive(self.seed, &named("quic")));
        let runtime = Arc::new(tasks.clone());
        let surroundings = Arc::clone(&self.clock) as Arc<dyn penpal::daemon::link::Surroundings>;
        let links = Links::new(handle.clone(), Arc::new(KnownKeys::forgetful()), surroundings, move || {
            let options = DialerOptions { rng_seed_for_tests: Some(quic), ..DialerOptions::default() };
            Dialer::with_socket(options, net.socket(machine, 0), Arc::clone(&runtime) as Arc<_>)
        });
        let (died, _) = watch::channel(false);
        let transfers = Transfers::new(handle.clone(), Offload::Inline);
        let life = Life {
            engine,
            inputs,
            handle,
            links,
            transfers,
            tasks,
            died,
            driver: None,
            doom: None,
            asleep: false,
        };
        *self.life.borrow_mut() = Some(life);
        let driver = spawn_local(Rc::clone(self).drive()).abort_handle();
        if let Some(life) = &mut *self.life.borrow_mut() {
            life.driver = Some(driver);
        }
        note!(self.trace, "{} starts", self.name);
        Ok(())
    }

    fn open(&self, files: Snapshot, folder: &Path, life: u64) -> Result<Engine, String> {
        let named = |what: &str| format!("{what} {} {life}", self.machine.0);
        let [a, b, c, d, e, f, g, h, ..] = derive(self.seed, &named("log"));
        let log_id = Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let options = Options { segment_bytes: SEGMENT_BYTES, log_id, ..Options::default() };
        let store = LogStore::open_in(Arc::new(files.disk), Box::new(MemIndex::new()), options);
        let parts = Parts {
            home: Home::at(format!("/nowhere/{}", self.name)),
            config: Config::default(),
            store: Box::new(store.map_err(|error| error.to_string())?),
            shelf: penpal::files::shelf::Shelf::of(&Home::at(folder)),
            search: None,
            keys: Box::new(files.keys),
            clock: Clock::start_of(Arc::clone(&self.clock) as Arc<_>),
            rng: Rng::new(Box::new(generator(self.seed, &named("node")))),
        };
        Engine::open(parts).map_err(|error| error.message)
    }

    /// Everything that this disk holds as received, whether a process runs or not, and its key is mislaid or not.
    #[must_use]
    pub fn received(&self) -> Vec<Message> {
        let copy = self.copy_of_disk();
        self.find_in(&copy.keys);
        let Ok(mut engine) = self.open(copy, Path::new("/nowhere"), 0) else {
            return Vec::new();
        };
        let request = InboxRequest { all: true, ..InboxRequest::default() };
        let answer = ask::<Inbox>(&mut engine, Call::Inbox(request));
        answer.map(|inbox| inbox.messages).unwrap_or_default()
    }

    /// Ends the process as its person does.
    pub fn stop(&self) {
        let Some(life) = self.life.borrow_mut().take() else { return };
        self.net.close(self.machine);
        life.tasks.kill();
        if let Some(driver) = &life.driver {
            driver.abort();
        }
        life.died.send_replace(true);
        life.engine.close();
        self.disk.borrow().disk.crash(Crash::Process);
        note!(self.trace, "{} stops", self.name);
    }

    /// Steps the engine whenever it has something to do, until the process dies.
    async fn drive(self: Rc<Self>) {
        self.step();
        loop {
            let Some(due) = self.life.borrow().as_ref().map(|life| life.engine.due_in()) else { return };
            tokio::select! {
                biased;
                () = self.bell.notified() => {}
                () = sleep(due.max(Duration::from_millis(1))) => {}
            }
            let pace = self.dice.borrow_mut().below(4);
            if pace > 0 {
                sleep(Duration::from_millis(pace)).await;
            }
            if !self.step() {
                return;
            }
        }
    }

    /// One step of the engine; false when the process died in it.
    fn step(&self) -> bool {
        let mut slot = self.life.borrow_mut();
        let Some(life) = &mut *slot else { return false };
        if life.asleep {
            return true;
        }
        let mut batch = Vec::new();
        while batch.len() < MAX_INPUTS_A_STEP
            && let Ok(input) = life.inputs.try_recv()
        {
            batch.push(input);
        }
        if batch.len() == MAX_INPUTS_A_STEP {
            self.bell.notify_one();
        }
        let struck = match &mut life.doom {
            Some((doom, crash)) => doom.strikes().then_some((*doom, *crash)),
            None => None,
        };
        if let Some((Doom::BeforeStep(_), crash)) = struck {
            drop(slot);
            self.kill(crash);
            return false;
        }
        let inputs = batch.len();
        let said_at_most = match struck {
            Some((Doom::AfterCommit(_), _)) => 0,
            Some((Doom::AmongOutputs(_, some), _)) => usize::try_from(some).unwrap_or(0),
            Some((Doom::BeforeStep(_), _)) | None => usize::MAX,
        };
        let disk = self.disk.borrow().disk.clone();
        let alarms = alarms::count();
        let Life { engine, handle, links, transfers, .. } = life;
        let mut outputs = 0;
        // What is said is said at that moment, and with the power gone nothing is.
        let result = engine.step(batch, &mut |output| {
            if outputs < said_at_most && !disk.is_cut() {
                apply(handle, links, transfers, output);
            }
            outputs += 1;
        });
        self.steps.set(self.steps.get() + 1);
        if inputs > 0 || outputs > 0 {
            note!(self.trace, "{} step: {inputs} in, {outputs} out", self.name);
        }
        let powerless = disk.is_cut();
        if powerless || self.armed.get() {
            alarms::excuse(alarms);
        }
        if let Err(error) = &result {
            note!(self.trace, "{} cannot go on: {}", self.name, error.message);
        }
        let crash = match struck {
            Some((_, crash)) => crash,
            None if powerless => life.doom.map_or(Crash::LoseAll, |(_, crash)| crash),
            None if result.is_err() => Crash::Process,
            None => return true,
        };
        drop(slot);
        self.kill(crash);
        false
    }

    /// Ends the process; `crash` says what its disk keeps.
    pub fn kill(&self, crash: Crash) {
        let Some(life) = self.life.borrow_mut().take() else { return };
        self.net.close(self.machine);
        life.tasks.kill();
        if let Some(driver) = &life.driver {
            driver.abort();
        }
        life.died.send_replace(true);
        drop(life);
        self.disk.borrow().disk.crash(crash);
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
            let disk = self.disk.borrow().disk.clone();
            disk.inject(Fault::PowerCut(disk.steps() + steps));
            life.doom = Some((Doom::BeforeStep(u32::MAX), crash));
        }
    }

    /// Arranges that a write or a sync of the disk fails, in so many steps of it.
    pub fn fail_disk_in(&self, steps: u64, write: bool) {
        let disk = self.disk.borrow().disk.clone();
        self.armed.set(true);
        // Several, because each fault counts only if the step is of its kind.
        for step in steps..steps + 12 {
            let at = disk.steps() + step;
            disk.inject(if write { Fault::Write(at) } else { Fault::Sync(at) });
        }
    }

    /// Fills the disk, or makes room.
    pub fn set_full(&self, full: bool) {
        let disk = self.disk.borrow().disk.clone();
        disk.set_capacity(full.then(|| disk.used_bytes()));
    }

    /// Puts the machine to sleep or wakes it.
    pub fn set_asleep(&self, asleep: bool) {
        self.net.set_absent(self.machine, asleep);
        let Some(life) = &mut *self.life.borrow_mut() else { return };
        life.asleep = asleep;
        if !asleep {
            life.links.nudges().send_modify(|nudge| nudge.resumed += 1);
            let handle = life.handle.clone();
            spawn_local(async move { handle.input(Input::Resumed).await });
        }
    }

    /// A copy of the disk as it is.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { files: self.files.contents(), ..self.copy_of_disk() }
    }

    fn copy_of_disk(&self) -> Snapshot {
        let Snapshot { disk, keys, .. } = &*self.disk.borrow();
        let disk = disk.fork();
        disk.crash(Crash::Process);
        disk.set_capacity(None);
        Snapshot { disk, keys: keys.snapshot(), files: Contents::default() }
    }

    /// Puts another disk into a machine that does not run.
    pub fn put(&self, snapshot: &Snapshot) {
        let disk = snapshot.disk.fork();
        disk.crash(Crash::Process);
        *self.disk.borrow_mut() =
            Snapshot { disk, keys: snapshot.keys.snapshot(), files: Contents::default() };
        self.files.replace(&snapshot.files);
    }

    /// Loses a key file of a machine that does not run.
    pub fn lose_keys(&self, identity: bool, receive: bool) {
        let mut disk = self.disk.borrow_mut();
        let kept = MemoryKeys::default();
        for (file, lost) in [(KeyFile::Identity, identity), (KeyFile::Receive, receive)] {
            if let (false, Ok(Some(bytes))) = (lost, disk.keys.read(file)) {
                // Memory takes everything.
                kept.replace(file, &bytes).ok();
            }
        }
        disk.keys = kept;
    }

    /// Takes `identity.key` away from a machine that does not run, until [`Self::find_keys`].
    pub fn lose_identity(&self) {
        let keys = self.disk.borrow().keys.clone();
        if let Some(bytes) = keys.read(KeyFile::Identity).ok().flatten() {
            *self.mislaid.borrow_mut() = Some(bytes);
        }
        self.lose_keys(true, false);
    }

    /// Puts a mislaid key file back, once more when a copy from the time without it was put in place since.
    pub fn find_keys(&self) {
        let keys = self.disk.borrow().keys.clone();
        self.find_in(&keys);
    }

    fn find_in(&self, keys: &MemoryKeys) {
        let is_there = keys.read(KeyFile::Identity).ok().flatten().is_some();
        if let Some(bytes) = self.mislaid.borrow().as_ref().filter(|_| !is_there) {
            // Memory takes everything.
            keys.replace(KeyFile::Identity, bytes).ok();
        }
    }

    /// Takes back what was arranged for the process and its disk and has not struck.
    pub fn calm(&self) {
        let doomed = self.life.borrow().as_ref().is_some_and(|life| life.doom.is_some());
        if doomed || self.armed.take() {
            self.kill(Crash::Process);
        }
    }

    /// Copies a file into the folder for incoming ones, as a client does before it hands it over.
    ///
    /// # Errors
    /// The system's.
    pub fn bring(&self, name: &str, content: &[u8]) -> io::Result<PutRequest> {
        let folder = Home::at(self.files.path()).incoming();
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), content)?;
        Ok(PutRequest {
            caller: Caller::default(),
            incoming: name.to_owned(),
            hash: blake3::hash(content).to_hex().to_string(),
            bytes: u64::try_from(content.len()).unwrap_or(u64::MAX),
            name: name.to_owned(),
        })
    }

    /// Calls the node as a client does.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<M: Method>(&self, call: Call) -> Result<M::Answer, CallError> {
        let (handle, mut died) = match &*self.life.borrow() {
            Some(life) => (life.handle.clone(), life.died.subscribe()),
            None => return Err(CallError::Down),
        };
        let name = call.name();
        let outcome = tokio::select! {
            biased;
            outcome = handle.call(call) => outcome.map_err(CallError::Api),
            _ = died.changed() => Err(CallError::Unknown),
            () = sleep(CALL_LIMIT) => Err(CallError::Unknown),
        };
        let failed = outcome.as_ref().err().map(ToString::to_string);
        note!(self.trace, "{} {name}: {}", self.name, failed.as_deref().unwrap_or("done"));
        let body = outcome?;
        serde_json::from_slice(&body).map_err(|_| CallError::Unknown)
    }
}

/// Calls an engine in a step of its own; what else it says goes nowhere.
fn ask<M: Method>(engine: &mut Engine, call: Call) -> Option<M::Answer> {
    let id = CallId(u64::MAX);
    let mut body = None;
    let stepped = engine.step(vec![Input::Call { id, call: Box::new(call) }], &mut |output| {
        if let Output::Answer { call, outcome } = output
            && call == id
        {
            body = outcome.ok();
        }
    });
    stepped.ok()?;
    serde_json::from_slice(&body?).ok()
}

fn apply(handle: &EngineHandle, links: &mut Links, transfers: &mut Transfers, output: Output) {
    match output {
        Output::Answer { call, outcome } => handle.answer(call, outcome),
        Output::OpenLink { link, address, key } => links.open(link, address, key),
        Output::CloseLink(link) => links.close(link),
        Output::Link { link, command } => links.command(link, command),
        Output::Transfer(order) => transfers.order(order, links),
        // No processes live in these worlds, nobody listens or has a desktop or an agent to wake, and nobody asks a node to end.
        Output::Watch(_)
        | Output::Unwatch(_)
        | Output::Event(_)
        | Output::Notify { .. }
        | Output::Wake { .. }
        | Output::Stop => {}
    }
}

/// A short name for a value, for hashes.
#[must_use]
pub(super) fn short(bytes: &[u8]) -> [u8; 16] {
    labelled16("sim", &[bytes])
}
