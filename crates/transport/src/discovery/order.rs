//! In which order addresses are tried.

use std::net::SocketAddr;

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

/// A target of an SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Orders targets as RFC 2782 says: by priority, and at random by weight where it is the same. `draw` gives numbers up to
/// and including its argument.
pub(super) fn by_weight(mut services: Vec<Service>, mut draw: impl FnMut(u64) -> u64) -> Vec<Service> {
    // Those without weight come first, so that they have a small chance.
    services.sort_by_key(|service| (service.priority, service.weight));
    let mut ordered = Vec::with_capacity(services.len());
    while let Some(priority) = services.first().map(|service| service.priority) {
        let same = services.iter().take_while(|service| service.priority == priority);
        let total: u64 = same.map(|service| u64::from(service.weight)).sum();
        let mut left = draw(total).min(total);
        let chosen = services.iter().take_while(|service| service.priority == priority).position(|service| {
            let found = left <= u64::from(service.weight);
            left = left.saturating_sub(u64::from(service.weight));
            found
        });
        ordered.push(services.remove(chosen.unwrap_or(0)));
    }
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

    fn service(priority: u16, weight: u16, host: &str) -> Service {
        Service { priority, weight, host: host.to_owned(), port: 1 }
    }

    fn hosts(services: Vec<Service>) -> String {
        services.into_iter().map(|service| service.host).collect()
    }

    #[test]
    fn priority_goes_before_weight_and_weight_decides_by_lot() {
        let all = || vec![service(2, 0, "d"), service(1, 10, "b"), service(1, 0, "a"), service(1, 30, "c")];
        assert_eq!(hosts(by_weight(all(), |_| 0)), "abcd");
        assert_eq!(hosts(by_weight(all(), |total| total)), "cbad");
        assert_eq!(hosts(by_weight(all(), |_| 5)), "bcad");
    }
}
