//! Names as leases: who is called what, who takes over, and what is merged.

use std::collections::BTreeSet;

use penpal_protocol::cbor::List;
use penpal_protocol::ids::SessionId;
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use rand_core::CryptoRng;

use crate::command::Command;
use crate::error::{CloseError, NameError, RegisterError, UnknownSession};
use crate::input::{
    AgentConversation, Binding, Place, Placed, PlacedHow, ProcessModel, ProcessRef, Registration,
};
use crate::life::Local;
use crate::machine::Sessions;
use crate::record::{self, Conversation, MAX_EARLIER, MAX_PROCESSES, NameOrigin, SessionRecord};

/// How long an ended session keeps its name and takes mail, in milliseconds: 30 days, the longest life of a message.
pub const ENDED_NAME_LIFE_MS: u64 = penpal_protocol::limits::MAX_MESSAGE_LIFE_MS;

/// Most local sessions, ended ones included. The longest ended goes first; when all are live, no more are made.
pub const MAX_SESSIONS: usize = 1_000;

/// How strong the wish for a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// A person wants it: an ended session gives it up.
    Person,
    /// It follows from the place: an ended session gives it up unless a person named it.
    Place,
    /// A session that may turn out to be another, or that nobody watches: takes only what is free.
    Weak,
}

impl Sessions {
    pub(crate) fn register(
        &mut self,
        registration: Registration,
        now: Now,
        rng: &mut dyn CryptoRng,
    ) -> Result<Placed, RegisterError> {
        // The caller's view of who is known may be older than this machine's: never make a second one.
        if let Some(session) = self.already_known(&registration) {
            let conversation = registration.conversation.clone();
            let process = registration.process;
            let binding = Binding { session, conversation, process, absorb: None, fresh: false };
            if let Ok(placed) = self.bind(binding, now) {
                return Ok(placed);
            }
        }
        let Registration { agent, model, process, conversation, place, wanted, headless, fork } =
            registration;
        let wanted = wanted.filter(|name| !name.is_reserved());
        let heir = Heir { agent: &agent, place: &place, wanted: wanted.as_ref(), headless };
        let ended = if fork { None } else { self.one_ended(&heir, conversation.is_none()) };
        let (session, how) = match ended {
            Some(session) => {
                let certain = conversation.as_ref().is_some_and(|(_, certain)| *certain);
                self.take_over(session, conversation, &place, now);
                if certain {
                    self.mark_earlier(session);
                }
                (session, PlacedHow::TookOver)
            }
            None => {
                self.make_room()?;
                let claim = match (&wanted, headless || conversation.is_none()) {
                    (Some(_), _) => Claim::Person,
                    (None, true) => Claim::Weak,
                    (None, false) => Claim::Place,
                };
                let origin = if wanted.is_some() { NameOrigin::Person } else { NameOrigin::Place };
                let base = wanted.unwrap_or_else(|| place.default_name());
                let name = self.claim_name(&base, claim, None);
                let mut record = SessionRecord::new(name, origin, agent, model, now.wall_ms);
                record.conversation = conversation.map(|(id, certain)| Conversation { id, certain });
                record.place = Some(place);
                record.headless = headless;
                record.kept = record.conversation.as_ref().is_some_and(|known| known.certain);
                (self.insert(record, rng), PlacedHow::Created)
            }
        };
        if let Some(process) = process {
            self.attach(session, process, now);
        }
        if let Some(local) = self.local.get_mut(&session) {
            local.heard(now);
        }
        Ok(self.placed(session, how))
    }

