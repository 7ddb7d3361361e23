//! File names that cannot surprise.

/// Longest name that is written, in bytes; file systems take 255, and a temporary name is longer than its file's.
const MAX_NAME_BYTES: usize = 200;

/// Longest ending that is kept when a name is cut, in bytes.
const MAX_ENDING_BYTES: usize = 20;

/// What a file from somebody else is called here.
///
/// The last part of a path, without control and invisible characters; what shells and other systems give a meaning becomes `_`, and so does
/// a dot or dash at its beginning: no hidden file, no option. At most 200 bytes, its ending kept. Never empty, never `.` or `..`.
pub(crate) fn safe_name(name: &str) -> String {
    let line = penpal_agents::terminal::line(name);
    let last = line.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe = |character: char| match character {
        '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\u{FFFD}' => '_',
        other if other.is_control() => '_',
        other => other,
    };
    let mut text: String = last.trim().chars().map(safe).collect();
    text.truncate(text.trim_end_matches(['.', ' ']).len());
    if text.starts_with(['.', '-', '~']) {
        text.replace_range(..1, "_");
    }
    if text.is_empty() {
        return "file".to_owned();
    }
    shorten(&text)
}

fn shorten(text: &str) -> String {
    if text.len() <= MAX_NAME_BYTES {
        return text.to_owned();
    }
    let ending = text.rfind('.').and_then(|dot| text.get(dot..)).unwrap_or_default();
    let ending = if ending.len() <= MAX_ENDING_BYTES { ending } else { "" };
    let room = MAX_NAME_BYTES.saturating_sub(ending.len());
    let cut = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}{ending}", text.get(..cut).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_harmless_part_of_a_path() {
        for (given, safe) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\bob\\x.txt", "x.txt"),
            ("/", "file"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            (".bashrc", "_bashrc"),
            ("-rf", "_rf"),
            ("~root", "_root"),
            ("a\u{1b}[31mb\nc\u{7}", "ab c_"),
            ("annex\u{202e}fdp.exe", "annexfdp.exe"),
            ("con:stream?", "con_stream_"),
            ("  spaced . ", "spaced"),
            ("übung ✓.md", "übung ✓.md"),
        ] {
            assert_eq!(safe_name(given), safe, "{given:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let name = safe_name(&format!("{}.tar.gz", "ü".repeat(400)));
        assert!(name.len() <= MAX_NAME_BYTES && name.ends_with(".gz"), "{name}");
        let name = safe_name(&format!("a.{}", "b".repeat(400)));
        assert_eq!(name.len(), MAX_NAME_BYTES);
    }
}
