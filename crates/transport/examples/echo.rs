//! Measures the transport on loopback: `cargo run --release -p penpal-transport --example echo`.
//!
//! Framed echo of 1 KiB one at a time and pipelined, beside the same over bare quinn streams in the same run, and with
//! `idle N` the memory and CPU of N idle connections, in a child process for each side.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measuring program: it prints, and stops at the first thing that is wrong"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use penpal_transport::{
    Connection, Dialer, DialerOptions, Frame, Listener, ServerOptions, ServerSecrets, Target, TransportKey,
};

const PAYLOAD: usize = 1024;
const ROUNDS: usize = 20_000;
const PIPELINED: usize = 200_000;
const MAX: u32 = 1 << 20;
const WAIT: Duration = Duration::from_secs(30);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => speed(),
        ["idle", count] => idle(count.parse().unwrap()),
        ["idle-relay"] => runtime.block_on(idle_relay()),
        ["idle-nodes", address, count] => {
            runtime.block_on(idle_nodes(address.parse().unwrap(), count.parse().unwrap()));
        }
        _ => panic!("usage: echo [idle COUNT]"),
    }
}

fn relay_key() -> TransportKey {
    TransportKey::from_seed(&[1; 32])
}

fn listen() -> (Listener, SocketAddr) {
    let secrets = ServerSecrets::new([3; 64], [4; 64]);
    let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap(), relay_key(), secrets);
    options.admission.max_per_network = 1_000_000;
    options.admission.max_connections = 1_000_000;
    let listener = Listener::bind(options).unwrap();
    let address = listener.local_address().unwrap();
    (listener, address)
}

/// The relay runs on a runtime and thread of its own, as it would in another process.
fn speed() {
    let (address_tx, address_rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (mut listener, address) = listen();
            address_tx.send(address).unwrap();
            while let Some(mut accepted) = listener.accept().await {
                tokio::spawn(async move {
                    accepted.outgoing.send(1, b"welcome").await.unwrap();
                    echo_streams(&accepted.connection).await;
                });
            }
        });
    });
    let address = address_rx.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let dialer = Dialer::bind(DialerOptions::default()).unwrap();
        for round in 1..=3 {
            let begun = Instant::now();
            let connection = dial(&dialer, address, [2; 32]).await;
            println!("run {round}: handshake and welcome {:?}", begun.elapsed());
            one_at_a_time(&connection).await;
            requests(&connection).await;
            for depth in [64, 512] {
                pipelined(&connection, depth).await;
            }
        }
    });
}

async fn dial(dialer: &Dialer, address: SocketAddr, seed: [u8; 32]) -> Connection {
    let key = TransportKey::from_seed(&seed);
    let target = Target { addresses: &[address], pin: relay_key().public().pin(), key: &key };
    let mut dialed = dialer.dial(target, WAIT).await.unwrap();
    dialed.incoming.read().await.unwrap().unwrap();
    dialed.connection
}

/// Echoes framed streams; a stream with one frame is a request.
async fn echo_streams(connection: &Connection) {
    while let Ok((mut writer, mut reader)) = connection.accept_bi(MAX).await {
        tokio::spawn(async move {
            while let Ok(Some(frame)) = reader.read().await {
                writer.push_frame(&frame).unwrap();
                while let Ok(Some(frame)) = reader.take_buffered() {
                    writer.push_frame(&frame).unwrap();
                }
                if writer.flush().await.is_err() {
                    return;
                }
            }
            writer.finish().await.ok();
        });
    }
}

async fn one_at_a_time(connection: &Connection) {
    let (mut writer, mut reader) = connection.open_bi(MAX).await.unwrap();
    let payload = [7; PAYLOAD];
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        writer.send(1, &payload).await.unwrap();
        reader.read().await.unwrap().unwrap();
        times.push(begun.elapsed());
    }
    report("framed echo 1 KiB, one stream", &mut times);
}

async fn requests(connection: &Connection) {
    let frame = Frame::new(1, vec![7; PAYLOAD]);
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        connection.request(&frame, MAX, WAIT).await.unwrap();
        times.push(begun.elapsed());
    }
    report("request 1 KiB, a stream each", &mut times);
}

async fn pipelined(connection: &Connection, depth: usize) {
    let (mut writer, mut reader) = connection.open_bi(MAX).await.unwrap();
    let payload = [7; PAYLOAD];
    let begun = Instant::now();
    let (mut sent, mut received) = (0, 0);
    while received < PIPELINED {
        while sent < PIPELINED && sent - received < depth && writer.queued() < 64 * 1024 {
            writer.push(1, &payload).unwrap();
            sent += 1;
        }
        tokio::select! {
            biased;
            flushed = writer.flush(), if writer.queued() > 0 => flushed.unwrap(),
            frame = reader.read() => {
                frame.unwrap().unwrap();
                received += 1;
                while reader.take_buffered().unwrap().is_some() {
                    received += 1;
                }
            }
        }
    }
    let rate = PIPELINED as f64 / begun.elapsed().as_secs_f64();
    println!("  framed echo 1 KiB, {depth} in flight: {:.0} k/s", rate / 1_000.0);
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 1_000];
    println!("  {what}: p50 {:?} p99 {:?} max {:?}", at(500), at(990), times[times.len() - 1]);
}

/// Starts both sides as children of this program and reads the relay's memory and CPU from /proc.
fn idle(count: usize) {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let program = std::env::current_exe().unwrap();
    let mut relay = Command::new(&program).arg("idle-relay").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(relay.stdout.take().unwrap()).lines();
    let address = lines.next().unwrap().unwrap();
    let before = rss_kib(relay.id());
    let begun = Instant::now();
    let mut nodes = Command::new(&program)
        .args(["idle-nodes", &address, &count.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut connected = BufReader::new(nodes.stdout.take().unwrap()).lines();
    connected.next().unwrap().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{count} connections in {seconds:.1} s, {:.0} a second", count as f64 / seconds);
    std::thread::sleep(Duration::from_secs(25));
    let (rss, nodes_rss) = (rss_kib(relay.id()), rss_kib(nodes.id()));
    println!(
        "relay {:.1} KiB each (before {before} KiB, now {rss} KiB)",
        (rss - before) as f64 / count as f64
    );
    println!("nodes {:.1} KiB each", nodes_rss as f64 / count as f64);
    let (cpu, begun) = (cpu_ticks(relay.id()), Instant::now());
    std::thread::sleep(Duration::from_secs(60));
    let used = (cpu_ticks(relay.id()) - cpu) as f64 / 100.0 / begun.elapsed().as_secs_f64();
    println!("relay CPU {:.2} % of one core over 60 s", used * 100.0);
    nodes.kill().unwrap();
    relay.kill().unwrap();
    nodes.wait().unwrap();
    relay.wait().unwrap();
}

async fn idle_relay() {
    let (mut listener, address) = listen();
    println!("{address}");
    while let Some(mut accepted) = listener.accept().await {
        tokio::spawn(async move {
            accepted.outgoing.send(1, b"welcome").await.unwrap();
            accepted.connection.closed().await;
        });
    }
}

async fn idle_nodes(address: SocketAddr, count: usize) {
    let dialer = Dialer::bind(DialerOptions::default()).unwrap();
    let mut connections = Vec::with_capacity(count);
    for n in 0..count {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        connections.push(dial(&dialer, address, seed).await);
    }
    println!("connected");
    std::future::pending::<()>().await;
}

fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// User and system time, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
