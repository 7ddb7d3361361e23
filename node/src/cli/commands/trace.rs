//! `penpal trace`

use penpal_local_api::mail::{IdRequest, Stage};
use penpal_local_api::methods::Trace;

use super::send::{stage_word, why};
use crate::cli::output::clean;
use crate::cli::{Context, Done, caller, parse};

/// Show what became of one message, step by step
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the message
    id: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let trace = context.node().call::<Trace>(&IdRequest { caller: caller::gather(), id: args.id.clone() })?;
    let out = context.out;
    out.show(&trace, |trace| {
        for event in &trace.events {
            let mut by = clean(&event.by);
            if event.stage == Stage::Answered {
                by.insert_str(0, "by ");
            }
            if let Some(mechanism) = &event.mechanism {
                by.push_str(&format!(", {}", clean(&mechanism.replace('-', " "))));
            }
            if let Some(reason) = &event.reason {
                by.push_str(&format!(": {}", why(reason)));
            }
            let signed = if event.signed { "signed ✓" } else { "" };
            let line = format!(
                "  {}  {:<10}  {by:<24}  {signed}",
                parse::time_of_day(event.at_ms),
                stage_word(event.stage)
            );
            out.line(line.trim_end())?;
        }
        Ok(())
    })?;
    Ok(())
}
