//! `penpal uninstall`

use std::fs::File;

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::daemon::StopRequest;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::DaemonStop;
use serde_json::json;

use super::send::failed;
use crate::cli::output::clean;
use crate::cli::{Context, Done, Failure};
use crate::wiring::service::Service;
use crate::wiring::{self, Applied, Plan, State};

/// What has to be typed before keys and mail are deleted.
const CONFIRMATION: &str = "delete everything";

/// Everything that penpal keeps in a home.
const OURS: [&str; 24] = [
    "data",
    "data.rehearsal",
    "artifacts",
    "before-import",
    "import.partial",
    "imported",
    "search.db",
    "search.db-wal",
    "search.db-shm",
    "search.db-journal",
    "keys",
    "relay-keys",
    "backups",
    "wiring.json",
    "config.toml",
    "stopped",
    "start.lock",
    "start.probe",
    "start.tried",
    "doctor.probe",
    "node.log",
    "node.log.1",
    "node.sock",
    "node.lock",
];

/// Take penpal out of every agent's files, and the node out of login
///
/// A file that nobody changed since `init` becomes what it was, byte by byte; from any other only penpal's entries are taken. Keys, mail and
/// the copies that `init` made stay, unless --purge is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Delete keys, mail and settings as well, after a typed confirmation. The account is lost with them
    #[arg(long)]
    purge: bool,

    /// Show every line that would change, and change nothing
    #[arg(long, conflicts_with = "purge")]
    dry_run: bool,

    /// Do not ask before taking entries out
    #[arg(long, short)]
    yes: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let out = context.out;
    // Which program is wired in does not matter for taking it out.
    let setup = wiring::setup(&context.home, crate::program::path().ok())?;
    let plan = wiring::unwire(&setup, &context.home);
    let service = Service::new(&setup.user, setup.program.path(), &context.home);
    let files: Vec<_> =
        plan.agents.iter().flat_map(|agent| &agent.files).filter(|file| file.changes()).collect();
    if !out.json {
        for file in &files {
            let what = if file.after.is_some() { "entries go" } else { "goes" };
            out.line(format_args!("  {} ({what})", clean(&file.path.display().to_string())))?;
            if args.dry_run {
                let (before, after) = (file.before.as_deref(), file.after.as_deref());
                for line in wiring::diff(before.unwrap_or_default(), after.unwrap_or_default()) {
                    out.line(format_args!("    {}", penpal_agents::terminal::lines(&line)))?;
                }
            }
        }
        for agent in plan.agents.iter().filter(|agent| agent.state == State::Conflict) {
            for remark in &agent.remarks {
                out.remark(format_args!("  {} {}: {}", out.warn("!"), agent.agent.title(), clean(remark)));
            }
        }
        if files.is_empty() && plan.left.is_empty() {
            out.line("  No agent's file holds anything of penpal.")?;
        }
    }
    if args.dry_run {
        let failure = in_the_way(&plan, None);
        if out.json {
            let paths: Vec<_> = files.iter().map(|file| &file.path).collect();
            let shape = json!({ "v": SHAPE_VERSION, "would_change": paths });
            out.show_failed(&shape, failure.as_ref(), |_| Ok(()))?;
        }
        return failed(failure, out);
    }
    if !files.is_empty() && !args.yes {
        match out.ask("Take these out? [y/N]").as_deref() {
            Some("y" | "Y" | "yes") => {}
            Some(_) => {
                out.remark("  nothing was changed");
                return Err(Failure::Status(1));
            }
            None => {
                let error = ApiError::new(ErrorCode::NeedsAnswer, "it has to be asked whether to do this");
                return Err(error.hint("penpal uninstall --yes, or --dry-run to look only").into());
            }
        }
    }
    if args.purge {
        confirm(context)?;
    }
    let applied = wiring::apply(&plan, &context.home, false)?;
    let login = service.remove(&context.home);
    if let Err(why) = &login {
        out.remark(format_args!("  {} at login: {why}", out.warn("!")));
    }
    for (path, why) in &applied.failed {
        out.remark(format_args!("{} {}: {}", out.warn("✗"), path.display(), clean(why)));
    }
    let failure = in_the_way(&plan, Some(&applied));
    if args.purge && failure.is_some() {
        // The copies that `init` made are all that could give those files back.
        let message = "nothing was deleted: a file named above still holds entries of penpal";
        return Err(ApiError::new(ErrorCode::BadFile, message)
            .hint("repair that file, or take the entries out by hand, and run it again")
            .into());
    }
    if args.purge {
        purge(context)?;
    }
    if out.json {
        let shape = json!({
            "v": SHAPE_VERSION,
            "written": applied.written,
            "backups": applied.backups.filter(|_| !args.purge),
            "login": login.unwrap_or(false),
            "purged": args.purge,
        });
        out.show_failed(&shape, failure.as_ref(), |_| Ok(()))?;
    } else {
        let kept = if args.purge {
            "Keys and mail are deleted."
        } else {
            "Keys and mail stay: penpal uninstall --purge"
        };
        out.line(format_args!("  {} files changed. {kept}", applied.written.len()))?;
    }
    failed(failure, out)
}

/// Entries of penpal that stay are a failure of the command, after all others were taken out. A file that cannot be read and never
/// was penpal's is none.
fn in_the_way(plan: &Plan, applied: Option<&Applied>) -> Option<ApiError> {
    let unwritten = applied.into_iter().flat_map(|applied| &applied.failed).map(|(path, _)| path);
    let paths: Vec<String> =
        plan.left.iter().chain(unwritten).map(|path| path.display().to_string()).collect();
    (!paths.is_empty()).then(|| {
        let message = format!("entries of penpal stay in {}", paths.join(", "));
        ApiError::new(ErrorCode::BadFile, message)
            .hint("put that file right by hand, and run the same command again")
    })
}

/// Keys cannot be made again: a person types that they may go.
fn confirm(context: &Context) -> Result<(), Failure> {
    let home = context.home.path().display();
    let question = format!("All keys, mail and the account in {home} will be gone. Type \"{CONFIRMATION}\":");
    match context.out.ask(&question) {
        Some(typed) if typed == CONFIRMATION => Ok(()),
        Some(_) => {
            context.out.remark("  nothing was deleted");
            Err(Failure::Status(1))
        }
        None => {
            let error =
                ApiError::new(ErrorCode::NeedsPerson, "only a person at a terminal may delete keys and mail");
            Err(error.hint("run penpal uninstall --purge in your own terminal").into())
        }
    }
}

fn purge(context: &Context) -> Result<(), Failure> {
    let stopped = context.running_node().call::<DaemonStop>(&StopRequest { keep_stopped: true });
    if let Err(error) = stopped
        && error.code != ErrorCode::NoNode
    {
        return Err(error.into());
    }
    let home = context.home.path();
    // The node has answered and ends now: it writes until it lets go of its lock.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(15);
    let runs = || File::open(context.home.lock()).is_ok_and(|lock| lock.try_lock_shared().is_err());
    while runs() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for name in OURS {
        let path = home.join(name);
        remove(&path).map_err(|error| {
            ApiError::new(ErrorCode::HomeUnusable, format!("{}: {error}", path.display()))
        })?;
    }
    // Whatever else lies there is somebody's: a home may be any folder.
    match std::fs::remove_dir(home) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            context.out.remark(format_args!(
                "  {} holds files that are not penpal's; they stay",
                clean(&home.display().to_string())
            ));
        }
        Ok(()) | Err(_) => {}
    }
    Ok(())
}

/// Removes a file, a link or a folder with all that is in it; what is not there is no failure.
fn remove(path: &std::path::Path) -> std::io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
