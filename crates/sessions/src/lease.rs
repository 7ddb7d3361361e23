//! Mailboxes as leases: who takes over, and what is merged.

use penpal_protocol::cbor::List;
use penpal_protocol::ids::SessionId;
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use rand_core::CryptoRng;

use crate::command::Command;
use crate::error::{RegisterError, UnknownSession};
use crate::input::{
    AgentConversation, Binding, Place, Placed, PlacedHow, ProcessModel, ProcessRef, Registration,
};
use crate::life::Local;
use crate::machine::Sessions;
use crate::naming::Claim;
use crate::record::{self, Conversation, MAX_EARLIER, MAX_PROCESSES, NameOrigin, SessionRecord};

/// How long an ended session keeps its name and takes mail, in milliseconds: 30 days, the longest life of a message.
pub const ENDED_NAME_LIFE_MS: u64 = penpal_protocol::limits::MAX_MESSAGE_LIFE_MS;

/// Most local sessions, ended ones included. The longest ended goes first; when all are live, no more are made.
pub const MAX_SESSIONS: usize = 1_000;

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
        let heir = Heir { agent: &agent, place: &place, wanted: wanted.as_ref(), displaced: false, headless };
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
                    Some(wanted) if heir.displaced => {
                        record.origin == NameOrigin::Person && is_numbered(&record.name, wanted)
                    }
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
        let (place, headless) = (record.place.as_ref()?, record.headless);
        let heir = |displaced| Heir { agent: &record.agent, place, wanted, displaced, headless };
        // When its name was wanted before its id came, the ended one gave that name up for a number.
        let found = self.one_ended(&heir(false), false);
        found.or_else(|| self.one_ended(&heir(true), false)).filter(|ended| *ended != session)
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
            // What was hidden stays hidden; what it was granted is not passed on.
            record.hidden |= gone.hidden;
        });
    }

    pub(crate) fn make_room(&mut self) -> Result<(), RegisterError> {
        if self.local.len() < MAX_SESSIONS {
            return Ok(());
        }
        let longest_ended =
            self.local.iter().filter_map(|(sid, local)| Some((local.record.ended_ms?, *sid))).min();
        let (_, sid) = longest_ended.ok_or(RegisterError::TooMany { max: MAX_SESSIONS })?;
        self.let_go(sid);
        Ok(())
    }

    pub(crate) fn insert(&mut self, record: SessionRecord, rng: &mut dyn CryptoRng) -> SessionId {
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

    pub(crate) fn placed(&self, session: SessionId, how: PlacedHow) -> Placed {
        let name = self.local.get(&session).map(|local| local.record.name.clone());
        Placed { session, name: name.unwrap_or_else(|| Label::reduce("", "session")), how }
    }
}

/// What decides which ended session a conversation takes over.
struct Heir<'a> {
    agent: &'a Label,
    place: &'a Place,
    wanted: Option<&'a Label>,
    /// Who had the wanted name and has a number behind it now.
    displaced: bool,
    headless: bool,
}

fn is_numbered(name: &Label, base: &Label) -> bool {
    let number = name.as_str().rsplit_once('-').and_then(|(_, number)| number.parse().ok());
    number.is_some_and(|number| base.numbered(number) == *name)
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
