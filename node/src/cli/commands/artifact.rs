//! `penpal artifact …`

use std::path::{Path, PathBuf};
use std::time::Duration;

use penpal_local_api::artifact::{GcRequest, GetRequest, ListRequest, Put};
use penpal_local_api::caller::Caller;
use penpal_local_api::error::ApiError;
use penpal_local_api::methods::{ArtifactGc, ArtifactGet, ArtifactList};

use crate::cli::output::clean;
use crate::cli::progress::{Progress, size};
use crate::cli::{Context, Done, caller, parse};
use crate::files::{self, Save};
use crate::interrupt::Guard;
use crate::launch::Node;

/// Digits of a hash in a table: enough to name it.
const SHOWN_DIGITS: usize = 12;

/// Keep and fetch files that go with messages
///
/// An artifact is a file, named by the BLAKE3 hash of its content. The node keeps one copy of a content, however often it is put or sent, and
/// never opens or runs it.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Copy a file to the node and print its hash
    ///
    /// What is kept is the file as it is now. `penpal send --file` does the same and sends it.
    Put {
        /// The file
        file: PathBuf,
    },
    /// Write an artifact to a file
    ///
    /// The file is new, readable by you only, and there only when its hash is right. Without --output it gets the sender's name for it, made
    /// safe, in the present folder. What is not here is fetched from the relay; a fetch that was interrupted goes on where it was.
    Get {
        /// Its hash, or a unique beginning of at least 6 digits
        hash: String,
        /// The file to write, or the folder for it
        #[arg(long, short, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
        /// Wait so long for a content that comes from a relay [default: until it is there]
        #[arg(long, value_name = "SPAN", value_parser = parse::span)]
        wait: Option<Duration>,
    },
    /// List artifacts that messages refer to, and contents that are kept
    ///
    /// The newest 1000, newest first.
    List,
    /// Remove contents that no message refers to
    ///
    /// The node does so itself once a day. Nothing that a kept message refers to is removed.
    Gc {
        /// Keep what was put, fetched or sent within this span
        #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = parse::span)]
        keep: Duration,
        /// Only print what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    match args {
        Args::Put { file } => put(file, context),
        Args::Get { hash, output, force, wait } => {
            get(hash, &Save { output: output.as_deref(), force: *force, marked: false }, *wait, context)
        }
        Args::List => list(context),
        Args::Gc { keep, dry_run } => gc(*keep, *dry_run, context),
    }
}

/// Puts a file, with a bar on a terminal.
pub(super) fn put_file(node: &Node, file: &Path, caller: &Caller) -> Result<Put, ApiError> {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let bytes = std::fs::metadata(file).map(|found| found.len()).unwrap_or_default();
    let mut bar = Progress::new(&name, bytes);
    files::put(node, file, caller, &mut |done| bar.set(done))
}

fn put(file: &Path, context: &Context) -> Done {
    let _guard = Guard::asking();
    let put = put_file(&context.node(), file, &caller::gather())?;
    context.out.show(&put, |put| {
        let known = if put.new { "" } else { "  (was here already)" };
        context.out.line(format_args!("  {}  {}  {}{known}", put.hash, clean(&put.name), size(put.bytes)))
    })?;
    Ok(())
}

fn get(hash: &str, to: &Save<'_>, wait: Option<Duration>, context: &Context) -> Done {
    let (node, caller) = (context.node(), caller::gather());
    let _guard = Guard::asking();
    let request = GetRequest { caller: caller.clone(), hash: hash.to_owned(), wait_ms: 0 };
    let first = node.call::<ArtifactGet>(&request)?;
    let got = if first.path.is_some() {
        first
    } else {
        let mut bar = Progress::new(&first.name, first.bytes);
        let mut waits = |why: &str| {
            context.out.remark(format_args!("  waiting: {}; it goes on by itself", clean(why)));
        };
        files::fetch(&node, &first.hash, &caller, wait, &mut |done| bar.set(done), &mut waits)?
    };
    let mut bar = Progress::new(&got.name, got.bytes);
    let saved = files::save(&got, to, &mut |done| bar.set(done))?;
    drop(bar);
    let shape = serde_json::json!({
        "v": got.v, "hash": got.hash, "name": got.name, "bytes": got.bytes, "path": saved,
    });
    context.out.show(&shape, |_| {
        context.out.line(format_args!("  {}  {}", clean(&saved.to_string_lossy()), size(got.bytes)))
    })?;
    Ok(())
}

fn list(context: &Context) -> Done {
    let list = context.node().call::<ArtifactList>(&ListRequest { caller: caller::gather() })?;
    let out = context.out;
    out.show(&list, |list| {
        if list.artifacts.is_empty() {
            return out.line("  no artifacts");
        }
        let rows = list.artifacts.iter().map(|one| {
            [
                one.hash.chars().take(SHOWN_DIGITS).collect(),
                clean(&one.name),
                size(one.bytes),
                if one.here { "here".to_owned() } else { "not here".to_owned() },
                one.messages.to_string(),
                clean(&one.from.join(", ")),
                parse::ago(one.since_ms),
            ]
        });
        out.table(["HASH", "NAME", "SIZE", "CONTENT", "MESSAGES", "FROM", "AGE"], rows.collect())?;
        if list.older > 0 {
            out.line(out.dim(&format!("  and {} older ones", list.older)))?;
        }
        out.line(out.dim(&format!("  kept here: {}", size(list.kept_bytes))))
    })?;
    Ok(())
}

fn gc(keep: Duration, dry_run: bool, context: &Context) -> Done {
    let request = GcRequest { caller: caller::gather(), keep_ms: Some(parse::millis(keep)), dry_run };
    let collected = context.node().call::<ArtifactGc>(&request)?;
    let out = context.out;
    out.show(&collected, |collected| {
        for one in &collected.removed {
            let digits: String = one.hash.chars().take(SHOWN_DIGITS).collect();
            out.line(format_args!("  {digits}  {}  {}", clean(&one.name), size(one.bytes)))?;
        }
        let removed = if dry_run { "would be removed" } else { "removed" };
        out.line(format_args!(
            "  {} {removed}, {} kept ({})",
            size(collected.removed_bytes),
            collected.kept,
            size(collected.kept_bytes)
        ))
    })?;
    Ok(())
}
