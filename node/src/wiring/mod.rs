//! Wiring agents in and out: `init`, `uninstall`, and what `doctor` says of it.
//!
//! What a file should hold is decided in `penpal_agents::wire`, as text. Here files are read, saved and written:
//!
//! | module | does |
//! | --- | --- |
//! | `plan` | what would change, file by file |
//! | `apply` | saves what was there, writes, records |
//! | `record` | what was written and what was there before, in `<home>/wiring.json` |
//! | `files` | reading and replacing one file |
//! | `check` | the same plan as checks for `doctor` |
//! | `diff` | the change of one file for a person |

mod apply;
pub(crate) mod check;
mod diff;
mod files;
mod plan;
mod record;
pub(crate) mod service;

use std::path::PathBuf;

use penpal_agents::agent::Setup;
use penpal_agents::detect;
use penpal_agents::wire::Program;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;

pub(crate) use apply::{Applied, apply};
pub(crate) use diff::lines as diff;
pub(crate) use plan::{AgentPlan, FilePlan, Plan, State, Want, unwire, wire};

/// Looks around: whose home it is, what moves agents' files, and which program is wired in.
///
/// `program` is an absolute path; without it the program on the search path that this one is, else this one.
///
/// # Errors
/// [`ErrorCode::NeedsAnswer`] when this program runs from a build folder and nothing else was named.
pub(crate) fn setup(home: &Home, program: Option<PathBuf>) -> Result<Setup, ApiError> {
    let user =
        std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute()).ok_or_else(|| {
            ApiError::new(ErrorCode::HomeUnusable, "no home folder of yours is known").hint("set HOME")
        })?;
    let program = match program {
        Some(path) => std::path::absolute(&path).map_err(|error| {
            ApiError::new(ErrorCode::Usage, format!("--program {}: {error}", path.display()))
        })?,
        None => installed()?,
    };
    let text = |path: &std::path::Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| ApiError::new(ErrorCode::Usage, format!("{} is no UTF-8", path.display())))
    };
    let other_home = if home.is_default() { None } else { Some(text(home.path())?) };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Ok(Setup { user, variables, program: Program::new(&text(&program)?, other_home.as_deref()) })
}

/// The path under which this program stays over upgrades: as the search path names it, links not followed.
fn installed() -> Result<PathBuf, ApiError> {
    let own = crate::program::path()
        .map_err(|error| ApiError::new(ErrorCode::Internal, format!("no path of this program: {error}")))?;
    let path = std::env::var("PATH").ok();
    let on_path = detect::on_path(&["penpal"], path.as_deref());
    let same = |candidate: &PathBuf| candidate.canonicalize().ok() == own.canonicalize().ok();
    if let Some(named) = on_path.filter(same) {
        return Ok(named);
    }
    let build = own.components().any(|part| part.as_os_str() == "target");
    if build {
        return Err(ApiError::new(
            ErrorCode::NeedsAnswer,
            format!("{} is in a build folder, and agents would lose it with the next build", own.display()),
        )
        .hint("cargo install --path node --locked, then run penpal init again; or --program PATH"));
    }
    Ok(own)
}
