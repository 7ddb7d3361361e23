//! From the name of a relay to addresses to dial, and to the pin that its domain publishes.
//!
//! | record | says |
//! | --- | --- |
//! | SRV `_penpal._udp.DOMAIN` | host and port, for an address without a port of its own |
//! | A, AAAA | addresses of the host |
//! | TXT `_penpal.DOMAIN` = `v=penpal1; pin=…` | the pin of the relay's key |
//!
//! Nothing of it is believed: whoever answers at an address must prove the pinned key, and a pin that came through DNS is
//! for a person to confirm. Source: docs/protocol.md §5.

mod order;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::timeout;

pub use order::alternate;
use order::{Service, by_weight};

/// The port of an address that names none; only for it SRV records are asked.
pub const DEFAULT_PORT: u16 = 4433;

/// How much longer than for the addresses of the host is waited for its SRV records: few have any.
const SRV_GRACE: Duration = Duration::from_millis(700);

/// Silence after which a question is asked again, and how often in all.
const QUERY_WAIT: Duration = Duration::from_millis(1_200);
const QUERY_ATTEMPTS: usize = 2;

/// Most aliases on the way to SRV records.
const MAX_ALIASES: usize = 4;

/// Most targets of SRV records that are looked up.
const MAX_SERVICES: usize = 4;

/// Why a host has no addresses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The name does not exist, or the resolver cannot say.
    #[error("cannot resolve {host}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// The name exists and has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The domain says that it has no relay.
    #[error("{host} says that there is no relay")]
    NoService {
        /// The name.
        host: String,
    },
    /// The resolver does not answer.
    #[error("no answer from the resolver for {host} within {waited:?}")]
    TimedOut {
        /// The name.
        host: String,
        /// The time given.
        waited: Duration,
    },
}

/// Finds the addresses of a host: an IP literal (IPv6 with or without brackets) is taken as it is, a name is asked of
/// DNS and, where that does not know it, of the system's resolver, `wait` long at most.
///
/// With [`DEFAULT_PORT`] the domain's SRV records decide, if it has any. Order: as they say, families alternating, IPv6
/// first, so that the second attempt of a dial tries the other one.
pub async fn resolve(host: &str, port: u16, wait: Duration) -> Result<Vec<SocketAddr>, ResolveError> {
    Names::system().find(host, port, wait).await
}

/// Where names are asked.
///
/// Made anew for each question: a laptop's resolver changes with its network.
#[derive(Clone)]
pub struct Names {
    dns: Option<TokioResolver>,
    /// Whether the system's own resolver is asked for what DNS does not know: names in local files or on the local net.
    and_system: bool,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("and_system", &self.and_system).finish_non_exhaustive()
    }
}

