//! What a person types.

use crate::scripts::spaced;

/// Longest question in bytes.
pub const MAX_BYTES: usize = 1024;

/// Most words and phrases in one question.
pub const MAX_TERMS: usize = 32;

/// A question: every word and every phrase must be there, what stands behind a `-` must not.
///
/// `payments deploy*` finds messages with the word *payments* and one that begins with *deploy*; `"step 3"` finds these words beside each
/// other; `-draft` leaves out what has the word. Case and accents do not matter; signs between letters part words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// In the language of the index: quoted strings only, so that nothing that was typed is an operator.
    pub(crate) expression: String,
    /// What was asked for and not left out, as it was typed.
    pub(crate) shown: Vec<Vec<char>>,
}

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadWords {
    /// Nothing to look for.
    #[error("no word to search for")]
    Nothing,
    /// Only words that must not be there.
    #[error("only words to leave out")]
    OnlyWithout,
    /// Longer than [`MAX_BYTES`] or with more than [`MAX_TERMS`] words.
    #[error("a question has at most {MAX_TERMS} words and {MAX_BYTES} bytes")]
    TooLong,
    /// A phrase has no end.
    #[error("a quotation mark has no partner")]
    OpenPhrase,
}

#[derive(Debug, Default)]
struct Term {
    text: String,
    without: bool,
    prefix: bool,
}

impl Words {
    /// Reads what was typed.
    ///
    /// # Errors
    /// [`BadWords`].
    pub fn parse(typed: &str) -> Result<Self, BadWords> {
        if typed.len() > MAX_BYTES {
            return Err(BadWords::TooLong);
        }
        let terms = terms(typed)?;
        if terms.len() > MAX_TERMS {
            return Err(BadWords::TooLong);
        }
        let (without, with): (Vec<&Term>, Vec<&Term>) = terms.iter().partition(|term| term.without);
        if with.is_empty() {
            return Err(if without.is_empty() { BadWords::Nothing } else { BadWords::OnlyWithout });
        }
        let bare = |term: &&Term| term.text.trim_end_matches('*').chars().collect();
        let shown = with.iter().map(bare).collect();
        let mut expression = with.iter().map(|term| quoted(term)).collect::<Vec<_>>().join(" AND ");
        for term in without {
            expression = format!("({expression}) NOT {}", quoted(term));
        }
        Ok(Self { expression, shown })
    }
}

/// A term as a string of the index's language: words in a row.
fn quoted(term: &Term) -> String {
    let text = spaced(&term.text).replace('"', " ");
    format!("\"{}\"{}", text.trim(), if term.prefix { "*" } else { "" })
}

fn terms(typed: &str) -> Result<Vec<Term>, BadWords> {
    let mut terms = Vec::new();
    let mut rest = typed.trim_start();
    while !rest.is_empty() {
        let mut term = Term::default();
        if let Some(after) = rest.strip_prefix('-') {
            (term.without, rest) = (true, after);
        }
        if let Some(phrase) = rest.strip_prefix(['"', '“', '”']) {
            let (text, after) = phrase.split_once(['"', '“', '”']).ok_or(BadWords::OpenPhrase)?;
            (term.text, rest) = (text.to_owned(), after);
            if let Some(after) = rest.strip_prefix('*') {
                (term.prefix, rest) = (true, after);
            }
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            term.prefix = word.ends_with('*');
            (term.text, rest) = (word.to_owned(), after);
        }
        // Signs alone are no word: the index would find nothing, or everything.
        if term.text.chars().any(char::is_alphanumeric) {
            terms.push(term);
        }
        rest = rest.trim_start();
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(typed: &str) -> Result<String, BadWords> {
        Words::parse(typed).map(|words| words.expression)
    }

    #[test]
    fn words_phrases_beginnings_and_what_is_left_out() {
        assert_eq!(expression("deploy failed"), Ok("\"deploy\" AND \"failed\"".to_owned()));
        assert_eq!(expression("\"step 3\" pay*"), Ok("\"step 3\" AND \"pay*\"*".to_owned()));
        assert_eq!(expression("deploy -draft"), Ok("(\"deploy\") NOT \"draft\"".to_owned()));
        assert_eq!(expression("支払い"), Ok("\"支  払  い\"".to_owned()));
    }

    #[test]
    fn operators_of_the_index_are_words() {
        assert_eq!(expression("NEAR(a b)"), Ok("\"NEAR(a\" AND \"b)\"".to_owned()));
        assert_eq!(expression("a\"b"), Ok("\"a b\"".to_owned()));
        assert_eq!(expression("subject: x OR"), Ok("\"subject:\" AND \"x\" AND \"OR\"".to_owned()));
    }

    #[test]
    fn what_cannot_be_asked() {
        assert_eq!(expression("  "), Err(BadWords::Nothing));
        assert_eq!(expression("-- * \"\""), Err(BadWords::Nothing));
        assert_eq!(expression("-draft"), Err(BadWords::OnlyWithout));
        assert_eq!(expression("\"open"), Err(BadWords::OpenPhrase));
        assert_eq!(expression(&"a ".repeat(33)), Err(BadWords::TooLong));
        assert_eq!(expression(&"a".repeat(1025)), Err(BadWords::TooLong));
    }
}
