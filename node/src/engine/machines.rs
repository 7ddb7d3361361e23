//! Opens keys, store and machines, and the engine that holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use penpal_contact::Contacts;
use penpal_delivery::{Delivery, HeldReason, Mailbox};
use penpal_local_api::home::Home;
use penpal_protocol::ids::{DepositId, EdgeId, Fingerprint, Hash, InviteId, KeyId, RelayPin, RunId};
use penpal_protocol::sealed::Presence;
use penpal_protocol::time::Now;
use penpal_protocol::wire::Deposit;
use penpal_room::Rooms;
use penpal_seal::{IdentityKeys, KeyFile, KeyStorage, ReceiveKeys, StoredReceiveKeys};
use penpal_sessions::Sessions;

use super::artifacts::FIRST_LOOK;
use super::calls::HookMemory;
use super::clock::Clock;
use super::fate::Fate;
use super::introductions::Introducing;
use super::links::{Links, PendingRequest};
use super::meta::Runs;
use super::notices::Notices;
use super::parts::{Parts, Rng};
use super::search::Searching;
use super::storage::{self, Storage};
use super::transfers::Moving;
use super::waiting::Waiting;
use super::wakes::Waking;
use super::{CallId, LinkId, Output};
use crate::config::Config;
use crate::files::shelf::Shelf;
use penpal_local_api::error::ApiError;

/// Keys of this node, in their files.
pub(super) struct Vault {
    pub(super) identity: Arc<IdentityKeys>,
    pub(super) receive: ReceiveKeys<Box<dyn KeyStorage + Send>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

/// How the present connection to the home relay stands with `Hello`.
#[derive(Debug)]
pub(super) struct Greeting {
    /// This start of the node.
    pub(super) run: RunId,
    /// Starts that the relay may not know yet.
    pub(super) runs: Runs,
    /// A `Hello` is under way.
    pub(super) asked: bool,
    /// The relay answered: receiving.
    pub(super) greeted: bool,
    /// What it said instead, until it greets.
    pub(super) refused: Option<penpal_protocol::wire::RefusalCode>,
    /// Rows that came before that answer.
    pub(super) early: Vec<penpal_protocol::wire::Event>,
    /// Bytes in `early`.
    pub(super) early_bytes: usize,
    /// How often `Hello` was said on this connection.
    pub(super) hellos: u32,
    /// The connection is given up, and its end has not come yet: nothing more of it counts.
    pub(super) given_up: bool,
    /// When this database was last found to be an older copy, on the monotonic clock.
    pub(super) rolled_back_at: Option<Duration>,
    /// Another copy of this node is connected: say `Hello` again then, on the monotonic clock.
    pub(super) again_at: Option<Duration>,
}

impl Greeting {
    fn new(run: RunId, runs: Runs) -> Self {
        Self {
            run,
            runs,
            asked: false,
            greeted: false,
            refused: None,
            early: Vec::new(),
            early_bytes: 0,
            hellos: 0,
            given_up: false,
            rolled_back_at: None,
            again_at: None,
        }
    }

    /// A new connection: nothing was said on it.
    pub(super) fn begin(&mut self) {
        self.asked = false;
        self.greeted = false;
        self.given_up = false;
        self.hellos = 0;
        self.forget_early();
    }

