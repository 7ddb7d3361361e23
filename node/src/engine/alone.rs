//! An engine by itself, for tests: over a store in memory, with nobody to talk to, on clocks that tests put forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use penpal_delivery::{Destination, Mailbox, NewMessage};
use penpal_local_api::account::RegisterRequest;
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ApiError;
use penpal_local_api::home::Home;
use penpal_local_api::methods::Call;
use penpal_protocol::cbor::{List, Text};
use penpal_protocol::ids::{Hash, RelayPin};
use penpal_protocol::sealed::{ArtifactRef, Content, Kind, Letter};
use penpal_protocol::text::{HostPort, RelayAddress};
use penpal_seal::MemoryKeys;
use penpal_store::MemStore;
use tempfile::TempDir;

use super::artifacts::ContentRow;
use super::{CallId, Clock, Engine, Input, Output, Parts, Rng};
use crate::config::Config;
use crate::daemon::transfer::{TransferJob, TransferOrder};
use crate::files::shelf::Shelf;

/// An engine and its clocks.
pub(super) struct Alone {
    pub(super) engine: Engine,
    ahead_ms: Arc<AtomicU64>,
    calls: u64,
    _folder: TempDir,
}

/// A relay at some port of this machine.
pub(super) fn relay(pin: u8, port: u16) -> RelayAddress {
    let at = HostPort { host: std::net::IpAddr::from([127, 0, 0, 1]).into(), port };
    RelayAddress { at, pin: RelayPin::from_bytes([pin; RelayPin::BYTES]) }
}

impl Alone {
    /// One that asked a relay for an account, and so has a home.
    pub(super) fn with_home(home: &RelayAddress) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let at = Home::at(folder.path());
        let parts = Parts {
            shelf: Shelf::of(&at),
            home: at,
            config: Config::default(),
            store: Box::new(MemStore::new()),
            search: None,
            keys: Box::new(MemoryKeys::default()),
            clock: Clock::ahead_for_tests(Arc::clone(&ahead_ms)),
            rng: Rng::system(),
        };
        let engine = Engine::open(parts).unwrap();
        let mut alone = Self { engine, ahead_ms, calls: 0, _folder: folder };
        let request = RegisterRequest {
            caller: Caller::default(),
            address: home.to_string(),
            handle: "alice".to_owned(),
            device: Some("laptop".to_owned()),
            token: None,
        };
        alone.step(vec![]);
        alone.call(Call::Register(request));
        alone
    }

    /// One step; gives what it says.
    pub(super) fn step(&mut self, inputs: Vec<Input>) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.engine.step(inputs, &mut |output| outputs.push(output)).unwrap();
        outputs
    }

    /// Time passes, and what is due then is done.
    pub(super) fn pass(&mut self, span: Duration) -> Vec<Output> {
        let ms = u64::try_from(span.as_millis()).unwrap();
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
        self.step(vec![])
    }

    /// A call as an input.
    pub(super) fn input(&mut self, call: Call) -> Input {
        self.calls += 1;
        Input::Call { id: CallId(self.calls), call: Box::new(call) }
    }

    /// Calls in a step of its own.
    pub(super) fn call(&mut self, call: Call) -> Vec<Output> {
        let input = self.input(call);
        self.step(vec![input])
    }

    /// Puts a content on the shelf.
    pub(super) fn keep(&mut self, content: &[u8]) -> Hash {
        let hash = Hash::from_bytes(*blake3::hash(content).as_bytes());
        let path = self.engine.shelf.path(&hash);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        let (bytes, ms) = (u64::try_from(content.len()).unwrap(), self.engine.clock.now().wall_ms);
        let row = ContentRow { bytes, name: Default::default(), since_ms: ms, used_ms: ms };
        self.engine.save_content_row(&hash, &row);
        self.step(vec![]);
        hash
    }
}

/// The answer to a call among what a step said; `None` when it waits.
pub(super) fn answer(outputs: Vec<Output>) -> Option<Result<serde_json::Value, ApiError>> {
    outputs.into_iter().find_map(|output| match output {
        Output::Answer { outcome, .. } => {
            Some(outcome.map(|body| serde_json::from_slice(&body).expect("answers are JSON")))
        }
        _ => None,
    })
}

/// Transfers that a step begins.
pub(super) fn begun(outputs: Vec<Output>) -> Vec<TransferJob> {
    let job = |output| match output {
        Output::Transfer(TransferOrder::Begin(job)) => Some(*job),
        _ => None,
    };
    outputs.into_iter().filter_map(job).collect()
}

/// A letter of a person here.
pub(super) fn letter(text: &str, artifacts: Option<Vec<ArtifactRef>>) -> Letter {
    Letter {
        from: None,
        to: None,
        subject: None,
        text: Text::truncated(text),
        reply_to: None,
        room: None,
        artifacts: artifacts.map(List::truncated),
        target_device: None,
    }
}

/// It as a message from the desk.
pub(super) fn message(kind: Kind, letter: &Letter, to: &str, destination: Destination) -> NewMessage {
    NewMessage {
        kind,
        content: Content::Letter(Box::new(letter.clone())),
        from: Mailbox::Desk,
        to: to.to_owned(),
        destinations: vec![destination],
        reply_to: None,
        trace_id: None,
        hops: 0,
        wake_budget: 0,
        life_ms: None,
        boot: false,
        msg_id: None,
    }
}
