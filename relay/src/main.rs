//! `penpal-relay`: stores and forwards sealed envelopes.

use std::process::ExitCode;

fn main() -> ExitCode {
    penpal_relay::run(std::env::args_os())
}
