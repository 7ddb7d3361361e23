//! Settings of a node: arguments of `penpal daemon run` over environment over `config.toml` in the home over defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use penpal_delivery::HistoryLimits;
use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_local_api::home::Home;
use penpal_protocol::limits::{DAY_MS, DEFAULT_MESSAGE_LIFE_MS, MAX_MESSAGE_LIFE_MS};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// Longest settings file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Least history in bytes: enough for one conversation of long messages.
const MIN_HISTORY_BYTES: u64 = 1024 * 1024;

/// Most days of history.
const MAX_HISTORY_DAYS: u32 = 36_500;

/// Settings as they are written: the same fields in the file, as arguments, and in the environment (`PENPAL_LOG`,
/// `PENPAL_HISTORY_DAYS`, `PENPAL_HISTORY_BYTES`, `PENPAL_MESSAGE_DAYS`, `PENPAL_NOTIFY`, `PENPAL_WAKES`, `PENPAL_DNS`). What one place leaves out the next one says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// What is logged: error, warn, info, debug or trace, or a filter such as info,quinn=debug (default: info)
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Days that mail which was seen is kept (default: 90)
    #[arg(long, value_name = "DAYS")]
    pub history_days: Option<u32>,
    /// Bytes of seen mail that are kept, newest first (default: 1073741824)
    #[arg(long, value_name = "BYTES")]
    pub history_bytes: Option<u64>,
    /// Days after which a sent message that nobody fetched expires, 30 at most (default: 14)
    #[arg(long, value_name = "DAYS")]
    pub message_days: Option<u32>,
    /// When the desktop is notified of mail: never, or of asks to sessions that cannot be woken (default: off)
    #[arg(long, value_name = "WHEN", value_enum)]
    pub notify: Option<Notify>,
    /// Whether an ask, or the answer to one, may start a turn in an idle session (default: on)
    #[arg(long, value_name = "WHETHER", value_enum)]
    pub wakes: Option<Wakes>,
    /// Name server to ask for relays, and nobody else (default: as the system does)
    #[arg(long, value_name = "IP:PORT")]
    pub dns: Option<SocketAddr>,
}

/// Whether idle sessions are woken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Wakes {
    /// By asks and answers to asks.
    #[default]
    On,
    /// Never.
    Off,
}

/// When the desktop is notified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Notify {
    /// Never.
    #[default]
    Off,
    /// Of asks to sessions that cannot be woken.
    Asks,
}

/// Settings of a node, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is logged.
    pub(crate) log: String,
    /// How much seen mail is kept.
    pub(crate) history: HistoryLimits,
    /// Life of a sent message, in milliseconds.
    pub(crate) message_life_ms: u64,
    /// When the desktop is notified.
    pub(crate) notify: Notify,
    /// Whether idle sessions are woken.
    pub(crate) wakes: bool,
    /// Name server to ask; the system's when absent.
    pub(crate) dns: Option<SocketAddr>,
}

