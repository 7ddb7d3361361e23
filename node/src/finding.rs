//! From a bare domain to the pins that it publishes.
//!
//! Done where a person is: what DNS says is never believed by the node, which takes addresses with a pin only.

use std::net::SocketAddr;
use std::time::Duration;

use penpal_local_api::error::{ApiError, ErrorCode};
use penpal_protocol::ids::RelayPin;
use penpal_protocol::text::{HostPort, pin_from_text};
use penpal_transport::discovery::Names;

/// How long name servers may take to answer.
const LIMIT: Duration = Duration::from_secs(4);

/// A relay's place without a pin: `penpal://host[:port]`, or `host[:port]` with a dot in it. `None` for everything else, IP
/// addresses too: they publish nothing.
pub(crate) fn without_pin(text: &str) -> Option<HostPort> {
    let text = text.trim();
    let scheme = text.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("penpal://"));
    let place = if scheme { text.get(9..)? } else { text };
    let place: HostPort = place.strip_suffix('/').unwrap_or(place).parse().ok()?;
    // One word alone is more likely something else: a name, or an invite code.
    let is_domain = place.host.ip().is_none() && (scheme || place.host.as_str().contains('.'));
    is_domain.then_some(place)
}

/// The pins that the domain publishes, at least one.
///
/// # Errors
/// `no-published-pin` when there is none, or one that is no pin; `relay-away` when nobody answers.
pub(crate) fn published_pins(place: &HostPort, dns: Option<SocketAddr>) -> Result<Vec<RelayPin>, ApiError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| ApiError::new(ErrorCode::Internal, format!("no runtime: {error}")))?;
    let domain = place.host.as_str();
    let found = runtime.block_on(async { Names::asking(dns).published_pins(domain, LIMIT).await });
    // A question that nobody answers must not be waited for.
    runtime.shutdown_background();
    let texts = found.map_err(|error| {
        let error = ApiError::new(ErrorCode::RelayAway, error.to_string());
        error.hint(
            "check the network, or ask whoever runs the relay for its whole address: penpal-relay address",
        )
    })?;
    if texts.is_empty() {
        let fact = format!("{domain} publishes no pin: there is no TXT record _penpal.{domain}");
        return Err(ApiError::new(ErrorCode::NoPin, fact));
    }
    texts
        .iter()
        .map(|text| {
            pin_from_text(text).map_err(|error| {
                ApiError::new(ErrorCode::NoPin, format!("what {domain} publishes is no pin: {error}"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_without_a_pin() {
        for (text, expected) in [
            ("example.com", "example.com"),
            (" Penpal://Example.com/ ", "example.com"),
            ("penpal://example.com:4455", "example.com:4455"),
            ("penpal://localhost", "localhost"),
        ] {
            assert_eq!(without_pin(text).unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "penpal://",
            "192.0.2.1",
            "penpal://[::1]",
            "penpal://example.com/q7m2k",
            "pp1-8ZK3Q-AAAAA",
            "https://x",
        ] {
            assert!(without_pin(text).is_none(), "{text}");
        }
    }
}
