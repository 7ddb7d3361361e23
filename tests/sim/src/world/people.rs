//! Those who write and read: people at their desks, agents in their sessions.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use penpal_local_api::artifact::GetRequest;
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ErrorCode;
use penpal_local_api::mail::{Attached, CommitRequest, Message, SendRequest, TakeRequest};
use penpal_local_api::methods::{ArtifactGet, ArtifactPut, Call, Commit, Send, Take};
use tokio::time::sleep;

use super::World;
use crate::ledger::{Dest, Told, Written};
use crate::party::CallError;
use crate::plan::{Letter, Parcel};

/// The mark by which a message is known again.
pub(super) fn mark_of(text: &str) -> Option<&str> {
    text.split_whitespace().find(|word| word.starts_with('#'))
}

impl World {
    /// Notes that somebody begins to write; answers mark and text.
    pub(super) fn begin(&self, from: usize, to: Dest, may_expire: bool, bytes: usize) -> (String, String) {
        let mut ledger = self.ledger.borrow_mut();
        let number = ledger.written.len();
        let mark = format!("#{number}");
        let written = Written {
            from,
            to,
            number,
            told: Told::Nothing,
            id: None,
            may_expire,
            forgotten: false,
            lost_by: BTreeSet::new(),
        };
        ledger.written.insert(mark.clone(), written);
        let text = format!("{} {mark} {}", self.canary, "x".repeat(bytes));
        (mark, text)
    }

    /// Sends, and notes what the writer is told.
    pub(super) async fn send(&self, from: usize, mark: String, request: SendRequest) {
        let sent = self.node(from).call::<Send>(Call::Send(request)).await;
        let mut ledger = self.ledger.borrow_mut();
        let Some(written) = ledger.written.get_mut(&mark) else { return };
        (written.told, written.id) = match sent {
            Ok(sent) => (Told::Accepted, Some(sent.id)),
            Err(CallError::Down) => (Told::Denied, None),
            // A node whose disk fails cannot know what is on it.
            Err(CallError::Api(error)) if error.code == ErrorCode::HomeUnusable => (Told::Nothing, None),
            Err(CallError::Api(error)) if error.code == ErrorCode::NoNode => (Told::Nothing, None),
            Err(CallError::Api(_)) => (Told::Denied, None),
            Err(CallError::Unknown) => (Told::Nothing, None),
        };
    }

    /// Somebody writes a letter of the plan.
    pub(super) async fn write(self: Rc<Self>, letter: Letter) {
        let person = self.plan.person(letter.to);
        let to = self.node(person).name.clone();
        let to = if letter.session { format!("{to}/{}", self.session_of(letter.to)) } else { to };
        let (mark, text) =
            self.begin(letter.from, Dest::Person(person), letter.life_ms.is_some(), letter.bytes);
        let request = SendRequest {
            to: Some(to),
            life_ms: letter.life_ms,
            subject: (letter.bytes.is_multiple_of(2)).then(|| self.canary.clone()),
            ..plain(text)
        };
        self.send(letter.from, mark, request).await;
    }

    /// Somebody sends a file of the plan.
    pub(super) async fn send_file(self: Rc<Self>, parcel: Parcel) {
        let node = self.node(parcel.from);
        let name = format!("{}-{}.bin", self.canary, parcel.at_ms);
        let content = format!("{} {} ", self.canary, parcel.at_ms).into_bytes();
        let content: Vec<u8> = content.into_iter().cycle().take(parcel.bytes).collect();
        let Ok(request) = node.bring(&name, &content) else { return };
        let Ok(put) = node.call::<ArtifactPut>(Call::ArtifactPut(request)).await else { return };
        let (mark, text) = self.begin(parcel.from, Dest::Person(parcel.to), false, 20);
        self.ledger.borrow_mut().files.insert(mark.clone(), put.hash.clone());
        let request = SendRequest {
            to: Some(format!("{}/{}", self.node(parcel.to).name, self.canary)),
            artifacts: vec![Attached { hash: put.hash, name }],
            ..plain(text)
        };
        self.send(parcel.from, mark, request).await;
    }

    /// An agent that takes its session's mail now and then, and answers some of it.
    pub(super) async fn read(self: Rc<Self>, who: usize) {
        let mut dice = self.dice(&format!("reader {who}"));
        let caller = Caller { wanted_name: Some(self.session_of(who)), ..Caller::default() };
        loop {
            // In the hours after the storm nobody is in a hurry.
            let pace = if self.ledger.borrow().storm_ended > 0 { 10 } else { 1 };
            sleep(Duration::from_millis(dice.between(1_000, 9_000) * pace)).await;
            let request = TakeRequest {
                caller: caller.clone(),
                mechanism: Some("mcp".to_owned()),
                limit: Some(u32::try_from(dice.between(1, 6)).unwrap_or(1)),
                ..TakeRequest::default()
            };
            let node = self.node(who);
            let Ok(taken) = node.call::<Take>(Call::Take(request)).await else { continue };
            let Some(lease) = taken.lease else { continue };
            sleep(Duration::from_millis(dice.below(800))).await;
            // Some agents die before they have shown it.
            if dice.chance(100) {
                continue;
            }
            let committed = node.call::<Commit>(Call::Commit(CommitRequest { lease })).await;
            if committed.is_err() || !Rc::ptr_eq(&node, &self.node(who)) {
                continue;
            }
            self.shown(who, &taken.messages);
            for file in taken.messages.iter().flat_map(|message| &message.artifacts) {
                // It is fetched from now on, whatever happens.
                let request = GetRequest { caller: Caller::default(), hash: file.hash.clone(), wait_ms: 0 };
                drop(node.call::<ArtifactGet>(Call::ArtifactGet(request)).await);
            }
            for message in &taken.messages {
                if !dice.chance(150) {
                    continue;
                }
                if message.room.is_some() {
                    self.answer_in_room(who, message).await;
                } else if let Some(from) = self.number_of(&message.from) {
                    let (mark, text) = self.begin(who, Dest::Person(from), false, 20);
                    let request = SendRequest { reply_to: Some(message.id.clone()), ..plain(text) };
                    self.send(who, mark, request).await;
                }
            }
        }
    }

    fn shown(&self, who: usize, messages: &[Message]) {
        let mut ledger = self.ledger.borrow_mut();
        for message in messages {
            let Some(mark) = mark_of(&message.body) else { continue };
            let shown = ledger.shown.entry(who).or_default();
            let twice = shown.iter().any(|one| one == mark);
            shown.push(mark.to_owned());
            if twice {
                ledger.blame(format!("{mark} was shown to p{who} twice"));
            }
        }
    }

    /// Which person an address is of.
    pub(super) fn number_of(&self, address: &str) -> Option<usize> {
        let name = address.split('/').next()?;
        self.nodes.borrow()[..self.plan.homes.len()].iter().position(|node| node.name == name)
    }
}

pub(super) fn plain(text: String) -> SendRequest {
    SendRequest {
        caller: Caller::default(),
        to: None,
        text,
        subject: None,
        ask: false,
        reply_to: None,
        from_session: None,
        anyway: true,
        artifacts: Vec::new(),
        life_ms: None,
        wait_ms: Some(0),
        mechanism: None,
    }
}
