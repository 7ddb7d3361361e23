//! Finding a relay by its domain, with a name server of our own and with a real one.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use penpal_transport::discovery::{Names, ResolveError};

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
#[expect(dead_code, reason = "whole-system tests use more of it")]
#[path = "support/dns.rs"]
mod dns;

use dns::{Known, serve};

const WAIT: Duration = Duration::from_secs(6);

fn srv(priority: u16, port: u16, target: &'static str) -> Known {
    Known::Srv { priority, weight: 5, port, target }
}

fn texts(found: &[SocketAddr]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_domain_with_services_is_dialled_where_they_are() {
    let server = serve(&[
        ("example.test", &[Known::A("192.0.2.1")]),
        ("_penpal._udp.example.test", &[srv(20, 5000, "second.test"), srv(10, 4455, "first.test")]),
        ("first.test", &[Known::A("192.0.2.2"), Known::A("2001:db8::2"), Known::A("192.0.2.3")]),
        ("second.test", &[Known::Cname("third.test")]),
        ("third.test", &[Known::A("192.0.2.4")]),
    ]);
    let found = Names::at(server.address).find("example.test", 4433, WAIT).await.unwrap();
    assert_eq!(texts(&found), ["[2001:db8::2]:4455", "192.0.2.2:4455", "192.0.2.3:4455", "192.0.2.4:5000"]);
    // An address with a port of its own means that port.
    let found = Names::at(server.address).find("example.test", 4434, WAIT).await.unwrap();
    assert_eq!(texts(&found), ["192.0.2.1:4434"]);
}

#[tokio::test]
async fn services_behind_aliases_are_found() {
    let server = serve(&[
        ("_penpal._udp.example.test", &[Known::Cname("_penpal._udp.second.test")]),
        ("_penpal._udp.second.test", &[Known::Cname("_penpal._udp.third.test")]),
        ("_penpal._udp.third.test", &[srv(1, 4455, "host.test")]),
        ("host.test", &[Known::A("192.0.2.5")]),
        ("_penpal._udp.circle.test", &[Known::Cname("_penpal._udp.circle.test")]),
        ("circle.test", &[Known::A("192.0.2.6")]),
    ]);
    let names = Names::at(server.address);
    assert_eq!(texts(&names.find("example.test", 4433, WAIT).await.unwrap()), ["192.0.2.5:4455"]);
    assert_eq!(texts(&names.find("circle.test", 4433, WAIT).await.unwrap()), ["192.0.2.6:4433"]);
}

#[tokio::test]
async fn without_services_the_host_itself_is_dialled() {
    let server =
        serve(&[("relay.test", &[Known::Cname("host.test")]), ("host.test", &[Known::A("192.0.2.9")])]);
    let names = Names::at(server.address);
    assert_eq!(texts(&names.find("relay.test", 4433, WAIT).await.unwrap()), ["192.0.2.9:4433"]);
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let server = serve(&[
        ("empty.test", &[]),
        ("none.test", &[Known::A("192.0.2.1")]),
        ("_penpal._udp.none.test", &[srv(0, 0, ".")]),
        ("_penpal._udp.broken.test", &[srv(0, 7, "nowhere.test")]),
    ]);
    let names = Names::at(server.address);
    let error = names.find("absent.test", 4433, WAIT).await.unwrap_err();
    assert!(matches!(error, ResolveError::Lookup { .. }), "{error:?}");
    let error = names.find("empty.test", 4433, WAIT).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoAddress { .. }), "{error:?}");
    let error = names.find("none.test", 4433, WAIT).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoService { .. }), "{error:?}");
    let error = names.find("broken.test", 4433, WAIT).await.unwrap_err();
    assert!(matches!(&error, ResolveError::Lookup { host, .. } if host.starts_with("nowhere")), "{error:?}");
}

#[tokio::test]
async fn silence_ends_in_time_and_costs_a_host_without_services_little() {
    let server = serve(&[("half.test", &[Known::A("192.0.2.1")])]);
    let names = Names::at(server.address);
    let began = Instant::now();
    let error = names.find("silent.test", 4433, Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(error, ResolveError::TimedOut { .. } | ResolveError::Lookup { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let pins = names.published_pins("silent.test", Duration::from_millis(300)).await;
    assert!(matches!(pins, Err(ResolveError::TimedOut { .. } | ResolveError::Lookup { .. })), "{pins:?}");
    // A name server that is not there at all.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = Names::at(closed).find("half.test", 4433, Duration::from_secs(3)).await;
    assert!(gone.is_err());
}

#[tokio::test]
async fn published_pins() {
    let long = format!("v=penpal1; note={}; pin=second", "x".repeat(60));
    let server = serve(&[
        ("_penpal.one.test", &[Known::Txt("v=spf1 -all".into()), Known::Txt("v=penpal1; pin=first".into())]),
        ("_penpal.two.test", &[Known::Txt("v=penpal1; pin=first".into()), Known::Txt(long)]),
        ("_penpal.alias.test", &[Known::Cname("_penpal.one.test")]),
    ]);
    let names = Names::at(server.address);
    assert_eq!(names.published_pins("one.test", WAIT).await.unwrap(), ["first"]);
    assert_eq!(names.published_pins("two.test", WAIT).await.unwrap(), ["first", "second"]);
    assert_eq!(names.published_pins("alias.test", WAIT).await.unwrap(), ["first"]);
    assert_eq!(names.published_pins("absent.test", WAIT).await.unwrap(), [""; 0]);
}

/// dnsmasq, as Debian has it (package dnsmasq-base).
struct Dnsmasq(Child);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn with_a_real_name_server() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port_text = format!("--port={port}");
    let started = Command::new("dnsmasq")
        .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file="])
        .args(["--user=", "--listen-address=127.0.0.1", "--bind-interfaces", "--no-daemon", &port_text])
        .args(["--srv-host=_penpal._udp.example.test,relay.example.test,4455,1,10"])
        .args([
            "--host-record=relay.example.test,127.0.0.1,::1",
            "--cname=www.example.test,relay.example.test",
        ])
        .args(["--txt-record=_penpal.example.test,v=penpal1; pin=q7m2k", "--local=/test/"])
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        eprintln!("SKIPPED: there is no dnsmasq here (Debian: apt-get install dnsmasq-base)");
        return;
    };
    let _running = Dnsmasq(child);
    let names = Names::at(SocketAddr::from(([127, 0, 0, 1], port)));
    let until = Instant::now() + Duration::from_secs(20);
    let found = loop {
        match names.find("example.test", 4433, WAIT).await {
            Ok(found) => break found,
            Err(error) => assert!(Instant::now() < until, "{error:?}"),
        }
    };
    assert_eq!(texts(&found), ["[::1]:4455", "127.0.0.1:4455"]);
    assert_eq!(
        texts(&names.find("www.example.test", 4433, WAIT).await.unwrap()),
        ["[::1]:4433", "127.0.0.1:4433"]
    );
    assert_eq!(
        names.published_pins("example.test", WAIT).await.unwrap(),
        ["v=penpal1; pin=q7m2k".rsplit('=').next().unwrap()]
    );
    let error = names.find("absent.test", 4433, WAIT).await.unwrap_err();
    assert!(matches!(error, ResolveError::Lookup { .. }), "{error:?}");
}
