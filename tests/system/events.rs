//! The stream of events, as anybody's script hears it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use penpal_tests::{Pair, Person, folder, wait};
use serde_json::Value;

/// Somebody who listens, with nothing but a socket.
struct Listener(BufReader<UnixStream>);

impl Listener {
    fn of(person: &Person) -> Self {
        let mut lines = get(person, "/v1/events");
        assert!(head(&mut lines).contains("text/event-stream"));
        let mut listener = Self(lines);
        // The greeting says that everything from here on is heard.
        while listener.line() != ": listening" {}
        listener
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).expect("a line") > 0, "the stream ended");
        line.trim_end().to_owned()
    }

    /// The next event that is wanted; others are passed over.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                let event: Value = serde_json::from_str(data).expect("JSON");
                assert_eq!(event["v"], 1);
                if wanted(&event) {
                    return event;
                }
            }
        }
    }
}

fn get(person: &Person, path: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(person.home().join("node.sock")).expect("the node's socket");
    stream.set_read_timeout(Some(wait::PATIENCE)).expect("a limit");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: penpal\r\nconnection: close\r\n\r\n").expect("a request");
    BufReader::new(stream)
}

fn head(lines: &mut BufReader<UnixStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).expect("a head") > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    head
}

#[test]
fn a_listener_hears_mail_and_how_far_it_got() {
    let pair = Pair::connected();
    let (mut alice, mut bob) = (Listener::of(&pair.alice), Listener::of(&pair.bob));
    let sent = pair.alice.json(&["send", "bob/web", "is it final?", "--ask", "--as", "api"]);
    let id = sent["id"].clone();
    let mail = bob.until(|event| event["event"] == "mail");
    assert_eq!((&mail["id"], mail["to"].as_str(), mail["kind"].as_str()), (&id, Some("web"), Some("ask")));
    alice.until(|event| event["event"] == "stage" && event["id"] == id && event["stage"] == "delivered");
    let short = pair.bob.json(&["inbox", "web"])["messages"][0]["short"].as_str().expect("an id").to_owned();
    pair.bob.ok(&["reply", &short, "yes"]);
    alice.until(|event| event["event"] == "stage" && event["id"] == id && event["stage"] == "answered");
    pair.alice.ok(&["session", "open", "more"]);
    alice.until(|event| event["event"] == "sessions");
    bob.until(|event| event["event"] == "contact-sessions");
    pair.bob.ok(&["daemon", "stop"]);
    bob.until(|event| event["event"] == "ending");
}

#[test]
fn the_schemas_of_everything_are_served() {
    let folder = folder();
    let me = Person::new(&folder, "me");
    me.ok(&["status"]);
    let mut lines = get(&me, "/v1/schema");
    head(&mut lines);
    let mut body = String::new();
    std::io::Read::read_to_string(&mut lines, &mut body).expect("a body");
    let schema: Value = serde_json::from_str(&body).expect("JSON");
    let methods = schema["methods"].as_array().expect("methods");
    assert!(methods.iter().any(|method| method["name"] == "send" && method["request"].is_object()));
    assert!(schema["event"].is_object() && schema["error"].is_object());
}
