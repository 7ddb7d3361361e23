//! Measures a relay against its floor: QUIC in, one write and one fdatasync for what waits together, QUIC out.
//!
//! `cargo run --release -p penpal-relay --example relay_speed [seconds a run] [rounds]`
//!
//! Floor and relay run as child processes, in turn, so that both meet the same machine. Envelopes have 4 KiB. One sender:
//! time from the deposit to its arrival at the receiver. 64 senders: deposits answered per second, one under way each.
//! `… --example relay_speed idle 2000` measures the relay's memory for registered devices that have said `Hello` and wait.
//! The receiver acknowledges every 32nd row at the relay; the floor knows no acknowledgements.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a measuring program: it prints, and ends at the first thing that is not as it should be"
)]

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use penpal_protocol::cbor::{Blob, List, Text};
use penpal_protocol::ids::{Capability, DepositId, EdgeId, Incarnation, RunId, SlotId, SpoolEpoch};
use penpal_protocol::text::{Label, RelayAddress};
use penpal_protocol::wire::{
    Ack, Answer, Deposit, DepositAnswer, DepositOutcome, EdgeCreate, EdgeLink, Event, FrameKind, Hello,
    Register, Request,
};
use penpal_relay::{Rate, RegistrationPolicy, Relay, RelayConfig};
use penpal_transport::{
    Accepted, Connection, Dialed, Dialer, DialerOptions, Frame, FrameReader, FrameWriter, Listener, RelayPin,
    ServerOptions, ServerSecrets, Target, TransportKey,
};
use tokio::sync::mpsc;

const ENVELOPE_BYTES: usize = 4096;
const SENDERS: u8 = 64;
const LONG: Duration = Duration::from_secs(10);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match args.first().map(String::as_str) {
        Some("floor") => runtime.block_on(floor(Path::new(&args[1]))),
        Some("relay") => runtime.block_on(relay(Path::new(&args[1]))),
        Some("idle") => {
            let dir = tempfile::tempdir().unwrap();
            let (child, at, pin) = start("relay", dir.path());
            runtime.block_on(idle(at, pin, args[1].parse().unwrap(), &child));
        }
        _ => {
            let seconds = args.first().map_or(3, |text| text.parse().unwrap());
            let rounds = args.get(1).map_or(3, |text| text.parse().unwrap());
            for round in 1..=rounds {
                for kind in ["floor", "relay"] {
                    let dir = tempfile::tempdir().unwrap();
                    let (child, at, pin) = start(kind, dir.path());
                    runtime.block_on(measure(round, kind, at, pin, Duration::from_secs(seconds), &child));
                    drop(child);
                }
            }
        }
    }
}

/// A child that is killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start(kind: &str, dir: &Path) -> (Server, SocketAddr, RelayPin) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([kind, dir.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: RelayAddress = line.trim().parse().unwrap();
    let at = SocketAddr::new(address.at.host.ip().unwrap(), address.at.port);
    (Server(child), at, RelayPin(*address.pin.as_bytes()))
}

/// The relay itself, open and without rates.
async fn relay(dir: &Path) {
    let mut config = RelayConfig::new(dir);
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.registration = RegistrationPolicy::Open;
    let free = Rate { per_second: u32::MAX, burst: u32::MAX };
    config.limits.edge_deposits = free;
    config.limits.depositor_kib = free;
    config.limits.requests = free;
    config.limits.prefix_requests = free;
    config.limits.connections_per_prefix = 20_000;
    let relay = Relay::start(config, None).await.unwrap();
    println!("{}", relay.address());
    std::future::pending::<()>().await;
}

type Waiting = Vec<(Frame, mpsc::UnboundedSender<Frame>)>;