impl Names {
    /// Asks the name servers of the system's configuration. Needs a tokio runtime.
    #[must_use]
    pub fn system() -> Self {
        let dns = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.timeout = QUERY_WAIT;
            options.attempts = QUERY_ATTEMPTS;
            builder.build()
        });
        if let Err(error) = &dns {
            tracing::debug!(%error, "no DNS configuration");
        }
        Self { dns: dns.ok(), and_system: true }
    }

    /// Asks this name server and nobody else, or as the system does. Needs a tokio runtime.
    #[must_use]
    pub fn asking(server: Option<SocketAddr>) -> Self {
        server.map_or_else(Self::system, Self::at)
    }

    /// Asks this name server and nobody else.
    #[must_use]
    pub fn at(server: SocketAddr) -> Self {
        let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        let mut named = NameServerConfig::udp(server.ip());
        named.connections = connections.into();
        let mut config = ResolverConfig::default();
        config.name_servers = vec![named];
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = QUERY_WAIT;
        options.attempts = QUERY_ATTEMPTS;
        Self { dns: builder.build().ok(), and_system: false }
    }

    /// Finds the addresses of a host; see [`resolve`].
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn find(&self, host: &str, port: u16, wait: Duration) -> Result<Vec<SocketAddr>, ResolveError> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        match timeout(wait, self.look_up(host, port)).await {
            Ok(found) => found,
            Err(_) => Err(ResolveError::TimedOut { host: host.to_owned(), waited: wait }),
        }
    }

    /// The pins that a domain publishes, as text, each once; none when it publishes none.
    ///
    /// Without DNSSEC anybody on the way can make them up: a person must confirm one before it is used.
    ///
    /// # Errors
    /// [`ResolveError`]; a domain without such a record is no error.
    pub async fn published_pins(&self, domain: &str, wait: Duration) -> Result<Vec<String>, ResolveError> {
        let Some(dns) = &self.dns else { return Ok(Vec::new()) };
        let name = format!("_penpal.{}.", domain.trim_end_matches('.'));
        let answer = match timeout(wait, dns.txt_lookup(name)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if is_absent(&error) => return Ok(Vec::new()),
            Ok(Err(error)) => return Err(failed(domain, &error)),
            Err(_) => return Err(ResolveError::TimedOut { host: domain.to_owned(), waited: wait }),
        };
        let mut pins: Vec<String> = Vec::new();
        for record in answer.answers() {
            if let RData::TXT(txt) = &record.data {
                let text: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
                if let Some(pin) = pin_in(&String::from_utf8_lossy(&text))
                    && !pins.contains(&pin)
                {
                    pins.push(pin);
                }
            }
        }
        Ok(pins)
    }

    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let own = async {
            self.addresses(host).await.map(|found| {
                alternate(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
            })
        };
        let (Some(dns), DEFAULT_PORT) = (&self.dns, port) else { return own.await };
        let services = services(dns, host);
        tokio::pin!(services, own);
        let mut own_found = None;
        let services = tokio::select! {
            services = &mut services => services,
            found = &mut own => {
                own_found = Some(found);
                timeout(SRV_GRACE, services).await.unwrap_or_default()
            }
        };
        match (services, own_found) {
            (Some(services), _) if services.iter().all(|service| service.host == ".") => {
                Err(ResolveError::NoService { host: host.to_owned() })
            }
            (Some(services), _) => self.of_services(host, services).await,
            (None, Some(found)) => found,
            (None, None) => own.await,
        }
    }

    async fn of_services(&self, host: &str, services: Vec<Service>) -> Result<Vec<SocketAddr>, ResolveError> {
        let mut found = Vec::new();
        let mut trouble = None;
        for service in by_weight(services, random_up_to).into_iter().take(MAX_SERVICES) {
            match self.addresses(&service.host).await {
                Ok(addresses) => {
                    let at = |address| SocketAddr::new(address, service.port);
                    found.extend(alternate(addresses.into_iter().map(at).collect()));
                }
                Err(error) => trouble = Some(error),
            }
        }
        if found.is_empty() {
            return Err(trouble.unwrap_or_else(|| ResolveError::NoAddress { host: host.to_owned() }));
        }
        Ok(found)
    }

    /// Addresses of a host, IPv6 first.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let name = format!("{}.", host.trim_end_matches('.'));
        let of_dns = match &self.dns {
            Some(dns) => match dns.lookup_ip(name).await {
                Ok(found) => Ok(found.iter().collect::<Vec<_>>()),
                Err(error) if error.is_no_records_found() && !error.is_nx_domain() => {
                    Err(ResolveError::NoAddress { host: host.to_owned() })
                }
                Err(error) => Err(failed(host, &error)),
            },
            None => Err(ResolveError::NoAddress { host: host.to_owned() }),
        };
        let mut found = match of_dns {
            Ok(found) if !found.is_empty() => found,
            Ok(_) => return Err(ResolveError::NoAddress { host: host.to_owned() }),
            Err(_) if self.and_system => {
                let found = tokio::net::lookup_host((host, 0)).await;
                let source = |source| ResolveError::Lookup { host: host.to_owned(), source };
                return Ok(found.map_err(source)?.map(|address| address.ip()).collect());
            }
            Err(error) => return Err(error),
        };
        found.sort_by_key(IpAddr::is_ipv4);
        Ok(found)
    }
}

