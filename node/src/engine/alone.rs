//! An engine by itself, for tests: over a store in memory, with nobody to talk to, on clocks that tests put forward.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use penpal_local_api::account::RegisterRequest;
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ApiError;
use penpal_local_api::home::Home;
use penpal_local_api::methods::Call;
use penpal_protocol::ids::RelayPin;
use penpal_protocol::text::{HostPort, RelayAddress};
use penpal_seal::MemoryKeys;
use penpal_store::MemStore;
use tempfile::TempDir;

use super::{CallId, Clock, Engine, Input, Output, Parts, Rng};
use crate::config::Config;
use crate::daemon::transfer::{TransferJob, TransferOrder};
use crate::files::shelf::Shelf;

/// An engine and its clocks.
pub(super) struct Alone {
    pub(super) engine: Engine,
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
        let mut alone = Self { engine, calls: 0, _folder: folder };
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
