//! A server's key and self-signed certificate.

use crate::ticket::Fingerprint;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;

/// The name in every certificate. Clients verify the fingerprint, not the name.
pub(crate) const SERVER_NAME: &str = "exostate";

/// An identity could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate cannot be made.
    #[error("the certificate cannot be made")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A server's key and certificate. Store both, and keep the key secret, so that tickets stay valid
/// over restarts.
#[derive(PartialEq, Eq)]
pub struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl Identity {
    /// Generates a new key and a self-signed certificate.
    pub fn generate() -> Result<Self, IdentityError> {
        let wrap = |error: rcgen::Error| IdentityError::Certificate(error.into());
        let key = KeyPair::generate().map_err(wrap)?;
        let names = vec![SERVER_NAME.to_owned()];
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.self_signed(&key))
            .map_err(wrap)?;
        Ok(Self { certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }

    /// Restores an identity from the bytes that [`certificate_der`](Self::certificate_der) and
    /// [`key_der`](Self::key_der) returned. Whether they match is checked when a server starts.
    pub fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self { certificate, key }
    }

    /// The certificate, X.509 in DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The secret key, PKCS #8 in DER.
    pub fn key_der(&self) -> &[u8] {
        &self.key
    }

    /// The fingerprint by which clients recognise the server.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.certificate.clone())]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}
