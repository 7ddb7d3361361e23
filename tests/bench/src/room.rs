//! Bench `room`: what it costs to say something to everybody in a room, through real daemons.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use penpal_local_api::client::Client;
use penpal_local_api::mail::Stage;
use penpal_tests::{Person, Relay, connect, wait};

use crate::Place;
use crate::figures::{Figure, Samples, Unit, latency};
use crate::nodes::{self, PRESENCE, TEXT_BYTES, client};
use crate::process::{cpu_seconds, rss_kib};
use crate::report::Report;

/// Members of the rooms, the speaker among them.
const SIZES: [usize; 2] = [10, 50];

/// Messages into each room in one round.
const MESSAGES: usize = 10;

/// How long nothing may come to the relay before all is said.
const QUIET: Duration = Duration::from_millis(300);

/// A relay and the machines of everybody who is in the largest room.
struct Hall {
    relay: Relay,
    speaker: Person,
    members: Vec<Person>,
}

/// What was counted when.
#[derive(Debug, Clone, Copy)]
struct Counts {
    speaker: f64,
    members: f64,
    relay: f64,
    deposits: f64,
    loopback: f64,
}

/// From a `send` into a room until every member's signed receipt is with the speaker, in rooms of several sizes in turns.
pub(crate) fn run(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("room");
    report.setting(format!(
        "one relay and a daemon for each member on loopback; {MESSAGES} notes of {TEXT_BYTES} bytes into each room a round, one at a time, by its owner; each `send` returns when the last member's receipt is verified and durable"
    ));
    report.setting("processor time and bytes are for one note with all its receipts and acknowledgements; bytes are all that went over the loopback interface, to the relay and from it");
    let hall = Hall::open(place)?;
    let to = client(&hall.speaker);
    let mut seen: Vec<Seen> = SIZES.iter().map(|_| Seen::default()).collect();
    for _ in 0..place.rounds {
        for (size, seen) in SIZES.into_iter().zip(&mut seen) {
            let before = hall.counts()?;
            let mut round = Samples::with_capacity(MESSAGES);
            for _ in 0..MESSAGES {
                round.push(say(&to, &room(size))?);
            }
            hall.wait_until_quiet();
            let after = hall.counts()?;
            seen.add(round, before, after);
        }
    }
    for (size, seen) in SIZES.into_iter().zip(seen) {
        seen.tell(size, &mut report);
    }
    let pid = hall.speaker.node_pid().context("the speaker's node")?;
    report.figures.push(Figure::new("speaker's node: resident", Unit::Mib, vec![rss_kib(pid)? / 1024.0]));
    Ok(report)
}

/// All rounds in one room.
#[derive(Default)]
struct Seen {
    took: Vec<Samples>,
    speaker: Vec<f64>,
    members: Vec<f64>,
    relay: Vec<f64>,
    deposits: Vec<f64>,
    loopback: Vec<f64>,
}

impl Seen {
    fn add(&mut self, round: Samples, before: Counts, after: Counts) {
        let each = |before: f64, after: f64, unit: f64| (after - before) * unit / MESSAGES as f64;
        self.took.push(round);
        self.speaker.push(each(before.speaker, after.speaker, 1000.0));
        self.members.push(each(before.members, after.members, 1000.0));
        self.relay.push(each(before.relay, after.relay, 1000.0));
        self.deposits.push(each(before.deposits, after.deposits, 1.0));
        self.loopback.push(each(before.loopback, after.loopback, 1.0 / 1024.0));
    }

    fn tell(self, size: usize, report: &mut Report) {
        report.figures.extend(latency(
            &format!("{size} members: send → last receipt"),
            Unit::Millis,
            &self.took,
        ));
        let named = |what: &str, unit, rounds| Figure::new(format!("{size} members: {what}"), unit, rounds);
        report.figures.extend([
            named("speaker's node, processor time", Unit::Millis, self.speaker),
            named("all other nodes, processor time", Unit::Millis, self.members),
            named("relay, processor time", Unit::Millis, self.relay),
            named("envelopes at the relay", Unit::Count, self.deposits),
            named("bytes to and from the relay", Unit::Kib, self.loopback),
        ]);
    }
}

