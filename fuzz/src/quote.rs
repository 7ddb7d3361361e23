//! Text from others on its way to a model and to a terminal.

use penpal_agents::{
    quote::{Nonce, Origin, Quoted, QuotedFile, QuotedKind, QuotedTrust, Shown, defang, inline, render},
    terminal,
};

const NONCE: Nonce = Nonce::from_bytes([0xf3, 0xa9, 0xc1]);

/// The same text in every field that a peer fills.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    quoted(&text);
    shown(&text);
}

fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e0fff}')
}

fn harmless(text: &str, may_stand: &[char]) {
    for character in text.chars() {
        assert!(!character.is_control() || may_stand.contains(&character), "{character:?} in {text:?}");
        assert!(!is_hidden(character), "{character:?} in {text:?}");
    }
}

/// Every line of theirs stands behind a bar, and nothing looks like a line of ours.
fn quoted(text: &str) {
    let field = || text.to_owned();
    let message = Quoted {
        from: field(),
        origin: Origin::ContactSession { contact: field(), device: field(), trust: QuotedTrust::Invited },
        kind: QuotedKind::Ask,
        id: field(),
        room: Some(field()),
        reply_to: Some(field()),
        sent_ms: 0,
        subject: Some(field()),
        text: field(),
        files: vec![QuotedFile { name: field(), bytes: 7, hash: field() }],
        marks: Vec::new(),
    };
    for how in [Shown::Head, Shown::Whole] {
        let quote = render(&[message.clone(), message.clone()], NONCE, u64::MAX, how);
        harmless(&quote, &['\n', '\t']);
        let lines: Vec<&str> = quote.split('\n').collect();
        assert_eq!(lines.first().copied(), Some("<penpal n=\"f3a9c1\">"));
        assert_eq!(lines.last().copied(), Some("</penpal n=\"f3a9c1\">"));
        assert_eq!(quote.matches("<penpal").count() + quote.matches("</penpal").count(), 2, "{quote:?}");
        // First, two attributions, one origin, two files, two answers, last, and at most two hints for the rest.
        let ours = lines.iter().filter(|line| !line.starts_with("| ")).count();
        assert!((9..=11).contains(&ours), "{ours} lines of ours in {quote:?}");
        for token in ["<|", "<system-reminder", "</system-reminder", "<function_calls", "[INST]", "<s>"] {
            assert!(!quote.contains(token), "{token} in {quote:?}");
        }
    }
}

fn shown(text: &str) {
    let safe = defang(text);
    harmless(&safe, &['\n', '\t']);
    assert_eq!(defang(&safe), safe, "once is not enough");
    let line = inline(text);
    harmless(&line, &[]);
    assert_eq!(inline(&line), line, "once is not enough");
    let lines = terminal::lines(text);
    harmless(&lines, &['\n', '\t']);
    assert_eq!(terminal::lines(&lines), lines, "once is not enough");
    let line = terminal::line(text);
    harmless(&line, &[]);
    assert_eq!(terminal::line(&line), line, "once is not enough");
}
