//! What our relay keeps of this account, for the day on which its machines are gone: written by the device that signs whenever it changed,
//! and read by whoever has the recovery code.

use std::time::Duration;

use penpal_protocol::{
    cbor::{Blob, List},
    hash::labelled16,
    ids::{ShortHash, StateId},
    limits::{MAX_KEPT_ENTRIES, MAX_STATE_PARTS},
    sealed::{AccountState, AmongDevices, ContactEntry},
    text::Label,
    wire::{Answer, GetState, Profile, PutState, RefusalCode, Request, StatePart},
};
use penpal_seal::{RootKey, StateBlob, StateError, open_state, seal_state};
use zeroize::Zeroizing;

use super::{Contacts, Step, answers::Reply};
use crate::{
    command::At,
    jobs::{Job, Why},
    record::{KeptMark, RowKey},
};

/// How long after a change the state is written: what changes together is written once.
const QUIET: Duration = Duration::from_secs(2);
/// Shortest time between two writings, for each part that the state has.
const BETWEEN: Duration = Duration::from_secs(5);

/// How our state at the relay stands, in this run.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Something of it may have changed.
    dirty: bool,
    /// When it is looked at; nothing changed before it was planned.
    planned: Option<Duration>,
    /// Not before that it is written again.
    after: Duration,
    /// The one on its way.
    putting: Option<Putting>,
    /// The one that is being read.
    reading: Reading,
}

#[derive(Debug)]
struct Putting {
    mark: KeptMark,
    parts: Vec<StateBlob>,
    next: u8,
}

/// What came so far of a state.
#[derive(Debug, Default)]
pub(super) struct Reading {
    head: Option<Head>,
    parts: Vec<StateBlob>,
}

/// What a relay says of an account beside its state.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) handle: Label,
    pub(super) state: StateId,
    parts: u8,
    pub(super) revision: u64,
    pub(super) manifest: Option<Profile>,
}

/// What became of reading.
#[derive(Debug)]
pub(super) enum Read {
    /// Nothing is kept for this account.
    Nothing,
    /// It does not open.
    Unusable(StateId, StateError),
    /// Another one took its place meanwhile, or the relay does not know what it says.
    Changed,
    All(Box<(Head, AccountState)>),
}

impl Kept {
    /// A row changed: perhaps one that is part of the state.
    pub(super) fn touched(&mut self, row: RowKey) {
        self.dirty |= matches!(row, RowKey::Own | RowKey::Contact(_) | RowKey::Removed(_));
    }

    /// Something of it may have changed.
    pub(super) fn changed(&mut self) {
        self.dirty = true;
    }

    /// Whether it is being read.
    pub(super) fn read_anew(&mut self) {
        self.reading = Reading::default();
    }
}

