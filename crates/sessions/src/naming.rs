//! Who is called what.

use std::collections::BTreeSet;

use penpal_protocol::ids::SessionId;
use penpal_protocol::text::Label;
use penpal_protocol::time::Now;
use rand_core::CryptoRng;

use crate::error::{CloseError, NameError, RegisterError};
use crate::input::{Placed, PlacedHow, ProcessModel};
use crate::life::Local;
use crate::machine::Sessions;
use crate::record::{NameOrigin, SessionRecord};

/// How strong the wish for a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A person wants it: an ended session gives it up.
    Person,
    /// It follows from the place: an ended session gives it up unless a person named it.
    Place,
    /// A session that may turn out to be another, or that nobody watches: takes only what is free.
    Weak,
}

impl Sessions {
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

    /// The session that has a name.
    pub(crate) fn holder(&self, name: &Label) -> Option<SessionId> {
        self.local.iter().find(|(_, local)| local.record.name == *name).map(|(sid, _)| *sid)
    }

    /// Gives a session whose id came the name it would have had, when that is free.
    pub(crate) fn rename_by_place(&mut self, session: SessionId) {
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
    pub(crate) fn claim_name(&mut self, base: &Label, claim: Claim, me: Option<SessionId>) -> Label {
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

    pub(crate) fn free_number(&self, base: &Label) -> Label {
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
}
