//! Child processes: other roles of this program, and what /proc says of any process.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(10);

/// A child that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let ended = self.0.kill().and_then(|()| self.0.wait());
        drop(ended);
    }
}

/// Builds one of the workspace's programs as it is measured, where it is not up to date.
pub(crate) fn build(package: &str) -> anyhow::Result<()> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let status = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--bins",
            "--manifest-path",
            manifest,
            "-p",
            package,
        ])
        .status()
        .context("cargo")?;
    anyhow::ensure!(status.success(), "{package} does not build");
    Ok(())
}

/// Where such a program lies: beside this one.
pub(crate) fn program(package: &str) -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(package))
}

/// Starts this program in another role and waits for its first line.
pub(crate) fn role(name: &str, folder: &Path) -> anyhow::Result<(Ended, String)> {
    let program = std::env::current_exe().context("this program")?;
    let child = Command::new(program)
        .args(["--role", name, "--folder"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let mut child = Ended(child);
    let output = child.0.stdout.take().context("its output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    anyhow::ensure!(!line.is_empty(), "{name} ended before it was ready");
    Ok((child, line.trim().to_owned()))
}

/// Starts a server and waits until it says that it is ready. What it says later is read, so that it never waits for a reader, and forgotten.
pub(crate) async fn server(mut command: Command, ready: &'static str) -> anyhow::Result<Ended> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (output, input) = std::io::pipe()?;
    command.stdout(input.try_clone()?).stderr(input);
    let child = command.spawn().with_context(|| format!("{name}; is it installed?")).map(Ended)?;
    // It holds the end that only the server is to hold.
    drop(command);
    let (said, is_said) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut said = Some(said);
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.contains(ready)
                && let Some(said) = said.take()
            {
                // Nobody waits any more once it took too long.
                let _told = said.send(());
            }
        }
    });
    let said =
        tokio::time::timeout(START, is_said).await.with_context(|| format!("{name} does not start"))?;
    said.with_context(|| format!("{name} ended before it was ready"))?;
    Ok(child)
}

/// In a role: tells whoever started it that it is ready.
pub(crate) fn say_ready(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Resident memory of a process, in KiB.
pub(crate) fn rss_kib(pid: u32) -> anyhow::Result<f64> {
    status_kib(pid, "VmRSS:")
}

/// The most resident memory that a process ever had, in KiB.
pub(crate) fn peak_kib(pid: u32) -> anyhow::Result<f64> {
    status_kib(pid, "VmHWM:")
}

/// The part of it that is its own: heap and stacks, not the program's file.
pub(crate) fn own_kib(pid: u32) -> anyhow::Result<f64> {
    status_kib(pid, "RssAnon:")
}

fn status_kib(pid: u32, field: &'static str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context(field)?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}

/// Processor time of a process, user and system, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || anyhow::Ok(fields.next().context("a field")?.parse::<f64>()?);
    let (user, system) = (ticks()?, ticks()?);
    Ok((user + system) / rustix::param::clock_ticks_per_second() as f64)
}

/// How often the threads of a process went to sleep, which is how often they will wake.
pub(crate) fn voluntary_switches(pid: u32) -> anyhow::Result<u64> {
    let mut switches = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches += line.context("voluntary_ctxt_switches")?.trim().parse::<u64>()?;
    }
    Ok(switches)
}
