//! `penpal search`

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::methods::Search;
use penpal_local_api::search::{Hit, SearchRequest};

use crate::cli::output::clean;
use crate::cli::{Context, Done, caller, parse};

/// Find messages by their words, latest first
///
/// All words must be there, in text, subject, file names or the names of people. Quotes keep words together, a star ends the beginning of
/// a word, a minus leaves out: penpal search '"step 3"' 'deploy*' -- -draft. Inside an agent only its own session's mail is searched.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to look for
    #[arg(required = true)]
    words: Vec<String>,
    /// Only what was exchanged with this contact, or said in this #room
    #[arg(long, value_name = "NAME")]
    with: Option<String>,
    /// Only mail of this session; `desk` for your own
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// Only what was sent since: a date, or so long ago (2026-11-01, 3d, 12h)
    #[arg(long, value_name = "WHEN", value_parser = parse::since)]
    since: Option<u64>,
    /// Only what was sent until the end of this date, or so long ago
    #[arg(long, value_name = "WHEN", value_parser = parse::until)]
    until: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
}

pub(crate) fn run(args: &Args, context: &Context) -> Done {
    if args.words.iter().all(|word| word.trim().is_empty()) {
        return Err(ApiError::new(ErrorCode::Usage, "no word to search for").into());
    }
    let request = SearchRequest {
        caller: caller::gather(),
        words: args.words.join(" "),
        with: args.with.clone(),
        session: args.session.clone(),
        since_ms: args.since,
        until_ms: args.until,
        limit: Some(args.limit),
        quote: false,
    };
    let (out, node) = (context.out, context.node());
    let found = node.call::<Search>(&request)?;
    out.show(&found, |found| {
        if found.hits.is_empty() {
            out.line("  nothing found")?;
        } else {
            out.table(["ID", "FROM", "TO", "AGE", "TEXT"], found.hits.iter().map(row).collect())?;
        }
        if found.more {
            out.remark(format_args!("there are more: --limit N, or more words"));
        }
        if found.behind {
            out.remark("older messages are still being indexed: search again in a moment");
        }
        Ok(())
    })?;
    Ok(())
}

fn row(hit: &Hit) -> [String; 5] {
    let subject = hit.subject.as_deref().map(|subject| format!("{}: ", clean(subject))).unwrap_or_default();
    [
        hit.short.clone(),
        clean(&hit.from),
        clean(&hit.to),
        parse::ago(hit.sent_ms),
        format!("{subject}{}", clean(&hit.excerpt)),
    ]
}
