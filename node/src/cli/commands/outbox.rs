//! `penpal outbox`

use std::collections::BTreeMap;

use penpal_local_api::mail::{CopyStage, OutMessage, OutboxRequest, Stage};
use penpal_local_api::methods::Outbox;

use super::send::stage_word;
use crate::cli::output::clean;
use crate::cli::{Context, Done, caller, parse};

/// Letters of a reason in the table.
const MAX_REASON: usize = 32;

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
        .map_or_else(|| stage.to_owned(), |reason| format!("{stage}: {}", short(reason)));
    let stage = match lost(message) {
        Some(lost) => format!("{stage}; {lost}"),
        None => stage,
    };
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

/// A reason that leaves room for the other columns; `penpal trace` says all of it.
fn short(reason: &str) -> String {
    let reason = clean(reason);
    match reason.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default().trim_end()),
        None => reason,
    }
}

/// Who will not have a message that others have.
fn lost(message: &OutMessage) -> Option<String> {
    if is_failure(message.stage) {
        return None;
    }
    let mut contacts: BTreeMap<&str, Vec<&CopyStage>> = BTreeMap::new();
    for copy in &message.copies {
        contacts.entry(copy.contact.as_deref()?).or_default().push(copy);
    }
    let lost = contacts.into_iter().filter(|(_, copies)| copies.iter().all(|copy| is_failure(copy.stage)));
    let lost: Vec<String> = lost
        .filter_map(|(contact, copies)| Some((contact, copies.first()?.stage)))
        .map(|(contact, stage)| format!("{} for {}", stage_word(stage), clean(contact)))
        .collect();
    (!lost.is_empty()).then(|| lost.join(", "))
}

fn is_failure(stage: Stage) -> bool {
    matches!(stage, Stage::Refused | Stage::Expired)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(stage: Stage, copies: &[(&str, Stage)]) -> OutMessage {
        let copy = |(contact, stage): &(&str, Stage)| CopyStage {
            device: "laptop".to_owned(),
            contact: Some((*contact).to_owned()),
            stage: *stage,
            reason: None,
            session: None,
            mechanism: None,
        };
        OutMessage {
            id: String::new(),
            short: String::new(),
            from: String::new(),
            to: "#team".to_owned(),
            kind: penpal_local_api::mail::Kind::Note,
            subject: None,
            body: String::new(),
            sent_ms: 0,
            expires_ms: 0,
            stage,
            reason: None,
            next_try_ms: None,
            copies: copies.iter().map(copy).collect(),
        }
    }

    #[test]
    fn a_long_reason_leaves_the_other_columns_where_they_are() {
        let reason = "big.bin (104.9 MiB): the relay does not take it: files of up to 100 MiB are taken here";
        let long = OutMessage { reason: Some(reason.to_owned()), ..message(Stage::Refused, &[]) };
        assert_eq!(row(&long)[3], "refused: big.bin (104.9 MiB): the relay d…");
        let short = OutMessage { reason: Some("gone".to_owned()), ..message(Stage::Queued, &[]) };
        assert_eq!(row(&short)[3], "queued: gone");
    }

    #[test]
    fn who_alone_will_not_have_a_message_is_named() {
        let copies = [
            ("bob", Stage::Expired),
            ("bob", Stage::Surfaced),
            ("carol", Stage::Refused),
            ("carol", Stage::Refused),
            ("dave", Stage::Expired),
        ];
        let told = lost(&message(Stage::Surfaced, &copies));
        assert_eq!(told.as_deref(), Some("refused for carol, expired for dave"));
        assert_eq!(lost(&message(Stage::Surfaced, &copies[..2])), None);
        assert_eq!(lost(&message(Stage::Refused, &copies[2..4])), None, "the stage says it");
    }
}
