//! The file.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params, params_from_iter};

use crate::scripts::spaced;
use crate::words::Words;

/// Of the tables below; a file of another one is made again.
const FORMAT: i64 = 2;

/// Words by message, without the texts; and what messages are filtered by.
const TABLES: &str = "
CREATE VIRTUAL TABLE words USING fts5(
    subject, text, files, people,
    content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TABLE message(
    ordinal INTEGER PRIMARY KEY, reference BLOB NOT NULL UNIQUE,
    contact BLOB, place BLOB, author BLOB, room BLOB, sent_ms INTEGER NOT NULL
);
CREATE TABLE done(one INTEGER PRIMARY KEY CHECK (one = 1), ordinal INTEGER NOT NULL, owner BLOB NOT NULL);
";

/// Pages kept in memory, in KiB, and the most that the file's journal keeps, in bytes.
const CACHE_KIB: i64 = 1024;
const JOURNAL_BYTES: i64 = 4 * 1024 * 1024;

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Its place among all messages: later ones are found first. At most `i64::MAX`.
    pub ordinal: u64,
    /// How it is found in the log. A message with a reference that is known replaces the other.
    pub reference: Vec<u8>,
    /// Contact that it was exchanged with.
    pub contact: Option<Vec<u8>>,
    /// Where it was put.
    pub place: Option<Vec<u8>>,
    /// Where it was written, when that was here.
    pub author: Option<Vec<u8>>,
    /// Room in which it was said.
    pub room: Option<Vec<u8>>,
    /// When it was sent, Unix milliseconds.
    pub sent_ms: u64,
    /// One line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// Names of files that came with it.
    pub files: String,
    /// Names of whom it is from and to.
    pub people: String,
}

/// Which messages count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Exchanged with this contact.
    pub contact: Option<Vec<u8>>,
    /// Put here, or written here.
    pub place: Option<Vec<u8>>,
    /// Said in this room.
    pub room: Option<Vec<u8>>,
    /// Sent at this time or later, Unix milliseconds.
    pub since_ms: Option<u64>,
    /// Sent before this time, Unix milliseconds.
    pub until_ms: Option<u64>,
}

/// A message that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its place among all messages.
    pub ordinal: u64,
    /// How it is found in the log.
    pub reference: Vec<u8>,
}

/// The index could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The file is no index, or damaged: [`Index::remake`] it.
    #[error("the search index is damaged: {0}")]
    Damaged(String),
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// The file system or the library failed.
    #[error("the search index {path} cannot be used: {reason}", path = .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Words of messages, in one file and its journal. Only what [`Self::done`] says is in it.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    connection: Connection,
}