    pub(super) fn forget_early(&mut self) {
        self.early.clear();
        self.early_bytes = 0;
    }
}

/// A relay of contacts, other than our own.
#[derive(Debug, Default)]
pub(super) struct ForeignRelay {
    /// Tries in a row that failed.
    pub(super) failures: u32,
    /// When it counts as reachable again.
    pub(super) retry_at: Option<Duration>,
}

/// Machines, store and what waits: everything that one node decides with.
///
/// Contract: [`Self::open`], then [`Self::step`] at once and again whenever inputs wait or [`Self::due_in`] has passed, until
/// [`Self::is_stopping`] or an error. What a step says through `emit` may leave the process: it is durable by then. In quiet moments
/// [`Self::tidy`]. Dropped without [`Self::close`], it is a process that died.
#[derive(Debug)]
pub struct Engine {
    pub(super) home: Home,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) now: Now,
    pub(super) started_ms: u64,
    pub(super) rng: Rng,
    pub(super) storage: Storage,
    pub(super) shelf: Shelf,
    pub(super) vault: Vault,
    pub(super) contacts: Contacts,
    pub(super) delivery: Delivery,
    pub(super) sessions: Sessions,
    pub(super) rooms: Rooms,
    pub(super) introducing: Introducing,
    pub(super) moving: Moving,
    pub(super) links: Links,
    pub(super) greeting: Greeting,
    pub(super) foreign: BTreeMap<RelayPin, ForeignRelay>,
    pub(super) waiting: Waiting,
    pub(super) notices: Notices,
    pub(super) hooks: HookMemory,
    pub(super) searching: Searching,
    pub(super) waking: Waking,
    /// Contacts with a connected device, as the home relay says.
    pub(super) up: BTreeSet<Fingerprint>,
    /// Edges that are up, of contacts that only another device of ours knows so far.
    pub(super) early_edges: BTreeSet<EdgeId>,
    /// Presence that waits for a contact's bundle.
    pub(super) unsent_presence: BTreeMap<Fingerprint, Presence>,
    /// Mail that was read in this step, of which the other devices are to be told.
    pub(super) unsaid_reads: Vec<penpal_protocol::sealed::ReadMark>,
    /// The list of our devices may have changed in this step.
    pub(super) devices_changed: bool,
    /// Envelopes of devices that a contact's newer list may name, until that was asked for.
    pub(super) unproved: BTreeMap<Fingerprint, Vec<(penpal_delivery::SpoolRow, Vec<u8>)>>,
    /// When a contact's envelope came last for which there is no key here, by the wall clock.
    pub(super) unreadable_ms: Option<u64>,
    /// Envelopes dropped because nobody known sent them, since the start.
    pub(super) foreign_envelopes: u64,
    /// What the step says once it is durable.
    pub(super) outputs: Vec<Output>,
    pub(super) answers: Vec<(CallId, Result<Vec<u8>, ApiError>)>,
    pub(super) requests: Vec<PendingRequest>,
    pub(super) deposits: Vec<(LinkId, Box<Deposit>)>,
    /// For whom, and on which edge, deposits that are not answered yet were made.
    pub(super) flying: BTreeMap<DepositId, (LinkId, Fingerprint, EdgeId)>,
    /// What the key file may forget once the step is durable.
    pub(super) erase_invites: BTreeSet<InviteId>,
    pub(super) erase_seeds: Vec<KeyId>,
    /// Contents that go from the shelf once the step is durable.
    pub(super) erase_contents: Vec<Hash>,
    /// When contents that nobody needs are looked for, on the monotonic clock.
    pub(super) collect_at: Duration,
    /// The last step that had something to keep found the disk full.
    pub(super) full: bool,
    /// Before this nothing is tried by itself on a disk that was full, on the monotonic clock.
    pub(super) full_until: Duration,
    /// Few seeds are left: to be made between this step and the next.
    pub(super) seeds_wanted: bool,
    /// Seeds in their file that no durable row knows yet, made by this process.
    pub(super) unstored_seeds: Vec<KeyId>,
    /// Who listens to events; with nobody, none are made.
    pub(super) listeners: usize,
    pub(super) stopping: bool,
}

/// A step of the contact machine, from the engine's fields.
macro_rules! contact_step {
    ($engine:expr) => {
        penpal_contact::Step { now: $engine.now, rng: &mut *$engine.rng }
    };
}

/// A step of the delivery machine, from the engine's fields.
macro_rules! delivery_step {
    ($engine:expr) => {
        penpal_delivery::Step { now: $engine.now, records: &$engine.storage, rng: &mut *$engine.rng }
    };
}

/// A step of the room machine, from the engine's fields.
macro_rules! room_step {
    ($engine:expr) => {
        penpal_room::Step {
            now: $engine.now,
            rng: &mut *$engine.rng,
            signing: &$engine.vault.identity.signing,
            manifests: &$crate::engine::rooms::Pinned(&$engine.contacts),
            me: $crate::engine::rooms::me(&$engine.contacts),
        }
    };
}

pub(super) use {contact_step, delivery_step, room_step};

