//! Bench `process`: whole processes of the smallest commands, from starting them to having their status.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use penpal_tests::{Person, clean_command};

use crate::Place;
use crate::figures::{Samples, Target, Unit, latency};
use crate::report::Report;

/// Starts of each command in one round.
const STARTS: usize = 100;

/// Starts commands alternately, beside a program that does nothing.
pub(crate) fn run(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("process");
    report.setting(format!("{STARTS} starts of each a round, alternately; outputs discarded; the node runs"));
    let person = Person::at(&place.folder.join("home"), "alice");
    person.ok(&["session", "open", "api"]);
    let (mut nothing, mut version, mut whoami) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..place.rounds {
        let [mut of_nothing, mut of_version, mut of_whoami] =
            [(); 3].map(|()| Samples::with_capacity(STARTS));
        for _ in 0..STARTS {
            of_nothing.push(start(clean_command(Path::new("/bin/true")))?);
            of_version.push(start(person.command(&["version"]))?);
            of_whoami.push(start(person.command(&["session", "whoami"]))?);
        }
        nothing.push(of_nothing);
        version.push(of_version);
        whoami.push(of_whoami);
    }
    let [p50, p99] = latency("penpal session whoami, one call to the node", Unit::Millis, &whoami);
    report.figures.extend([p50.target(Target::AtMost(3.0)), p99]);
    report.figures.extend(latency("penpal version", Unit::Millis, &version));
    report.figures.extend(latency("/bin/true", Unit::Millis, &nothing));
    Ok(report)
}

fn start(mut command: Command) -> anyhow::Result<Duration> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status()?;
    let took = begun.elapsed();
    ensure!(status.success(), "{command:?} ends with {status}");
    Ok(took)
}
