//! `penpal doctor`

use penpal_local_api::SHAPE_VERSION;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::Doctor as DoctorMethod;
use penpal_local_api::status::{Check, CheckState, Doctor, DoctorRequest};

use crate::cli::{Context, Done, Failure, caller};
use crate::doctor::Loss;

/// Check node, home, relay and contacts; each check that fails prints its repair
///
/// Exits 1 when a check failed. Does not start the node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Repair what can be repaired without losing anything
    #[arg(long)]
    fix: bool,
    /// Take damage out of the log, too: what stands in it is lost, the damaged files are kept (without this doctor says what would be lost)
    #[arg(long, requires = "fix")]
    accept_loss: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let out = context.out;
    let loss = if args.accept_loss { Loss::Accepted } else { Loss::Refused };
    let mut checks = crate::doctor::surroundings(&context.home, args.fix, loss);
    checks.extend(crate::wiring::check::agents(&context.home, args.fix));
    match context.running_node().call::<DoctorMethod>(&DoctorRequest { caller: caller::gather() }) {
        Ok(answer) => checks.extend(answer.checks),
        Err(ApiError { code: ErrorCode::NoNode, .. }) => checks.push(Check {
            name: "node".to_owned(),
            state: CheckState::Warning,
            fact: "does not run; any command starts it".to_owned(),
            repair: Some("penpal daemon start".to_owned()),
        }),
        Err(error) => checks.push(Check {
            name: "node".to_owned(),
            state: CheckState::Failed,
            fact: error.message,
            repair: error.hint,
        }),
    }
    let failed = checks.iter().any(|check| check.state == CheckState::Failed);
    let report = Doctor { v: SHAPE_VERSION, checks };
    out.show(&report, |report| {
        for check in &report.checks {
            let mark = match check.state {
                CheckState::Ok => out.good("✓"),
                CheckState::Warning => out.warn("!"),
                CheckState::Failed => out.warn("✗"),
            };
            out.line(format_args!("  {mark} {:<12} {}", check.name, crate::cli::output::clean(&check.fact)))?;
            if let Some(repair) = check.repair.as_ref().filter(|_| check.state != CheckState::Ok) {
                out.line(format_args!("    {:<12} {}", "repair:", crate::cli::output::clean(repair)))?;
            }
        }
        Ok(())
    })?;
    if failed { Err(Failure::Status(1)) } else { Ok(()) }
}
