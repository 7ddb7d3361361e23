//! Finding a relay by its domain: a pin that only DNS says is confirmed once, and another pin stops everything.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use penpal_tests::{Person, Relay, wait};

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
#[path = "../../crates/transport/tests/support/dns.rs"]
mod dns;

use dns::{Known, NameServer, serve};

/// A relay on loopback that is called `relay.example.test`, and whoever asks for it.
struct Scene {
    folder: tempfile::TempDir,
    relay: Relay,
    names: NameServer,
}

impl Scene {
    /// The domain says everything, some of it by way of another name.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = Relay::start(&folder.path().join("relay"));
        let names = serve(&[]);
        let scene = Self { folder, relay, names };
        scene.publish(&scene.pin());
        scene
    }

    fn pin(&self) -> String {
        pin_of(self.relay.address())
    }

    fn port(&self) -> u16 {
        self.relay.listening().parse::<SocketAddr>().expect("an address").port()
    }

    fn publish(&self, pin: &str) {
        let txt = |text: String| Known::Txt(text);
        let srv = Known::Srv { priority: 1, weight: 1, port: self.port(), target: "relay.example.test" };
        self.names.say(&[
            ("_penpal._udp.example.test", std::slice::from_ref(&srv)),
            ("_penpal.example.test", &[txt("v=spf1 -all".into()), txt(format!("v=penpal1; pin={pin}"))]),
            ("relay.example.test", &[Known::Cname("host.example.test")]),
            ("host.example.test", &[Known::A("127.0.0.1")]),
            ("_penpal.alias.test", &[Known::Cname("_penpal.example.test")]),
            ("_penpal._udp.alias.test", &[Known::Cname("_penpal._udp.example.test")]),
            ("_penpal.pinless.test", &[txt("v=spf1 -all".into())]),
            ("_penpal.mistyped.test", &[txt(format!("v=penpal1; pin={pin}").replace("pin=", "pin=0"))]),
            ("_penpal.nowhere.test", &[txt(format!("v=penpal1; pin={pin}"))]),
            ("_penpal.closed.test", &[txt(format!("v=penpal1; pin={pin}"))]),
            ("_penpal._udp.closed.test", &[Known::Srv { priority: 0, weight: 0, port: 0, target: "." }]),
            ("closed.test", &[Known::A("127.0.0.1")]),
        ]);
    }

    fn person(&self, name: &str) -> Person {
        asking(&self.folder.path().join(name), name, self.names.address)
    }

    /// Registers with whatever address and further arguments.
    fn register(&self, person: &Person, address: &str, more: &[&str]) -> penpal_tests::Said {
        let token = self.relay.token();
        let mut args = vec!["register", address, "--handle", person.name(), "--token", &token];
        args.extend(more);
        person.try_json(&args)
    }
}

/// A person whose node asks this name server.
fn asking(home: &Path, name: &str, server: SocketAddr) -> Person {
    std::fs::create_dir_all(home).expect("a home");
    std::fs::write(home.join("config.toml"), format!("dns = \"{server}\"\n")).expect("settings");
    Person::at(home, name)
}

fn pin_of(address: &str) -> String {
    address.rsplit('/').next().expect("a pin").to_owned()
}

fn no_account(person: &Person) {
    assert_eq!(person.try_json(&["account", "show"]).code(), "no-account");
}

#[test]
fn a_pin_that_only_dns_says_is_shown_and_confirmed_once() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let asked = scene.register(&alice, "example.test", &[]);
    assert_eq!((asked.status, asked.code().as_str()), (4, "unconfirmed-pin"), "{asked:?}");
    assert_eq!(asked.json()["error"]["candidates"], serde_json::json!([scene.pin()]));
    assert!(asked.err.contains(&format!("--accept-pin {}", scene.pin())), "{asked:?}");
    no_account(&alice);
    let made = scene.register(&alice, "example.test", &["--accept-pin", &scene.pin()]);
    assert_eq!(made.status, 0, "{made:?}");
    assert_eq!(made.json()["relay"], format!("penpal://example.test/{}", scene.pin()));
    // From then on nobody is asked, and the domain leads to the relay's own port.
    alice.ok(&["daemon", "stop"]);
    wait::until("the connection", || alice.json(&["status"])["relay"]["state"] == "connected");
    // Another name for the same, with the scheme.
    let bob = scene.person("bob");
    let made = scene.register(&bob, "penpal://alias.test/", &["--accept-pin", &scene.pin()]);
    assert_eq!(made.json()["relay"], format!("penpal://alias.test/{}", scene.pin()), "{made:?}");
}

