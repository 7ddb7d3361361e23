//! Text from others as a terminal may show it.

use crate::unsafe_text;

/// A text of several lines without escape sequences, control, bidirectional and invisible characters. Tabs and line ends stay.
#[must_use]
pub fn lines(text: &str) -> String {
    unsafe_text::visible(text)
}

/// The same on one line, for names, subjects and summaries.
#[must_use]
pub fn line(text: &str) -> String {
    unsafe_text::visible_line(text)
}
