//! The end of a world, held against what people were told.

use std::collections::BTreeMap;
use std::time::Duration;

use penpal_local_api::artifact::GetRequest;
use penpal_local_api::caller::Caller;
use penpal_local_api::mail::{InboxRequest, Message, OutboxRequest, Stage};
use penpal_local_api::methods::{ArtifactGet, Call, Inbox, Outbox};
use penpal_store::disk::Crash;
use tokio::time::sleep;

use super::World;
use super::people::mark_of;
use crate::ledger::{Dest, Ledger, Told, Written};

/// A message that comes before an earlier one is hidden for two seconds.
const LONGEST_GAP: Duration = Duration::from_secs(3);

/// What one node has at the end.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Messages received, in the order in which they are listed.
    pub(super) received: Vec<Message>,
    /// What became of messages sent, by mark.
    pub(super) sent: BTreeMap<String, Sent>,
}

/// What its writer's node says of a message.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) copies: Vec<Copy>,
}

/// What it says of the copy for one device.
#[derive(Debug)]
pub(super) struct Copy {
    /// Whose device it is; nothing for this machine and for contacts that are gone.
    pub(super) person: Option<usize>,
    /// Name of the device.
    pub(super) device: String,
    pub(super) stage: Stage,
    pub(super) reason: Option<String>,
}

impl World {
    pub(super) async fn check(&self) {
        // What counts is what a power cut leaves.
        for node in self.nodes.borrow().iter() {
            node.kill(Crash::LoseAll);
        }
        // What everybody says first, then what is there: mail between people who were parted may still be on its way.
        // Agents go on writing meanwhile; that is not looked at.
        let written = self.ledger.borrow().written.clone();
        let people = self.plan.machines();
        let mut said = Vec::new();
        for who in people.clone() {
            self.wait_until_up(who).await;
            said.push(self.said_by(who).await);
        }
        sleep(LONGEST_GAP).await;
        let mut ends = Vec::new();
        for (who, sent) in people.zip(said) {
            match (sent, self.received_by(who).await) {
                (Some(sent), Some(received)) => ends.push(End { received, sent }),
                (None, _) | (_, None) => {
                    self.blame(format!("p{who} cannot say what it has"));
                    return;
                }
            }
        }
        self.note_rooms().await;
        self.count_rooms(&ends);
        let mut found = self.compare(&written, &ends);
        found.extend(self.files_of(&ends).await);
        for what in found {
            self.blame(what);
        }
    }

    /// What is there, against what people were told.
    fn compare(&self, all: &BTreeMap<String, Written>, ends: &[End]) -> Vec<String> {
        let mut found = Vec::new();
        let ledger = self.ledger.borrow();
        for (who, end) in ends.iter().enumerate() {
            self.received(&ledger, who, &end.received, &mut found);
        }
        for (mark, written) in all {
            let Dest::Person(to) = written.to else { continue };
            let sent = ends[written.from].sent.get(mark);
            let mut wrong = |fault: &str, machine: usize| {
                found.push(format!("{mark} from m{} to m{machine} of p{to}: {fault}", written.from));
            };
            if sent.is_none() && written.told == Told::Accepted && !written.forgotten {
                wrong("its writer was told that it is durable, and it is forgotten", to);
            }
            for machine in self.plan.machines_of(to) {
                let there = ends[machine]
                    .received
                    .iter()
                    .any(|message| mark_of(&message.body) == Some(mark.as_str()));
                if written.told == Told::Denied && (there || sent.is_some()) {
                    wrong("its writer was told that it was not sent", machine);
                    continue;
                }
                let copies = sent.map(|sent| sent.copies.as_slice()).unwrap_or_default();
                match ledger.copy_for(written.from, machine, copies, |copy| &copy.device) {
                    Some(copy) => {
                        let fault = fate(&ledger, written, machine, copy.stage, there);
                        fault.into_iter().for_each(|fault| wrong(&format!("{fault} ({copies:?})"), machine));
                    }
                    None if ledger.are_alike(written.from, machine) => {}
                    None if there && sent.is_some() => wrong("it is there, and was not sent there", machine),
                    None => {}
                }
            }
        }
        self.compare_rooms(&ledger, all, ends, &mut found);
        self.compare_devices(&ledger, ends, &mut found);
        found
    }

    async fn received_by(&self, who: usize) -> Option<Vec<Message>> {
        let request = InboxRequest { all: true, ..InboxRequest::default() };
        Some(self.node(who).call::<Inbox>(Call::Inbox(request)).await.ok()?.messages)
    }

    async fn said_by(&self, who: usize) -> Option<BTreeMap<String, Sent>> {
        let request = OutboxRequest { all: true, ..OutboxRequest::default() };
        let sent = self.node(who).call::<Outbox>(Call::Outbox(request)).await.ok()?.messages;
        let marked = sent.into_iter().filter_map(|one| {
            let copies = one.copies.into_iter().map(|copy| Copy {
                person: copy.contact.as_deref().and_then(|name| self.number_of(name)),
                device: copy.device,
                stage: copy.stage,
                reason: copy.reason,
            });
            let copies = copies.collect();
            Some((mark_of(&one.body)?.to_owned(), Sent { copies }))
        });
        Some(marked.collect())
    }

