//! Characters that look like nothing or like something else, and terminal escape sequences: what quote and terminal both take out.

/// Whether a character shows nothing, or changes the order of what is around it.
///
/// Text directions, zero-width characters, fillers, variation selectors and tag characters: they hide text from people
/// that a model still reads.
pub(crate) fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Whether a character ends a line somewhere.
pub(crate) fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{000B}' | '\u{000C}' | '\u{0085}' | '\u{2028}' | '\u{2029}')
}

/// Takes out escape sequences, invisible and control characters; every kind of line end becomes `\n`, tabs stay.
///
/// A control character that is no part of a sequence becomes U+FFFD, so that it is seen that something was there.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\u{001B}' => skip_escape(&mut rest),
            '\u{009B}' => skip_control_sequence(&mut rest),
            '\u{0090}' | '\u{0098}' | '\u{009D}' | '\u{009E}' | '\u{009F}' => skip_string(&mut rest),
            '\r' => {
                if rest.peek() == Some(&'\n') {
                    rest.next();
                }
                out.push('\n');
            }
            '\t' => out.push('\t'),
            _ if is_line_end(character) => out.push('\n'),
            _ if is_invisible(character) => {}
            _ if character.is_control() => out.push('\u{FFFD}'),
            _ => out.push(character),
        }
    }
    out
}

/// The same on one line: line ends and tabs become spaces, the ends are trimmed.
pub(crate) fn visible_line(text: &str) -> String {
    let spaced: String = visible(text)
        .chars()
        .map(|character| if matches!(character, '\n' | '\t') { ' ' } else { character })
        .collect();
    spaced.trim().to_owned()
}

type Rest<'t> = std::iter::Peekable<std::str::Chars<'t>>;

fn skip_escape(rest: &mut Rest<'_>) {
    match rest.peek().copied() {
        Some('[') => {
            rest.next();
            skip_control_sequence(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_' | 'k') => {
            rest.next();
            skip_string(rest);
        }
        // Intermediate bytes, then one final byte: a choice of character set and the like.
        Some(' '..='/') => {
            while rest.next_if(|next| matches!(next, ' '..='/')).is_some() {}
            rest.next_if(|next| matches!(next, '0'..='~'));
        }
        Some('0'..='~') => {
            rest.next();
        }
        _ => {}
    }
}

/// Parameters and one final byte. A sequence that is broken off takes nothing of the text after it.
fn skip_control_sequence(rest: &mut Rest<'_>) {
    while rest.next_if(|next| matches!(next, ' '..='?')).is_some() {}
    rest.next_if(|next| matches!(next, '@'..='~'));
}

/// Everything up to the end of a string (a title, a link, a device's answer); without an end, the rest of its line.
fn skip_string(rest: &mut Rest<'_>) {
    while let Some(next) = rest.peek().copied() {
        if is_line_end(next) {
            return;
        }
        rest.next();
        match next {
            '\u{0007}' | '\u{009C}' => return,
            '\u{001B}' if rest.next_if_eq(&'\\').is_some() => return,
            _ => {}
        }
    }
}