impl Index {
    /// Opens the index, or makes an empty one. The file is readable by its owner only.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn open(path: &Path) -> Result<Self, SearchError> {
        make_private(path)
            .map_err(|error| SearchError::Unusable { path: path.to_owned(), reason: error.to_string() })?;
        let connection = Connection::open(path).map_err(|error| failed(path, &error))?;
        let mut index = Self { path: path.to_owned(), connection };
        index.prepare().map_err(|error| failed(path, &error))?;
        Ok(index)
    }

    /// Opens an empty index in place of what is there.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn remake(path: &Path) -> Result<Self, SearchError> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SearchError::Unusable { path: file.into(), reason: error.to_string() });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Self::open(path)
    }

    fn prepare(&mut self) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        // What is lost with the power is read from the log again.
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        self.connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        self.connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES)?;
        let format: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if format == FORMAT {
            return Ok(());
        }
        let step = self.connection.transaction()?;
        step.execute_batch(
            "DROP TABLE IF EXISTS words; DROP TABLE IF EXISTS message; DROP TABLE IF EXISTS done;",
        )?;
        step.execute_batch(TABLES)?;
        step.pragma_update(None, "user_version", FORMAT)?;
        step.commit()
    }

    /// Up to which place messages are in it, and whose they are; `None` for an empty index.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn done(&self) -> Result<Option<(u64, Vec<u8>)>, SearchError> {
        let row = self.connection.query_row("SELECT ordinal, owner FROM done", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        let row = row.optional().map_err(|error| self.failed(&error))?;
        Ok(row.map(|(ordinal, owner)| (u64::try_from(ordinal).unwrap_or_default(), owner)))
    }

    /// Says up to which place messages are in it, and whose they are, together with messages: all of it or nothing.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn add_up_to(&mut self, documents: &[Document], done: u64, owner: &[u8]) -> Result<(), SearchError> {
        let path = self.path.clone();
        self.put(documents, Some((done, owner))).map_err(|error| failed(&path, &error))
    }

    /// Adds messages: all of them or none.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn add(&mut self, documents: &[Document]) -> Result<(), SearchError> {
        let path = self.path.clone();
        self.put(documents, None).map_err(|error| failed(&path, &error))
    }

    fn put(&mut self, documents: &[Document], done: Option<(u64, &[u8])>) -> rusqlite::Result<()> {
        let step = self.connection.transaction()?;
        {
            let mut known =
                step.prepare("SELECT ordinal FROM message WHERE reference = ?1 OR ordinal = ?2")?;
            let mut forget = step.prepare("DELETE FROM message WHERE ordinal = ?1")?;
            let mut forget_words = step.prepare("DELETE FROM words WHERE rowid = ?1")?;
            let mut message = step.prepare("INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            let mut words = step.prepare(
                "INSERT INTO words(rowid, subject, text, files, people) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for document in documents {
                let ordinal = signed(document.ordinal);
                let old: Vec<i64> = known
                    .query_map(params![document.reference, ordinal], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for old in old {
                    forget.execute([old])?;
                    forget_words.execute([old])?;
                }
                message.execute(params![
                    ordinal,
                    document.reference,
                    document.contact,
                    document.place,
                    document.author,
                    document.room,
                    signed(document.sent_ms)
                ])?;
                words.execute(params![
                    ordinal,
                    spaced(&document.subject),
                    spaced(&document.text),
                    spaced(&document.files),
                    spaced(&document.people)
                ])?;
            }
        }
        if let Some((ordinal, owner)) = done {
            step.execute("INSERT OR REPLACE INTO done VALUES (1, ?1, ?2)", params![signed(ordinal), owner])?;
        }
        step.commit()
    }

    /// Removes messages that the log no longer has.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn remove(&mut self, ordinals: &[u64]) -> Result<(), SearchError> {
        let path = self.path.clone();
        self.take_out(ordinals).map_err(|error| failed(&path, &error))
    }

    fn take_out(&mut self, ordinals: &[u64]) -> rusqlite::Result<()> {
        let step = self.connection.transaction()?;
        for ordinal in ordinals {
            step.execute("DELETE FROM message WHERE ordinal = ?1", [signed(*ordinal)])?;
            step.execute("DELETE FROM words WHERE rowid = ?1", [signed(*ordinal)])?;
        }
        step.commit()
    }

    /// Finds messages, latest first: those before place `before`, at most `limit`.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn find(
        &self,
        words: &Words,
        filter: &Filter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Found>, SearchError> {
        let mut question = "SELECT message.ordinal, message.reference FROM words \
             JOIN message ON message.ordinal = words.rowid WHERE words MATCH ?"
            .to_owned();
        let mut values = vec![Value::Text(words.expression.clone())];
        let mut also = |condition: &str, value: Value| {
            question.push_str(condition);
            values.push(value);
        };
        if let Some(before) = before {
            also(" AND words.rowid < ?", Value::Integer(signed(before)));
        }
        if let Some(contact) = &filter.contact {
            also(" AND message.contact = ?", Value::Blob(contact.clone()));
        }
        if let Some(place) = &filter.place {
            also(" AND ? IN (message.place, message.author)", Value::Blob(place.clone()));
        }
        if let Some(room) = &filter.room {
            also(" AND message.room = ?", Value::Blob(room.clone()));
        }
        if let Some(since) = filter.since_ms {
            also(" AND message.sent_ms >= ?", Value::Integer(signed(since)));
        }
        if let Some(until) = filter.until_ms {
            also(" AND message.sent_ms < ?", Value::Integer(signed(until)));
        }
        also(" ORDER BY words.rowid DESC LIMIT ?", Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        self.ask(&question, values)
    }

    /// Messages in order of their places: those after place `after`, at most `limit`.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn list(&self, after: Option<u64>, limit: usize) -> Result<Vec<Found>, SearchError> {
        let after = after.map_or(-1, signed);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.ask(
            "SELECT ordinal, reference FROM message WHERE ordinal > ? ORDER BY ordinal LIMIT ?",
            vec![Value::Integer(after), Value::Integer(limit)],
        )
    }

    fn ask(&self, question: &str, values: Vec<Value>) -> Result<Vec<Found>, SearchError> {
        let ask = || -> rusqlite::Result<Vec<Found>> {
            let mut statement = self.connection.prepare(question)?;
            let rows = statement.query_map(params_from_iter(values), |row| {
                let ordinal = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
                Ok(Found { ordinal, reference: row.get(1)? })
            })?;
            rows.collect()
        };
        ask().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &rusqlite::Error) -> SearchError {
        failed(&self.path, error)
    }
}

/// Places and times are far below the limit of the file's numbers; one above it counts as the last.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map(drop)
}

fn failed(path: &Path, error: &rusqlite::Error) -> SearchError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => SearchError::Damaged(error.to_string()),
        Some(ErrorCode::DiskFull) => SearchError::Full,
        _ => SearchError::Unusable { path: path.to_owned(), reason: error.to_string() },
    }
}