impl Contacts {
    /// Whether our relay keeps the state of this account as it is now, so that the recovery code brings all of it back.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let known = self.own.as_ref().and_then(|own| own.kept).is_some_and(|mark| mark.hash.is_some());
        known && !self.kept.dirty && self.kept.planned.is_none() && self.kept.putting.is_none()
    }

    /// When the state is to be looked at.
    pub(super) fn kept_due(&self) -> Option<Duration> {
        self.kept.planned.filter(|_| self.may_keep())
    }

    /// Whether the relay takes our state from this device.
    fn may_keep(&self) -> bool {
        let proved = |own: &crate::record::Own| own.settled && own.proof_put == Some(true);
        self.own.as_ref().is_some_and(proved)
            && self.root().is_some()
            && !self.is_taking()
            && self.kept.putting.is_none()
            && !self.jobs.is_wanted(Job::GetState)
    }

    /// Plans that the state is written, and begins when it is time.
    pub(super) fn maintain_kept(&mut self, step: &mut Step<'_>) {
        if std::mem::take(&mut self.kept.dirty) {
            let due = step.now.mono.saturating_add(QUIET).max(self.kept.after);
            self.kept.planned.get_or_insert(due);
        }
        if self.kept.planned.is_none_or(|due| due > step.now.mono) || !self.may_keep() {
            return;
        }
        self.kept.planned = None;
        let Some(root) = self.root() else { return };
        let id = StateId::from_bytes(step.random());
        let Some((hash, parts)) = self.sealed_state(root, &id) else { return };
        let mark = KeptMark { state: id, hash: Some(hash) };
        self.unkept.sealed();
        if self.own.as_ref().and_then(|own| own.kept).is_some_and(|held| held.hash == mark.hash) {
            return self.edges_kept(step);
        }
        let pause = BETWEEN.saturating_mul(u32::try_from(parts.len()).unwrap_or(u32::MAX));
        self.kept.after = step.now.mono.saturating_add(pause);
        self.kept.putting = Some(Putting { mark, parts, next: 0 });
        self.jobs.want(Job::PutState);
    }

    /// The state as it is now, and its hash. Removals that do not fit are left out, then contacts.
    fn sealed_state(&self, root: &RootKey, id: &StateId) -> Option<(ShortHash, Vec<StateBlob>)> {
        let mut entries = self.contacts.len().saturating_add(self.tombstones.len());
        loop {
            let state = Zeroizing::new(self.state(entries)?.encode());
            match seal_state(root, id, &state) {
                Ok(parts) => return Some((ShortHash::from_bytes(labelled16("content", &[&state])), parts)),
                Err(error) if entries > 0 => {
                    tracing::warn!(%error, entries, "not all of the account's state can be kept at the relay");
                    entries = entries.saturating_sub(entries.div_ceil(8));
                }
                Err(_) => return None,
            }
        }
    }

    fn state(&self, most: usize) -> Option<AccountState> {
        let own = self.own.as_ref()?;
        let accounts = self.contacts.keys().chain(self.tombstones.keys());
        let contacts: Vec<ContactEntry> =
            accounts.filter_map(|account| self.entry(*account)).take(most.min(MAX_KEPT_ENTRIES)).collect();
        Some(AccountState {
            manifest: Blob::new(own.manifest.0.signed().to_vec()).ok()?,
            profile_key: own.profile_key.clone(),
            counter: own.counter.unwrap_or_default(),
            among: self.among_devices(),
            contacts: List::truncated(contacts),
        })
    }

    /// What our devices share, once the relay has their edge.
    fn among_devices(&self) -> Option<AmongDevices> {
        let link = self.contacts.get(&self.me()?)?.link.as_ref().filter(|link| link.linked)?;
        let pair = penpal_protocol::ids::SharedKey::from_bytes(*link.pair_in.0.expose());
        Some(AmongDevices { edge: link.edge_in, cap: link.cap_in.clone(), pair })
    }

    /// What is asked of the relay about our state; `None` when it is not needed any more.
    pub(super) fn kept_request(&self, job: Job) -> Option<(At, Request)> {
        if job == Job::GetState {
            let proof = self.recovery_root().or_else(|| self.root())?.account_proof();
            let part = u8::try_from(self.kept.reading.parts.len()).ok()?;
            return Some((At::Home, Request::GetState(GetState { proof, part })));
        }
        let putting = self.kept.putting.as_ref()?;
        let sealed = putting.parts.get(usize::from(putting.next))?.clone();
        let put = PutState {
            proof: self.root()?.account_proof(),
            expect: self.own.as_ref()?.kept.map(|held| held.state),
            state: putting.mark.state,
            parts: u8::try_from(putting.parts.len()).ok()?,
            part: putting.next,
            sealed,
        };
        Some((At::Home, Request::PutState(put)))
    }

    /// Takes the relay's answer about our state.
    pub(super) fn kept_answered(&mut self, job: Job, reply: &Reply<'_>, step: &mut Step<'_>) -> bool {
        match (job, reply) {
            (Job::PutState, Reply::Yes(Answer::Done)) => {
                self.jobs.done(job);
                self.part_put(step);
            }
            (Job::PutState, Reply::Refused(RefusalCode::Conflict)) => {
                // Somebody else with the root key wrote it, or we did and this database is an older copy: nothing of it is to be lost.
                self.jobs.done(job);
                self.want_kept();
            }
            (Job::GetState, Reply::Yes(Answer::State(part))) => {
                self.jobs.done(job);
                match self.take_part(part) {
                    None => self.jobs.want(Job::GetState),
                    Some(read) if self.recovery_root().is_some() => self.recovery_read(read, step),
                    Some(Read::Changed) => {
                        self.want_kept();
                        self.jobs.pause(Job::GetState, step.now.mono, Why::Busy);
                    }
                    Some(read) => {
                        self.note_looked(step);
                        self.merge_kept(read, step);
                    }
                }
            }
            (Job::GetState, Reply::No) if self.recovery_root().is_some() => {
                self.jobs.done(job);
                self.recovery_unknown(step);
            }
            (Job::PutState | Job::GetState, Reply::No) => {
                // The relay does not know our proof, as one that was put back to an older copy.
                self.jobs.done(job);
                self.note_looked(step);
                self.kept.putting = None;
                self.plan_kept(step, Why::Refused);
            }
            _ => return false,
        }
        true
    }

    fn part_put(&mut self, step: &mut Step<'_>) {
        let Some(putting) = &mut self.kept.putting else { return };
        putting.next = putting.next.saturating_add(1);
        if usize::from(putting.next) < putting.parts.len() {
            return self.jobs.want(Job::PutState);
        }
        let mark = putting.mark;
        self.kept.putting = None;
        self.set_kept(Some(mark));
        self.edges_kept(step);
    }

    pub(super) fn set_kept(&mut self, mark: Option<KeptMark>) {
        if let Some(own) = &mut self.own {
            own.kept = mark;
            self.touch(RowKey::Own);
        }
    }

    /// The relay may not have our state any more: it is written again.
    pub(super) fn kept_lost(&mut self) {
        self.kept.putting = None;
        if let Some(mark) = self.own.as_ref().and_then(|own| own.kept) {
            self.set_kept(Some(KeptMark { hash: None, ..mark }));
        }
    }

    /// Reads what the relay keeps before another list of devices is signed. Whether the relay knows by what we may ask for it shows then: an older
    /// copy of a database may not have noted it.
    pub(super) fn read_kept(&mut self) {
        if !self.jobs.is_wanted(Job::GetState) {
            self.want_kept();
        }
    }

    fn want_kept(&mut self) {
        self.kept.putting = None;
        self.kept.read_anew();
        self.jobs.want(Job::GetState);
    }

    pub(super) fn plan_kept(&mut self, step: &Step<'_>, why: Why) {
        let pause = match why {
            Why::Refused => Duration::from_secs(10 * 60),
            Why::Unreachable | Why::Busy | Why::NotYet => QUIET,
        };
        self.kept.after = step.now.mono.saturating_add(pause);
        self.kept.planned = Some(self.kept.after);
    }

    /// Adds a part to what is being read; gives what came of it once nothing is missing.
    fn take_part(&mut self, part: &StatePart) -> Option<Read> {
        let reading = &mut self.kept.reading;
        let Some(state) = part.state.filter(|_| (1..=MAX_STATE_PARTS).contains(&part.parts)) else {
            *reading = Reading::default();
            return Some(Read::Nothing);
        };
        let head = reading.head.get_or_insert_with(|| Head {
            handle: part.handle.clone(),
            state,
            parts: part.parts,
            revision: part.manifest_revision,
            manifest: part.manifest.clone(),
        });
        let (Some(sealed), true) = (&part.sealed, head.state == state && head.parts == part.parts) else {
            *reading = Reading::default();
            return Some(Read::Changed);
        };
        reading.parts.push(sealed.clone());
        if reading.parts.len() < usize::from(head.parts) {
            return None;
        }
        let Reading { head, parts } = std::mem::take(reading);
        let root = self.recovery_root().or_else(|| self.root())?;
        let head = head?;
        Some(match open_state(root, &head.state, &parts) {
            Ok(state) => Read::All(Box::new((head, state))),
            Err(error) => Read::Unusable(head.state, error),
        })
    }
}
