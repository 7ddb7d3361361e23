//! QUIC settings of the floor: those of the real transport, made with quinn and rustls alone.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::Context;
use aws_lc_rs::signature::Ed25519KeyPair;
use penpal_transport::limits;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use socket2::{Domain, Protocol, Socket, Type};

const ALPN: &[u8] = b"floor";

/// Kernel buffers of the relay's socket, each way.
const RELAY_BUFFER: usize = 4 * 1024 * 1024;

/// Kernel buffers of a node's socket, each way.
const NODE_BUFFER: usize = 1024 * 1024;

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![provider::kx_group::X25519MLKEM768],
        ..provider::default_provider()
    })
}

/// A fresh raw public key.
fn identity() -> anyhow::Result<Arc<CertifiedKey>> {
    let pair = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).ok().context("a key")?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.as_ref().to_vec()));
    let key = crypto().key_provider.load_private_key(key)?;
    let public = key.public_key().context("a public key")?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key)))
}

/// The relay's limits and timers.
fn transport() -> anyhow::Result<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::try_from(limits::IDLE_TIMEOUT)?))
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .allow_spin(false);
    Ok(config)
}

/// Bytes that may be under way each way on a connection of files: twice what the real ones have, so that nothing but the machine limits.
const BULK_WINDOW: u32 = 8 * 1024 * 1024;

/// Listens on a free port of loopback.
pub(super) fn listen() -> anyhow::Result<Endpoint> {
    let mut config = transport()?;
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::MAX_CLIENT_STREAMS))
        .stream_receive_window(VarInt::from_u32(limits::RELAY_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(limits::RELAY_CONNECTION_WINDOW))
        .send_window(limits::RELAY_SEND_WINDOW);
    listen_with(config)
}

/// As [`listen`], for large amounts.
pub(super) fn bulk_listen() -> anyhow::Result<Endpoint> {
    listen_with(bulk(transport()?))
}

fn bulk(mut config: TransportConfig) -> TransportConfig {
    let window = VarInt::from_u32(BULK_WINDOW);
    config.stream_receive_window(window).receive_window(window).send_window(u64::from(BULK_WINDOW));
    config
}

fn listen_with(config: TransportConfig) -> anyhow::Result<Endpoint> {
    let resolver = rustls::server::AlwaysResolvesServerRawPublicKeys::new(identity()?);
    let mut tls = rustls::ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(AnyKey))
        .with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.send_tls13_tickets = 0;
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    server.transport_config(Arc::new(config));
    let socket = socket(SocketAddr::from(([127, 0, 0, 1], 0)), RELAY_BUFFER)?;
    Ok(Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))?)
}

/// A UDP socket with as large buffers as the real one: what is lost in the kernel would be measured as a slow floor.
fn socket(address: SocketAddr, buffer: usize) -> anyhow::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A client socket, and the settings to connect with.
pub(super) fn dialer() -> anyhow::Result<(Endpoint, ClientConfig)> {
    let mut config = transport()?;
    config
        .keep_alive_interval(Some(limits::KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(limits::NODE_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(limits::NODE_CONNECTION_WINDOW))
        .send_window(limits::NODE_SEND_WINDOW);
    dialer_with(config)
}

/// As [`dialer`], for large amounts.
pub(super) fn bulk_dialer() -> anyhow::Result<(Endpoint, ClientConfig)> {
    dialer_with(bulk(transport()?))
}

fn dialer_with(config: TransportConfig) -> anyhow::Result<(Endpoint, ClientConfig)> {
    let resolver = rustls::client::AlwaysResolvesClientRawPublicKeys::new(identity()?);
    let mut tls = rustls::ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey))
        .with_client_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_sni = false;
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    client.transport_config(Arc::new(config));
    let socket = socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), NODE_BUFFER)?;
    Ok((Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?, client))
}

/// Checks the handshake's signature and accepts whatever key it is: both sides are this program.
#[derive(Debug)]
struct AnyKey;

fn verify(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(certificate.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, signature, &crypto().signature_verification_algorithms)
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
