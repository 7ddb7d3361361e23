//! People with machines that hand each other news, in an order that the test chooses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use penpal_protocol::cbor::List;
use penpal_protocol::ids::{DeviceId, Fingerprint, MsgId, RoomId, SlotId};
use penpal_protocol::sealed::{DeviceEntry, Manifest, RoomNews};
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use penpal_room::{Change, Command, Manifests, Me, Notice, Restoring, Rooms, Said, Step, Table};
use penpal_seal::{DeviceSigningKey, RootKey, VerifiedManifest};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// The time in these tests: 2026-11-21, Unix milliseconds.
pub(crate) const NOW_MS: u64 = 1_795_219_200_000;

pub(crate) fn label(name: &str) -> Label {
    Label::new(name).unwrap()
}

/// Manifests of everybody.
#[derive(Default)]
pub(crate) struct Known(pub(crate) BTreeMap<Fingerprint, VerifiedManifest>);

impl Manifests for Known {
    fn manifest(&self, account: &Fingerprint) -> Option<&VerifiedManifest> {
        self.0.get(account)
    }
}

/// One device with its machine and what it stored.
pub(crate) struct Machine {
    pub(crate) me: Me,
    pub(crate) signing: DeviceSigningKey,
    seed: [u8; 32],
    pub(crate) rooms: Rooms,
    pub(crate) rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) released: Vec<MsgId>,
    pub(crate) refused: Vec<(MsgId, &'static str)>,
    pub(crate) withdrawn: Vec<Fingerprint>,
    pub(crate) met: Vec<(Fingerprint, String)>,
    pub(crate) asked_to_introduce: Vec<Fingerprint>,
}

/// News on their way.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) news: RoomNews,
}

pub(crate) struct World {
    pub(crate) machines: Vec<Machine>,
    pub(crate) known: Known,
    pub(crate) mail: VecDeque<Letter>,
    roots: BTreeMap<Fingerprint, RootKey>,
    /// Devices that were revoked.
    gone: BTreeSet<usize>,
    pub(crate) now: Now,
    pub(crate) rng: ChaCha20Rng,
}

impl World {
    /// One account for each number, with so many devices.
    pub(crate) fn new(devices: &[usize], seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut machines = Vec::new();
        let mut known = Known::default();
        let mut roots = BTreeMap::new();
        for count in devices {
            let root = RootKey::generate(&mut rng);
            let mut entries = Vec::new();
            let mut own = Vec::new();
            for number in 0..*count {
                let mut seed = [0; 32];
                rng.fill_bytes(&mut seed);
                let signing = DeviceSigningKey::from_seed(&seed);
                let (mut id, mut slot) = ([0; 16], [0; 16]);
                rng.fill_bytes(&mut id);
                rng.fill_bytes(&mut slot);
                entries.push(DeviceEntry {
                    id: DeviceId::from_bytes(id),
                    slot: SlotId::from_bytes(slot),
                    signing: signing.public(),
                    previous: None,
                    name: label("machine").numbered(u32::try_from(number).unwrap() + 1),
                    added_ms: NOW_MS,
                    primary: (number == 0).then_some(true),
                });
                own.push((DeviceId::from_bytes(id), seed));
            }
            entries.sort_by_key(|entry| entry.id);
            let manifest = Manifest {
                root: root.public(),
                version: 1,
                previous: List::default(),
                issued_ms: NOW_MS,
                expires_ms: NOW_MS + 1_000_000,
                devices: List::new(entries).unwrap(),
                revoked: List::default(),
            };
            let manifest = VerifiedManifest::sign(&root, manifest).unwrap();
            let account = manifest.fingerprint();
            known.0.insert(account, manifest);
            roots.insert(account, root);
            for (device, seed) in own {
                machines.push(Machine {
                    seed,
                    me: Me { account, device, shared: *count > 1 },
                    signing: DeviceSigningKey::from_seed(&seed),
                    rooms: Rooms::default(),
                    rows: BTreeMap::new(),
                    notices: Vec::new(),
                    released: Vec::new(),
                    refused: Vec::new(),
                    withdrawn: Vec::new(),
                    met: Vec::new(),
                    asked_to_introduce: Vec::new(),
                });
            }
        }
        let now = Now { mono: Duration::from_secs(1), wall_ms: NOW_MS };
        Self { machines, known, mail: VecDeque::new(), roots, gone: BTreeSet::new(), now, rng }
    }

    pub(crate) fn account(&self, who: usize) -> Fingerprint {
        self.machines[who].me.account
    }

