//! Bench `search`: the index over a large history.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use penpal_search::{Document, Filter, Index, Words};

use crate::Place;
use crate::figures::{Figure, Samples, Target, Unit, latency};
use crate::process::rss_kib;
use crate::report::Report;

/// Messages in the index.
const MESSAGES: u64 = 100_000;

/// Words in a message, and different words in all.
const WORDS: u64 = 60;
const VOCABULARY: u64 = 30_000;

/// Messages that a node adds at once.
const BITE: u64 = 1024;

/// Questions of each kind in one round.
const QUESTIONS: usize = 40;

/// Hits that a person is shown.
const HITS: usize = 20;

/// Longest time for a question, in milliseconds.
const QUESTION_MS: f64 = 50.0;

/// What is asked. Word 0 is in nearly every message, the last ones in few.
const ASKED: [(&str, &str); 6] = [
    ("a rare word", "w29990"),
    ("a word of nearly every message", "w0"),
    ("three frequent words", "w0 w1 w2"),
    ("two frequent words that no message has beside each other", "\"w2 w0 w2 w0 w2\""),
    ("a beginning that 11 000 words have", "w1*"),
    ("a frequent word, with a contact of 100 messages", "w0"),
];

/// Fills an index as a node does, then asks.
pub(crate) fn run(place: &Place) -> anyhow::Result<Report> {
    let mut report = Report::new("search");
    report.setting(format!(
        "{MESSAGES} messages of {WORDS} words, some {} bytes, words by Zipf's law out of {VOCABULARY}; {BITE} messages at once; the {HITS} latest hits of \
         each question",
        text(7).len()
    ));
    let path = place.folder.join("search.db");
    let before = rss_kib(std::process::id())?;
    let mut index = Index::open(&path)?;
    let mut bites = Samples::default();
    let begun = Instant::now();
    for first in (0..MESSAGES).step_by(usize::try_from(BITE)?) {
        let bite: Vec<Document> = (first..MESSAGES.min(first + BITE)).map(document).collect();
        let started = Instant::now();
        index.add(&bite)?;
        bites.push(started.elapsed());
    }
    report.figures.push(Figure::new("all of them added", Unit::Seconds, vec![begun.elapsed().as_secs_f64()]));
    report.figures.extend(latency("one bite added", Unit::Millis, &[bites]));
    let mib = bytes(&place.folder)? as f64 / (1024.0 * 1024.0);
    report.figures.push(Figure::new("files", Unit::Mib, vec![mib]));
    for (kind, typed) in ASKED {
        let words = Words::parse(typed).context("a question")?;
        let contact = kind.contains("contact").then(|| vec![7]);
        let filter = Filter { contact, ..Filter::default() };
        let mut rounds = Vec::new();
        for _ in 0..place.rounds {
            let mut samples = Samples::with_capacity(QUESTIONS);
            for _ in 0..QUESTIONS {
                let started = Instant::now();
                index.find(&words, &filter, None, HITS)?;
                samples.push(started.elapsed());
            }
            rounds.push(samples);
        }
        let figures = latency(kind, Unit::Millis, &rounds).into_iter();
        report.figures.extend(figures.map(|figure| figure.target(Target::AtMost(QUESTION_MS))));
    }
    let grown = (rss_kib(std::process::id())? - before) / 1024.0;
    report.figures.push(Figure::new("memory, with the library", Unit::Mib, vec![grown]));
    Ok(report)
}

fn document(ordinal: u64) -> Document {
    Document {
        ordinal,
        reference: ordinal.to_be_bytes().to_vec(),
        contact: Some(vec![if ordinal.is_multiple_of(1000) { 7 } else { 8 }]),
        sent_ms: ordinal * 1000,
        text: text(ordinal),
        people: "bob/web api".to_owned(),
        ..Document::default()
    }
}

/// The same for the same number: words from a generator of Weyl's kind, the frequent ones often.
fn text(ordinal: u64) -> String {
    let word = |place: u64| {
        let mixed = (ordinal * WORDS + place + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let chance = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        format!("w{}", (VOCABULARY as f64).powf(chance) as u64 - 1)
    };
    (0..WORDS).map(word).collect::<Vec<_>>().join(" ")
}

fn bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}
