//! Where a relay listens: a DNS name or an IP address, and a port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// UDP port of a relay whose address names none.
pub const DEFAULT_PORT: u16 = 4433;

/// Longest DNS name in bytes (RFC 1035 §2.3.4, as text without the last dot).
const MAX_NAME_BYTES: usize = 253;

/// A DNS name or an IP address.
///
/// A name is folded to lower case; its parts have letters, digits, `-` and `_`, and at most 63 of them. A name whose last part is
/// a number would be read as an IPv4 address by some resolvers and is refused. An IPv6 address is written in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    text: String,
    ip: Option<IpAddr>,
}

/// `host[:port]`, the port left out when it is [`DEFAULT_PORT`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Where to connect.
    pub host: Host,
    /// UDP port, never 0.
    pub port: u16,
}

/// A text is not `host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing where the host should be.
    #[error("the host is missing")]
    Missing,
    /// A name that DNS could not hold.
    #[error("host {host:?} is not a DNS name: {reason}")]
    Name {
        /// What was found.
        host: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Something like an IP address that is none.
    #[error("host {host:?} is not an IP address")]
    Ip {
        /// What was found.
        host: String,
    },
    /// Not a number from 1 to 65535 without leading zeros.
    #[error("port {port:?} is not a number from 1 to 65535")]
    Port {
        /// What was found.
        port: String,
    },
}

impl Host {
    /// The name, or the address as it stands in a URL: IPv6 in brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address; `None` for a name that must be looked up.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    fn name(text: &str) -> Result<Self, HostError> {
        let wrong = |reason| HostError::Name { host: text.chars().take(64).collect(), reason };
        if text.len() > MAX_NAME_BYTES {
            return Err(wrong("longer than 253 bytes"));
        }
        for part in text.split('.') {
            if part.is_empty() {
                return Err(wrong("an empty part between dots"));
            }
            if part.len() > 63 {
                return Err(wrong("a part longer than 63 bytes"));
            }
            if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return Err(wrong("a character that is no letter, digit, `-` or `_`"));
            }
            if part.starts_with('-') || part.ends_with('-') {
                return Err(wrong("a part that starts or ends with `-`"));
            }
        }
        Ok(Self { text: text.to_ascii_lowercase(), ip: None })
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        let text = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self { text, ip: Some(ip) }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let not_ip = || HostError::Ip { host: text.chars().take(64).collect() };
        if text.is_empty() {
            return Err(HostError::Missing);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let inner = rest.strip_suffix(']').ok_or_else(not_ip)?;
            return inner.parse::<Ipv6Addr>().map(|ip| IpAddr::V6(ip).into()).map_err(|_| not_ip());
        }
        if text.contains(':') {
            return Err(not_ip());
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(IpAddr::V4(ip).into());
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(not_ip());
        }
        Self::name(text)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for HostPort {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let border = match text.rfind(']') {
            Some(bracket) => {
                text.get(bracket..).and_then(|rest| rest.find(':')).map(|colon| bracket.saturating_add(colon))
            }
            None if text.starts_with('[') => None,
            None => text.find(':'),
        };
        let Some((host, colon_port)) = border.and_then(|border| text.split_at_checked(border)) else {
            return Ok(Self { host: text.parse()?, port: DEFAULT_PORT });
        };
        let digits = colon_port.trim_start_matches(':');
        let wrong = || HostError::Port { port: colon_port.chars().skip(1).take(16).collect() };
        let plain =
            colon_port.len() == digits.len().saturating_add(1) && digits.bytes().all(|b| b.is_ascii_digit());
        if !plain || digits.starts_with('0') {
            // An IPv6 address without brackets ends here too; say so rather than blame a port nobody wrote.
            if text.parse::<Ipv6Addr>().is_ok() {
                return Err(HostError::Ip { host: text.chars().take(64).collect() });
            }
            return Err(wrong());
        }
        let port = digits.parse().map_err(|_| wrong())?;
        Ok(Self { host: host.parse()?, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == DEFAULT_PORT {
            write!(f, "{}", self.host)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<HostPort>().unwrap().to_string()
    }

    #[test]
    fn canonical_forms() {
        assert_eq!(canonical("Relay.Example.COM"), "relay.example.com");
        assert_eq!(canonical("relay.example.com:4433"), "relay.example.com");
        assert_eq!(canonical("relay:1"), "relay:1");
        assert_eq!(canonical("127.0.0.1:49210"), "127.0.0.1:49210");
        assert_eq!(canonical("[::1]:49210"), "[::1]:49210");
        assert_eq!(canonical("[0:0::1]"), "[::1]");
        assert_eq!(canonical("my_relay"), "my_relay");
    }

    #[test]
    fn an_address_is_told_from_a_name() {
        let ip = |text: &str| text.parse::<Host>().unwrap().ip();
        assert_eq!(ip("127.0.0.1"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(ip("[::1]"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(ip("relay.example.com"), None);
        assert_eq!("relay.example.com".parse::<Host>().unwrap().as_str(), "relay.example.com");
    }

    #[test]
    fn a_name_has_253_bytes_at_most() {
        let name = |last: usize| [63, 63, 63, last].map(|length| "a".repeat(length)).join(".");
        assert!(name(61).parse::<Host>().is_ok());
        for last in [62, 63] {
            let error = name(last).parse::<Host>().unwrap_err();
            assert!(matches!(error, HostError::Name { reason: "longer than 253 bytes", .. }), "{error}");
        }
    }

    #[test]
    fn each_error_names_its_part() {
        let error = |text: &str| text.parse::<HostPort>().unwrap_err();
        assert_eq!(error(""), HostError::Missing);
        assert_eq!(error(":80"), HostError::Missing);
        assert!(matches!(error("a..b"), HostError::Name { .. }));
        assert!(matches!(error("a b"), HostError::Name { .. }));
        assert!(matches!(error("-a"), HostError::Name { .. }));
        assert!(matches!(error(&"a".repeat(64)), HostError::Name { .. }));
        assert!(matches!(error(&"a.".repeat(130)), HostError::Name { .. }));
        assert!(matches!(error("bücher.example"), HostError::Name { .. }));
        assert!(matches!(error("10.0.0.256"), HostError::Ip { .. }));
        assert!(matches!(error("[::1"), HostError::Ip { .. }));
        assert!(matches!(error("::1"), HostError::Ip { .. }));
        assert!(matches!(error("[fe80::1%eth0]"), HostError::Ip { .. }));
        for port in ["a:", "a:0", "a:65536", "a:080", "a:+80", "a:80:90", "[::1]:x"] {
            assert!(matches!(error(port), HostError::Port { .. }), "{port}");
        }
    }
}