    pub(crate) fn bind(&mut self, binding: Binding, now: Now) -> Result<Placed, UnknownSession> {
        let Binding { session, conversation, process, absorb, fresh } = binding;
        let mut session = self.canonical(session).ok_or(UnknownSession)?;
        if let Some(other) = absorb.and_then(|other| self.canonical(other)).filter(|other| *other != session)
        {
            self.merge(other, session);
        }
        if let Some(owner) = conversation.as_ref().and_then(|(id, _)| self.owner_of(session, id)) {
            // The conversation has a session already: this caller belongs to that one, and what was only a guess is it.
            let guessed = self
                .local
                .get(&session)
                .is_some_and(|local| !local.record.conversation.as_ref().is_some_and(|known| known.certain));
            if guessed {
                self.merge(session, owner);
            }
            session = owner;
        }
        let mut how = PlacedHow::Known;
        if let Some((id, certain)) = conversation {
            let arrived = self.local.get(&session).is_some_and(Local::provisional);
            self.set_conversation(session, id, certain, fresh, now);
            if arrived && let Some(ended) = self.ended_for(session) {
                // The id came late: what was provisional is the heir of the ended session, not a second one.
                let heir = self.local.get(&session).and_then(|local| local.record.conversation.clone());
                let place = self.local.get(&session).and_then(|local| local.record.place.clone());
                if let (Some(heir), Some(place)) = (heir, place) {
                    self.take_over(ended, Some((heir.id, heir.certain)), &place, now);
                    if heir.certain {
                        self.mark_earlier(ended);
                    }
                }
                self.merge(session, ended);
                session = ended;
                how = PlacedHow::TookOver;
            } else if arrived {
                self.rename_by_place(session);
            }
        }
        if let Some(process) = process {
            self.attach(session, process, now);
        }
        self.edit(session, |record| record.ended_ms = None);
        if let Some(local) = self.local.get_mut(&session) {
            local.heard(now);
        }
        Ok(self.placed(session, how))
    }

    pub(crate) fn open(
        &mut self,
        name: Label,
        agent: Label,
        now: Now,
        rng: &mut dyn CryptoRng,
    ) -> Result<Placed, NameError> {
        if name.is_reserved() {
            return Err(NameError::Reserved { name });
        }
        if let Some(holder) = self.holder(&name) {
            let local = self.local.get(&holder);
            let by_hand = local.is_some_and(|local| local.record.model == ProcessModel::ByHand);
            let ended = local.is_some_and(Local::ended);
            if by_hand {
                self.edit(holder, |record| {
                    record.ended_ms = None;
                    record.agent = agent;
                });
                return Ok(self.placed(holder, PlacedHow::Known));
            }
            if !ended {
                return Err(NameError::Taken { name });
            }
        }
        self.make_room().map_err(|RegisterError::TooMany { max }| NameError::TooMany { max })?;
        let name = self.claim_name(&name, Claim::Person, None);
        let mut record =
            SessionRecord::new(name, NameOrigin::Person, agent, ProcessModel::ByHand, now.wall_ms);
        record.kept = true;
        let session = self.insert(record, rng);
        Ok(self.placed(session, PlacedHow::Created))
    }

    pub(crate) fn close(&mut self, session: SessionId, now: Now) -> Result<(), CloseError> {
        let session = self.canonical(session).ok_or(CloseError::Unknown)?;
        let local = self.local.get(&session).ok_or(CloseError::Unknown)?;
        if local.record.model != ProcessModel::ByHand {
            return Err(CloseError::NotByHand { name: local.record.name.clone() });
        }
        self.end(session, now);
        Ok(())
    }

    pub(crate) fn rename(&mut self, session: SessionId, name: Label) -> Result<(), NameError> {
        let session = self.canonical(session).ok_or(NameError::Unknown)?;
        if name.is_reserved() {
            return Err(NameError::Reserved { name });
        }
        let live = |holder: &SessionId| self.local.get(holder).is_some_and(|local| !local.ended());
        if self.holder(&name).filter(|holder| *holder != session).is_some_and(|holder| live(&holder)) {
            return Err(NameError::Taken { name });
        }
        let name = self.claim_name(&name, Claim::Person, Some(session));
        self.edit(session, |record| {
            record.name = name;
            record.origin = NameOrigin::Person;
            record.kept = true;
        });
        Ok(())
    }

    /// Sessions to which a process belongs.
    pub(crate) fn sessions_of(&self, process: ProcessRef) -> Vec<SessionId> {
        let has = |local: &Local| local.record.processes.contains(&process);
        self.local.iter().filter(|(_, local)| has(local)).map(|(sid, _)| *sid).collect()
    }

    /// Takes a process from a session, which ends with its last one.
    pub(crate) fn detach(&mut self, session: SessionId, process: ProcessRef, now: Now) {
        self.edit(session, |record| {
            let mut processes = record.processes.to_vec();
            processes.retain(|known| *known != process);
            record.processes = List::truncated(processes);
        });
        if self.local.get(&session).is_some_and(|local| local.record.processes.is_empty()) {
            self.end(session, now);
        }
    }