#[test]
fn what_dns_does_not_say_is_told_with_what_to_do() {
    let scene = Scene::new();
    let alice = scene.person("alice");
    let pin = scene.pin();
    for (domain, code, fact) in [
        ("absent.test", "no-published-pin", "no TXT record _penpal.absent.test"),
        ("pinless.test", "no-published-pin", "no TXT record _penpal.pinless.test"),
        ("mistyped.test", "no-published-pin", "is no pin"),
        ("nowhere.test", "relay-away", "cannot resolve nowhere.test"),
        ("closed.test", "relay-away", "says that there is no relay"),
        ("192.0.2.1", "bad-address", "penpal://"),
    ] {
        let said = scene.register(&alice, domain, &["--accept-pin", &pin]);
        assert_eq!(said.code(), code, "{domain}: {said:?}");
        assert!(said.err.contains(fact) && said.err.contains("hint:"), "{domain}: {said:?}");
        no_account(&alice);
    }
    // Nobody answers: said within a few seconds.
    let began = Instant::now();
    let said = scene.register(&alice, "silent.test", &[]);
    assert_eq!(said.code(), "relay-away", "{said:?}");
    assert!(said.err.contains("no answer") || said.err.contains("cannot resolve"), "{said:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn another_pin_than_the_confirmed_one_sends_nothing() {
    let scene = Scene::new();
    let other = Relay::start(&scene.folder.path().join("other"));
    let other_pin = pin_of(other.address());
    let alice = scene.person("alice");
    // The domain changed between looking and confirming.
    let said = scene.register(&alice, "example.test", &["--accept-pin", &other_pin]);
    assert_eq!((said.status, said.code().as_str()), (1, "wrong-pin"), "{said:?}");
    assert!(said.err.contains(&scene.pin()) && said.err.contains(&other_pin), "{said:?}");
    // A liar in DNS published a pin, and somebody confirmed it: the relay that answers does not have it.
    scene.publish(&other_pin);
    let said = scene.register(&alice, "example.test", &["--accept-pin", &other_pin]);
    assert_eq!((said.status, said.code().as_str()), (1, "wrong-pin"), "{said:?}");
    assert!(said.err.contains("shows another key"), "{said:?}");
    no_account(&alice);
    // A pin that is none.
    let said = scene.register(&alice, "example.test", &["--accept-pin", "q7m2k"]);
    assert_eq!(said.code(), "bad-address", "{said:?}");
    assert_eq!(scene.relay.operator(&["account", "list"])["accounts"], serde_json::json!([]));
}

#[test]
fn a_pin_that_changes_later_stops_everything_until_the_relay_is_back() {
    let mut scene = Scene::new();
    let alice = scene.person("alice");
    let (pin, address) = (scene.pin(), scene.relay.listening().to_owned());
    assert_eq!(scene.register(&alice, "example.test", &["--accept-pin", &pin]).status, 0);
    let bob = scene.person("bob");
    penpal_tests::connect(&alice, &bob);
    bob.ok(&["session", "open", "web"]);
    // Somebody else sits at the same place, and the domain says that it is right so.
    scene.relay.stop();
    let thief = Thief::at(&scene.folder.path().join("thief"), &address);
    scene.publish(&pin_of(&thief.address));
    alice.ok(&["daemon", "stop"]);
    alice.ok(&["send", "bob/web", "not for thieves", "--anyway", "--wait", "0s"]);
    let mut said = String::new();
    wait::until("the other key to be told", || {
        said = alice.run(&["doctor"]).out;
        said.contains("another key")
    });
    assert!(said.contains(&pin_of(&thief.address)), "what the domain says now: {said}");
    assert!(said.contains("ask whoever runs it"), "{said}");
    assert_eq!(alice.json(&["outbox"])["messages"][0]["stage"], "queued");
    // The relay is back, whatever DNS still says.
    drop(thief);
    scene.relay.restart();
    for person in [&alice, &bob] {
        person.ok(&["daemon", "stop"]);
        person.ok(&["status"]);
    }
    wait::until("the message", || bob.bodies("web") == ["not for thieves"]);
}

/// A relay with a key of its own where another one was.
struct Thief {
    child: Child,
    address: String,
}

impl Thief {
    fn at(folder: &Path, listen: &str) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = penpal_tests::clean_command(&penpal_tests::Binaries::get().relay)
            .args(["serve", "--json", "--listen", listen, "--data"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the relay starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("its first line");
        let shape: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        Self { child, address: shape["address"].as_str().expect("its address").to_owned() }
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// dnsmasq, as Debian has it (package dnsmasq-base).
struct Dnsmasq(Child);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn with_a_real_name_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = Relay::start(&folder.path().join("relay"));
    let pin = pin_of(relay.address());
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let at = relay.listening().parse::<SocketAddr>().expect("an address").port();
    let started = Command::new("dnsmasq")
        .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file="])
        .args(["--user=", "--listen-address=127.0.0.1", "--bind-interfaces", "--no-daemon", "--local=/test/"])
        .arg(format!("--port={port}"))
        .arg(format!("--srv-host=_penpal._udp.example.test,www.example.test,{at},1,10"))
        .args(["--host-record=relay.example.test,127.0.0.1", "--cname=www.example.test,relay.example.test"])
        .arg(format!("--txt-record=_penpal.example.test,v=penpal1; pin={pin}"))
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        eprintln!("SKIPPED: there is no dnsmasq here (Debian: apt-get install dnsmasq-base)");
        return;
    };
    let _running = Dnsmasq(child);
    let alice = asking(&folder.path().join("alice"), "alice", SocketAddr::from(([127, 0, 0, 1], port)));
    let token = relay.token();
    let register = ["register", "example.test", "--handle", "alice", "--token", &token];
    wait::until("the name server", || alice.try_json(&register).code() == "unconfirmed-pin");
    let mut confirmed = register.to_vec();
    confirmed.extend(["--accept-pin", &pin]);
    let made = alice.json(&confirmed);
    assert_eq!(made["relay"], format!("penpal://example.test/{pin}"));
    let absent = alice.try_json(&["register", "absent.test", "--handle", "alice"]);
    assert_eq!(absent.code(), "no-published-pin", "{absent:?}");
}