    /// Gives one machine an input and takes what it says.
    pub(crate) fn with<T>(&mut self, who: usize, input: impl FnOnce(&mut Rooms, &mut Step<'_>) -> T) -> T {
        let machine = &mut self.machines[who];
        let mut step = Step {
            now: self.now,
            rng: &mut self.rng,
            signing: &machine.signing,
            manifests: &self.known,
            me: Some(machine.me),
        };
        let out = input(&mut machine.rooms, &mut step);
        self.drain(who);
        out
    }

    fn drain(&mut self, who: usize) {
        while let Some(command) = self.machines[who].rooms.poll_command() {
            let machine = &mut self.machines[who];
            match command {
                Command::Persist(Change { table, key, value }) => {
                    match value {
                        Some(value) => machine.rows.insert((table, key), value),
                        None => machine.rows.remove(&(table, key)),
                    };
                }
                Command::Send { to, news } => {
                    let targets: Vec<usize> = (0..self.machines.len())
                        .filter(|at| {
                            *at != who && !self.gone.contains(at) && self.machines[*at].me.account == to
                        })
                        .collect();
                    for to in targets {
                        self.mail.push_back(Letter { from: who, to, news: (*news).clone() });
                    }
                }
                Command::Release { msg_id, .. } => machine.released.push(msg_id),
                Command::Refuse { msg_id, reason, .. } => machine.refused.push((msg_id, reason)),
                Command::Withdraw { account, .. } => machine.withdrawn.push(account),
                Command::Introduce { to, .. } => machine.asked_to_introduce.extend(to),
                Command::Meet { with, code, .. } => machine.met.push((with, code)),
                Command::Notice(notice) => machine.notices.push(notice),
            }
        }
    }

    /// Delivers one piece of news; returns whether it was taken.
    pub(crate) fn deliver(&mut self, at: usize) -> bool {
        let Some(letter) = self.mail.remove(at) else { return false };
        let from = self.account(letter.from);
        let taken = self.with(letter.to, |rooms, step| rooms.handle_news(from, &letter.news, step));
        taken.is_ok()
    }

    /// Delivers the oldest that one device has for another, whichever.
    pub(crate) fn deliver_some(&mut self, choice: u32) {
        if self.mail.is_empty() {
            return;
        }
        let chosen = &self.mail[usize::try_from(choice).unwrap() % self.mail.len()];
        let (from, to) = (chosen.from, chosen.to);
        let oldest = self.mail.iter().position(|letter| (letter.from, letter.to) == (from, to));
        self.deliver(oldest.unwrap());
    }

    /// One machine becomes a copy of another, and both run.
    pub(crate) fn copy(&mut self, of: usize, to: usize) {
        let seed = self.machines[of].seed;
        let (me, rows) = (self.machines[of].me, self.machines[of].rows.clone());
        let copy = &mut self.machines[to];
        (copy.me, copy.rows, copy.seed) = (me, rows, seed);
        copy.signing = DeviceSigningKey::from_seed(&seed);
        self.restart(to);
    }

    /// A device is none of its account any more: nobody takes its word, and nothing comes to it.
    pub(crate) fn revoke(&mut self, who: usize) {
        let Me { account, device, .. } = self.machines[who].me;
        let root = &self.roots[&account];
        let held = &self.known.0[&account];
        let mut next = held.successor(NOW_MS).unwrap();
        let mut devices = next.devices.to_vec();
        devices.retain(|entry| entry.id != device);
        next.devices = List::new(devices).unwrap();
        next.revoked = List::new(vec![device]).unwrap();
        let manifest = VerifiedManifest::sign(root, next).unwrap();
        self.known.0.insert(account, manifest);
        self.mail.retain(|letter| letter.to != who && letter.from != who);
        self.gone.insert(who);
        let left = self
            .machines
            .iter()
            .enumerate()
            .filter(|(at, one)| one.me.account == account && !self.gone.contains(at));
        let shared = left.count() > 1;
        for machine in self.machines.iter_mut().filter(|one| one.me.account == account) {
            machine.me.shared = shared;
        }
    }

    /// Delivers everything in the order it was sent.
    pub(crate) fn settle(&mut self) {
        while !self.mail.is_empty() {
            self.deliver(0);
        }
    }

    /// A room of the first with everybody else in it.
    pub(crate) fn room(&mut self, name: &str, members: &[usize]) -> RoomId {
        let id = self.with(0, |rooms, step| rooms.create(&label(name), step)).unwrap();
        for member in members {
            self.join(&id, *member);
        }
        id
    }

    pub(crate) fn join(&mut self, id: &RoomId, member: usize) {
        let account = self.account(member);
        self.with(0, |rooms, step| rooms.invite(id, account, &label("somebody"), step)).unwrap();
        self.settle();
        self.with(member, |rooms, step| rooms.join(id, step)).unwrap();
        self.settle();
    }

    /// Judges at `to` what `from` says in a room now.
    pub(crate) fn say(&self, id: &RoomId, from: usize, to: usize) -> Option<Said> {
        let machine = &self.machines[from];
        let fanout = machine.rooms.fanout(id, &machine.me).ok()?;
        let other = &self.machines[to];
        fanout
            .to
            .contains(&other.me.account)
            .then(|| other.rooms.judge(&machine.me.account, &fanout.said_in, self.now.wall_ms, &other.me))
    }

    /// The machine dies and starts again from its rows.
    pub(crate) fn restart(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        let mut restoring = Restoring::default();
        for ((table, key), value) in &machine.rows {
            restoring.row(*table, key, value).unwrap();
        }
        machine.rooms = restoring.finish();
    }

    pub(crate) fn members(&self, id: &RoomId, who: usize) -> Vec<Fingerprint> {
        let view = self.machines[who].rooms.view(id).unwrap();
        view.members.into_iter().map(|(account, _)| account).collect()
    }
}