    /// Forgets a session whose time is over; its mail goes to the desk.
    pub(crate) fn let_go(&mut self, session: SessionId) {
        self.command(Command::MailToDesk { session });
        self.forget(session);
        let aliases: Vec<SessionId> =
            self.aliases.iter().filter(|(_, into)| **into == session).map(|(sid, _)| *sid).collect();
        for alias in aliases {
            self.aliases.remove(&alias);
            self.command(Command::Change(record::alias_change(alias, None)));
        }
    }

    /// Puts right what restored records may contradict: one name, one process, one conversation for two sessions, aliases to nothing.
    pub(crate) fn mend(&mut self, now: Now) {
        let mut order: Vec<(u64, SessionId)> =
            self.local.iter().map(|(sid, local)| (local.record.created_ms, *sid)).collect();
        order.sort_unstable();
        let mut seen: Vec<SessionId> = Vec::new();
        for (_, sid) in order {
            let Some(mine) = self.local.get(&sid).map(|local| local.record.clone()) else { continue };
            let others: Vec<&SessionRecord> =
                seen.iter().filter_map(|other| self.local.get(other)).map(|local| &local.record).collect();
            let same_name = others.iter().any(|other| other.name == mine.name) || mine.name.is_reserved();
            let same_conversation = others.iter().any(|other| {
                mine.conversation.is_some()
                    && other.agent == mine.agent
                    && other.conversation.as_ref().map(|c| &c.id) == mine.conversation.as_ref().map(|c| &c.id)
            });
            let one = |record: &SessionRecord| record.model == ProcessModel::OnePerConversation;
            let doubled: Vec<ProcessRef> = mine
                .processes
                .iter()
                .filter(|process| {
                    one(&mine) && others.iter().any(|other| one(other) && other.processes.contains(process))
                })
                .copied()
                .collect();
            if same_name {
                let name = self.free_number(&mine.name);
                self.edit(sid, |record| record.name = name);
            }
            if same_conversation {
                self.edit(sid, |record| record.conversation = None);
            }
            for process in doubled {
                self.detach(sid, process, now);
            }
            seen.push(sid);
        }
        let dangling: Vec<SessionId> = self
            .aliases
            .iter()
            .filter(|(sid, into)| self.local.contains_key(sid) || !self.local.contains_key(into))
            .map(|(sid, _)| *sid)
            .collect();
        for alias in dangling {
            self.aliases.remove(&alias);
            self.command(Command::Change(record::alias_change(alias, None)));
        }
    }

    /// The session that has a name.
    pub(crate) fn holder(&self, name: &Label) -> Option<SessionId> {
        self.local.iter().find(|(_, local)| local.record.name == *name).map(|(sid, _)| *sid)
    }

    /// Another session of the same agent that has this conversation.
    fn owner_of(&self, session: SessionId, id: &AgentConversation) -> Option<SessionId> {
        let agent = &self.local.get(&session)?.record.agent;
        let has = |record: &SessionRecord| {
            record.agent == *agent && record.conversation.as_ref().is_some_and(|known| known.id == *id)
        };
        self.local.iter().find(|(sid, local)| **sid != session && has(&local.record)).map(|(sid, _)| *sid)
    }

    fn already_known(&self, registration: &Registration) -> Option<SessionId> {
        let by_conversation = registration.conversation.as_ref().and_then(|(id, _)| {
            let same = |record: &SessionRecord| {
                record.agent == registration.agent
                    && record.conversation.as_ref().is_some_and(|c| c.id == *id)
            };
            self.local.iter().find(|(_, local)| same(&local.record)).map(|(sid, _)| *sid)
        });
        let own_process = registration
            .process
            .filter(|_| registration.model == ProcessModel::OnePerConversation && !registration.fork);
        by_conversation.or_else(|| {
            let same = |sid: &SessionId| {
                self.local.get(sid).is_some_and(|local| local.record.agent == registration.agent)
            };
            own_process.and_then(|process| self.sessions_of(process).into_iter().find(same))
        })
    }

