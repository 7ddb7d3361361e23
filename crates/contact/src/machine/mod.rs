//! The machine: its state, its queues, and how the shell drives it.

mod accepting;
mod adding;
mod answers;
mod cards;
mod devices;
mod inviting;
mod joining;
mod keeping;
mod kept;
mod learning;
mod linking;
mod listing;
mod looking;
mod merging;
mod own;
mod recovering;
mod requests;
mod restore;
mod revoking;
mod state;
mod timing;
mod unkept;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use penpal_protocol::{
    ids::{DeviceId, EdgeId, Fingerprint, InviteId, MsgId, SlotId},
    limits::DAY_MS,
    text::{Label, RelayAddress},
    time::Now,
    wire::RefusalCode,
};
use penpal_seal::{IdentityKeys, InviteEntry, InviteKeys, PairKey};
use rand_core::CryptoRng;

pub use restore::Restoring;
pub use view::{ContactView, DeviceView, InviteStatus, InviteView, Me, Opener, PeerKeys, State, Via};

use crate::{
    command::{At, Command, RelayCall},
    jobs::{Job, Jobs},
    notice::Notice,
    record::{
        self, Adding, Change, Contact, DeviceLink, Invite, Joining, Own, Recovering, Registering,
        RetiredEdge, RowKey, Tombstone,
    },
};
use timing::Checks;

pub use adding::NewAccount;
pub use devices::OwnDevice;
pub use inviting::NewCode;
pub use keeping::Removed;
pub use learning::Heard;
pub use looking::{Found, Revoke};

/// Most invites that one call makes.
pub const MAX_INVITES_AT_ONCE: u32 = 64;
/// Most invites of ours that may be open or waiting for a decision.
pub const MAX_OPEN_INVITES: usize = 512;
/// Shortest life of an invite, in milliseconds: one hour, the unit of the code.
pub const MIN_INVITE_LIFE_MS: u64 = penpal_protocol::limits::HOUR_MS;
/// Longest life of an invite, in milliseconds: 29 days. Relays take 30, and so long lives the manifest in its record; one day is left
/// for clocks that differ and for rounding.
pub const MAX_INVITE_LIFE_MS: u64 = 29 * DAY_MS;

/// One reading of time and a source of randomness, for one input.
pub struct Step<'r> {
    /// Now.
    pub now: Now,
    /// The operating system's generator; a seeded one in simulations.
    pub rng: &'r mut dyn CryptoRng,
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Step<'_> {
    /// Random bytes.
    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// Secrets of an invite in use. They live in the key file and here, never in a stored row.
#[derive(Debug)]
struct Secrets {
    entry: InviteEntry,
    keys: InviteKeys,
    /// At the invited side, once the request is sealed: the key under which the acceptance will come.
    boot: Option<PairKey>,
}

impl Secrets {
    fn new(entry: InviteEntry) -> Self {
        let keys = InviteKeys::derive(&entry.secret);
        Self { entry, keys, boot: None }
    }
}