    /// Whoever has a message can have its files, and they are what was sent.
    async fn files_of(&self, ends: &[End]) -> Vec<String> {
        let mut found = Vec::new();
        for (who, end) in ends.iter().enumerate() {
            for message in &end.received {
                let Some(mark) = mark_of(&message.body) else { continue };
                let sent = self.ledger.borrow().files.get(mark).cloned();
                let from = self.ledger.borrow().written.get(mark).map(|written| written.from);
                let names: Vec<&str> = message.artifacts.iter().map(|file| file.hash.as_str()).collect();
                if names != sent.iter().map(String::as_str).collect::<Vec<_>>() {
                    found.push(format!("p{who} has {mark} with other files than it was sent with"));
                }
                let (Some(hash), Some(from)) = (sent, from) else { continue };
                let outcome = self.fetch(who, &hash).await;
                let excused = {
                    let ledger = self.ledger.borrow();
                    // A file is asked for at one's own relay and at that of a contact; and a relay that was put back may not have it.
                    ledger.are_parted(who, from) || ledger.relay_restored
                };
                match outcome {
                    Ok(content) if blake3::hash(&content).to_hex().as_str() == hash => {}
                    Ok(_) => found.push(format!("p{who} has another file with {mark} than was sent")),
                    Err(_) if excused => {}
                    Err(why) => found.push(format!("p{who} cannot have the file of {mark}: {why}")),
                }
            }
        }
        found
    }

    async fn fetch(&self, who: usize, hash: &str) -> Result<Vec<u8>, String> {
        let mut why = String::new();
        for _ in 0..60 {
            let request = GetRequest { caller: Caller::default(), hash: hash.to_owned(), wait_ms: 10_000 };
            match self.node(who).call::<ArtifactGet>(Call::ArtifactGet(request)).await {
                Ok(got) => match got.path {
                    Some(path) => return std::fs::read(path).map_err(|error| error.to_string()),
                    None => why = got.waits_for.unwrap_or_default(),
                },
                Err(error) => why = error.to_string(),
            }
            sleep(Duration::from_secs(1)).await;
        }
        Err(why)
    }

    /// Nothing twice, nothing that was not sent, and in order.
    fn received(&self, ledger: &Ledger, who: usize, messages: &[Message], found: &mut Vec<String>) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last: BTreeMap<usize, usize> = BTreeMap::new();
        for message in messages {
            let Some((mark, written)) =
                mark_of(&message.body).and_then(|mark| Some((mark, ledger.written.get(mark)?)))
            else {
                found.push(format!("p{who} has a message that nobody wrote"));
                continue;
            };
            let times = seen.entry(mark).or_default();
            *times += 1;
            if *times == 2 {
                found.push(format!("p{who} has {mark} twice"));
            }
            let from = self.number_of(&message.from);
            let writer = ledger.person(written.from);
            // Whoever was removed has no name any more.
            let nameless = from.is_none() && ledger.are_parted(who, written.from);
            let meant = match written.to {
                Dest::Person(to) => to == ledger.person(who) && message.room.is_none(),
                Dest::Room(room) => message.room.as_deref().is_some_and(|name| self.is_room(room, name)),
            };
            if !meant || (from != Some(writer) && !nameless) {
                found.push(format!("p{who} has {mark} from {}, and that is not who wrote it", message.from));
            }
            // A message with files goes when they are at the relay, and what was written meanwhile does not wait for it.
            if ledger.files.contains_key(mark) {
                continue;
            }
            let latest = last.entry(written.from).or_insert(written.number);
            let excused = message.marks.iter().any(|mark| mark == "late")
                || ledger.unsteady.contains(&who)
                || ledger.unsteady.contains(&written.from);
            if written.number < *latest && !excused {
                found.push(format!("p{who} has {mark} behind #{latest} of p{}", written.from));
            }
            *latest = written.number.max(*latest);
        }
    }
}

/// What is wrong with the end of a message, if anything is.
fn fate(ledger: &Ledger, written: &Written, to: usize, stage: Stage, there: bool) -> Option<&'static str> {
    let parted = ledger.are_parted(written.from, to) || ledger.is_way_lost(written.from, to);
    let wrong_clock = ledger.wrong_clock.contains(&written.from) || ledger.wrong_clock.contains(&to);
    let cut_off = |machine: usize| ledger.revoked.contains_key(&machine);
    match stage {
        Stage::Delivered | Stage::Held | Stage::Surfaced | Stage::Answered => {
            // Nobody sends again what a removed contact or a revoked device has lost or had sent, or what was over by then; and a relay that was put back,
            // too, does not know that the node was.
            let cut_off = cut_off(to) || cut_off(written.from);
            let gone = parted || written.may_expire || ledger.relay_restored || cut_off;
            let lost = written.lost_by.contains(&to) || (gone && ledger.unsteady.contains(&to));
            (!there && !lost).then_some("said to be delivered, and is not there")
        }
        // Whoever removes a contact gives up what is under way: some of it arrives.
        // What became of it on a device that was cut off, that device tells nobody.
        Stage::Refused if there => (!parted && !cut_off(to)).then_some("said to be refused, and is there"),
        Stage::Refused => (!parted && !cut_off(to)).then_some("refused without a reason"),
        // Of two that run, one may have got the receipt; and whoever removed a contact sends it none.
        Stage::Expired if there => {
            // A receipt that was lost with an old way, a relay's newest rows or the keys that it was for comes again only after an hour.
            let lost = ledger.is_way_renewed(written.from, to)
                || ledger.relay_restored
                || ledger.keys_lost.contains(&written.from);
            let unreceipted = written.may_expire && lost;
            let excused = unreceipted || parted || ledger.unsteady.contains(&written.from);
            (!excused).then_some("said to be expired, and is there")
        }
        Stage::Expired => {
            (!written.may_expire && !wrong_clock && !parted).then_some("expired within its life")
        }
        Stage::Queued | Stage::Relayed => {
            (!parted && !cut_off(written.from)).then_some("never came to an end")
        }
    }
}
