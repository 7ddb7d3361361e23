//! `penpal account export`, `penpal account import`.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::account::AccountRequest;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::AccountShow;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::output::clean;
use crate::cli::progress::{Progress, size};
use crate::cli::{Context, Done, Failure, caller};
use crate::interrupt::Guard;
use crate::portable::{self, MIN_PASSPHRASE_CHARACTERS};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The new file
    file: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The file that `penpal account export` wrote
    file: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

#[derive(Debug, clap::Args)]
struct Passphrase {
    /// Read the passphrase from this file, its first line, instead of asking for it
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn export(args: &Export, context: &Context) -> Done {
    // Keys leave the machine, or are put in place.
    caller::person_only()?;
    let account = context.node().call::<AccountShow>(&AccountRequest { caller: caller::gather() })?;
    let passphrase = args.passphrase.read(context, true)?;
    context.out.remark("  the node stands still while the file is written and read again");
    let guard = Guard::asking();
    let mut bar: Option<Progress> = None;
    let exported = portable::export(&context.home, &args.file, passphrase.as_bytes(), &mut |done, of| {
        bar.get_or_insert_with(|| Progress::new("export", of)).set(done);
    })?;
    drop((bar, guard));
    let path = args.file.display().to_string();
    let shape = json!({
        "v": SHAPE_VERSION, "handle": account.handle, "path": path, "files": exported.files, "bytes": exported.bytes,
    });
    let out = context.out;
    out.show(&shape, |_| {
        out.line(format_args!(
            "  {} account {}, contacts, history and files: {} ({})",
            out.good("✓"),
            clean(&account.handle),
            clean(&path),
            size(exported.bytes)
        ))?;
        out.line(
            "    whoever has this file and the passphrase is you; without the passphrase nobody opens it",
        )?;
        out.line("    elsewhere: penpal account import FILE, and never run two copies at once")
    })?;
    Ok(())
}

pub(super) fn import(args: &Import, context: &Context) -> Done {
    // Keys leave the machine, or are put in place.
    caller::person_only()?;
    refuse_account(context)?;
    let passphrase = args.passphrase.read(context, false)?;
    let imported = portable::import(&context.home, &args.file, passphrase.as_bytes())?;
    let account = context.node().call::<AccountShow>(&AccountRequest { caller: caller::gather() })?;
    let shape = json!({
        "v": SHAPE_VERSION, "handle": account.handle, "device": account.device, "files": imported.files,
        "bytes": imported.bytes,
    });
    let out = context.out;
    out.show(&shape, |_| {
        out.line(format_args!(
            "  {} account {}, this machine is \"{}\"",
            out.good("✓"),
            clean(&account.handle),
            clean(&account.device)
        ))?;
        out.line(
            "    it takes fresh keys; what others sent in the last 48 hours and is not here comes again",
        )?;
        out.line("    the node that this was exported from must not run any more")
    })?;
    Ok(())
}

/// A home with an account is never replaced.
fn refuse_account(context: &Context) -> Result<(), Failure> {
    let home = &context.home;
    let unused = !home.data().exists() && !home.keys().exists();
    // An import that ended in the middle is finished by the node's start: it may be the only place where an account's keys are.
    if unused && !portable::was_interrupted(home) {
        return Ok(());
    }
    match context.node().call::<AccountShow>(&AccountRequest { caller: caller::gather() }) {
        Ok(account) => {
            let message =
                format!("this node has the account {} already; nothing was changed", account.handle);
            Err(ApiError::new(ErrorCode::Registered, message).hint("give another home: --home DIR").into())
        }
        Err(error) if error.code == ErrorCode::NoAccount => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Passphrase {
    fn read(&self, context: &Context, new: bool) -> Result<Zeroizing<String>, Failure> {
        let passphrase = match &self.passphrase_file {
            Some(path) => from_file(path)?,
            None => asked(context, new)?,
        };
        if new && passphrase.chars().count() < MIN_PASSPHRASE_CHARACTERS {
            let message = format!("a passphrase has {MIN_PASSPHRASE_CHARACTERS} characters at least");
            return Err(ApiError::new(ErrorCode::Usage, message)
                .hint("four random words are a good one")
                .into());
        }
        Ok(passphrase)
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, ApiError> {
    let failed =
        |error: std::io::Error| ApiError::new(ErrorCode::BadFile, format!("{}: {error}", path.display()));
    let mut line = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(failed)?;
    std::io::BufReader::new(std::io::Read::take(file, 4096)).read_line(&mut line).map_err(failed)?;
    Ok(trimmed(&line))
}

fn trimmed(line: &str) -> Zeroizing<String> {
    Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn asked(context: &Context, twice: bool) -> Result<Zeroizing<String>, Failure> {
    if !context.out.interactive {
        let error = ApiError::new(ErrorCode::NeedsAnswer, "a passphrase has to be asked for");
        return Err(error.hint("give it in a file: --passphrase-file FILE").into());
    }
    let first = unseen("Passphrase:")?;
    if twice && *unseen("The same again:")? != *first {
        return Err(ApiError::new(ErrorCode::Usage, "the two passphrases differ").into());
    }
    Ok(first)
}

/// Asks for a line that is not shown.
fn unseen(question: &str) -> Result<Zeroizing<String>, ApiError> {
    let failed =
        |error: std::io::Error| ApiError::new(ErrorCode::NeedsAnswer, format!("no terminal: {error}"));
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(|error| failed(error.into()))?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    let shown = before.clone();
    let _guard = Guard::doing(move || {
        // Whoever types next wants to see it.
        let restored = tcsetattr(std::io::stdin(), OptionalActions::Flush, &shown);
        drop((restored, writeln!(std::io::stderr())));
    });
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| failed(error.into()))?;
    let mut line = Zeroizing::new(String::new());
    let asked = write!(std::io::stderr(), "{question} ").and_then(|()| stdin.lock().read_line(&mut line));
    let restored = tcsetattr(&stdin, OptionalActions::Flush, &before);
    let ended = writeln!(std::io::stderr());
    asked.and(ended).map_err(failed)?;
    restored.map_err(|error| failed(error.into()))?;
    Ok(trimmed(&line))
}
