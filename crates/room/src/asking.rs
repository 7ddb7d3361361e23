//! Asking contacts for entries, and answering them: each at most once in a while.

use std::time::Duration;

use penpal_protocol::ids::{Fingerprint, RoomId, ShortHash};
use penpal_protocol::limits::DAY_MS;
use penpal_protocol::sealed::{RoomHead, RoomNews};

use crate::machine::{Room, Rooms, Step, no_news};
use crate::news::told_up_to;
use crate::record::Standing;

/// How long the same contact is not asked again for entries of the same room, nor answered.
const AGAIN: Duration = Duration::from_secs(30);

/// After so long without a word of its owner a room is asked for, in milliseconds: news of a room live 30 days, so whoever was away for longer
/// may have missed that it is out.
const SILENCE_MS: u64 = 25 * DAY_MS;

/// Without an entry everything is newer.
pub(crate) const NOTHING: RoomHead = RoomHead { epoch: 0, entry: ShortHash::from_bytes([0; 16]) };

/// A contact that was asked for entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// When, on the monotonic clock.
    at: Duration,
    /// There was reason to ask since.
    pub(crate) again: bool,
}

/// Most replies to one contact in that time about rooms in which it is not, or that are not known.
const MAX_REPLIES: u8 = 8;

/// A contact that was sent such replies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replied {
    /// Since when they are counted, on the monotonic clock.
    since: Duration,
    count: u8,
}

/// A contact that was sent entries.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    /// When, on the monotonic clock.
    at: Duration,
    /// It asked since, and has this.
    owed: Option<RoomHead>,
}

impl Rooms {
    /// When somebody is to be asked or answered again.
    pub(crate) fn asking_due(&self) -> Option<Duration> {
        let asked = self.rooms.values().flat_map(|room| room.asked.values());
        let asked = asked.filter(|asked| asked.again).map(|asked| asked.at);
        let answered = self.rooms.values().flat_map(|room| room.answered.values());
        let owed = answered.filter(|answered| answered.owed.is_some()).map(|answered| answered.at);
        asked.chain(owed).min().map(|at| at.saturating_add(AGAIN))
    }

    /// Does what was put off.
    pub(crate) fn ask_again(&mut self, id: &RoomId, step: &Step<'_>) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let due = |at: Duration| at.saturating_add(AGAIN) <= step.now.mono;
        let ask = room.asked.iter().filter(|(_, asked)| asked.again && due(asked.at));
        let ask: Vec<Fingerprint> = ask.map(|(whom, _)| *whom).collect();
        let owing = room.answered.iter_mut().filter(|(_, answered)| due(answered.at));
        let owed: Vec<(Fingerprint, RoomHead)> =
            owing.filter_map(|(whom, answered)| Some((*whom, answered.owed.take()?))).collect();
        for whom in ask {
            self.ask(id, whom, step);
        }
        for (whom, have) in owed {
            self.answer(id, whom, &have, step);
        }
    }

    /// Asks a contact for what is newer than what is here.
    pub(crate) fn ask(&mut self, id: &RoomId, whom: Fingerprint, step: &Step<'_>) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let Some(me) = step.me else { return };
        let now = step.now.mono;
        if let Some(asked) = room.asked.get_mut(&whom)
            && now < asked.at.saturating_add(AGAIN)
        {
            asked.again = true;
            return;
        }
        room.asked.insert(whom, Asked { at: now, again: false });
        // Asking says what is here, so whoever is out is asked from there on, and a stranger for all.
        let chain = room.log.chain();
        let told = told_up_to(&chain, &whom, &me.account).and_then(|told| chain.get(told.checked_sub(1)?));
        let have =
            told.map_or(NOTHING, |signed| RoomHead { epoch: signed.entry().epoch, entry: signed.name() });
        self.send(whom, RoomNews { have: Some(have), ..no_news(id) });
    }

    /// Whether a contact may be sent one more reply about a room in which it is not, or that is not known.
    pub(crate) fn may_reply(&mut self, whom: &Fingerprint, step: &Step<'_>) -> bool {
        let now = step.now.mono;
        self.replied.retain(|_, replied| now < replied.since.saturating_add(AGAIN));
        let replied = self.replied.entry(*whom).or_insert(Replied { since: now, count: 0 });
        replied.count = replied.count.saturating_add(1);
        replied.count <= MAX_REPLIES
    }

    /// A contact can be written to again after it was shut out: it is told what it missed, and asked for what was missed here.
    pub fn handle_contact_back(&mut self, account: &Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        let Some(me) = step.me else { return };
        let ids: Vec<(RoomId, Fingerprint)> =
            self.rooms.values().map(|room| (room.record.id, room.record.owner)).collect();
        for (id, owner) in ids {
            if owner == me.account {
                self.answer(&id, *account, &NOTHING, step);
            } else if owner == *account {
                self.ask(&id, owner, step);
            }
        }
    }

