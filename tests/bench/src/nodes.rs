//! Benches `node` and `local`: what a caller of the local API waits for, through real daemons.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use penpal_local_api::caller::Caller;
use penpal_local_api::client::Client;
use penpal_local_api::home::Home;
use penpal_local_api::mail::{InboxRequest, SendRequest, Sent, Stage};
use penpal_local_api::methods::{Inbox, Send};
use penpal_tests::{Pair, Person, wait};

use crate::Place;
use crate::figures::{Figure, Samples, Target, Unit, latency};
use crate::report::Report;

/// Messages between nodes in one round.
const BETWEEN_NODES: usize = 200;

/// Messages on one machine in one round.
const LOCAL: usize = 500;

/// Length of the text, in bytes.
pub(crate) const TEXT_BYTES: usize = 1024;

/// How long contacts may take to learn of each other's sessions.
pub(crate) const PRESENCE: Duration = Duration::from_secs(60);

/// From a `send` on one node to the other node's signed receipt.
pub(crate) fn between(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("node");
    report.setting(format!(
        "two daemons and a relay on loopback; {BETWEEN_NODES} messages of {TEXT_BYTES} bytes a round, one at a time; each `send` over a connection of its own returns when the receipt is verified and durable"
    ));
    let pair = Pair::connected();
    let alice = client(&pair.alice);
    wait_for_presence(&pair.alice, 1);
    let mut rounds = Vec::new();
    for _ in 0..place.rounds {
        let mut round = Samples::with_capacity(BETWEEN_NODES);
        for _ in 0..BETWEEN_NODES {
            let begun = Instant::now();
            let sent = send(&alice, "bob/web")?;
            let took = begun.elapsed();
            ensure!(sent.stage >= Stage::Delivered, "a message is only {:?}: {:?}", sent.stage, sent.reason);
            round.push(took);
        }
        rounds.push(round);
    }
    let [p50, p99] = latency("send → relay → other node → receipt", Unit::Millis, &rounds);
    let next = p50.rounds.iter().map(|millis| millis / 2.0).collect();
    report.figures.extend([p50.target(Target::AtMost(3.0)), p99]);
    report
        .figures
        .push(Figure::new("of the next target, 2 ms", Unit::Ratio, next).target(Target::AtMost(1.0)));
    let came = unread(&client(&pair.bob), "web", place.rounds * BETWEEN_NODES)?;
    ensure!(came == place.rounds * BETWEEN_NODES, "{came} messages came");
    Ok(report)
}

/// From a `send` to being in the other session's inbox, on one machine.
pub(crate) fn local(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("local");
    report.setting(format!(
        "one daemon without an account; {LOCAL} messages of {TEXT_BYTES} bytes a round, one at a time, each over a connection of its own; an answer means durable and in the inbox"
    ));
    let person = Person::at(&place.folder.join("home"), "alice");
    for session in ["api", "web"] {
        person.ok(&["session", "open", session]);
    }
    let client = client(&person);
    let mut rounds = Vec::new();
    for _ in 0..place.rounds {
        let mut round = Samples::with_capacity(LOCAL);
        for _ in 0..LOCAL {
            let begun = Instant::now();
            let sent = send(&client, "web")?;
            let took = begun.elapsed();
            ensure!(sent.stage == Stage::Delivered, "a message is {:?}", sent.stage);
            round.push(took);
        }
        rounds.push(round);
    }
    let [p50, p99] = latency("local send → in the other inbox", Unit::Micros, &rounds);
    report.figures.extend([p50.target(Target::AtMost(500.0)), p99]);
    let came = unread(&client, "web", place.rounds * LOCAL)?;
    ensure!(came == place.rounds * LOCAL, "{came} messages are in the inbox");
    Ok(report)
}

/// A client of somebody's node, which runs.
pub(crate) fn client(person: &Person) -> Client {
    Client::new(&Home::at(person.home()))
}

/// Sends a note of [`TEXT_BYTES`] from the session `api`.
pub(crate) fn send(client: &Client, to: &str) -> anyhow::Result<Sent> {
    let request = SendRequest {
        caller: Caller::default(),
        to: Some(to.to_owned()),
        text: "x".repeat(TEXT_BYTES),
        subject: None,
        ask: false,
        reply_to: None,
        from_session: Some("api".to_owned()),
        anyway: false,
        artifacts: Vec::new(),
        life_ms: None,
        wait_ms: None,
        mechanism: None,
    };
    client.call::<Send>(&request).with_context(|| format!("sending to {to}"))
}

/// How many unread messages a session has.
fn unread(client: &Client, session: &str, at_most: usize) -> anyhow::Result<usize> {
    let limit = u32::try_from(at_most + 1).ok();
    let request = InboxRequest { session: Some(session.to_owned()), limit, ..InboxRequest::default() };
    Ok(client.call::<Inbox>(&request)?.messages.len())
}

/// Waits until so many sessions of others are announced and online: then a plain `send` waits for the receipt.
pub(crate) fn wait_for_presence(person: &Person, sessions: usize) {
    wait::until_within(PRESENCE, "sessions of contacts online", || {
        let seen = person.json(&["contact", "sessions"]);
        let online = |rows: &Vec<serde_json::Value>| rows.iter().filter(|row| row["online"] == true).count();
        seen["sessions"].as_array().map_or(0, online) >= sessions
    });
}
