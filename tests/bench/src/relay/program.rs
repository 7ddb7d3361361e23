//! The relay's program as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use penpal_protocol::text::RelayAddress;
use penpal_tests::clean_command;
use penpal_transport::RelayPin;
use serde::Deserialize;

use crate::process::{Ended, program};

/// A running relay that registers everybody.
#[derive(Debug)]
pub(crate) struct Program {
    child: Ended,
    data: PathBuf,
    pub(super) listening: SocketAddr,
    pub(super) pin: RelayPin,
}

/// The program's first line.
#[derive(Debug, Deserialize)]
struct Ready {
    listening: SocketAddr,
    address: String,
}

impl Program {
    /// Starts it on a free port of loopback.
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let program = program("penpal-relay")?;
        let data = folder.join("relay");
        let mut child = clean_command(&program)
            .args([
                "serve",
                "--json",
                "--log",
                "warn",
                "--register",
                "open",
                "--listen",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(&data)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))
            .map(Ended)?;
        let output = child.0.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let ready: Ready = serde_json::from_str(&line).with_context(|| format!("the relay says {line:?}"))?;
        let address: RelayAddress = ready.address.parse()?;
        Ok(Self { child, data, listening: ready.listening, pin: RelayPin(*address.pin().as_bytes()) })
    }

    /// Asks it to end, and waits until it did.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.0.wait()?;
        anyhow::ensure!(status.success(), "the relay ends with {status}");
        Ok(())
    }

    /// Its folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Runs a command of the operator on it.
    pub(crate) fn operator(&self, args: &[&str]) -> anyhow::Result<()> {
        Self::run(&self.data, args)
    }

    /// Runs a command of the operator on the stopped relay that was started in `folder`.
    pub(crate) fn operator_at(folder: &Path, args: &[&str]) -> anyhow::Result<()> {
        Self::run(&folder.join("relay"), args)
    }

    fn run(data: &Path, args: &[&str]) -> anyhow::Result<()> {
        let mut command = clean_command(&program("penpal-relay")?);
        let status = command.args(args).arg("--data").arg(data).stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "penpal-relay {args:?} ends with {status}");
        Ok(())
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }
}