    /// Gives a process to a session. One that runs one conversation at a time leaves every other session.
    fn attach(&mut self, session: SessionId, process: ProcessRef, now: Now) {
        let exclusive = |local: &Local| local.record.model == ProcessModel::OnePerConversation;
        if self.local.get(&session).is_some_and(exclusive) {
            for other in self.sessions_of(process) {
                if other != session && self.local.get(&other).is_some_and(exclusive) {
                    self.detach(other, process, now);
                }
            }
        }
        self.edit(session, |record| {
            let mut processes = record.processes.to_vec();
            if !processes.contains(&process) {
                if processes.len() >= MAX_PROCESSES {
                    processes.remove(0);
                }
                processes.push(process);
                record.processes = List::truncated(processes);
            }
        });
    }

    fn set_conversation(
        &mut self,
        session: SessionId,
        id: AgentConversation,
        certain: bool,
        fresh: bool,
        now: Now,
    ) {
        let Some(record) = self.local.get(&session).map(|local| local.record.clone()) else { return };
        let changed = record.conversation.as_ref().is_some_and(|known| known.id != id);
        let resumed = record.earlier.contains(&id);
        self.edit(session, |record| {
            let known = record.conversation.as_ref();
            // A guess never unmakes what is certain about the same conversation.
            let certain = certain || known.is_some_and(|known| known.id == id && known.certain);
            if let Some(old) = record.conversation.take().filter(|old| old.id != id && old.certain) {
                remember(record, old.id);
            }
            let mut earlier = record.earlier.to_vec();
            earlier.retain(|known| *known != id);
            record.earlier = List::truncated(earlier);
            record.kept |= certain;
            record.conversation = Some(Conversation { id, certain });
            if resumed {
                record.mark_before_ms = None;
            } else if changed && fresh {
                record.mark_before_ms = Some(now.wall_ms);
            }
        });
        if certain {
            self.mark_earlier(session);
        }
    }

    /// Makes an ended session the mailbox of a new conversation.
    fn take_over(
        &mut self,
        session: SessionId,
        conversation: Option<(AgentConversation, bool)>,
        place: &Place,
        now: Now,
    ) {
        self.edit(session, |record| {
            let old = record.conversation.take();
            if let Some(old) = old {
                remember(record, old.id);
            }
            record.conversation = conversation.map(|(id, certain)| Conversation { id, certain });
            record.processes = List::default();
            record.place = Some(place.clone());
            record.summary = None;
            record.mark_before_ms = Some(now.wall_ms);
            record.ended_ms = None;
        });
        if let Some(local) = self.local.get_mut(&session) {
            local.reach = None;
        }
    }

    /// The one ended session that a new conversation takes over; none when there is another number of them.
    fn one_ended(&self, heir: &Heir<'_>, provisional: bool) -> Option<SessionId> {
        let fits = |local: &Local| {
            let record = &local.record;
            local.ended()
                && record.model != ProcessModel::ByHand
                && record.agent == *heir.agent
                && record.place.as_ref().is_some_and(|place| place.worktree == heir.place.worktree)
                && match heir.wanted {
                    Some(wanted) => record.name == *wanted,
                    None => record.headless == heir.headless,
                }
        };
        let ended: Vec<(&SessionId, &Local)> = self.local.iter().filter(|(_, local)| fits(local)).collect();
        let (provisional_ones, known): (Vec<_>, Vec<_>) =
            ended.into_iter().partition(|(_, local)| local.provisional());
        let candidates = if provisional || known.is_empty() { provisional_ones } else { known };
        match candidates.as_slice() {
            [(session, _)] => Some(**session),
            _ => None,
        }
    }

    fn ended_for(&self, session: SessionId) -> Option<SessionId> {
        let record = &self.local.get(&session)?.record;
        let wanted = (record.origin == NameOrigin::Person).then_some(&record.name);
        let heir =
            Heir { agent: &record.agent, place: record.place.as_ref()?, wanted, headless: record.headless };
        self.one_ended(&heir, false).filter(|ended| *ended != session)
    }

    /// Makes `from` part of `into`; nothing of `from` stays but where its mail went.
    fn merge(&mut self, from: SessionId, into: SessionId) {
        let Some(gone) = self.local.get(&from).map(|local| local.record.clone()) else { return };
        self.forget(from);
        self.command(Command::MoveMail { from, into });
        let repoint: Vec<SessionId> =
            self.aliases.iter().filter(|(_, old)| **old == from).map(|(sid, _)| *sid).chain([from]).collect();
        for alias in repoint {
            self.aliases.insert(alias, into);
            self.command(Command::Change(record::alias_change(alias, Some(into))));
        }
        if gone.origin == NameOrigin::Person {
            let name = self.claim_name(&gone.name, Claim::Person, Some(into));
            self.edit(into, |record| {
                record.name = name;
                record.origin = NameOrigin::Person;
            });
        }
        self.edit(into, |record| {
            let mut processes = record.processes.to_vec();
            processes.extend(gone.processes.iter().filter(|process| !record.processes.contains(process)));
            record.processes = List::truncated(processes);
            if record.summary.is_none() {
                record.summary = gone.summary;
            }
            record.kept |= gone.kept;
        });
    }

