//! From a host name to addresses to dial.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

/// Why a host has no addresses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The name does not exist, or the resolver cannot say.
    #[error("cannot resolve {host}")]
    Lookup {
        /// The name.
        host: String,
        /// What the system's resolver says.
        #[source]
        source: io::Error,
    },
    /// The name exists and has no address.
    #[error("{host} has no address")]
    NoAddress {
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
/// the system's resolver, `wait` long at most.
///
/// Order: as the system prefers them, families alternating, so that the second attempt of a dial tries the other one.
pub async fn resolve(host: &str, port: u16, wait: Duration) -> Result<Vec<SocketAddr>, ResolveError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let named = || host.to_owned();
    let found: Vec<SocketAddr> = match timeout(wait, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(source)) => return Err(ResolveError::Lookup { host: named(), source }),
        Err(_) => return Err(ResolveError::TimedOut { host: named(), waited: wait }),
    };
    if found.is_empty() {
        return Err(ResolveError::NoAddress { host: named() });
    }
    Ok(alternate(found))
}

/// Orders addresses so that families alternate, beginning with the first one's, and drops repetitions.
pub fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let first_is_v6 = unique.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = unique.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    for address in first {
        ordered.push(address);
        ordered.extend(second.next());
    }
    ordered.extend(second);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1"]);
        assert_eq!(alternate(given), addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        let given = addresses(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(alternate(given.clone()), given);
        assert!(alternate(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn literals_need_no_resolver() {
        let wait = Duration::from_secs(5);
        assert_eq!(resolve("127.0.0.1", 7, wait).await.unwrap(), addresses(&["127.0.0.1:7"]));
        assert_eq!(resolve("::1", 7, wait).await.unwrap(), addresses(&["[::1]:7"]));
        assert_eq!(resolve("[::1]", 7, wait).await.unwrap(), addresses(&["[::1]:7"]));
    }

    #[tokio::test]
    async fn nonsense_is_a_lookup_error() {
        let error = resolve("no such host", 7, Duration::from_secs(30)).await.unwrap_err();
        assert!(matches!(error, ResolveError::Lookup { .. }), "{error:?}");
    }
}