/// Receives frames, writes and syncs what waits together over a preallocated file, answers, and forwards to whoever
/// connected first.
async fn floor(dir: &Path) {
    let key = TransportKey::from_seed(&[9; 32]);
    let secrets = ServerSecrets::new([1; 64], [2; 64]);
    let mut listener =
        Listener::bind(ServerOptions::new("127.0.0.1:0".parse().unwrap(), key.clone(), secrets)).unwrap();
    let at = listener.local_address().unwrap();
    let pin = penpal_protocol::ids::RelayPin::from_bytes(key.public().pin().0);
    println!("penpal://{at}/{}", penpal_protocol::text::pin_to_text(&pin));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("log")).unwrap();
    const SEGMENT: usize = 16 * 1024 * 1024;
    file.write_all(&vec![0; SEGMENT]).unwrap();
    file.sync_all().unwrap();
    let queue = Arc::new((Mutex::new(Waiting::new()), Condvar::new()));
    let (forward, mut forwarded) = mpsc::unbounded_channel::<Frame>();
    {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || {
            let mut offset = 0;
            let mut bytes = Vec::new();
            loop {
                let mut waiting = queue.0.lock().unwrap();
                while waiting.is_empty() {
                    waiting = queue.1.wait(waiting).unwrap();
                }
                let batch = std::mem::take(&mut *waiting);
                drop(waiting);
                bytes.clear();
                batch.iter().for_each(|(frame, _)| bytes.extend_from_slice(&frame.payload));
                bytes.resize(bytes.len().next_multiple_of(512), 0);
                if offset + bytes.len() > SEGMENT {
                    offset = 0;
                }
                file.write_all_at(&bytes, offset as u64).unwrap();
                file.sync_data().unwrap();
                offset += bytes.len();
                for (frame, answer) in batch {
                    answer
                        .send(Frame::new(FrameKind::DepositAnswer.number(), frame.payload.slice(..16)))
                        .ok();
                    forward.send(frame).ok();
                }
            }
        });
    }
    let mut receiver = None;
    let mut others = Vec::new();
    loop {
        let Accepted { connection, mut outgoing } = listener.accept().await.unwrap();
        outgoing.send(FrameKind::Welcome.number(), b"").await.unwrap();
        if receiver.is_none() {
            let mut forwarded = std::mem::replace(&mut forwarded, mpsc::unbounded_channel().1);
            receiver = Some(connection);
            tokio::spawn(async move {
                while let Some(frame) = forwarded.recv().await {
                    outgoing.push_frame(&frame).unwrap();
                    while outgoing.queued() < 256 * 1024
                        && let Ok(frame) = forwarded.try_recv()
                    {
                        outgoing.push_frame(&frame).unwrap();
                    }
                    outgoing.flush().await.unwrap();
                }
            });
            continue;
        }
        others.push(outgoing);
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            let (mut writer, mut reader) = connection.accept_bi(128 * 1024).await.unwrap();
            let (answer, mut answers) = mpsc::unbounded_channel::<Frame>();
            tokio::spawn(async move {
                while let Some(frame) = answers.recv().await {
                    writer.push_frame(&frame).unwrap();
                    writer.flush().await.unwrap();
                }
            });
            while let Ok(Some(frame)) = reader.read().await {
                queue.0.lock().unwrap().push((frame, answer.clone()));
                queue.1.notify_one();
            }
        });
    }
}

/// Many devices that only wait.
async fn idle(at: SocketAddr, pin: RelayPin, count: u32, server: &Server) {
    let dialer = Dialer::bind(DialerOptions::default()).unwrap();
    let mut kept = Vec::new();
    let mut before = 0;
    for number in 0..count {
        if number == 100 {
            before = memory(server.0.id());
        }
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let key = TransportKey::from_seed(&seed);
        let dialed = dialer.dial(Target { addresses: &[at], pin, key: &key }, LONG).await.unwrap();
        let Dialed { connection, mut incoming, .. } = dialed;
        incoming.read().await.unwrap().unwrap();
        let peer = Peer { connection, incoming, deposits: None, _dialer: dialer.clone() };
        peer.register_as(&format!("d{number}")).await;
        peer.hello().await;
        kept.push(peer);
    }
    let cpu = cpu_us(server.0.id());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let cpu = cpu_us(server.0.id()) - cpu;
    let each = (memory(server.0.id()) - before) as f64 / f64::from(count - 100);
    println!(
        "{count} idle devices: {each:.1} KiB each, {:.2} % of a core",
        cpu as f64 / 20_000_000.0 * 100.0
    );
}

