//! A device that speaks the protocol with opaque bytes in place of sealed ones.

use std::net::SocketAddr;
use std::time::Duration;

use penpal_protocol::cbor::{Blob, List, Text};
use penpal_protocol::ids::{Capability, DepositId, EdgeId, Incarnation, RunId, SlotId};
use penpal_protocol::text::{Label, RelayAddress};
use penpal_protocol::wire::{
    Ack, AckAnswer, Answer, Delivery, Deposit, DepositAnswer, DepositOutcome, EdgeCreate, EdgeLink, Event,
    FrameKind, Hello, HelloAnswer, MAX_ANSWER_BYTES, Register, Registered, Request, Welcome,
};
use penpal_relay::{AdminAnswer, AdminRequest, Relay, RelayConfig};
use penpal_transport::{
    Connection, DialError, Dialed, Dialer, DialerOptions, Frame, FrameReader, FrameWriter, RelayPin, Target,
    TransportKey,
};

/// Far more than anything here takes: a test that reaches it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A connected device.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) incoming: FrameReader,
    pub(crate) welcome: Welcome,
    deposits: Option<(FrameWriter, FrameReader)>,
    _dialer: Dialer,
}

/// What is needed to write to somebody.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) edge: EdgeId,
    pub(crate) cap: Capability,
    pub(crate) slot: SlotId,
}

pub(crate) fn key(number: u8) -> TransportKey {
    TransportKey::from_seed(&[number; 32])
}

/// A relay in this process, on loopback, with an empty folder.
pub(crate) async fn relay(dir: &tempfile::TempDir) -> Relay {
    Relay::start(config(dir), None).await.unwrap()
}

pub(crate) fn config(dir: &tempfile::TempDir) -> RelayConfig {
    let mut config = RelayConfig::new(dir.path().join("data"));
    config.listen = "127.0.0.1:0".parse().unwrap();
    config
}

pub(crate) async fn token(relay: &Relay) -> String {
    let ask = AdminRequest::TokenNew { note: String::new(), life_ms: 60_000, uses: 100 };
    match relay.admin(ask).await {
        Some(AdminAnswer::TokenNew { token, .. }) => token,
        other => panic!("{other:?}"),
    }
}

/// Fails a test that hangs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("within the test's time limit")
}

pub(crate) async fn dial(
    at: SocketAddr,
    pin: RelayPin,
    key: &TransportKey,
) -> Result<(Dialer, Dialed), DialError> {
    let dialer = Dialer::bind(DialerOptions::default())?;
    let dialed = dialer.dial(Target { addresses: &[at], pin, key }, LONG).await?;
    Ok((dialer, dialed))
}

impl Client {
    /// Connects to an address as people get it.
    pub(crate) async fn connect(address: &RelayAddress, number: u8) -> Self {
        let at = SocketAddr::new(address.at.host.ip().unwrap(), address.at.port);
        let pin = RelayPin(*address.pin.as_bytes());
        let (dialer, dialed) = dial(at, pin, &key(number)).await.unwrap();
        let Dialed { connection, mut incoming, .. } = dialed;
        let first = soon(incoming.read()).await.unwrap().unwrap();
        let Event::Welcome(welcome) = Event::decode(first.kind, &first.payload).unwrap() else {
            panic!("the first frame is a welcome")
        };
        Self { connection, incoming, welcome, deposits: None, _dialer: dialer }
    }

    pub(crate) async fn ask(&self, request: Request) -> Answer {
        let frame = Frame::new(request.kind().number(), request.encode());
        let answer = self.connection.request(&frame, u32::try_from(MAX_ANSWER_BYTES).unwrap(), LONG).await;
        let answer = answer.unwrap();
        Answer::decode(answer.kind, &answer.payload).unwrap()
    }

    pub(crate) async fn register(&self, handle: &str, token: &str) -> Registered {
        let request = Register {
            handle: Label::new(handle).unwrap(),
            token: Some(Text::new(token.to_owned()).unwrap()),
            invite: None,
            proof: None,
        };
        match self.ask(Request::Register(request)).await {
            Answer::Registered(registered) => registered,
            other => panic!("{other:?}"),
        }
    }

