//! `penpal daemon …`

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::daemon::StopRequest;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::{DaemonStop, Status};
use penpal_local_api::status::StatusRequest;

use crate::cli::{Context, Done, Failure, caller};
use crate::config::Settings;
use crate::daemon::Manner;
use crate::wiring;
use crate::wiring::service::Service;

/// How often `logs -f` looks for more.
const LOOK: Duration = Duration::from_millis(250);

/// Run, start and stop the node
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Run the node in this terminal
    ///
    /// Each setting may also stand in config.toml in the home, under the name of its flag, or in the environment as PENPAL_ and that name.
    /// The flag wins over the environment, the environment over the file. A node that runs keeps its settings until it is started again.
    Run {
        /// Leave the terminal: own process session, no output (used when a command starts the node)
        #[arg(long, hide = true)]
        detached: bool,
        /// Write the log to node.log in the home, for `penpal daemon logs`, instead of standard error
        #[arg(long)]
        log_file: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Start the node; every other command does so too when needed
    Start,
    /// Stop the node; hooks do not start it again, the next command does
    Stop,
    /// Show whether the node runs
    Status,
    /// Start the node at every login from now on: a unit of your own systemd, or an agent of launchd
    ///
    /// The same as `penpal init --login`, without touching any agent. Run it again after moving the program or the home.
    Install {
        /// Program that is started, instead of this one
        #[arg(long, value_name = "PATH")]
        program: Option<PathBuf>,
        /// Show the file that would be written, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take that out again; the node that runs goes on
    Uninstall,
    /// Show the node's log
    Logs {
        /// Stay and print what comes
        #[arg(short, long)]
        follow: bool,
    },
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    match args {
        Args::Run { detached, log_file, settings } => {
            let manner = Manner { detached: *detached, log_file: *detached || *log_file };
            crate::daemon::run(&context.home, settings, manner).map_err(Failure::Api)
        }
        Args::Start => {
            context.node().bring_up()?;
            status(context)
        }
        Args::Stop => stop(context),
        Args::Status => status(context),
        Args::Install { program, dry_run } => install(program.clone(), *dry_run, context),
        Args::Uninstall => uninstall(context),
        Args::Logs { follow } => logs(*follow, context),
    }
}

fn install(program: Option<PathBuf>, dry_run: bool, context: &Context) -> Done {
    let out = context.out;
    let setup = wiring::setup(&context.home, program)?;
    let service = Service::new(&setup.user, setup.program.path(), &context.home);
    let path = service.path.display().to_string();
    if dry_run {
        let shape = serde_json::json!({ "v": SHAPE_VERSION, "path": path, "text": service.text(), "installed": service.is_installed() });
        out.show(&shape, |_| {
            out.line(format_args!("  {path}"))?;
            out.raw(service.text().as_bytes())
        })?;
        return Ok(());
    }
    crate::launch::prepare_home(&context.home)?;
    let told = service.install(&context.home);
    let shape = serde_json::json!({ "v": SHAPE_VERSION, "path": path, "installed": service.is_installed(), "enabled": told.is_ok() });
    out.show(&shape, |_| {
        if told.is_ok() {
            out.line(format_args!("  {} the node starts when you log in: {path}", out.good("✓")))?;
            out.line("    undo: penpal daemon uninstall")
        } else {
            Ok(())
        }
    })?;
    told.map_err(|why| {
        out.remark(format_args!("  {} {path} is written, but {why}", out.warn("!")));
        Failure::Status(1)
    })
}

fn uninstall(context: &Context) -> Done {
    let out = context.out;
    let setup = wiring::setup(&context.home, Some(PathBuf::from("penpal")))?;
    let service = Service::new(&setup.user, setup.program.path(), &context.home);
    let removed = service.remove(&context.home);
    let was_there = !matches!(removed, Ok(false));
    let shape = serde_json::json!({ "v": SHAPE_VERSION, "path": service.path, "removed": was_there });
    out.show(&shape, |_| {
        out.line(if was_there {
            "  the node is not started at login any more"
        } else {
            "  it was not started at login"
        })
    })?;
    removed.map(drop).map_err(|why| {
        out.remark(format_args!("  {} {why}", out.warn("!")));
        Failure::Status(1)
    })
}

fn status(context: &Context) -> Done {
    let out = context.out;
    match context.running_node().call::<Status>(&StatusRequest { caller: caller::gather() }) {
        Ok(status) => {
            let shape = serde_json::json!({ "v": SHAPE_VERSION, "running": true, "node": status.node });
            out.show(&shape, |_| {
                out.line(format_args!(
                    "  runs: pid {}, version {}, {}",
                    status.node.pid, status.node.version, status.node.home
                ))
            })?;
            Ok(())
        }
        Err(error) if error.code == ErrorCode::NoNode && !crate::launch::is_listening(&context.home) => {
            let stopped = context.home.stopped().exists();
            let shape = serde_json::json!({ "v": SHAPE_VERSION, "running": false, "stopped": stopped });
            out.show(&shape, |_| {
                out.line(if stopped {
                    "  does not run: stopped by hand"
                } else {
                    "  does not run; any command starts it"
                })
            })?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn stop(context: &Context) -> Done {
    let out = context.out;
    match context.running_node().call::<DaemonStop>(&StopRequest { keep_stopped: true }) {
        Ok(stopping) => {
            wait_for_end(context)?;
            out.show(&stopping, |stopping| out.line(format_args!("  stopped (pid {})", stopping.pid)))?;
            Ok(())
        }
        Err(error) if error.code == ErrorCode::NoNode && !crate::launch::is_listening(&context.home) => {
            crate::launch::prepare_home(&context.home)?;
            let marked = std::fs::write(context.home.stopped(), b"");
            marked.map_err(|error| {
                ApiError::new(ErrorCode::HomeUnusable, format!("cannot leave the mark: {error}"))
            })?;
            out.show(&serde_json::json!({ "v": SHAPE_VERSION, "running": false }), |_| {
                out.line("  did not run")
            })?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until the node's lock is free: its files are closed then.
fn wait_for_end(context: &Context) -> Result<(), ApiError> {
    let path = context.home.lock();
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    file.and_then(|file| file.lock()).map_err(|error| {
        ApiError::new(ErrorCode::HomeUnusable, format!("cannot look at {}: {error}", path.display()))
    })
}

fn logs(follow: bool, context: &Context) -> Done {
    let path = context.home.log_file();
    let file = std::fs::File::open(&path).map_err(|error| {
        ApiError::new(ErrorCode::NotFound, format!("no log at {}: {error}", path.display()))
            .hint("penpal daemon start")
    })?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        let read = read
            .map_err(|error| ApiError::new(ErrorCode::Internal, format!("cannot read the log: {error}")))?;
        if read > 0 {
            if context.out.json {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches('\n');
                context.out.json(&serde_json::json!({ "v": SHAPE_VERSION, "line": text }))?;
            } else {
                context.out.raw(&line)?;
            }
        } else if follow {
            std::thread::sleep(LOOK);
            // A log that was started anew is shorter than where we stand.
            let length = std::fs::metadata(&path).map_or(0, |found| found.len());
            if reader.stream_position().is_ok_and(|position| position > length) {
                let opened = std::fs::File::open(&path);
                if let Ok(mut file) = opened {
                    let rewound = file.seek(SeekFrom::Start(0));
                    drop(rewound);
                    reader = BufReader::new(file);
                }
            }
        } else {
            return Ok(());
        }
    }
}