/// The SRV records of a domain; `None` when it has none or nobody says so.
async fn services(dns: &TokioResolver, host: &str) -> Option<Vec<Service>> {
    let mut name = format!("_penpal._udp.{}.", host.trim_end_matches('.'));
    for _ in 0..=MAX_ALIASES {
        // The resolver does not follow an alias to SRV records: what it looks up next is the target of the record.
        let (found, alias) = tokio::join!(services_at(dns, &name), alias(dns, &name));
        if found.is_some() {
            return found;
        }
        name = alias?;
    }
    None
}

/// What a name is another name for.
async fn alias(dns: &TokioResolver, name: &str) -> Option<String> {
    let answer = dns.lookup(name, RecordType::CNAME).await.ok()?;
    answer.answers().iter().find_map(|record| {
        let RData::CNAME(target) = &record.data else { return None };
        Some(target.0.to_ascii())
    })
}

/// The SRV records of exactly this name.
async fn services_at(dns: &TokioResolver, name: &str) -> Option<Vec<Service>> {
    let answer = dns.srv_lookup(name).await.ok()?;
    let services: Vec<Service> = answer
        .answers()
        .iter()
        .filter_map(|record| {
            let RData::SRV(srv) = &record.data else { return None };
            Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                host: srv.target.to_ascii(),
                port: srv.port,
            })
        })
        .collect();
    (!services.is_empty()).then_some(services)
}

/// The pin in a text such as `v=penpal1; pin=q7m2k-…`; unknown parts are skipped.
fn pin_in(text: &str) -> Option<String> {
    let mut parts = text.split(';').map(str::trim);
    if parts.next() != Some("v=penpal1") {
        return None;
    }
    parts.find_map(|part| part.strip_prefix("pin=")).map(|pin| pin.trim().to_owned())
}

fn is_absent(error: &NetError) -> bool {
    error.is_nx_domain() || error.is_no_records_found()
}

fn failed(host: &str, error: &NetError) -> ResolveError {
    ResolveError::Lookup { host: host.to_owned(), source: io::Error::other(error.to_string()) }
}

/// A random number; the system's, or 0 when it has none to give.
fn random_up_to(most: u64) -> u64 {
    let mut bytes = [0; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_be_bytes(bytes) % most.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literals_need_no_resolver() {
        let wait = Duration::from_secs(5);
        let addresses = |text: &str| vec![text.parse::<SocketAddr>().unwrap()];
        assert_eq!(resolve("127.0.0.1", 7, wait).await.unwrap(), addresses("127.0.0.1:7"));
        assert_eq!(resolve("::1", 7, wait).await.unwrap(), addresses("[::1]:7"));
        assert_eq!(resolve("[::1]", 7, wait).await.unwrap(), addresses("[::1]:7"));
    }

    #[tokio::test]
    async fn nonsense_is_a_lookup_error() {
        let error = resolve("no such host", 7, Duration::from_secs(30)).await.unwrap_err();
        assert!(matches!(error, ResolveError::Lookup { .. }), "{error:?}");
    }

    #[test]
    fn pins_in_texts() {
        let pin = |text| pin_in(text);
        assert_eq!(pin("v=penpal1; pin=q7m2k"), Some("q7m2k".to_owned()));
        assert_eq!(pin("v=penpal1;note=x; pin= q7m2k "), Some("q7m2k".to_owned()));
        assert_eq!(pin("v=penpal2; pin=q7m2k"), None);
        assert_eq!(pin("pin=q7m2k; v=penpal1"), None);
        assert_eq!(pin("v=penpal1"), None);
    }
}
