//! The demo's agent: answers every ask that comes to its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use penpal_local_api::mail::{InboxRequest, Kind, ReadRequest, SendRequest};
use penpal_local_api::methods::{Inbox, Read, Send};

use super::world::Person;

/// How long one look waits for mail.
const WAIT: Duration = Duration::from_millis(500);

/// An agent that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Echo {
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    /// Starts the agent in a person's session.
    pub(super) fn start(person: &Person) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (person, seen) = (person.clone(), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                answer_all(&person);
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            drop(joined);
        }
    }
}

fn answer_all(person: &Person) {
    let request = InboxRequest {
        session: Some(person.session.clone()),
        wait_ms: u64::try_from(WAIT.as_millis()).unwrap_or_default(),
        ..InboxRequest::default()
    };
    let Ok(inbox) = person.node.call::<Inbox>(&request) else { return };
    for message in inbox.messages.iter().filter(|message| message.kind == Kind::Ask) {
        let read = ReadRequest {
            caller: penpal_local_api::caller::Caller::default(),
            id: message.id.clone(),
            thread: false,
        };
        let Ok(read) = person.node.call::<Read>(&read) else { return };
        let answer = SendRequest {
            caller: penpal_local_api::caller::Caller::default(),
            to: None,
            text: format!("yes: {}", read.message.body),
            subject: None,
            ask: false,
            reply_to: Some(message.id.clone()),
            from_session: None,
            anyway: false,
            artifacts: Vec::new(),
            life_ms: None,
            wait_ms: Some(0),
            mechanism: None,
        };
        let sent = person.node.call::<Send>(&answer);
        drop(sent);
    }
}
