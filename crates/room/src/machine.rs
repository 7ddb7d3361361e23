//! The machine: what it holds, and what every change of a log brings about.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use penpal_protocol::cbor::{Blob, List};
use penpal_protocol::ids::{DeviceId, Fingerprint, MsgId, RoomId, ShortHash};
use penpal_protocol::limits::MAX_ROOM_ENTRIES;
use penpal_protocol::sealed::{RoomChange, RoomEntry, RoomNews, RoomWish, Stamp};
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use penpal_seal::{DeviceSigningKey, SignedRoomEntry, VerifiedManifest};
use rand_core::CryptoRng;

use crate::asking::{Answered, Asked, Replied};
use crate::command::{Command, Notice};
use crate::devices::kept_elsewhere;
use crate::error::RoomError;
use crate::log::{Log, MAX_ENTRIES_TO_ADD, Membership, Taken};
use crate::record::{self, Change, HeldRecord, RoomRecord, Standing, Table};

/// Most rooms of one node, invitations and rooms that are over included.
pub const MAX_ROOMS: usize = 256;

/// How often members are looked for who are no contacts.
const LOOK_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// This node's part in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Me {
    /// The account.
    pub account: Fingerprint,
    /// This device.
    pub device: DeviceId,
    /// The account has other devices.
    pub shared: bool,
}

/// Pinned manifests of contacts, and our own.
pub trait Manifests {
    /// The newest one of an account.
    fn manifest(&self, account: &Fingerprint) -> Option<&VerifiedManifest>;
}

/// What every input is given.
pub struct Step<'s> {
    /// Both clocks.
    pub now: Now,
    /// Randomness for ids.
    pub rng: &'s mut dyn CryptoRng,
    /// Signs entries of rooms of ours.
    pub signing: &'s DeviceSigningKey,
    /// Who signs entries of the rooms of others.
    pub manifests: &'s dyn Manifests,
    /// Our account, once there is one.
    pub me: Option<Me>,
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("now", &self.now).field("me", &self.me).finish_non_exhaustive()
    }
}

/// One room.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) record: RoomRecord,
    pub(crate) log: Log,
    /// Messages that wait for an entry.
    pub(crate) held: BTreeMap<(Fingerprint, MsgId), HeldRecord>,
    /// Who was asked for entries.
    pub(crate) asked: BTreeMap<Fingerprint, Asked>,
    /// Who was sent entries.
    pub(crate) answered: BTreeMap<Fingerprint, Answered>,
    /// Owner: from whom to whom a code was passed on, and when on the monotonic clock.
    pub(crate) passed_on: BTreeMap<(Fingerprint, Fingerprint), Duration>,
}

impl Room {
    pub(crate) fn new(record: RoomRecord) -> Self {
        Self {
            record,
            log: Log::default(),
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            answered: BTreeMap::new(),
            passed_on: BTreeMap::new(),
        }
    }
}

/// The rooms of one node.
///
/// # Drive contract
///
/// At start: every stored row goes into [`crate::Restoring`]. Then the shell calls one input after another and reads [`Self::poll_command`] until it is
/// empty before the step is stored: all [`Command::Persist`] of a step belong to one batch with whatever else the step changes. When that fails
/// the machine is dropped and restored. [`Self::poll_timeout`] says when [`Self::handle_timeout`] is due.
///
/// A message from a room is judged by [`Self::judge`] when it arrives. One that waits is stored where nobody sees it, and then reported by
/// [`Self::hold`]; [`Command::Release`] or [`Command::Refuse`] follows, after a restart too.
#[derive(Debug, Default)]
pub struct Rooms {
    pub(crate) rooms: BTreeMap<RoomId, Room>,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) now: Option<Now>,
    pub(crate) look_at: Option<Duration>,
    /// Contacts that were sent replies about rooms in which they are not.
    pub(crate) replied: BTreeMap<Fingerprint, Replied>,
    /// What our other devices decided about rooms that are forgotten here.
    pub(crate) overheard: BTreeMap<RoomId, Stamp>,
}