/// One end of a connection.
struct Peer {
    connection: Connection,
    incoming: FrameReader,
    deposits: Option<(FrameWriter, FrameReader)>,
    _dialer: Dialer,
}

async fn connect(at: SocketAddr, pin: RelayPin, number: u8) -> Peer {
    let dialer = Dialer::bind(DialerOptions::default()).unwrap();
    let key = TransportKey::from_seed(&[number; 32]);
    let dialed = dialer.dial(Target { addresses: &[at], pin, key: &key }, LONG).await.unwrap();
    let Dialed { connection, mut incoming, .. } = dialed;
    incoming.read().await.unwrap().unwrap();
    Peer { connection, incoming, deposits: None, _dialer: dialer }
}

impl Peer {
    async fn ask(&self, request: Request) -> Answer {
        let frame = Frame::new(request.kind().number(), request.encode());
        let answer = self.connection.request(&frame, 1 << 20, LONG).await.unwrap();
        Answer::decode(answer.kind, &answer.payload).unwrap()
    }

    async fn register(&self, number: u8) -> SlotId {
        self.register_as(&format!("p{number}")).await
    }

    async fn hello(&self) -> SpoolEpoch {
        let hello = Hello {
            incarnation: Incarnation::from_bytes([1; 8]),
            run: RunId::from_bytes([1; 8]),
            since: List::default(),
            software: Text::default(),
        };
        match self.ask(Request::Hello(hello)).await {
            Answer::Hello(answer) => answer.epoch,
            other => panic!("{other:?}"),
        }
    }

    async fn register_as(&self, handle: &str) -> SlotId {
        let handle = Label::new(handle).unwrap();
        let register = Register { handle, token: None, invite: None, proof: None };
        match self.ask(Request::Register(register)).await {
            Answer::Registered(registered) => registered.slot,
            other => panic!("{other:?}"),
        }
    }
}

/// A sender's deposits, and how to tell that one is answered.
struct Sender {
    peer: Peer,
    number: u8,
    slot: SlotId,
    count: u64,
}

impl Sender {
    fn frame(&mut self, started: Instant) -> Frame {
        self.count += 1;
        let mut id = [self.number; 16];
        id[..8].copy_from_slice(&self.count.to_be_bytes());
        let mut envelope = vec![self.number; ENVELOPE_BYTES];
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap();
        envelope[..8].copy_from_slice(&nanos.to_be_bytes());
        let deposit = Deposit {
            edge: EdgeId::from_bytes([self.number; 16]),
            cap: Capability::from_bytes([self.number; 32]),
            slot: self.slot,
            deposit: DepositId::from_bytes(id),
            ephemeral: None,
            envelope: Blob::new(envelope).unwrap(),
        };
        Frame::new(FrameKind::Deposit.number(), deposit.encode())
    }

    async fn send(&mut self, started: Instant, check: bool) {
        let frame = self.frame(started);
        if self.peer.deposits.is_none() {
            self.peer.deposits = Some(self.peer.connection.open_bi(1024).await.unwrap());
        }
        let (writer, reader) = self.peer.deposits.as_mut().unwrap();
        writer.send_frame(&frame).await.unwrap();
        let answer = reader.read().await.unwrap().unwrap();
        if check {
            let answer = DepositAnswer::decode(answer.kind, &answer.payload).unwrap();
            assert_eq!(answer.outcome, DepositOutcome::Accepted);
        }
    }
}

