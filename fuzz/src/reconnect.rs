//! When a node dials, and whom a relay lets in: any order of what can happen.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use arbitrary::Arbitrary;
use penpal_transport::{BootInstant, LossKind, Reconnect, ReconnectCommand, ReconnectConfig, ReconnectState};

use crate::steps::steps;

/// The gate is no part of the crate's interface: its source is used as it is.
#[path = "../../crates/transport/src/server/admission.rs"]
#[allow(dead_code, unreachable_pub, reason = "included whole")]
mod admission;

use admission::{Admission, Gate, PrefixSlot, Verdict};

const MAX_STEPS: usize = 400;

#[derive(Debug, Arbitrary)]
enum Step {
    Start,
    Stop,
    Connected,
    DialFailed(bool, u64),
    Lost(bool, u64),
    NetworkChanged,
    Resumed,
    Timeout,
    Pass(u16),
    /// Wait until the machine wants to be called.
    Due,
    Judge(u8, bool),
    Validated(u8),
    Gone(u8),
}

/// Both machines side by side.
pub fn check(data: &[u8]) {
    let mut dialling = Dialling::new();
    let mut door = Door::new();
    for step in steps::<Step>(data, MAX_STEPS) {
        match step {
            Step::Judge(from, proved) => door.judge(from, proved),
            Step::Validated(which) => door.validated(which),
            Step::Gone(which) => door.gone(which),
            other => dialling.step(&other),
        }
    }
    door.empty();
}

struct Dialling {
    machine: Reconnect,
    config: ReconnectConfig,
    now: u64,
    last_dial: Option<BootInstant>,
    /// A dial is under way, as the shell sees it.
    dialling: bool,
    connected: bool,
    stopped: bool,
}

impl Dialling {
    fn new() -> Self {
        let config = ReconnectConfig::default();
        Self {
            machine: Reconnect::new(config),
            config,
            now: 1_000_000_000,
            last_dial: None,
            dialling: false,
            connected: false,
            stopped: true,
        }
    }

    fn step(&mut self, step: &Step) {
        let now = BootInstant::from_nanos(self.now);
        let kind = |refused: bool| if refused { LossKind::Refused } else { LossKind::Transient };
        match *step {
            Step::Start => {
                self.machine.start(now);
                self.stopped = false;
            }
            Step::Stop => {
                self.machine.stop();
                (self.stopped, self.dialling, self.connected) = (true, false, false);
            }
            // A shell reports the end of a dial once, and only of one that it made.
            Step::Connected if self.dialling => {
                self.machine.handle_connected(now);
                (self.dialling, self.connected) = (false, true);
            }
            Step::DialFailed(refused, random) if self.dialling => {
                self.dialling = false;
                self.machine.handle_dial_failed(kind(refused), now, random);
            }
            Step::Lost(refused, random) if self.connected => {
                self.connected = false;
                self.machine.handle_lost(kind(refused), now, random);
            }
            Step::NetworkChanged => self.machine.handle_network_changed(now),
            Step::Resumed => self.machine.handle_resumed(now),
            Step::Timeout => self.machine.handle_timeout(now),
            Step::Pass(ms) => {
                self.now += u64::from(ms) * 1_000_000;
                self.machine.handle_timeout(BootInstant::from_nanos(self.now));
            }
            Step::Due => {
                if let Some(due) = self.machine.poll_timeout() {
                    self.now = self.now.max(due.as_nanos());
                    self.machine.handle_timeout(BootInstant::from_nanos(self.now));
                }
            }
            _ => {}
        }
        self.drain();
    }

    fn drain(&mut self) {
        let now = BootInstant::from_nanos(self.now);
        while let Some(ReconnectCommand::Dial { .. }) = self.machine.poll_command() {
            assert!(!self.stopped, "a dial although stopped");
            if let Some(last) = self.last_dial {
                assert!(now - last >= self.config.floor, "two dials within {:?}", now - last);
            }
            self.last_dial = Some(now);
            self.dialling = true;
        }
        match self.machine.state() {
            ReconnectState::Stopped => assert!(self.stopped),
            ReconnectState::Waiting { until } => {
                assert!(!self.stopped && !self.connected);
                assert_eq!(self.machine.poll_timeout(), Some(until));
                let longest = self.config.cap + self.config.floor;
                assert!(until <= now + longest, "waits for more than {longest:?}");
            }
            ReconnectState::Dialing => assert!(self.dialling, "nobody dials, and nothing is due"),
            ReconnectState::Connected { replacing, .. } => {
                assert!(self.connected);
                let due = self.machine.poll_timeout().is_some();
                assert!(!replacing || due || self.dialling, "a replacement that nobody makes");
            }
        }
    }
}