impl Hall {
    fn open(place: &Place) -> anyhow::Result<Self> {
        let relay = Relay::start(&place.folder.join("relay"));
        let speaker = Person::at(&place.folder.join("owner"), "owner");
        let token = relay.token();
        speaker.ok(&[
            "register",
            relay.address(),
            "--token",
            &token,
            "--handle",
            "owner",
            "--device",
            "laptop",
        ]);
        speaker.ok(&["session", "open", "api"]);
        let others = SIZES.into_iter().max().unwrap_or_default().saturating_sub(1);
        let members: Vec<Person> = (0..others)
            .map(|number| {
                let name = format!("m{number}");
                let member = Person::at(&place.folder.join(&name), &name);
                connect(&speaker, &member);
                member.ok(&["session", "open", "web"]);
                member
            })
            .collect();
        let hall = Self { relay, speaker, members };
        for size in SIZES {
            hall.gather(size);
        }
        nodes::wait_for_presence(&hall.speaker, others);
        for size in SIZES {
            // The first note of a pair goes to a signed prekey; each later one to a key that came with a receipt.
            say(&client(&hall.speaker), &room(size))?;
        }
        Ok(hall)
    }

    /// A room of so many.
    fn gather(&self, size: usize) {
        let room = room(size);
        self.speaker.ok(&["room", "create", &room]);
        for member in self.members.iter().take(size.saturating_sub(1)) {
            self.speaker.ok(&["room", "invite", &room, member.name()]);
            wait::until("the invitation", || member.try_json(&["room", "join", &room]).status == 0);
        }
        wait::until("everybody in the room", || {
            let shown = self.speaker.json(&["room", "members", &room]);
            shown["members"].as_array().is_some_and(|members| members.len() == size)
        });
    }

    /// Receipts are confirmed and rows acknowledged behind the last note.
    fn wait_until_quiet(&self) {
        let (mut before, mut since) = (None, Instant::now());
        wait::until_within(PRESENCE, "quiet", || {
            let stats = self.relay.operator(&["stats"])["stats"].clone();
            let now = (stats["deposits_accepted"].as_u64(), stats["waiting"].as_u64());
            if before != Some(now) {
                (before, since) = (Some(now), Instant::now());
            }
            now.1 == Some(0) && since.elapsed() >= QUIET
        });
    }

    fn counts(&self) -> anyhow::Result<Counts> {
        let pid = |person: &Person| person.node_pid().context("a node");
        let members = self.members.iter().map(|member| cpu_seconds(pid(member)?));
        let members: f64 = members.sum::<anyhow::Result<f64>>()?;
        let deposits = self.relay.operator(&["stats"])["stats"]["deposits_accepted"].as_f64();
        Ok(Counts {
            speaker: cpu_seconds(pid(&self.speaker)?)?,
            members,
            relay: cpu_seconds(self.relay.pid().context("the relay")?)?,
            deposits: deposits.context("deposits")?,
            loopback: loopback_bytes()?,
        })
    }
}

fn room(size: usize) -> String {
    format!("#of-{size}")
}

/// Says something, and gives the time until everybody has it.
fn say(client: &Client, room: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let sent = nodes::send(client, room)?;
    let took = begun.elapsed();
    ensure!(sent.stage >= Stage::Delivered, "a note into {room} is only {:?}: {:?}", sent.stage, sent.reason);
    Ok(took)
}

/// Bytes that the loopback interface has sent.
fn loopback_bytes() -> anyhow::Result<f64> {
    let all = fs::read_to_string("/proc/net/dev").context("/proc/net/dev")?;
    let line =
        all.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("the loopback interface")?;
    Ok(line.split_whitespace().next().context("its bytes")?.parse()?)
}
