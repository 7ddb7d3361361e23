//! Full text over the messages that one device holds.
//!
//! An [`Index`] is a file beside the log, made from it and never the other way round: whoever holds it may delete it, and it is made
//! again. It keeps words and places, not texts; what was found is read from the log.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! use penpal_search::{Document, Filter, Index, Words};
//!
//! let mut index = Index::open(&folder.path().join("search.db"))?;
//! index.add(&[Document {
//!     ordinal: 1,
//!     reference: b"the message's key".to_vec(),
//!     text: "The deploy of payments failed at step 3".to_owned(),
//!     ..Document::default()
//! }])?;
//! let words = Words::parse("payments \"step 3\" deploy*")?;
//! let found = index.find(&words, &Filter::default(), None, 10)?;
//! assert_eq!(found[0].reference, b"the message's key");
//! # Ok(())
//! # }
//! ```
//!
//! | module | does |
//! | --- | --- |
//! | [`Index`] | the file: adds, removes, finds |
//! | [`Words`] | what a person types, as a question that the index can answer |
//! | `excerpt` | the part of a text that shows why it was found |
//! | `scripts` | texts without spaces between words |

mod excerpt;
mod index;
mod scripts;
mod words;

pub use excerpt::EXCERPT;
pub use index::{Document, Filter, Found, Index, SearchError};
pub use words::{BadWords, MAX_BYTES, MAX_TERMS, Words};