    /// Gives a session whose id came the name it would have had, when that is free.
    fn rename_by_place(&mut self, session: SessionId) {
        let Some(record) = self.local.get(&session).map(|local| local.record.clone()) else { return };
        if record.origin == NameOrigin::Place
            && let Some(place) = &record.place
        {
            let claim = if record.headless { Claim::Weak } else { Claim::Place };
            let name = self.claim_name(&place.default_name(), claim, Some(session));
            self.edit(session, |record| record.name = name);
        }
    }

    /// Finds the name for a wish; an ended session that has to give it up gets a number.
    fn claim_name(&mut self, base: &Label, claim: Claim, me: Option<SessionId>) -> Label {
        let Some(holder) = self.holder(base).filter(|holder| Some(*holder) != me) else {
            return base.clone();
        };
        let gives_up = self.local.get(&holder).is_some_and(|local| {
            local.ended()
                && match claim {
                    Claim::Person => true,
                    Claim::Place => local.record.origin == NameOrigin::Place,
                    Claim::Weak => false,
                }
        });
        if gives_up {
            let number = self.free_number(base);
            self.edit(holder, |record| record.name = number);
            return base.clone();
        }
        let mine = me.and_then(|me| self.local.get(&me)).map(|local| local.record.name.clone());
        self.numbered(base, mine.as_ref())
    }

    fn free_number(&self, base: &Label) -> Label {
        self.numbered(base, None)
    }

    /// The first number that makes a name free, or the caller's own.
    fn numbered(&self, base: &Label, mine: Option<&Label>) -> Label {
        let taken: BTreeSet<&Label> =
            self.local.values().map(|local| &local.record.name).filter(|name| Some(*name) != mine).collect();
        // There are fewer names than numbers, so one is found.
        (2..)
            .map(|number| base.numbered(number))
            .find(|name| !taken.contains(name))
            .unwrap_or_else(|| base.clone())
    }

    fn make_room(&mut self) -> Result<(), RegisterError> {
        if self.local.len() < MAX_SESSIONS {
            return Ok(());
        }
        let longest_ended =
            self.local.iter().filter_map(|(sid, local)| Some((local.record.ended_ms?, *sid))).min();
        let (_, sid) = longest_ended.ok_or(RegisterError::TooMany { max: MAX_SESSIONS })?;
        self.let_go(sid);
        Ok(())
    }

    fn insert(&mut self, record: SessionRecord, rng: &mut dyn CryptoRng) -> SessionId {
        let sid = loop {
            let mut bytes = [0; SessionId::BYTES];
            rng.fill_bytes(&mut bytes);
            let sid = SessionId::from_bytes(bytes);
            if !self.local.contains_key(&sid) && !self.aliases.contains_key(&sid) {
                break sid;
            }
        };
        self.local.insert(sid, Local::new(record));
        self.touch(sid);
        sid
    }

    fn forget(&mut self, session: SessionId) {
        self.local.remove(&session);
        self.touch(session);
    }

    fn placed(&self, session: SessionId, how: PlacedHow) -> Placed {
        let name = self.local.get(&session).map(|local| local.record.name.clone());
        Placed { session, name: name.unwrap_or_else(|| Label::reduce("", "session")), how }
    }
}

/// What decides which ended session a conversation takes over.
struct Heir<'a> {
    agent: &'a Label,
    place: &'a Place,
    wanted: Option<&'a Label>,
    headless: bool,
}

fn remember(record: &mut SessionRecord, id: AgentConversation) {
    let mut earlier = record.earlier.to_vec();
    earlier.retain(|known| *known != id);
    if earlier.len() >= MAX_EARLIER {
        earlier.remove(0);
    }
    earlier.push(id);
    record.earlier = List::truncated(earlier);
}