async fn measure(round: u32, kind: &str, at: SocketAddr, pin: RelayPin, time: Duration, server: &Server) {
    let real = kind == "relay";
    let receiver = connect(at, pin, 200).await;
    let mut senders = Vec::new();
    let mut slot = SlotId::from_bytes([0; 16]);
    let mut epoch = SpoolEpoch::from_bytes([0; 8]);
    if real {
        slot = receiver.register(200).await;
        epoch = receiver.hello().await;
    }
    for number in 1..=SENDERS {
        let peer = connect(at, pin, number).await;
        if real {
            peer.register(number).await;
            let (edge, cap) = (EdgeId::from_bytes([number; 16]), Capability::from_bytes([number; 32]));
            let create = EdgeCreate { edge, cap_hash: cap.hash() };
            assert_eq!(receiver.ask(Request::EdgeCreate(create)).await, Answer::Done);
            assert_eq!(peer.ask(Request::EdgeLink(EdgeLink { edge, cap })).await, Answer::Done);
        }
        senders.push(Sender { peer, number, slot, count: 0 });
    }
    let started = Instant::now();
    let (arrived, mut arrivals) = mpsc::unbounded_channel::<u64>();
    tokio::spawn(receive(receiver, epoch, real, started, arrived));

    let mut times = Vec::new();
    let mut sender = senders.remove(0);
    let warm = Instant::now() + Duration::from_millis(300);
    let end = warm + time;
    while Instant::now() < end {
        sender.send(started, real).await;
        let took = arrivals.recv().await.unwrap();
        if Instant::now() > warm {
            times.push(took);
        }
    }
    times.sort_unstable();
    let at = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (times.len() as f64 * part) as usize;
        times[index.min(times.len() - 1)] as f64 / 1_000.0
    };
    let (p50, p99, one_rate) = (at(0.5), at(0.99), times.len() as f64 / time.as_secs_f64());
    senders.push(sender);

    let cpu_before = cpu_us(server.0.id());
    let begun = Instant::now();
    let end = begun + time;
    let mut tasks = Vec::new();
    for mut sender in senders {
        tasks.push(tokio::spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < end {
                sender.send(started, real).await;
                count += 1;
            }
            (count, sender)
        }));
    }
    let mut count = 0;
    let mut kept = Vec::new();
    for task in tasks {
        let (of_one, sender) = task.await.unwrap();
        count += of_one;
        kept.push(sender);
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let cpu = (cpu_us(server.0.id()) - cpu_before) as f64 / count as f64;
    let rss = memory(server.0.id());
    println!(
        "round {round} {kind}: one sender p50 {p50:.0} µs, p99 {p99:.0} µs, {one_rate:.0}/s; {SENDERS} senders {rate:.0}/s, CPU {cpu:.0} µs each; RSS {rss} KiB"
    );
}

async fn receive(
    mut receiver: Peer,
    epoch: SpoolEpoch,
    real: bool,
    started: Instant,
    arrived: mpsc::UnboundedSender<u64>,
) {
    let mut seen = 0_u64;
    let mut by_sender: HashMap<u8, u64> = HashMap::new();
    while let Ok(Some(frame)) = receiver.incoming.read().await {
        let now = u64::try_from(started.elapsed().as_nanos()).unwrap();
        let envelope = if real {
            match Event::decode(frame.kind, &frame.payload).unwrap() {
                Event::Delivery(delivery) => delivery.envelope.into_vec(),
                _ => continue,
            }
        } else {
            frame.payload[frame.payload.len() - ENVELOPE_BYTES..].to_vec()
        };
        let sent = u64::from_be_bytes(envelope[..8].try_into().unwrap());
        *by_sender.entry(envelope[8]).or_default() += 1;
        arrived.send(now - sent).ok();
        seen += 1;
        if real && seen.is_multiple_of(32) {
            let ack = Request::Ack(Ack { epoch, up_to: seen, gaps: List::default() });
            let frame = Frame::new(ack.kind().number(), ack.encode());
            let connection = receiver.connection.clone();
            tokio::spawn(async move { connection.request(&frame, 1024, LONG).await.map(drop) });
        }
    }
}

/// Resident memory of a process in KiB, 0 where the system does not tell.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Processor time of a process so far in microseconds, in steps of 10 ms; 0 where the system does not tell.
fn cpu_us(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok());
    ticks.sum::<u64>() * 10_000
}