struct Door {
    limits: Admission,
    gate: Gate,
    /// Whom, whether it had proved its address, and whether its handshake is over.
    inside: Vec<(IpAddr, bool, bool, PrefixSlot)>,
}

impl Door {
    fn new() -> Self {
        let limits = Admission {
            max_connections: 12,
            max_per_network: 4,
            retry_above: 2,
            max_handshakes: 6,
            max_handshakes_per_network: 2,
            handshake_timeout: Duration::from_secs(1),
        };
        Self { limits, gate: Gate::new(limits), inside: Vec::new() }
    }

    fn judge(&mut self, from: u8, proved: bool) {
        let address = match from % 4 {
            0 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, from / 64)),
            1 => IpAddr::V6(Ipv4Addr::new(192, 0, 2, from / 64).to_ipv6_mapped()),
            // Eight addresses of one network.
            2 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, u16::from(from / 32), 0, 0, 0, 1)),
            _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, u16::from(from / 64), 0, 0, 0, 0, 1)),
        };
        let under_way = self.inside.iter().filter(|(_, _, over, _)| !over).count();
        let proving = |inside: &[(IpAddr, bool, bool, PrefixSlot)]| {
            let here = inside.iter().filter(|(other, ..)| network(*other) == network(address));
            here.filter(|(_, proved, over, _)| *proved && !over).count()
        };
        let proving = proving(&self.inside);
        let unproved = self.inside.iter().filter(|(_, proved, over, _)| !over && !proved).count();
        match self.gate.judge(address, proved, self.inside.len()) {
            Verdict::Accept(slot) => {
                assert!(self.inside.len() < self.limits.max_connections);
                assert!(under_way < self.limits.max_handshakes);
                assert!(proved || unproved < self.limits.retry_above);
                assert!(!proved || proving < self.limits.max_handshakes_per_network);
                self.inside.push((address, proved, false, slot));
            }
            Verdict::Retry => assert!(!proved && unproved >= self.limits.retry_above),
            Verdict::Refuse => {
                let full = self.inside.len() >= self.limits.max_connections
                    || under_way >= self.limits.max_handshakes
                    || (proved && proving >= self.limits.max_handshakes_per_network)
                    || self.of_network(address) >= self.limits.max_per_network;
                assert!(full, "refused although there is room");
            }
        }
        let mut networks = BTreeMap::<_, usize>::new();
        for (address, ..) in &self.inside {
            *networks.entry(network(*address)).or_default() += 1;
        }
        assert!(networks.values().all(|count| *count <= self.limits.max_per_network));
    }

    fn of_network(&self, address: IpAddr) -> usize {
        self.inside.iter().filter(|(other, ..)| network(*other) == network(address)).count()
    }

    fn validated(&mut self, which: u8) {
        let count = self.inside.len().max(1);
        if let Some((_, _, over, slot)) = self.inside.get_mut(usize::from(which) % count) {
            slot.validated();
            *over = true;
        }
    }

    fn gone(&mut self, which: u8) {
        if !self.inside.is_empty() {
            let count = self.inside.len();
            drop(self.inside.swap_remove(usize::from(which) % count));
        }
    }

    /// Whoever left gave everything back.
    fn empty(mut self) {
        self.inside.clear();
        for number in 0..self.limits.max_handshakes {
            let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, u8::try_from(number).expect("few")));
            match self.gate.judge(address, true, 0) {
                Verdict::Accept(slot) => self.inside.push((address, true, false, slot)),
                other => panic!("{other:?} at an empty relay"),
            }
        }
    }
}

/// Four bytes of an IPv4 address, seven of an IPv6 one.
fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..7].to_vec(),
    }
}