    /// `Hello` of a device that never restarts.
    pub(crate) async fn hello(&self) -> HelloAnswer {
        let hello = Hello {
            incarnation: Incarnation::from_bytes([1; 8]),
            run: RunId::from_bytes([1; 8]),
            since: List::default(),
            software: Text::truncated("test"),
        };
        match self.ask(Request::Hello(hello)).await {
            Answer::Hello(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// `Hello` of a device that is not served.
    pub(crate) async fn refused_hello(&self) -> penpal_protocol::wire::RefusalCode {
        let hello = Hello {
            incarnation: Incarnation::from_bytes([1; 8]),
            run: RunId::from_bytes([1; 8]),
            since: List::default(),
            software: Text::truncated("test"),
        };
        match self.ask(Request::Hello(hello)).await {
            Answer::Refused(refusal) => refusal.code,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn ack(&self, answer: &HelloAnswer, up_to: u64) -> AckAnswer {
        let ack = Ack { epoch: answer.epoch, up_to, gaps: List::default() };
        match self.ask(Request::Ack(ack)).await {
            Answer::Ack(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// An edge of this device's account.
    pub(crate) async fn open(&self, number: u8, slot: SlotId) -> Way {
        let way =
            Way { edge: EdgeId::from_bytes([number; 16]), cap: Capability::from_bytes([number; 32]), slot };
        let create = EdgeCreate { edge: way.edge, cap_hash: way.cap.hash() };
        assert_eq!(self.ask(Request::EdgeCreate(create)).await, Answer::Done);
        way
    }

    pub(crate) async fn link(&self, way: &Way) {
        let link = EdgeLink { edge: way.edge, cap: way.cap.clone() };
        assert_eq!(self.ask(Request::EdgeLink(link)).await, Answer::Done);
    }

    /// The deposits stream, opened with its first frame.
    pub(crate) async fn deposits(&mut self) -> &mut (FrameWriter, FrameReader) {
        if self.deposits.is_none() {
            self.deposits = Some(self.connection.open_bi(1024).await.unwrap());
        }
        self.deposits.as_mut().unwrap()
    }

    pub(crate) async fn deposit(&mut self, way: &Way, number: u64, envelope: Vec<u8>) -> DepositOutcome {
        let deposit = way.deposit(number, envelope);
        let (writer, reader) = self.deposits().await;
        writer.send(FrameKind::Deposit.number(), &deposit.encode()).await.unwrap();
        let frame = soon(reader.read()).await.unwrap().unwrap();
        let answer = DepositAnswer::decode(frame.kind, &frame.payload).unwrap();
        assert_eq!(answer.deposit, deposit.deposit);
        answer.outcome
    }

    pub(crate) async fn event(&mut self) -> Event {
        let frame = soon(self.incoming.read()).await.unwrap().expect("the stream is open");
        Event::decode(frame.kind, &frame.payload).unwrap()
    }

    pub(crate) async fn delivery(&mut self) -> Delivery {
        match self.event().await {
            Event::Delivery(delivery) => delivery,
            other => panic!("{other:?}"),
        }
    }
}

impl Way {
    pub(crate) fn deposit(&self, number: u64, envelope: Vec<u8>) -> Deposit {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Deposit {
            edge: self.edge,
            cap: self.cap.clone(),
            slot: self.slot,
            deposit: DepositId::from_bytes(id),
            ephemeral: None,
            envelope: Blob::new(envelope).unwrap(),
        }
    }
}

/// Alice, who receives, and Bob, who may write to her.
pub(crate) async fn pair(address: &RelayAddress, token: &str) -> (Client, Client, Way) {
    let alice = Client::connect(address, 1).await;
    let bob = Client::connect(address, 2).await;
    let slot = alice.register("alice", token).await.slot;
    bob.register("bob", token).await;
    let way = alice.open(1, slot).await;
    bob.link(&way).await;
    (alice, bob, way)
}
