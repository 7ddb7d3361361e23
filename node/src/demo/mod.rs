//! `penpal demo`: proves each promise on the spot, with real processes, sockets, files and kills.
//!
//! A relay and two nodes run in a temporary folder as children of this process. Each line is printed only after what it says was seen to hold.

mod acts;
mod echo;
mod world;

use std::time::Instant;

use crate::cli::Done;
use crate::cli::Failure;
use crate::cli::output::Output;
use world::World;

/// Runs the demo.
///
/// # Errors
/// Status 1 when a line does not hold.
pub(crate) fn run(keep: bool, out: Output) -> Done {
    let began = Instant::now();
    let told = Telling { out };
    let outcome = World::build(keep).and_then(|mut world| {
        told.plain(&format!("  relay     started on {} (temporary)", world.relay_listening()))?;
        for act in acts::ALL {
            let line = act(&mut world)?;
            told.line(&line)?;
        }
        world.end();
        Ok(world.kept_folder())
    });
    match outcome {
        Ok(kept) => {
            if out.json {
                out.json(&serde_json::json!({ "v": 1, "proved": true, "seconds": began.elapsed().as_secs_f64(), "folder": kept }))?;
                return Ok(());
            }
            out.line(format_args!(
                "  Everything above ran for real in {:.1} s. Next: penpal init",
                began.elapsed().as_secs_f64()
            ))?;
            if let Some(folder) = kept {
                out.line(format_args!("  kept in {folder}"))?;
            }
            Ok(())
        }
        Err(world::Broken::Unprinted(unprinted)) => Err(unprinted.into()),
        Err(world::Broken::Promise { act, what }) => {
            out.remark(format_args!("  ✗ {act:<9} {what}"));
            out.remark("error: the demo does not hold; penpal demo --keep leaves its folders for a look");
            Err(Failure::Status(1))
        }
    }
}

/// Acts as the relay: the demo starts itself with these arguments of `penpal-relay`.
pub(crate) fn relay_role(args: &[std::ffi::OsString]) -> std::process::ExitCode {
    penpal_relay::run(std::iter::once(std::ffi::OsString::from("penpal-relay")).chain(args.iter().cloned()))
}

struct Telling {
    out: Output,
}

impl Telling {
    fn plain(&self, text: &str) -> Result<(), world::Broken> {
        if self.out.json {
            return Ok(());
        }
        Ok(self.out.line(text)?)
    }

    fn line(&self, line: &acts::Line) -> Result<(), world::Broken> {
        if self.out.json {
            let shape =
                serde_json::json!({ "v": 1, "act": line.act, "proved": line.proved, "detail": line.detail });
            return Ok(self.out.json(&shape)?);
        }
        let mark = if line.proved { format!("{} ", self.out.good("✓")) } else { String::new() };
        let text = format!("  {mark}{:<9} {}", line.act, line.detail);
        Ok(self.out.line(text)?)
    }
}
