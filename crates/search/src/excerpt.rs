//! The part of a text that shows why it was found.

use crate::words::Words;

/// Most characters of an excerpt.
pub const EXCERPT: usize = 160;

/// Characters before what was found.
const LEAD: usize = 40;

impl Words {
    /// A part of the text around the first word that was asked for, in one line of at most [`EXCERPT`] characters; its beginning when none
    /// of them is in it as it was typed.
    #[must_use]
    pub fn excerpt(&self, text: &str) -> String {
        let line: Vec<char> = text.split_whitespace().flat_map(|word| word.chars().chain([' '])).collect();
        let line = line.strip_suffix(&[' ']).unwrap_or(&line);
        let at = self.shown.iter().filter_map(|word| place_of(word, line)).min().unwrap_or_default();
        let mut from = at.saturating_sub(LEAD);
        if from > 0 {
            // A whole word first, when there is one before what was found.
            let cut = line.get(from..at).unwrap_or_default();
            from += cut.iter().position(|one| *one == ' ').map_or(0, |space| space + 1);
        }
        let to = line.len().min(from.saturating_add(EXCERPT));
        let mut excerpt = String::new();
        if from > 0 {
            excerpt.push('…');
        }
        excerpt.extend(line.get(from..to).unwrap_or_default());
        if to < line.len() {
            excerpt.push('…');
        }
        excerpt
    }
}

/// Where a word begins in the text, whatever its case.
fn place_of(word: &[char], line: &[char]) -> Option<usize> {
    let is_start = |at: usize| at == 0 || line.get(at - 1).is_none_or(|before| !before.is_alphanumeric());
    let same = |at: usize| {
        let part = line.get(at..at + word.len()).unwrap_or_default();
        part.len() == word.len()
            && part.iter().zip(word).all(|(a, b)| a == b || a.to_lowercase().eq(b.to_lowercase()))
    };
    let unspaced = word.first().is_some_and(|first| crate::scripts::is_unspaced(*first));
    (0..line.len()).find(|at| (unspaced || is_start(*at)) && same(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(typed: &str, text: &str) -> String {
        Words::parse(typed).expect("words").excerpt(text)
    }

    #[test]
    fn it_shows_the_first_word_that_was_found() {
        assert_eq!(excerpt("deploy", "short  text\nabout a Deploy"), "short text about a Deploy");
        let long = format!("{} the Deploy failed {}", "before ".repeat(30), "after ".repeat(60));
        let shown = excerpt("deploy -draft", &long);
        assert!(shown.starts_with("…before") && shown.contains("the Deploy failed after"), "{shown}");
        assert!(shown.chars().count() <= EXCERPT + 2, "{shown}");
    }

    #[test]
    fn a_word_inside_of_another_is_not_it() {
        let text = format!("redeploy {} deploy", "x ".repeat(100));
        assert!(excerpt("deploy", &text).ends_with("deploy"));
        assert!(excerpt("確認", &format!("{}支払いの確認を", "x ".repeat(100))).contains("確認"));
    }

    #[test]
    fn what_is_found_elsewhere_shows_the_beginning() {
        assert_eq!(excerpt("bob", "hello"), "hello");
        assert_eq!(excerpt("naive", "a naïve text"), "a naïve text");
        assert_eq!(excerpt("x", ""), "");
    }
}
