//! Bench `seal`: sealing a message and opening it, everything included.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use penpal_seal::{Arrived, FreshBytes, ReceiveKey, ReceiveSeed, Recipient, VerifiedMessage, seal};

use crate::Place;
use crate::figures::{Figure, Samples, Target, Unit, latency};
use crate::report::Report;

#[path = "../../../crates/seal/tests/seal/people.rs"]
#[expect(dead_code, reason = "shared with the crate's tests, which use more of it")]
#[expect(clippy::unwrap_used, reason = "shared with the crate's tests: these people are always well-formed")]
mod people;

/// Messages in one round.
const MESSAGES: usize = 1_000;

/// Length of the text, in bytes.
const TEXT_BYTES: usize = 1024;

/// Seals and opens alternately.
pub(crate) fn run(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("seal");
    let (mut seals, mut opens, mut both) = (Vec::new(), Vec::new(), Vec::new());
    let mut world = World::new();
    for _ in 0..place.rounds {
        let (mut seal, mut open, mut together) = (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..MESSAGES {
            let begun = Instant::now();
            let envelope = black_box(world.seal()?);
            let sealed = begun.elapsed();
            drop(black_box(world.open(&envelope)?));
            let opened = begun.elapsed();
            seal.push(sealed);
            open.push(opened.saturating_sub(sealed));
            together.push(opened);
        }
        seals.push(seal);
        opens.push(open);
        both.push(together);
    }
    report.setting(format!(
        "text of {TEXT_BYTES} bytes in an envelope of {} bytes; {MESSAGES} a round; key exchange, signature, MACs and manifest check included",
        world.seal()?.len()
    ));
    let [p50, p99] = latency("seal + open together", Unit::Micros, &both);
    report.figures.extend([p50.target(Target::AtMost(600.0)), p99]);
    report.figures.extend(latency("seal", Unit::Micros, &seals));
    report.figures.extend(latency("open", Unit::Micros, &opens));
    let next: Vec<f64> = report.figures.first().map(|figure| figure.rounds.clone()).unwrap_or_default();
    let next = next.into_iter().map(|micros| micros / 450.0).collect();
    report
        .figures
        .push(Figure::new("of the next target, 450 µs", Unit::Ratio, next).target(Target::AtMost(1.0)));
    Ok(report)
}

struct World {
    pair: people::Pair,
    key: Arc<ReceiveKey>,
    body: penpal_protocol::sealed::Body,
    rng: rand_chacha::ChaCha20Rng,
}

impl World {
    fn new() -> Self {
        let pair = people::Pair::new(1);
        let body = people::note(&pair.alice, &pair.bob, &"x".repeat(TEXT_BYTES));
        let key = Arc::new(ReceiveKey::expand(ReceiveSeed::from_bytes([4; 32])));
        Self { pair, key, body, rng: people::rng(2) }
    }

    fn seal(&mut self) -> anyhow::Result<Vec<u8>> {
        let recipient = Recipient {
            key_id: self.pair.bob.key_id,
            key: self.key.public(),
            pair_key: &self.pair.alice_to_bob,
        };
        let fresh = FreshBytes::generate(&mut self.rng);
        Ok(seal(&self.body, &recipient, &self.pair.alice.sender(), fresh)?)
    }

    fn open(&self, envelope: &[u8]) -> anyhow::Result<VerifiedMessage<()>> {
        let found =
            Arrived::parse(envelope)?.find_contact([((), &self.pair.alice_to_bob)]).context("its contact")?;
        let parsed = found.open(&self.key, &self.pair.bob.device)?.parse()?;
        Ok(parsed.verify(&self.pair.bob.fingerprint(), &self.pair.alice.manifest, people::NOW_MS)?)
    }
}
