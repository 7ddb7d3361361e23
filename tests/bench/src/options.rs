//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measure penpal on this machine
///
/// Without names all benches run, in this order. Whatever is compared is measured alternately, round by round, because
/// machines change their speed within minutes.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// Benches to run; all when none is named
    #[arg(value_enum)]
    pub(crate) names: Vec<Name>,

    /// Rounds of each bench
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Where files are written: the disk that is measured [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Measure Redis beside the relay, and NATS and Mosquitto where they are installed
    #[arg(long)]
    pub(crate) peers: bool,

    /// Idle connections that `idle` opens at a relay
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) connections: u32,

    /// Measure for a minute what the keep-alives of idle connections cost
    #[arg(long)]
    pub(crate) keep_alives: bool,

    /// Rows in the store that `store` opens again
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) rows: u32,

    /// Size of the file that `files` sends in each round
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) file_mib: u64,

    /// How long `soak` goes on
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) minutes: u32,

    /// Take the programs that lie beside this one as they are, instead of building them first
    #[arg(long)]
    pub(crate) as_built: bool,

    /// Part of this program that a bench starts as a process of its own
    #[arg(long, value_enum, hide = true, requires = "folder")]
    pub(crate) role: Option<Role>,

    /// Where that part writes
    #[arg(long, hide = true)]
    pub(crate) folder: Option<PathBuf>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Name {
    /// quinn, group commit and forwarding, nothing else
    Floor,
    /// The relay alone, beside the floor
    Relay,
    /// Sealing and opening
    Seal,
    /// The durable log
    Store,
    /// The search index over a large history
    Search,
    /// Node to relay to node, with the receipt
    Node,
    /// From one session to another on the same machine
    Local,
    /// Files to the relay and from it, beside one raw QUIC stream
    Files,
    /// Whole processes of the smallest commands
    Process,
    /// Hooks as agents start them, the size of quotes, and an idle MCP server
    Hook,
    /// Memory and wake-ups with nothing to do
    Idle,
    /// A note to everybody in rooms of 10 and 50, each member with a node; runs only when it is named
    Room,
    /// What a relay needs for so many people: memory, disk, time to start; runs only when it is named
    Sizing,
    /// A relay under people who come and go, for `--minutes`; runs only when it is named
    Soak,
}

impl Name {
    /// Whether it takes so long that it runs only when it is named.
    fn is_long(self) -> bool {
        matches!(self, Self::Room | Self::Sizing | Self::Soak)
    }

    /// Programs of the workspace that it runs.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Floor | Self::Seal | Self::Store | Self::Search => &[],
            Self::Relay | Self::Sizing | Self::Soak => &["penpal-relay"],
            Self::Local | Self::Process | Self::Hook => &["penpal"],
            Self::Node | Self::Files | Self::Idle | Self::Room => &["penpal-relay", "penpal"],
        }
    }
}

/// Parts that run as processes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Server of the floor
    FloorServer,
    /// Server of the raw stream
    BulkServer,
}

impl Options {
    /// The benches to run, each once.
    pub(crate) fn benches(&self) -> Vec<Name> {
        let mut names =
            if self.names.is_empty() { Name::value_variants().to_vec() } else { self.names.clone() };
        if self.names.is_empty() {
            names.retain(|name| !name.is_long());
        }
        names.sort_unstable();
        names.dedup();
        if names.contains(&Name::Relay) {
            // It measures the floor beside the relay.
            names.retain(|name| *name != Name::Floor);
        }
        names
    }
}