    /// Members refuse what is said here in a room: the owner is asked whether this account is still in it.
    pub fn handle_doubt(&mut self, id: &RoomId, step: &mut Step<'_>) {
        self.begin(step);
        let Some(me) = step.me else { return };
        let owner = self.rooms.get(id).filter(|room| room.record.standing == Standing::Member);
        if let Some(owner) = owner.map(|room| room.record.owner).filter(|owner| *owner != me.account) {
            self.ask(id, owner, step);
        }
    }

    /// The owner said something of its room.
    pub(crate) fn heard_of(&mut self, id: &RoomId, from: &Fingerprint, step: &Step<'_>) {
        let Some(room) = self.rooms.get_mut(id).filter(|room| room.record.owner == *from) else { return };
        let now = step.now.wall_ms;
        // Once a day is enough to know.
        if room.record.heard_ms.is_none_or(|heard| heard.saturating_add(DAY_MS) <= now) {
            room.record.heard_ms = Some(now);
            self.save(id);
        }
    }

    /// Asks the owners of rooms that are long silent whether this account is still in them. Once, and again after as long.
    pub(crate) fn ask_after_silence(&mut self, step: &Step<'_>) {
        let now = step.now.wall_ms;
        let is_silent = |room: &&mut Room| {
            let heard = room.record.heard_ms.unwrap_or(room.record.since_ms);
            let waits = matches!(room.record.standing, Standing::Member | Standing::Joining);
            waits && heard.saturating_add(SILENCE_MS) <= now
        };
        let foreign =
            self.rooms.values_mut().filter(|room| step.me.is_some_and(|me| me.account != room.record.owner));
        let mut silent = Vec::new();
        for room in foreign.filter(is_silent) {
            room.record.heard_ms = Some(now);
            silent.push((room.record.id, room.record.owner));
        }
        for (id, owner) in silent {
            self.save(&id);
            self.ask(&id, owner, step);
        }
    }

    /// Asks the owners of rooms that are being joined what became of it: a copy that was taken as the node ran may be from before the answer,
    /// and looks like a crash to everybody.
    pub(crate) fn ask_for_answers(&mut self, step: &Step<'_>) {
        let Some(me) = step.me else { return };
        let joining = self
            .rooms
            .values()
            .filter(|room| room.record.standing == Standing::Joining && room.record.owner != me.account);
        let asks: Vec<(RoomId, Fingerprint)> =
            joining.map(|room| (room.record.id, room.record.owner)).collect();
        for (id, owner) in asks {
            self.ask(&id, owner, step);
        }
    }

    /// Whether a contact may be sent entries now; otherwise it is owed what comes after `have`.
    pub(crate) fn may_answer(
        &mut self,
        id: &RoomId,
        whom: Fingerprint,
        have: &RoomHead,
        step: &Step<'_>,
    ) -> bool {
        let Some(room) = self.rooms.get_mut(id) else { return false };
        let now = step.now.mono;
        if let Some(answered) = room.answered.get_mut(&whom)
            && now < answered.at.saturating_add(AGAIN)
        {
            // Two of its devices may have different things: then it is sent all.
            let same = answered.owed.as_ref().is_none_or(|owed| owed == have);
            answered.owed = Some(if same { *have } else { NOTHING });
            return false;
        }
        room.answered.insert(whom, Answered { at: now, owed: None });
        true
    }

    /// What is stored here is an older copy: whoever may know better is asked.
    pub fn handle_rolled_back(&mut self, step: &mut Step<'_>) {
        self.begin(step);
        let Some(me) = step.me else { return };
        let mut asks = Vec::new();
        for room in self.rooms.values() {
            if !matches!(room.record.standing, Standing::Member | Standing::Joining) {
                continue;
            }
            let members = room.log.membership().map(|now| now.accounts()).unwrap_or_default();
            let mut whom = if room.record.owner == me.account { members } else { vec![room.record.owner] };
            whom.retain(|account| *account != me.account);
            // Our other devices know what was decided there.
            whom.extend(me.shared.then_some(me.account));
            asks.extend(whom.into_iter().map(|whom| (room.record.id, whom)));
        }
        for (id, whom) in asks {
            self.ask(&id, whom, step);
        }
    }

    /// A contact's device is an older copy of itself: from whoever is in a room of its account that knows more it hears what it forgot. It asks
    /// those whom it remembers; others come by themselves.
    pub fn handle_contact_rolled_back(&mut self, account: &Fingerprint, step: &mut Step<'_>) {
        self.begin(step);
        if step.me.is_some_and(|me| me.account == *account) {
            return self.tell_devices(step);
        }
        let in_it = |standing| matches!(standing, Standing::Member | Standing::Joining);
        let theirs =
            self.rooms.values().filter(|room| room.record.owner == *account && in_it(room.record.standing));
        let ids: Vec<RoomId> = theirs.map(|room| room.record.id).collect();
        for id in ids {
            self.ask(&id, *account, step);
        }
    }
}