/// Our account, invites and contacts: who may write to us, who lets us write, and by which keys.
///
/// A pure machine: no clock, no socket, no file. It decides nothing about mail; it says which keys, edges and devices count.
///
/// # How the shell drives it
///
/// 1. At start: [`Contacts::restoring`], every stored row and every invite's secrets from the key file in any order, then
///    [`Restoring::finish`].
/// 2. For each input, one `handle_…` or operation, then [`poll_command`](Self::poll_command) until it gives `None`. All commands of
///    one step belong together:
///    - [`Command::KeepSecret`] comes first and must be durable in the key file before the step's batch is committed. A crash in
///      between leaves a secret without a row, which the next start erases.
///    - [`Command::Persist`] comes next: all of a step go into the step's one batch, together with what other machines made of its
///      other commands ([`Command::Deliver`] goes to the outbox *in the same batch*).
///    - everything else is carried out after the commit. [`Command::EraseSecret`] may wait, but not be forgotten: a restart finds
///      secrets without use and asks for their erasure again.
/// 3. [`Command::Relay`] is answered by [`handle_answer`](Self::handle_answer), or with `Unreachable` when the connection ended
///    first. Answers may come in any order, twice, or never; an answer that is not waited for is ignored. Retries are the
///    machine's: the shell sends each call once.
/// 4. [`poll_timeout`](Self::poll_timeout) gives the monotonic time at which [`handle_timeout`](Self::handle_timeout) is due; ask again
///    after every step.
///
/// Without the shell's help it keeps: at most one contact for each root key; no pair key without a transcript that both devices
/// signed and the invite's secret authenticated; no manifest version that falls.
///
/// Source: `docs/protocol.md` §1, §2, §4, §5.
#[derive(Debug)]
pub struct Contacts {
    keys: Arc<IdentityKeys>,
    registering: Option<Registering>,
    own: Option<Own>,
    invites: BTreeMap<InviteId, Invite>,
    adding: BTreeMap<InviteId, Adding>,
    contacts: BTreeMap<Fingerprint, Contact>,
    retired_edges: BTreeMap<EdgeId, RetiredEdge>,
    retired_invites: BTreeSet<InviteId>,
    retired_devices: BTreeSet<SlotId>,
    /// Spools of devices that the relay ended: it is told again when it is put back to an older copy.
    cut_off: BTreeSet<SlotId>,
    /// Contacts that were removed, with the change that did it.
    tombstones: BTreeMap<Fingerprint, Tombstone>,
    /// Codes for further devices.
    links: BTreeMap<InviteId, DeviceLink>,
    /// The use of such a code here.
    joining: Option<Joining>,
    /// The use of a recovery code here, once it is decided.
    recovering: Option<Recovering>,
    /// What is known of it in this run, also before that.
    looking: Option<looking::Looking>,
    /// The state that our relay keeps.
    kept: kept::Kept,
    /// New edges that it does not have yet.
    unkept: unkept::Unkept,
    /// Contacts of whose change in this step our other devices are to be told.
    unsaid: BTreeSet<Fingerprint>,
    /// When devices of ours that fell back were told everything again, in this run.
    told_again: BTreeMap<DeviceId, Duration>,
    secrets: BTreeMap<InviteId, Secrets>,
    /// Revision of our manifest that our relay named in this run. Nothing is signed before it is known: this database may be an
    /// old copy.
    relay_revision: Option<u64>,
    /// The one, as the relay or a message named it, for which our own profile was fetched: another device with the root key may have signed it.
    looked: Option<u64>,
    /// The list that is held while a newer one was only named, and until when that one may still come.
    grace: Option<(u64, Duration)>,
    /// How often in a row the relay held another manifest than expected, and until when nothing is signed for that.
    conflicts: u32,
    sign_after: Duration,
    /// What our relay said when it did not serve this account; told once.
    refused: Option<RefusalCode>,
    /// Whether a bundle was asked for in this run.
    bundle_wanted: bool,
    /// Invites about whose misuse people were told in this run: a relay can repeat it at will.
    warned: BTreeSet<InviteId>,
    jobs: Jobs,
    checks: Checks,
    now: Now,
    dirty: BTreeSet<RowKey>,
    keep: VecDeque<Command>,
    queue: VecDeque<Command>,
}

impl Contacts {
    fn empty(keys: Arc<IdentityKeys>, now: Now) -> Self {
        Self {
            keys,
            registering: None,
            own: None,
            invites: BTreeMap::new(),
            adding: BTreeMap::new(),
            contacts: BTreeMap::new(),
            retired_edges: BTreeMap::new(),
            retired_invites: BTreeSet::new(),
            retired_devices: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            tombstones: BTreeMap::new(),
            links: BTreeMap::new(),
            joining: None,
            recovering: None,
            looking: None,
            kept: kept::Kept::default(),
            unkept: unkept::Unkept::default(),
            unsaid: BTreeSet::new(),
            told_again: BTreeMap::new(),
            secrets: BTreeMap::new(),
            relay_revision: None,
            looked: None,
            grace: None,
            conflicts: 0,
            sign_after: Duration::ZERO,
            refused: None,
            bundle_wanted: false,
            warned: BTreeSet::new(),
            jobs: Jobs::default(),
            checks: Checks::default(),
            now,
            dirty: BTreeSet::new(),
            keep: VecDeque::new(),
            queue: VecDeque::new(),
        }
    }

    /// Begins to read stored state. With no rows it is a node without account and contacts.
    #[must_use]
    pub fn restoring(keys: Arc<IdentityKeys>) -> Restoring {
        Restoring::new(keys)
    }

    /// The next thing to do; `None` when the step is complete.
    pub fn poll_command(&mut self) -> Option<Command> {
        if let Some(command) = self.keep.pop_front() {
            return Some(command);
        }
        if let Some(row) = self.dirty.pop_first() {
            return Some(Command::Persist(self.change(row)));
        }
        self.queue.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, as monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let signing = (self.sign_after > self.now.mono).then_some(self.sign_after);
        let grace = self.grace.map(|(_, until)| until).filter(|until| *until > self.now.mono);
        let (kept, unkept) = (self.kept_due(), self.unkept.next());
        let due = [self.jobs.next(), self.checks.next(self.now), signing, grace, kept, unkept];
        due.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, step: &mut Step<'_>) {
        self.run_checks(step);
        self.settle(step);
    }

