//! Bench `idle`: what a node and a relay cost that have nothing to do.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};
use penpal_tests::{Pair, Person};
use penpal_transport::udp::{Runtime as _, TokioRuntime};
use penpal_transport::{Dialer, DialerOptions};

use crate::figures::{Figure, Target, Unit};
use crate::process::{cpu_seconds, own_kib, rss_kib, voluntary_switches};
use crate::relay::{Device, Devices, Program};
use crate::report::Report;
use crate::{Place, nodes, runtime};

/// How long nodes are left alone before they are watched: housekeeping waits for quiet.
const SETTLE: Duration = Duration::from_secs(10);

/// How long they are watched: two keep-alives.
const WATCH: Duration = Duration::from_secs(40);

/// How long keep-alives are watched: three for each connection.
const KEEP_ALIVES: Duration = Duration::from_secs(60);

/// Devices behind one address: a relay lets 500 register at once from one.
pub(crate) const BEHIND_ADDRESS: u32 = 250;

/// Nodes first, then a relay with many connections.
pub(crate) fn run(place: &Place, connections: u32, keep_alives: bool) -> anyhow::Result<Report> {
    let mut report = Report::new("idle");
    programs(place, &mut report)?;
    runtime()?.block_on(relay(place, connections, keep_alives, &mut report))?;
    Ok(report)
}

/// A node alone, a node with account, contact and relay, and their relay.
fn programs(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    report.setting(format!(
        "programs watched for {} s, {} s after their last work; wake-ups are voluntary context switches of all threads",
        WATCH.as_secs(),
        SETTLE.as_secs()
    ));
    let alone = Person::at(&place.folder.join("alone"), "alone");
    alone.ok(&["session", "open", "api"]);
    let pair = Pair::connected();
    nodes::wait_for_presence(&pair.alice, 1);
    let pid = |person: &Person| person.node_pid().context("a node");
    let watched = [
        ("node alone", pid(&alone)?, true),
        ("node with account, contact and relay", pid(&pair.alice)?, true),
        ("relay with two nodes", pair.relay.pid().context("a relay")?, false),
    ];
    sleep(SETTLE);
    let before = watched.map(|(_, pid, _)| voluntary_switches(pid));
    sleep(WATCH);
    for ((name, pid, is_node), before) in watched.into_iter().zip(before) {
        let switches = voluntary_switches(pid)?.saturating_sub(before?);
        let rss = Figure::new(format!("{name}: resident"), Unit::Mib, vec![rss_kib(pid)? / 1024.0]);
        report.figures.push(if is_node { rss.target(Target::AtMost(15.0)) } else { rss });
        let own = own_kib(pid)? / 1024.0;
        report.figures.push(Figure::new(
            format!("{name}: of that its own, not the program's file"),
            Unit::Mib,
            vec![own],
        ));
        let per_minute = switches as f64 * 60.0 / WATCH.as_secs_f64();
        report.figures.push(Figure::new(format!("{name}: wake-ups"), Unit::PerMinute, vec![per_minute]));
    }
    Ok(())
}

/// Memory of a relay for each device that has said `Hello` and waits.
async fn relay(
    place: &Place,
    connections: u32,
    keep_alives: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.setting(format!(
        "{connections} registered devices connected to one relay, {BEHIND_ADDRESS} behind each address"
    ));
    let program = Program::start(&place.folder)?;
    let mut devices = connect(&program, 0, 1).await?;
    let before = rss_kib(program.pid())?;
    report.figures.push(Figure::new("empty relay: resident", Unit::Mib, vec![before / 1024.0]));
    let mut opened = 1;
    while opened < connections {
        let count = BEHIND_ADDRESS.min(connections - opened);
        devices.extend(connect(&program, opened, count).await?);
        opened += count;
    }
    // Each was answered: the relay has no more to do for any of them.
    let each = (rss_kib(program.pid())? - before) / f64::from(connections.max(2) - 1);
    report.figures.push(
        Figure::new("relay: resident for each idle device", Unit::Kib, vec![each])
            .target(Target::AtMost(50.0)),
    );
    if keep_alives {
        let before = cpu_seconds(program.pid())?;
        let ended = tokio::time::timeout(KEEP_ALIVES, devices[0].ended()).await;
        ensure!(ended.is_err(), "a connection was lost while keep-alives were watched");
        let busy = (cpu_seconds(program.pid())? - before) / KEEP_ALIVES.as_secs_f64() * 100.0;
        let name = format!("relay: keep-alives of {connections} devices, of one core");
        report.figures.push(Figure::new(name, Unit::Percent, vec![busy]).target(Target::AtMost(3.0)));
    }
    let lost = devices.iter().filter(|device| device.is_lost()).count();
    ensure!(lost == 0, "{lost} connections were lost");
    Ok(())
}

/// Registers and greets devices that share a socket on a loopback address of their own.
pub(crate) async fn connect(program: &Program, first: u32, count: u32) -> anyhow::Result<Vec<Device>> {
    // A network of 256 addresses each: that is what a relay counts registrations by.
    let network = u8::try_from(first.div_ceil(BEHIND_ADDRESS)).context("too many connections")?;
    let address = Ipv4Addr::new(127, 0, network, 1);
    let socket = UdpSocket::bind((address, 0)).with_context(|| format!("a socket on {address}"))?;
    let runtime = Arc::new(TokioRuntime);
    let socket = runtime.wrap_udp_socket(socket)?;
    let devices = Devices::with(Dialer::with_socket(DialerOptions::default(), socket, runtime)?, program)?;
    let mut connected = Vec::new();
    for number in first..first + count {
        let mut device = devices.device(&format!("device-{number}")).await?;
        device.hello().await?;
        connected.push(device);
    }
    Ok(connected)
}
