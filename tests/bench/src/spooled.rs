//! Benches `floor` and `relay`: a message from its sender, through a durable store, to its receiver.

use crate::figures::{Figure, Target, Unit, latency};
use crate::floor::Floor;
use crate::load::{Alone, MESSAGE_BYTES, Many, SENDERS};
use crate::peers::{Mosquitto, Nats, Redis, is_installed};
use crate::relay::Relay;
use crate::report::Report;
use crate::{Place, runtime};

/// Messages of one sender in one round.
const ALONE: usize = 3_000;

/// Messages of each of many senders in one round.
const EACH: usize = 800;

/// All rounds of one of the two.
#[derive(Debug, Default)]
struct Rounds {
    alone: Vec<Alone>,
    many: Vec<Many>,
}

/// The floor without anything beside it.
pub(crate) fn floor(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("floor");
    settings(&mut report);
    let mut rounds = Rounds::default();
    runtime()?.block_on(async {
        let mut floor = Floor::start(&place.folder).await?;
        for _ in 0..place.rounds {
            rounds.alone.push(floor.alone(ALONE).await?);
            rounds.many.push(floor.many(EACH).await?);
        }
        anyhow::Ok(())
    })?;
    report.figures = figures("floor", &rounds);
    Ok(report)
}

/// The relay beside the floor, and on request Redis beside both, alternately.
pub(crate) fn relay(place: &Place, peers: bool) -> anyhow::Result<Report> {
    let mut report = Report::new("relay");
    settings(&mut report);
    report.setting(
        "relay: real deposits and deliveries, an account for each device, acknowledged 64 rows at a time",
    );
    let (mut floors, mut relays, mut redises) = (Rounds::default(), Rounds::default(), Rounds::default());
    let (mut natses, mut mosquittos) = (Rounds::default(), Rounds::default());
    runtime()?.block_on(async {
        let mut floor = Floor::start(&place.folder).await?;
        let mut relay = Relay::start(&place.folder).await?;
        let mut redis = if peers { Some(Redis::start(&place.folder).await?) } else { None };
        let nats = peers && is_installed(Nats::PROGRAM);
        let mut nats = if nats { Some(Nats::start(&place.folder).await?) } else { None };
        let mosquitto = peers && is_installed(Mosquitto::PROGRAM);
        let mut mosquitto = if mosquitto { Some(Mosquitto::start(&place.folder).await?) } else { None };
        for round in 0..place.rounds {
            // Who comes first changes, so that no drift of the machine is for one of them.
            let relay_first = round % 2 == 1;
            if relay_first {
                relays.alone.push(relay.alone(ALONE).await?);
            }
            floors.alone.push(floor.alone(ALONE).await?);
            if !relay_first {
                relays.alone.push(relay.alone(ALONE).await?);
            }
            if let Some(redis) = &mut redis {
                redises.alone.push(redis.alone(ALONE).await?);
            }
            if let Some(nats) = &mut nats {
                natses.alone.push(nats.alone(ALONE).await?);
            }
            if let Some(mosquitto) = &mut mosquitto {
                mosquittos.alone.push(mosquitto.alone(ALONE).await?);
            }
            if relay_first {
                relays.many.push(relay.many(EACH).await?);
            }
            floors.many.push(floor.many(EACH).await?);
            if !relay_first {
                relays.many.push(relay.many(EACH).await?);
            }
            if let Some(redis) = &mut redis {
                redises.many.push(redis.many(EACH).await?);
            }
            if let Some(nats) = &mut nats {
                natses.many.push(nats.many(EACH).await?);
            }
            if let Some(mosquitto) = &mut mosquitto {
                mosquittos.many.push(mosquitto.many(EACH).await?);
            }
        }
        anyhow::Ok(())
    })?;
    report.figures = figures("relay", &relays);
    report.figures.extend(figures("floor", &floors));
    report.figures.extend(ratios(&relays, &floors));
    if peers {
        report.setting(Redis::SETTINGS);
        report.figures.extend(figures("redis", &redises));
        let many = relays.many.iter().zip(&redises.many);
        let ahead = many.map(|(relay, redis)| relay.per_second / redis.per_second).collect();
        let name = format!("relay / redis, {SENDERS} senders: messages");
        report.figures.push(Figure::new(name, Unit::Ratio, ahead).target(Target::AtLeast(1.0)));
        for (name, program, settings, rounds) in [
            ("nats", Nats::PROGRAM, Nats::SETTINGS, &natses),
            ("mosquitto", Mosquitto::PROGRAM, Mosquitto::SETTINGS, &mosquittos),
        ] {
            if rounds.many.is_empty() {
                report.setting(format!("not measured, because it is not installed: {program}"));
            } else {
                report.setting(settings);
                report.figures.extend(figures(name, rounds));
            }
        }
    }
    Ok(report)
}

