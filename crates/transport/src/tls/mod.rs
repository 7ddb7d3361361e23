//! TLS settings: TLS 1.3, X25519MLKEM768, Ed25519 raw public keys (RFC 7250) both ways, no tickets, no 0-RTT.

mod raw_key;
mod verify;

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;

use crate::key::{PeerKey, RelayPin, TransportKey};
pub(crate) use raw_key::peer_key_of;
use verify::{AnyClient, PinnedServer};

/// Application protocol of version 1, offered and demanded on every connection.
pub const ALPN: &[u8] = b"penpal/1";

/// The only key exchange: hybrid, so that recorded traffic stays closed to a later quantum computer.
static KEY_EXCHANGE: &[&dyn SupportedKxGroup] = &[aws_lc_rs::kx_group::X25519MLKEM768];

/// Name given to the TLS client, which needs one; it is never sent.
pub(crate) const SERVER_NAME: &str = "relay.invalid";

/// The process-wide provider, made once: connections differ only in keys.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider { kx_groups: KEY_EXCHANGE.to_vec(), ..aws_lc_rs::default_provider() })
    }))
}

/// TLS for a relay: shows `key`, accepts whatever usable key the client proves.
pub(crate) fn server(key: &TransportKey) -> Result<rustls::ServerConfig, rustls::Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(AnyClient))
        .with_cert_resolver(raw_key::server_identity(key));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// TLS for one dial: shows `key`, goes on only with a server whose key has the pin.
///
/// The second value tells afterwards which key the server showed, whether or not it was the right one.
pub(crate) fn client(
    key: &TransportKey,
    pin: RelayPin,
) -> Result<(rustls::ClientConfig, Arc<OnceLock<PeerKey>>), rustls::Error> {
    let seen = Arc::new(OnceLock::new());
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedServer { pin, seen: Arc::clone(&seen) }))
        .with_client_cert_resolver(raw_key::client_identity(key));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok((config, seen))
}