    /// A relay can be reached again: what waits for it is tried at once.
    pub fn handle_connected(&mut self, relay: &At, step: &mut Step<'_>) {
        self.jobs.wake(relay);
        self.settle(step);
    }

    /// Ends every input: brings our profile up to date and sends what is due.
    fn settle(&mut self, step: &mut Step<'_>) {
        self.now = step.now;
        self.continue_recovery(step);
        self.continue_links(step);
        self.list_machines(step);
        self.maintain_profile(step);
        self.use_overdue(step);
        self.say_state(step);
        self.maintain_kept(step);
        for job in self.jobs.due(step.now.mono) {
            match self.request(job) {
                Some((relay, request)) => {
                    let token = self.jobs.sent(job, relay.clone());
                    self.queue.push_back(Command::Relay(RelayCall { token, relay, request }));
                }
                None => {
                    self.jobs.done(job);
                    self.fetch_failed(job);
                }
            }
        }
    }

    fn change(&self, row: RowKey) -> Change {
        let value = match row {
            RowKey::Own => self.own.as_ref().map(record::encode),
            RowKey::Registering => self.registering.as_ref().map(record::encode),
            RowKey::Invite(id) => self.invites.get(&id).map(record::encode),
            RowKey::Adding(id) => self.adding.get(&id).map(record::encode),
            RowKey::Contact(fp) => self.contacts.get(&fp).map(record::encode),
            RowKey::RetiredEdge(edge) => self.retired_edges.get(&edge).map(record::encode),
            RowKey::RetiredInvite(id) => self.retired_invites.get(&id).map(record::encode),
            RowKey::RetiredDevice(slot) => self.retired_devices.get(&slot).map(record::encode),
            RowKey::CutOff(slot) => self.cut_off.get(&slot).map(record::encode),
            RowKey::Removed(contact) => self.tombstones.get(&contact).map(record::encode),
            RowKey::Joining => self.joining.as_ref().map(record::encode),
            RowKey::Recovering => self.recovering.as_ref().map(record::encode),
            RowKey::Link(id) => self.links.get(&id).map(record::encode),
        };
        Change { table: row.table(), key: row.bytes(), value }
    }

    /// Notes that a row changed; it is stored with this step.
    fn touch(&mut self, row: RowKey) {
        self.kept.touched(row);
        self.dirty.insert(row);
    }

    fn notify(&mut self, notice: Notice) {
        self.queue.push_back(Command::Notice(notice));
    }

    /// Takes other keys into use, in the key file before this step's rows.
    fn keep_identity(&mut self, keys: IdentityKeys) {
        self.keys = Arc::new(keys);
        self.keep.push_back(Command::KeepIdentity(Arc::clone(&self.keys)));
    }

    fn keep_secret(&mut self, invite: InviteId, entry: InviteEntry) {
        self.secrets.insert(invite, Secrets::new(entry.clone()));
        self.keep.push_back(Command::KeepSecret(crate::command::KeepSecret { invite, entry }));
    }

    fn erase_secret(&mut self, invite: InviteId) {
        if self.secrets.remove(&invite).is_some() {
            self.queue.push_back(Command::EraseSecret(invite));
        }
    }

    /// Lets the relay forget an invite of ours.
    fn retire_invite(&mut self, invite: InviteId) {
        self.retired_invites.insert(invite);
        self.touch(RowKey::RetiredInvite(invite));
        self.jobs.want(Job::RevokeInvite(invite));
    }

    /// Lets the relay end an edge of ours.
    fn retire_edge(&mut self, edge: EdgeId, contact: Fingerprint, name: Option<Label>) {
        self.retired_edges.insert(edge, RetiredEdge { edge, contact, name });
        self.touch(RowKey::RetiredEdge(edge));
        self.jobs.drop_unless_asked(Job::CreateEdge(edge));
        self.jobs.want(Job::RevokeEdge(edge));
    }

    fn me(&self) -> Option<Fingerprint> {
        self.own.as_ref().map(|own| own.manifest.0.fingerprint())
    }

    /// Where a relay stands: ours, or another.
    fn at(&self, relay: &RelayAddress) -> At {
        let home = self.home_relay();
        if home.is_some_and(|home| home.pin == relay.pin) { At::Home } else { At::Foreign(relay.clone()) }
    }

    /// Where a contact takes mail. Our own devices are at our relay, whatever one of them says.
    fn relay_of(&self, row: &Contact) -> At {
        if self.me() == Some(row.manifest.0.fingerprint()) { At::Home } else { self.at(&row.relay.0) }
    }

    fn new_message(step: &mut Step<'_>) -> MsgId {
        MsgId::from_bytes(step.random())
    }
}