fn settings(report: &mut Report) {
    report.setting(format!(
        "messages of {MESSAGE_BYTES} bytes; 1 sender: {ALONE} a round, one at a time; {SENDERS} senders: {EACH} each a round, one under way each"
    ));
    report.setting(
        "server in a process of its own; all clients in one thread of this one: one socket for the senders, one for the receiver",
    );
    report.setting(
        "QUIC over loopback, raw public keys, X25519MLKEM768; one fdatasync a batch, answers after it",
    );
}

fn figures(name: &str, rounds: &Rounds) -> Vec<Figure> {
    let ack: Vec<_> = rounds.alone.iter().map(|round| &round.ack).collect();
    let deliver: Vec<_> = rounds.alone.iter().map(|round| &round.deliver).collect();
    let many_ack: Vec<_> = rounds.many.iter().map(|round| &round.ack).collect();
    let per_second = rounds.many.iter().map(|round| round.per_second).collect();
    let server_us = rounds.many.iter().map(|round| round.server_us).collect();
    let mut figures = Vec::new();
    figures.extend(latency(&format!("{name}, 1 sender: send → receiver"), Unit::Micros, &deliver));
    figures.extend(latency(&format!("{name}, 1 sender: send → acknowledged"), Unit::Micros, &ack));
    figures.push(Figure::new(format!("{name}, {SENDERS} senders: messages"), Unit::PerSecond, per_second));
    figures.extend(latency(
        &format!("{name}, {SENDERS} senders: send → acknowledged"),
        Unit::Millis,
        &many_ack,
    ));
    let name = format!("{name}, {SENDERS} senders: processor time of the server a message");
    figures.push(Figure::new(name, Unit::Micros, server_us));
    figures
}

/// Relay by floor, round by round.
fn ratios(relay: &Rounds, floor: &Rounds) -> Vec<Figure> {
    let delivers = |rounds: &Rounds| -> Vec<(f64, f64)> {
        rounds.alone.iter().map(|round| round.deliver.p50_p99_us()).collect()
    };
    let (of_relay, of_floor) = (delivers(relay), delivers(floor));
    let pairs = || of_relay.iter().zip(&of_floor);
    let p50 = pairs().map(|(relay, floor)| relay.0 / floor.0).collect();
    let p99 = pairs().map(|(relay, floor)| relay.1 / floor.1).collect();
    let many = || relay.many.iter().zip(&floor.many);
    let per_second = many().map(|(relay, floor)| relay.per_second / floor.per_second).collect();
    let server_us = many().map(|(relay, floor)| relay.server_us / floor.server_us).collect();
    vec![
        Figure::new("relay / floor, 1 sender: send → receiver p50", Unit::Ratio, p50)
            .target(Target::AtMost(1.3)),
        Figure::new("relay / floor, 1 sender: send → receiver p99", Unit::Ratio, p99)
            .target(Target::AtMost(2.0)),
        Figure::new(format!("relay / floor, {SENDERS} senders: messages"), Unit::Ratio, per_second)
            .target(Target::AtLeast(0.75)),
        Figure::new(
            format!("relay / floor, {SENDERS} senders: processor time a message"),
            Unit::Ratio,
            server_us,
        ),
    ]
}