impl Engine {
    /// Opens keys and machines.
    pub(super) fn open_parts(parts: Parts) -> Result<Self, Fate> {
        penpal_seal::self_check()
            .map_err(|error| Fate::Defect(format!("cryptography does not work here: {error}")))?;
        let Parts { home, config, store, shelf, search, keys, clock, mut rng } = parts;
        let now = clock.now();
        let storage = Storage::new(store);
        let mut vault = open_keys(keys, &storage, &mut rng)?;
        let run = RunId::from_bytes(random(&mut rng));
        let mut runs = match storage.get(storage::META, &Runs::key()) {
            Ok(Some(row)) => {
                Runs::decode(&row).map_err(|error| Fate::home("a row of the log is damaged", &error))?
            }
            Ok(None) => Runs::default(),
            Err(error) => return Err(Fate::home("the log cannot be read", &error)),
        };
        runs.begin(run);
        let greeting = Greeting::new(run, runs);
        let (contacts, delivery, sessions) = open_machines(&storage, &mut vault, now, &mut rng)?;
        let rooms = open_rooms(&storage)?;
        let searching = Searching::new(search, delivery.next_ordinal());
        let mut engine = Self {
            home,
            config,
            clock,
            now,
            started_ms: now.wall_ms,
            rng,
            storage,
            shelf,
            vault,
            contacts,
            delivery,
            sessions,
            rooms,
            introducing: Introducing::default(),
            moving: Moving::default(),
            links: Links::default(),
            greeting,
            foreign: BTreeMap::new(),
            waiting: Waiting::default(),
            notices: Notices::default(),
            hooks: HookMemory::default(),
            searching,
            waking: Waking::default(),
            up: BTreeSet::new(),
            early_edges: BTreeSet::new(),
            unsent_presence: BTreeMap::new(),
            unsaid_reads: Vec::new(),
            devices_changed: false,
            unproved: BTreeMap::new(),
            unreadable_ms: None,
            foreign_envelopes: 0,
            outputs: Vec::new(),
            answers: Vec::new(),
            requests: Vec::new(),
            deposits: Vec::new(),
            flying: BTreeMap::new(),
            erase_invites: BTreeSet::new(),
            erase_seeds: Vec::new(),
            erase_contents: Vec::new(),
            collect_at: now.mono.saturating_add(FIRST_LOOK),
            full: false,
            full_until: Duration::ZERO,
            seeds_wanted: false,
            unstored_seeds: Vec::new(),
            listeners: 0,
            stopping: false,
        };
        engine.after_opening();
        engine.take_imported();
        engine.sweep_shelf();
        Ok(engine)
    }

    /// Opens the machines again from what is durable: a step could not be stored.
    pub(super) fn reopen(&mut self) -> Result<(), Fate> {
        self.storage.forget();
        self.requests.clear();
        self.deposits.clear();
        self.flying.clear();
        self.erase_invites.clear();
        self.erase_seeds.clear();
        self.erase_contents.clear();
        self.seeds_wanted = false;
        self.unproved.clear();
        self.unsaid_reads.clear();
        self.devices_changed = false;
        self.outputs.clear();
        let (contacts, delivery, sessions) =
            open_machines(&self.storage, &mut self.vault, self.now, &mut self.rng)?;
        (self.contacts, self.delivery, self.sessions) = (contacts, delivery, sessions);
        self.rooms = open_rooms(&self.storage)?;
        self.introducing = Introducing::default();
        self.searching.reopened();
        // Every connection begins anew, as after a restart: what was under way on it belongs to a step that never was.
        for link in self.links.close_all() {
            self.outputs.push(Output::CloseLink(link));
        }
        self.greeting.begin();
        // Nothing is known of contacts and their relays by machines that begin anew.
        self.up.clear();
        self.early_edges.clear();
        self.unsent_presence.clear();
        self.foreign.clear();
        self.after_opening();
        // Contents that were taken onto the shelf in the step that did not happen.
        self.sweep_shelf();
        Ok(())
    }

    fn after_opening(&mut self) {
        self.delivery.set_history(self.config.history);
        // Nobody was given what was made in a step that could not be stored. Each such step would make more otherwise, for as long as the disk
        // is full. Other seeds that the log does not know may be out there: the log may be older than the file.
        let unstored = self.unstored_seeds.clone();
        if !unstored.is_empty() {
            self.delivery.handle_seeds(&unstored, &mut delivery_step!(self));
        }
        let present: BTreeSet<KeyId> = self.vault.receive.ids().collect();
        let report = self.delivery.reconcile_seeds(&present, &mut delivery_step!(self));
        tracing::debug!(?report, "keys compared with their file");
        self.sessions.handle_started(self.now);
        self.rescue_mail();
        self.resume_transfers();
        self.rooms.handle_started(&mut room_step!(self));
        self.devices_changed = true;
        let all: Vec<Fingerprint> = self.contacts.list().into_iter().map(|row| row.contact).collect();
        let me = self.contacts.account().map(|me| me.account);
        for contact in all.into_iter().chain(me) {
            self.mirror_contact(contact);
        }
    }

