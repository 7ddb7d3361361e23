//! `penpal outbox`

use penpal_local_api::mail::{OutMessage, OutboxRequest};
use penpal_local_api::methods::Outbox;

use super::send::stage_word;
use crate::cli::output::clean;
use crate::cli::{Context, Done, caller, parse};

/// List own messages that are on their way, refused or expired
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Finished ones too
    #[arg(long)]
    all: bool,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let request = OutboxRequest { caller: caller::gather(), all: args.all, limit: args.limit };
    let answer = context.node().call::<Outbox>(&request)?;
    let out = context.out;
    out.show(&answer, |outbox| {
        if outbox.messages.is_empty() {
            return out.line("  nothing on its way");
        }
        let rows = outbox.messages.iter().map(row).collect();
        out.table(["ID", "FROM", "TO", "STAGE", "AGE", "TEXT"], rows)
    })?;
    Ok(())
}

fn row(message: &OutMessage) -> [String; 6] {
    let stage = stage_word(message.stage);
    let stage = message
        .reason
        .as_ref()
        .map_or_else(|| stage.to_owned(), |reason| format!("{stage}: {}", clean(reason)));
    let text: String = message.subject.as_deref().unwrap_or(&message.body).chars().take(48).collect();
    [
        message.short.clone(),
        clean(&message.from),
        clean(&message.to),
        stage,
        parse::ago(message.sent_ms),
        clean(&text),
    ]
}