impl Rooms {
    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Self::handle_timeout`] is due, on the monotonic clock.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let now = self.now?;
        let held = self.rooms.values().flat_map(|room| room.held.values()).map(|held| held.until_ms).min();
        let held = held
            .map(|until| now.mono.saturating_add(Duration::from_millis(until.saturating_sub(now.wall_ms))));
        held.into_iter().chain(self.look_at).chain(self.asking_due()).min()
    }

    /// The node started: what is due is looked for.
    pub fn handle_started(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        // Stored is what is held, not what counts of it.
        for room in self.rooms.values_mut() {
            if let Some(owner) = step.manifests.manifest(&room.record.owner) {
                room.log.judge(owner, step.now.wall_ms);
            }
        }
        self.ask_after_silence(step);
        self.ask_for_answers(step);
        self.look_at = Some(step.now.mono);
        self.handle_timeout(step);
    }

    /// The relay is there, perhaps after a long sleep: owners of whom nothing was heard for long are asked.
    pub fn handle_connected(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        self.ask_after_silence(step);
    }

    /// Time has passed: messages that waited too long are refused.
    pub fn handle_timeout(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        let ids: Vec<RoomId> = self.rooms.keys().copied().collect();
        for id in &ids {
            self.end_held(id, step.now.wall_ms);
            self.ask_again(id, step);
        }
        if self.look_at.is_some_and(|at| at <= step.now.mono) {
            self.look_at = None;
            self.take_over_all(step);
            for id in &ids {
                self.introduce_newcomers(id, step);
            }
        }
    }

    pub(crate) fn begin(&mut self, step: &Step<'_>) {
        self.now = Some(step.now);
    }

    /// Looks for members who are no contacts after a while, and at once when asked to.
    pub(crate) fn look_again(&mut self, step: &Step<'_>) {
        let at = step.now.mono.saturating_add(LOOK_AGAIN);
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(crate) fn room(&self, id: &RoomId) -> Result<&Room, RoomError> {
        self.rooms.get(id).ok_or(RoomError::Unknown)
    }

    pub(crate) fn persist(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.commands.push_back(Command::Persist(Change { table, key, value }));
    }

    pub(crate) fn save(&mut self, id: &RoomId) {
        if let Some(room) = self.rooms.get(id) {
            let row = record::encode(&room.record);
            self.persist(Table::Room, id.as_bytes().to_vec(), Some(row));
        }
    }

    pub(crate) fn send(&mut self, to: Fingerprint, news: RoomNews) {
        self.commands.push_back(Command::Send { to, news: Box::new(news) });
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.commands.push_back(Command::Notice(notice));
    }

    /// A name that no other room here has.
    pub(crate) fn free_name(&self, wanted: &Label, id: &RoomId) -> Label {
        let taken =
            |name: &Label| self.rooms.values().any(|room| room.record.id != *id && room.record.name == *name);
        if !taken(wanted) {
            return wanted.clone();
        }
        (2..)
            .map(|number| wanted.numbered(number))
            .find(|name| !taken(name))
            .unwrap_or_else(|| wanted.clone())
    }

    /// Appends to a room of ours and tells everybody whom it concerns.
    pub(crate) fn append(
        &mut self,
        id: &RoomId,
        change: RoomChange,
        step: &mut Step<'_>,
    ) -> Result<(), RoomError> {
        let me = step.me.ok_or(RoomError::NoAccount)?;
        let room = self.rooms.get_mut(id).ok_or(RoomError::Unknown)?;
        let name = room.record.name.clone();
        let head = room.log.head();
        let epoch = head.map_or(0, |head| head.epoch.saturating_add(1));
        let adds = change.added.as_ref().is_some_and(|member| member.account != me.account);
        if adds && epoch >= MAX_ENTRIES_TO_ADD {
            return Err(RoomError::Worn { name });
        }
        // A log begins with its creation, and only once.
        if head.is_none() != change.created.is_some() {
            return Err(RoomError::Unknown);
        }
        let before = Before::of(&room.log);
        let entry = RoomEntry {
            room: *id,
            epoch,
            prev: head.map_or(ShortHash::from_bytes([0; 16]), |head| head.entry),
            issued_ms: step.now.wall_ms,
            owner: me.account,
            device: me.device,
            change,
        };
        let signed = SignedRoomEntry::sign(step.signing, entry);
        match room.log.insert(id, signed.clone()) {
            Taken::New => {}
            Taken::Full => return Err(RoomError::Worn { name }),
            Taken::Known | Taken::Orphan | Taken::Misfit => return Err(RoomError::Unknown),
        }
        if let Some(own) = step.manifests.manifest(&me.account) {
            room.log.judge(own, step.now.wall_ms);
        }
        let after = room.log.membership();
        self.persist_entry(id, &signed);
        let concerned: BTreeSet<Fingerprint> =
            before.membership.iter().chain(&after).flat_map(Membership::accounts).collect();
        for account in concerned.into_iter().filter(|account| *account != me.account) {
            // Whoever is new lacks everything.
            let is_new = before.membership.as_ref().is_none_or(|before| !before.contains(&account));
            let Some(room) = self.rooms.get(id) else { continue };
            let news =
                if is_new { entries_news(id, &room.log.chain()) } else { entries_news(id, &[&signed]) };
            self.send(account, news);
        }
        if me.shared {
            self.send(me.account, entries_news(id, &[&signed]));
        }
        self.changed(id, &before, step);
        Ok(())
    }

    pub(crate) fn persist_entry(&mut self, id: &RoomId, signed: &SignedRoomEntry) {
        let row = record::versioned(signed.signed());
        self.persist(Table::Entry, record::entry_key(id, &signed.name()), Some(row));
        let dropped = self.rooms.get_mut(id).map(|room| room.log.take_dropped()).unwrap_or_default();
        for name in dropped {
            self.persist(Table::Entry, record::entry_key(id, &name), None);
        }
    }

    /// Tells our other devices what is new here.
    fn pass_on(&mut self, id: &RoomId, me: Fingerprint, before: &Before) {
        let Some(room) = self.rooms.get(id).filter(|room| room.record.owner != me) else { return };
        let known = |name: ShortHash| before.chain.iter().any(|(known, _)| *known == name);
        let new: Vec<_> = room.log.chain().into_iter().filter(|signed| !known(signed.name())).collect();
        if !new.is_empty() {
            let news = entries_news(id, &new);
            self.send(me, news);
        }
    }

    /// The log changed: standing, notices, messages that waited, introductions, and own entries that do not count any more.
    pub(crate) fn changed(&mut self, id: &RoomId, before: &Before, step: &mut Step<'_>) {
        let Some(me) = step.me else { return };
        let Some(room) = self.rooms.get_mut(id) else { return };
        let Some(after) = room.log.membership() else { return };
        let name = room.record.name.clone();
        let was = room.record.standing;
        let in_it = is_in(&room.log, &me.account, step);
        // An entry that is new here took this account out: the invitation that was answered on another device is over, too.
        let newly_out = !in_it && before.took_out_since(&me.account, &room.log);
        let now = match was {
            Standing::Left => Standing::Left,
            _ if after.closed => Standing::Closed,
            Standing::Joining | Standing::Member if in_it => Standing::Member,
            // Nobody is put back: only when what ended it counts no more was there no end.
            Standing::Removed | Standing::Closed if in_it && before.end_is_void(&me.account, &room.log) => {
                Standing::Member
            }
            Standing::Closed if after.owner == me.account => Standing::Member,
            Standing::Removed | Standing::Closed if in_it => Standing::Invited,
            // On another device of ours, which will say so.
            Standing::Member if went(&room.log, &me.account) => Standing::Left,
            Standing::Member => Standing::Removed,
            Standing::Invited | Standing::Joining if newly_out => Standing::Removed,
            Standing::Invited | Standing::Joining | Standing::Removed | Standing::Closed => was,
        };
        // By the yes of another device, perhaps: what that one said of it may have come before what it answered.
        let by_another = now == Standing::Invited && in_it && me.shared;
        let again = now == Standing::Left && in_it && before.misses_leave(&me.account, &room.log);
        let (mut notices, mut went_now) = (Vec::new(), Vec::new());
        if now != was {
            room.record.standing = now;
            match now {
                Standing::Member => notices.push(Notice::Joined { room: *id, name: name.clone() }),
                Standing::Removed if was == Standing::Member => {
                    notices.push(Notice::Removed { name: name.clone() });
                }
                Standing::Removed | Standing::Closed if was == Standing::Joining => {
                    notices.push(Notice::InvitationOver { name: name.clone() });
                }
                Standing::Closed if was == Standing::Member && after.owner != me.account => {
                    notices.push(Notice::Closed { name: name.clone() });
                }
                Standing::Closed if was == Standing::Member && !ended_by(&room.log, &me.device) => {
                    notices.push(Notice::ClosedElsewhere { name: name.clone() });
                }
                Standing::Invited => {
                    notices.push(Notice::Invited { room: *id, name: name.clone(), by: after.owner });
                }
                Standing::Removed | Standing::Closed | Standing::Joining | Standing::Left => {}
            }
        } else if let (Standing::Member, Some(earlier)) = (now, &before.membership) {
            let (old, new): (BTreeSet<_>, BTreeSet<_>) =
                (earlier.accounts().into_iter().collect(), after.accounts().into_iter().collect());
            notices.extend(
                new.difference(&old).map(|account| Notice::Came { name: name.clone(), account: *account }),
            );
            went_now.extend(old.difference(&new).copied());
            notices.extend(
                old.difference(&new).map(|account| Notice::Went { name: name.clone(), account: *account }),
            );
        }
        record::retain(&mut room.record.invited, |invited| !after.contains(&invited.account));
        record::retain(&mut room.record.introduced, |introduced| after.contains(&introduced.account));
        room.passed_on.retain(|(from, to), _| after.contains(from) && after.contains(to));
        if now == Standing::Member {
            room.record.told = List::default();
        }
        // What this device appended and what another one's entry put aside is appended anew; not behind what a device appended that is not to: when
        // that one is revoked its entries count no more, and this would make them count.
        let appends = kept_elsewhere(&room.log, step).is_none();
        let counts: BTreeSet<ShortHash> = room.log.chain().iter().map(|signed| signed.name()).collect();
        let lost: Vec<RoomChange> = before
            .chain
            .iter()
            .filter(|(name, device)| {
                appends && *device == me.device && after.owner == me.account && !counts.contains(name)
            })
            .filter_map(|(name, _)| room.log.get(name))
            .map(|signed| signed.entry().change.clone())
            .filter(|change| {
                // Of an addition and a removal that did not know of each other the removal holds.
                let who = change.added.as_ref().map(|member| member.account);
                let new = room
                    .log
                    .chain()
                    .into_iter()
                    .filter(|signed| !before.chain.iter().any(|(name, _)| *name == signed.name()));
                let mut gone = new.flat_map(|signed| {
                    let change = &signed.entry().change;
                    change.removed.into_iter().chain(change.left)
                });
                who.is_none_or(|who| !gone.any(|one| one == who))
            })
            .collect();
        // The same decision, not a new one: whoever left meanwhile has left.
        if was == Standing::Joining && now == Standing::Member && me.shared {
            self.say_decided(id, RoomWish::Join, step);
        }
        self.save(id);
        if by_another {
            self.ask(id, me.account, step);
        }
        // Whoever appended it may not know all our devices yet.
        if me.shared && now != was && matches!(now, Standing::Removed | Standing::Closed) {
            self.pass_on(id, me.account, before);
        }
        if again {
            self.send(after.owner, RoomNews { wish: Some(RoomWish::Leave), ..no_news(id) });
        }
        for notice in notices {
            self.notice(notice);
        }
        for account in went_now {
            self.commands.push_back(Command::Withdraw { room: *id, account });
        }
        if matches!(was, Standing::Invited | Standing::Joining) && self.forget_if_never_in(id) {
            return;
        }
        self.judge_held(id, step);
        self.introduce_newcomers(id, step);
        for change in lost {
            let log = self.rooms.get(id).map(|room| &room.log);
            let now = log.and_then(|log| Some((log.membership()?, log.head()?.epoch)));
            let matters = now.is_some_and(|(now, epoch)| now.would_change(epoch, &change));
            if matters && let Err(error) = self.append(id, change, step) {
                tracing::warn!(%error, "a change of a room that another device put aside is lost");
            }
        }
    }
}

/// What counted before a change.
#[derive(Debug, Default)]
pub(crate) struct Before {
    pub(crate) membership: Option<Membership>,
    pub(crate) chain: Vec<(ShortHash, DeviceId)>,
}

/// Whether an account is in a room, as it is to see it itself.
pub(crate) fn is_in(log: &Log, account: &Fingerprint, step: &Step<'_>) -> bool {
    let Some(now) = log.membership().filter(|now| now.contains(account)) else { return false };
    let list = step.manifests.manifest(&now.owner).filter(|_| now.owner != *account);
    !list.is_some_and(|list| log.takes_out(account, list, step.now.wall_ms))
}

impl Before {
    /// Whether the entry that took an account out, or closed the room, counts no more.
    fn end_is_void(&self, account: &Fingerprint, log: &Log) -> bool {
        let gone = |name: &ShortHash| {
            let change = log.get(name).map(|signed| &signed.entry().change);
            change.is_some_and(|change| {
                change.removed == Some(*account)
                    || change.left == Some(*account)
                    || change.closed == Some(true)
            })
        };
        let end = self.chain.iter().rev().map(|(name, _)| name).find(|name| gone(name));
        end.is_some_and(|end| !log.chain().iter().any(|signed| signed.name() == *end))
    }
}

impl Before {
    /// Whether an entry that counts and did not before takes an account out.
    fn took_out_since(&self, account: &Fingerprint, log: &Log) -> bool {
        log.chain().iter().any(|signed| {
            let change = &signed.entry().change;
            let out = change.removed == Some(*account) || change.left == Some(*account);
            out && !self.chain.iter().any(|(name, _)| *name == signed.name())
        })
    }

    /// Whether the word that an account went may not have come to who appends now: it was added since, or another device appends.
    fn misses_leave(&self, account: &Fingerprint, log: &Log) -> bool {
        let chain = log.chain();
        let device = chain.last().map(|signed| signed.entry().device);
        let added = chain.iter().any(|signed| {
            let added = signed.entry().change.added.as_ref().is_some_and(|member| member.account == *account);
            added && !self.chain.iter().any(|(name, _)| *name == signed.name())
        });
        added || self.chain.last().is_some_and(|(_, before)| Some(*before) != device)
    }

    pub(crate) fn of(log: &Log) -> Self {
        let chain = log.chain().iter().map(|signed| (signed.name(), signed.entry().device)).collect();
        Self { membership: log.membership(), chain }
    }
}

/// Whether the last that a log says of an account is that it went by itself.
fn went(log: &Log, account: &Fingerprint) -> bool {
    let chain = log.chain();
    let mut said = chain.iter().rev().map(|signed| &signed.entry().change);
    let last = said.find(|change| change.left == Some(*account) || change.removed == Some(*account));
    last.is_some_and(|change| change.left.is_some())
}

/// Whether this device is the one that closed a room.
fn ended_by(log: &Log, device: &DeviceId) -> bool {
    log.chain()
        .iter()
        .any(|signed| signed.entry().change.closed == Some(true) && signed.entry().device == *device)
}

/// News of a room that say nothing yet.
pub(crate) fn no_news(id: &RoomId) -> RoomNews {
    RoomNews {
        room: *id,
        invitation: None,
        wish: None,
        entries: None,
        have: None,
        introductions: None,
        shared: None,
    }
}

/// News that carry entries.
pub(crate) fn entries_news(id: &RoomId, entries: &[&SignedRoomEntry]) -> RoomNews {
    let entries = entries.iter().take(MAX_ROOM_ENTRIES);
    let blobs: Vec<_> = entries.filter_map(|signed| Blob::new(signed.signed().to_vec()).ok()).collect();
    RoomNews { entries: List::new(blobs).ok(), ..no_news(id) }
}
