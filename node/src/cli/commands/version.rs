//! `penpal version`

use penpal_local_api::{API_NUMBER, SHAPE_VERSION};

use crate::cli::{Context, Done};

/// Show the version of this program and of what it speaks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(Args {}: &Args, context: &Context) -> Done {
    let shape = serde_json::json!({
        "v": SHAPE_VERSION,
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": penpal_protocol::PROTOCOL_REVISION,
        "api": API_NUMBER,
    });
    context.out.show(&shape, |_| {
        context.out.line(format_args!(
            "penpal {} (protocol revision {}, local API {API_NUMBER})",
            env!("CARGO_PKG_VERSION"),
            penpal_protocol::PROTOCOL_REVISION
        ))
    })?;
    Ok(())
}
