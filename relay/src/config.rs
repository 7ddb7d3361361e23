//! Settings of a relay: flags over environment over file over defaults.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use penpal_protocol::blob::MAX_CONTENT_BYTES;
use penpal_protocol::cbor::Text;
use penpal_protocol::text::{DEFAULT_PORT, Host, HostError, HostPort, Label};
use penpal_relay_core::{Config, Limits, RegistrationPolicy};
use penpal_transport::Patience;
use serde::Deserialize;

use crate::net::ANSWER_PATIENCE;

/// Where data is kept unless something else is said.
pub(crate) const DEFAULT_DATA: &str = "/var/lib/penpal-relay";

/// Everything that a relay needs to know.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Folder for data; created when absent.
    pub data: PathBuf,
    /// Folder for keys; `None` is `keys` inside the data folder.
    pub keys: Option<PathBuf>,
    /// UDP address to listen on. Port 0 takes the port of the last start if it is free, else any.
    pub listen: SocketAddr,
    /// Name or address, and port if another than the one listened on, under which others reach this relay. `None` keeps
    /// that of the last start, or takes the address listened on.
    pub public: Option<Public>,
    /// Who may register.
    pub registration: RegistrationPolicy,
    /// TCP address on which metrics and health are answered; `None` answers nobody.
    pub metrics: Option<SocketAddr>,
    /// Bounds on what anybody can use up.
    pub limits: Limits,
    /// How long a client may leave an answer unread; beyond it the stream of that answer ends.
    pub answer_patience: Patience,
}

impl RelayConfig {
    /// Defaults for a data folder: port 4433 on all addresses, registration by invite.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            keys: None,
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT)),
            public: None,
            registration: RegistrationPolicy::default(),
            metrics: None,
            limits: Limits::default(),
            answer_patience: ANSWER_PATIENCE,
        }
    }

    /// The configuration that the text of a settings file gives, with defaults for the rest. `path` is named in errors.
    ///
    /// # Errors
    /// [`SettingsError`]: not TOML, an unknown key, a value that is out of range.
    pub fn from_toml(text: &str, path: &Path, data: &Path) -> Result<Self, SettingsError> {
        Settings::parse(text, path)?.check(data)
    }

    pub(crate) fn core(&self) -> Config {
        Config {
            registration: self.registration.clone(),
            limits: self.limits.clone(),
            software: Text::truncated(concat!("penpal-relay ", env!("CARGO_PKG_VERSION"))),
        }
    }
}

/// `host[:port]` as an operator gives it: without a port the one listened on is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    host: Host,
    port: Option<u16>,
}

impl Public {
    /// The address with a port, given the one listened on.
    pub(crate) fn at(&self, listening: u16) -> HostPort {
        HostPort { host: self.host.clone(), port: self.port.unwrap_or(listening) }
    }
}

impl std::str::FromStr for Public {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Ok(host) = text.parse() {
            return Ok(Self { host, port: None });
        }
        let HostPort { host, port } = text.parse()?;
        Ok(Self { host, port: Some(port) })
    }
}

impl std::fmt::Display for Public {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            None => write!(f, "{}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// Who may register, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Registration {
    /// By an operator's token or an invite of an account here
    Invite,
    /// Whoever first asks for one of the handles in `allow`
    AllowList,
    /// Everybody
    Open,
}

/// The settings file, and the same fields from flags and environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// UDP address to listen on.
    pub(crate) listen: Option<SocketAddr>,
    /// Name or address under which others reach this relay.
    pub(crate) public: Option<String>,
    /// Folder for keys.
    pub(crate) keys: Option<PathBuf>,
    /// Who may register.
    pub(crate) register: Option<Registration>,
    /// Handles that `register = "allow-list"` lets in.
    pub(crate) allow: Option<Vec<String>>,
    /// Most bytes waiting for one device.
    pub(crate) spool_bytes: Option<u64>,
    /// Most envelopes waiting for one device.
    pub(crate) spool_envelopes: Option<u64>,
    /// Longest artifact, in bytes of its content.
    pub(crate) artifact_bytes: Option<u64>,
    /// Most bytes of artifacts of one account.
    pub(crate) artifact_bytes_per_account: Option<u64>,
    /// Most bytes of all artifacts.
    pub(crate) artifact_bytes_total: Option<u64>,
    /// Most connections at a time.
    pub(crate) connections: Option<usize>,
    /// Most connections from one network.
    pub(crate) connections_per_network: Option<usize>,
    /// TCP address for metrics and health.
    pub(crate) metrics: Option<SocketAddr>,
}

/// Settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key or a wrong type.
    #[error("{path} is not usable: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// A value is out of range or malformed.
    #[error("{key} is not usable: {detail}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl Settings {
    /// Reads a settings file.
    pub(crate) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|error| SettingsError::File {
            path: path.to_owned(),
            detail: error.to_string().trim_end().replace('\n', "; "),
        })
    }

    /// These settings, with `below` where these say nothing.
    pub(crate) fn over(self, below: Self) -> Self {
        Self {
            listen: self.listen.or(below.listen),
            public: self.public.or(below.public),
            keys: self.keys.or(below.keys),
            register: self.register.or(below.register),
            allow: self.allow.or(below.allow),
            spool_bytes: self.spool_bytes.or(below.spool_bytes),
            spool_envelopes: self.spool_envelopes.or(below.spool_envelopes),
            artifact_bytes: self.artifact_bytes.or(below.artifact_bytes),
            artifact_bytes_per_account: self.artifact_bytes_per_account.or(below.artifact_bytes_per_account),
            artifact_bytes_total: self.artifact_bytes_total.or(below.artifact_bytes_total),
            connections: self.connections.or(below.connections),
            connections_per_network: self.connections_per_network.or(below.connections_per_network),
            metrics: self.metrics.or(below.metrics),
        }
    }

    /// The relay's configuration, every value checked.
    pub(crate) fn check(self, data: &Path) -> Result<RelayConfig, SettingsError> {
        let mut config = RelayConfig::new(data);
        config.listen = self.listen.unwrap_or(config.listen);
        config.keys = self.keys;
        config.metrics = self.metrics;
        config.public =
            self.public.map(|text| text.parse()).transpose().map_err(|error: HostError| {
                SettingsError::Value { key: "public", detail: error.to_string() }
            })?;
        let handles = handles(self.allow.as_deref().unwrap_or_default())?;
        config.registration = match self.register {
            None | Some(Registration::Invite) => RegistrationPolicy::Invite,
            Some(Registration::Open) => RegistrationPolicy::Open,
            Some(Registration::AllowList) => RegistrationPolicy::AllowList(handles),
        };
        if let Some(bytes) = self.spool_bytes {
            config.limits.spool_bytes = at_least("spool-bytes", bytes, 1024 * 1024)?;
        }
        if let Some(envelopes) = self.spool_envelopes {
            config.limits.spool_rows = at_least("spool-envelopes", envelopes, 16)?;
        }
        if let Some(bytes) = self.artifact_bytes {
            if bytes > MAX_CONTENT_BYTES {
                let detail = format!("{bytes} is more than {MAX_CONTENT_BYTES}");
                return Err(SettingsError::Value { key: "artifact-bytes", detail });
            }
            config.limits.artifact_bytes = bytes;
        }
        if let Some(bytes) = self.artifact_bytes_per_account {
            config.limits.blob_account_bytes = bytes;
        }
        if let Some(bytes) = self.artifact_bytes_total {
            config.limits.blob_total_bytes = bytes;
        }
        if let Some(connections) = self.connections {
            config.limits.connections = at_least("connections", connections, 2)?;
            config.limits.unregistered_connections = connections / 4 + 1;
        }
        if let Some(connections) = self.connections_per_network {
            config.limits.connections_per_prefix = at_least("connections-per-network", connections, 2)?;
        }
        Ok(config)
    }
}

fn handles(allow: &[String]) -> Result<BTreeSet<Label>, SettingsError> {
    let parsed = allow.iter().map(|text| Label::new(text));
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error| SettingsError::Value { key: "allow", detail: error.to_string() })
}

fn at_least<T: PartialOrd + std::fmt::Display>(
    key: &'static str,
    value: T,
    least: T,
) -> Result<T, SettingsError> {
    if value < least {
        return Err(SettingsError::Value { key, detail: format!("{value} is less than {least}") });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn read(text: &str) -> Result<RelayConfig, String> {
        let (_dir, path) = written(text);
        let config = Settings::read(&path).and_then(|settings| settings.check(Path::new("data")));
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_file() {
        let config = read(
            "listen = '127.0.0.1:5'\npublic = 'relay.example.com'\nkeys = '/k'\nregister = 'allow-list'\nallow = ['Bob']\nspool-bytes = 2000000\n",
        )
        .unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:5");
        assert_eq!(config.public.unwrap().at(5).to_string(), "relay.example.com:5");
        assert_eq!(config.keys, Some("/k".into()));
        assert_eq!(
            config.registration,
            RegistrationPolicy::AllowList(BTreeSet::from([Label::new("bob").unwrap()]))
        );
        assert_eq!(config.limits.spool_bytes, 2_000_000);
    }

    #[test]
    fn unknown_keys_and_bad_values_are_errors_that_name_them() {
        assert!(read("port = 5").unwrap_err().contains("port"));
        assert!(read("listen = 'x'").unwrap_err().contains("listen"));
        assert!(read("public = 'a b'").unwrap_err().starts_with("public is not usable"));
        assert!(read("allow = ['a b']").unwrap_err().starts_with("allow is not usable"));
        assert!(read("spool-bytes = 5").unwrap_err().starts_with("spool-bytes is not usable"));
    }

    #[test]
    fn nearer_settings_win() {
        let near = Settings { spool_bytes: Some(1), ..Settings::default() };
        let far = Settings { spool_bytes: Some(2), connections: Some(3), ..Settings::default() };
        let both = near.over(far);
        assert_eq!((both.spool_bytes, both.connections), (Some(1), Some(3)));
    }

    #[test]
    fn public_ports() {
        let at = |text: &str| text.parse::<Public>().unwrap().at(49_210).to_string();
        assert_eq!(at("relay.example.com"), "relay.example.com:49210");
        assert_eq!(at("relay.example.com:4433"), "relay.example.com");
        assert_eq!(at("[::1]"), "[::1]:49210");
    }
}