/// Settings cannot be used. Nothing was started or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key, or a value of a wrong type.
    #[error("{path}, line {line}: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What, with the key.
        detail: String,
    },
    /// A value cannot be used.
    #[error("{place} {detail}")]
    Value {
        /// File and key, variable, or argument.
        place: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl ConfigError {
    /// What whoever starts the node is told.
    pub(crate) fn api(&self) -> ApiError {
        ApiError::new(ErrorCode::BadConfig, self.to_string())
    }
}

/// Whether sessions are woken, as the settings file says; one that cannot be read is told of by whoever starts the node.
#[must_use]
pub(crate) fn wakes(home: &Home) -> Wakes {
    Settings::read(&home.config()).ok().and_then(|settings| settings.wakes).unwrap_or_default()
}

/// Writes whether sessions are woken into the settings file; everything else in it stays as it is.
///
/// # Errors
/// [`ConfigError::Read`] when it cannot be read or written.
pub(crate) fn write_wakes(home: &Home, wakes: Wakes) -> Result<(), ConfigError> {
    let path = home.config();
    Settings::read(&path)?;
    let failed = |source| ConfigError::Read { path: path.clone(), source };
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let line = match wakes {
        Wakes::On => "wakes = \"on\"",
        Wakes::Off => "wakes = \"off\"",
    };
    let is_it = |line: &str| line.split_once('=').is_some_and(|(key, _)| key.trim() == "wakes");
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|line| is_it(line)) {
        Some(at) => drop(std::mem::replace(&mut lines[at], line)),
        None => lines.insert(0, line),
    }
    crate::launch::prepare_home(home).map_err(|error| failed(std::io::Error::other(error.message)))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    std::io::Write::write_all(&mut file, format!("{}\n", lines.join("\n")).as_bytes()).map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The place where settings were written, for messages.
#[derive(Debug, Clone)]
enum Place {
    Arguments,
    Environment,
    File(PathBuf),
}

impl Place {
    fn key(&self, key: &str) -> String {
        match self {
            Self::Arguments => format!("--{key}"),
            Self::Environment => variable(key),
            Self::File(path) => format!("{}: {key}", path.display()),
        }
    }
}

fn variable(key: &str) -> String {
    format!("PENPAL_{}", key.to_ascii_uppercase().replace('-', "_"))
}

impl Config {
    /// Reads file and environment of this process and puts `arguments` over them.
    ///
    /// # Errors
    /// [`ConfigError`] names file and line, variable, or argument.
    pub fn load(home: &Home, arguments: &Settings) -> Result<Self, ConfigError> {
        let environment = Settings::from_variables(|name| std::env::var(name).ok())?;
        let path = home.config();
        let file = Settings::read(&path)?;
        // Each place is checked by itself, so that a bad value in the file is told even where something else overrides it.
        for (place, settings) in
            [(Place::Arguments, arguments), (Place::Environment, &environment), (Place::File(path), &file)]
        {
            settings.check(&place)?;
        }
        Ok(Self::of(arguments.clone().over(environment).over(file)))
    }

    fn of(settings: Settings) -> Self {
        let defaults = HistoryLimits::default();
        let days = |days: u32| u64::from(days).saturating_mul(DAY_MS);
        Self {
            log: settings.log.unwrap_or_else(|| "info".to_owned()),
            history: HistoryLimits {
                max_age_ms: settings.history_days.map_or(defaults.max_age_ms, days),
                max_bytes: settings.history_bytes.unwrap_or(defaults.max_bytes),
            },
            message_life_ms: settings.message_days.map_or(DEFAULT_MESSAGE_LIFE_MS, days),
            notify: settings.notify.unwrap_or_default(),
            wakes: settings.wakes.unwrap_or_default() == Wakes::On,
            dns: settings.dns,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::of(Settings::default())
    }
}

impl Settings {
    /// Reads a settings file; one that does not exist says nothing.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`ConfigError::File`].
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(error)),
            Ok(found) if found.len() > MAX_FILE_BYTES => {
                return Err(unreadable(std::io::Error::from(std::io::ErrorKind::FileTooLarge)));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            ConfigError::File {
                path: path.to_owned(),
                line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
                detail: error.message().replace('\n', "; "),
            }
        })
    }

    /// Reads variables of the environment; an empty one says nothing.
    fn from_variables(variables: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |key: &str| variables(&variable(key)).filter(|value| !value.is_empty());
        Ok(Self {
            log: text("log"),
            history_days: number("history-days", text("history-days"))?,
            history_bytes: number("history-bytes", text("history-bytes"))?,
            message_days: number("message-days", text("message-days"))?,
            notify: chosen("notify", text("notify"))?,
            wakes: chosen("wakes", text("wakes"))?,
            dns: parsed("dns", text("dns"), "an address and a port, such as 192.0.2.53:53,")?,
        })
    }

    /// These settings, with `below` where these say nothing.
    fn over(self, below: Self) -> Self {
        Self {
            log: self.log.or(below.log),
            history_days: self.history_days.or(below.history_days),
            history_bytes: self.history_bytes.or(below.history_bytes),
            message_days: self.message_days.or(below.message_days),
            notify: self.notify.or(below.notify),
            wakes: self.wakes.or(below.wakes),
            dns: self.dns.or(below.dns),
        }
    }

    fn check(&self, place: &Place) -> Result<(), ConfigError> {
        let bad = |key: &str, detail: String| ConfigError::Value { place: place.key(key), detail };
        if let Some(log) = &self.log
            && let Err(error) = log.parse::<EnvFilter>()
        {
            return Err(bad("log", format!("{log:?} is no level or filter: {error}")));
        }
        let days = |key: &str, value: Option<u32>, most: u32| match value {
            Some(days) if !(1..=most).contains(&days) => {
                Err(bad(key, format!("is {days}; 1 to {most} are possible")))
            }
            Some(_) | None => Ok(()),
        };
        days("history-days", self.history_days, MAX_HISTORY_DAYS)?;
        days("message-days", self.message_days, u32::try_from(MAX_MESSAGE_LIFE_MS / DAY_MS).unwrap_or(30))?;
        match self.history_bytes {
            Some(bytes) if bytes < MIN_HISTORY_BYTES => {
                Err(bad("history-bytes", format!("is {bytes}; {MIN_HISTORY_BYTES} is the least")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn chosen<T: clap::ValueEnum>(key: &str, text: Option<String>) -> Result<Option<T>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    T::from_str(&text, false).map(Some).map_err(|_| {
        let all = T::value_variants().iter().filter_map(clap::ValueEnum::to_possible_value);
        let all: Vec<String> = all.map(|value| value.get_name().to_owned()).collect();
        ConfigError::Value {
            place: Place::Environment.key(key),
            detail: format!("is {text:?}; {} are possible", all.join(" and ")),
        }
    })
}

fn number<T: std::str::FromStr>(key: &str, text: Option<String>) -> Result<Option<T>, ConfigError> {
    parsed(key, text, "a whole number")
}

fn parsed<T: std::str::FromStr>(
    key: &str,
    text: Option<String>,
    what: &str,
) -> Result<Option<T>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ConfigError::Value {
        place: Place::Environment.key(key),
        detail: format!("is {text:?}; {what} is possible"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn file(text: &str) -> Result<Settings, String> {
        let (_folder, path) = written(text);
        let read = Settings::read(&path).and_then(|settings| {
            settings.check(&Place::File(PathBuf::from("config.toml")))?;
            Ok(settings)
        });
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_file_and_none() {
        let settings = file(
            "log = 'debug'\nhistory-days = 30\nhistory-bytes = 2000000\nmessage-days = 7\nnotify = 'asks'\ndns = '[::1]:53'\n",
        )
        .unwrap();
        let config = Config::of(settings);
        assert_eq!(config.log, "debug");
        assert_eq!(config.history, HistoryLimits { max_age_ms: 30 * DAY_MS, max_bytes: 2_000_000 });
        assert_eq!(config.message_life_ms, 7 * DAY_MS);
        assert_eq!(config.notify, Notify::Asks);
        assert_eq!(config.dns, Some("[::1]:53".parse().unwrap()));
        let none = Config::of(Settings::read(Path::new("/nowhere/config.toml")).unwrap());
        assert_eq!(none.history, HistoryLimits::default());
        assert_eq!((none.log.as_str(), none.message_life_ms), ("info", DEFAULT_MESSAGE_LIFE_MS));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = file("# mine\nlog = 'info'\nhistory_days = 3\n").unwrap_err();
        assert!(error.contains("line 3") && error.contains("`history_days`"), "{error}");
        let error = file("log = 'info'\n\nhistory-days = 'ten'\n").unwrap_err();
        assert!(error.contains("line 3"), "{error}");
        let error = file("log =\n").unwrap_err();
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_named_with_their_key() {
        for (text, key) in [
            ("history-days = 0", "history-days"),
            ("message-days = 31", "message-days"),
            ("history-bytes = 5", "history-bytes"),
            ("log = 'info,=,'", "log"),
        ] {
            let error = file(text).unwrap_err();
            assert!(error.starts_with(&format!("config.toml: {key} ")), "{error}");
        }
    }

    #[test]
    fn argument_over_environment_over_file_over_default() {
        let days = |days| Settings { history_days: days, ..Settings::default() };
        let file = Settings { message_days: Some(3), log: Some("warn".to_owned()), ..days(Some(1)) };
        let environment = Settings { log: Some("debug".to_owned()), ..days(Some(2)) };
        let config = Config::of(days(Some(3)).over(environment.clone()).over(file.clone()));
        assert_eq!((config.history.max_age_ms, config.log.as_str()), (3 * DAY_MS, "debug"));
        assert_eq!(config.message_life_ms, 3 * DAY_MS);
        assert_eq!(config.history.max_bytes, HistoryLimits::default().max_bytes);
        let config = Config::of(days(None).over(environment).over(file));
        assert_eq!(config.history.max_age_ms, 2 * DAY_MS);
    }

    #[test]
    fn variables_have_the_names_of_the_keys() {
        let given = |name: &str| (name == "PENPAL_HISTORY_DAYS").then(|| "8".to_owned());
        assert_eq!(Settings::from_variables(given).unwrap().history_days, Some(8));
        let given = |name: &str| (name == "PENPAL_MESSAGE_DAYS").then(|| "x".to_owned());
        assert!(
            Settings::from_variables(given).unwrap_err().to_string().starts_with("PENPAL_MESSAGE_DAYS is")
        );
    }
}