    /// Mail of a session that is no more, whose move to another mailbox was cut short, goes to the desk.
    fn rescue_mail(&mut self) {
        let is_lost = |mailbox: &Mailbox| matches!(mailbox, Mailbox::Session(session) if self.sessions.session(*session).is_none());
        let lost: Vec<Mailbox> = self.delivery.mailboxes().filter(is_lost).collect();
        for mailbox in lost {
            let held = Some(HeldReason::SessionGone);
            self.delivery.retarget(mailbox, Mailbox::Desk, held, &mut delivery_step!(self));
        }
    }
}

/// Random bytes.
pub(super) fn random<const N: usize>(rng: &mut Rng) -> [u8; N] {
    use rand_core::Rng as _;
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn open_keys(folder: Box<dyn KeyStorage + Send>, storage: &Storage, rng: &mut Rng) -> Result<Vault, Fate> {
    let failed = |error: &dyn std::fmt::Display| Fate::Home(error.to_string());
    let identity = match penpal_seal::load_identity(&folder).map_err(|error| failed(&error))? {
        Some(identity) => identity,
        None => {
            // A new identity is made only where there never was one.
            let mut rows = 0_usize;
            let account = storage::contact_table(penpal_contact::Table::Account);
            let counted: Result<(), penpal_store::ReadError> = storage.each(account, |_, _| {
                rows += 1;
                Ok(())
            });
            counted.map_err(|error| failed(&error))?;
            if rows > 0 {
                let path = folder.path(KeyFile::Identity);
                return Err(Fate::Home(format!(
                    "{} is missing, and this node has an account",
                    path.display()
                )));
            }
            let identity = IdentityKeys::generate(rng);
            penpal_seal::store_identity(&folder, &identity).map_err(|error| failed(&error))?;
            identity
        }
    };
    let stored = StoredReceiveKeys::load(folder).map_err(|error| failed(&error))?;
    let mut assigned = Vec::new();
    let keys = storage::delivery_table(penpal_delivery::Table::Key);
    let read: Result<(), penpal_store::ReadError> = storage.each(keys, |key, _| {
        assigned.extend(KeyId::from_slice(key));
        Ok(())
    });
    read.map_err(|error| failed(&error))?;
    let (receive, missing) = stored.with_assigned(assigned);
    if !missing.is_empty() {
        tracing::warn!(
            count = missing.len(),
            "keys that the log knows are not in the key file; what was sealed to them is asked for again"
        );
    }
    Ok(Vault { identity: Arc::new(identity), receive })
}

fn open_machines(
    storage: &Storage,
    vault: &mut Vault,
    now: Now,
    rng: &mut Rng,
) -> Result<(Contacts, Delivery, Sessions), Fate> {
    let damaged = |error: &dyn std::fmt::Display| Fate::home("a row of the log cannot be used", error);
    let mut restoring = Contacts::restoring(Arc::clone(&vault.identity));
    for table in penpal_contact::Table::ALL {
        storage.each(storage::contact_table(table), |key, value| {
            restoring.row(table, key, value).map_err(|error| damaged(&error))
        })?;
    }
    for (invite, entry) in vault.receive.invites() {
        restoring.secret(*invite, entry.clone());
    }
    let contacts = restoring.finish(&mut penpal_contact::Step { now, rng: &mut **rng });
    let mut sessions = Sessions::new();
    {
        use penpal_sessions::Table as T;
        for table in [T::Session, T::Alias, T::Peer, T::Meta] {
            storage.each(storage::sessions_table(table), |key, value| {
                sessions.restore(table, key, value).map_err(|error| damaged(&error))
            })?;
        }
    }
    let delivery = Delivery::open(&mut penpal_delivery::Step { now, records: storage, rng: &mut **rng });
    let delivery = delivery.map_err(|error| damaged(&error))?;
    Ok((contacts, delivery, sessions))
}

fn open_rooms(storage: &Storage) -> Result<Rooms, Fate> {
    let mut restoring = penpal_room::Restoring::default();
    for table in penpal_room::Table::ALL {
        storage.each(storage::room_table(table), |key, value| {
            let taken = restoring.row(table, key, value);
            taken.map_err(|error| Fate::home("a row of the log cannot be used", &error))
        })?;
    }
    Ok(restoring.finish())
}

impl From<penpal_store::ReadError> for Fate {
    fn from(error: penpal_store::ReadError) -> Self {
        Self::home("the log cannot be read", &error)
    }
}
