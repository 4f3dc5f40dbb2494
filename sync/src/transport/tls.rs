//! TLS configurations. A client recognises a server by a fingerprint, or by a certificate that a
//! web authority signed.

use super::identity::{Identity, SERVER_NAME};
use crate::ticket::{Fingerprint, Ticket};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::error::Error;
use std::sync::{Arc, OnceLock};

type BoxError = Box<dyn Error + Send + Sync>;

/// The fingerprint of the certificate that the server showed.
pub(crate) type Seen = Arc<OnceLock<Fingerprint>>;

/// A client's configuration for one server.
pub(crate) fn client_config(
    ticket: &Ticket,
    seen: Seen,
    alpn: &[u8],
) -> Result<ClientConfig, BoxError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut tls = match ticket.fingerprint() {
        Some(expected) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { expected, seen, provider }))
            .with_no_client_auth(),
        None => builder
            .with_root_certificates(RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            })
            .with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    Ok(tls)
}

/// The name for which the certificate is verified.
pub(crate) fn server_name(ticket: &Ticket) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let name = if ticket.fingerprint().is_some() { SERVER_NAME } else { ticket.host() };
    ServerName::try_from(name.to_owned())
}

/// A server's configuration, without 0-RTT.
pub(crate) fn server_config(identity: &Identity, alpn: &[u8]) -> Result<ServerConfig, BoxError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())?;
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.max_early_data_size = 0;
    Ok(tls)
}

/// A server's configuration, without 0-RTT, with certificates that are valid for days only.
#[cfg(feature = "webtransport")]
pub(crate) fn rotating_server_config(
    rotation: Arc<super::rotation::Rotation>,
    alpn: &[u8],
) -> Result<ServerConfig, BoxError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut tls = builder.with_no_client_auth().with_cert_resolver(rotation);
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.max_early_data_size = 0;
    Ok(tls)
}

/// Trusts the certificate with the ticket's fingerprint, and certificates that it has signed. The
/// handshake still proves that the server holds the key.
#[derive(Debug)]
struct Pinned {
    expected: Fingerprint,
    seen: Seen,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(issuer) =
            intermediates.iter().find(|issuer| Fingerprint::of(issuer) == self.expected)
        {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.clone().into_owned())?;
            let verifier = WebPkiServerVerifier::builder_with_provider(
                Arc::new(roots),
                Arc::clone(&self.provider),
            )
            .build();
            let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
            let name = ServerName::try_from(SERVER_NAME)
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            return verifier.verify_server_cert(end_entity, &[], &name, ocsp_response, now);
        }
        let theirs = *self.seen.get_or_init(|| Fingerprint::of(end_entity));
        if theirs == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
