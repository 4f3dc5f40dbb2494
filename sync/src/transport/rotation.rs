//! Short-lived certificates for a WebTransport server that browsers recognise by a hash. Browsers
//! demand an ECDSA key and at most two weeks of validity
//! (<https://www.w3.org/TR/webtransport/#custom-certificate-requirements>). So the server replaces
//! its certificate regularly, and tells browsers the hash of the next one in advance. The server's
//! identity signs every certificate.
#![allow(clippy::disallowed_methods, reason = "certificates are valid by the wall clock")]

use super::identity::{Identity, IdentityError, SERVER_NAME};
use crate::ticket::Fingerprint;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the clocks of clients may be behind.
const SKEW: Duration = DAY;
/// How long a certificate is shown before the next one.
const SHOWN: Duration = Duration::from_secs(6 * 24 * 60 * 60);
/// How long a certificate is valid after its first use: time for clients that know its hash, and
/// for servers that were suspended.
const VALID: Duration = Duration::from_secs(13 * 24 * 60 * 60);

/// The current certificate, and the next one.
#[derive(Debug)]
pub(crate) struct Rotation {
    issuer: Issuer<'static, KeyPair>,
    identity: CertificateDer<'static>,
    shown: Mutex<[Short; 2]>,
}

/// A certificate, and the time from which it is shown.
#[derive(Clone, Debug)]
struct Short {
    key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    from: SystemTime,
}

impl Rotation {
    pub(crate) fn new(identity: &Identity) -> Result<Self, IdentityError> {
        Self::at(identity, SystemTime::now())
    }

    fn at(identity: &Identity, now: SystemTime) -> Result<Self, IdentityError> {
        let key = KeyPair::try_from(identity.key_der()).map_err(wrap)?;
        let issuer =
            Issuer::new(CertificateParams::new(vec![SERVER_NAME.to_owned()]).map_err(wrap)?, key);
        let identity = CertificateDer::from(identity.certificate_der().to_vec());
        let shown =
            Mutex::new([short(&issuer, &identity, now)?, short(&issuer, &identity, now + SHOWN)?]);
        Ok(Self { issuer, identity, shown })
    }

    /// The hashes of the current certificate and of the next one.
    pub(crate) fn hashes(&self) -> [Fingerprint; 2] {
        self.turned(SystemTime::now()).map(|short| short.fingerprint)
    }

    /// The current certificate and the next one. Replaces the current one first, if it is time.
    fn turned(&self, now: SystemTime) -> [Short; 2] {
        // A panic elsewhere cannot leave the certificates half changed.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= shown[1].from {
            // After a long suspension the next certificate is outdated, too.
            let asleep = now >= shown[1].from + SHOWN;
            let first = if asleep {
                short(&self.issuer, &self.identity, now).ok()
            } else {
                Some(shown[1].clone())
            };
            let second = first
                .as_ref()
                .and_then(|first| short(&self.issuer, &self.identity, first.from + SHOWN).ok());
            // If a certificate cannot be made now, the next connection tries again.
            if let (Some(first), Some(second)) = (first, second) {
                *shown = [first, second];
            }
        }
        shown.clone()
    }
}

impl ResolvesServerCert for Rotation {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let [now, _] = self.turned(SystemTime::now());
        Some(now.key)
    }
}

/// A new key, and a certificate for it that is shown from `from` on.
fn short(
    issuer: &Issuer<'static, KeyPair>,
    identity: &CertificateDer<'static>,
    from: SystemTime,
) -> Result<Short, IdentityError> {
    let key = KeyPair::generate().map_err(wrap)?;
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).map_err(wrap)?;
    (params.not_before, params.not_after) = ((from - SKEW).into(), (from + VALID).into());
    let certificate = params.signed_by(&key, issuer).map_err(wrap)?.der().clone();
    let fingerprint = Fingerprint::of(&certificate);
    let secret = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let signing = rustls::crypto::ring::sign::any_supported_type(&secret)
        .map_err(|error| IdentityError::Certificate(error.into()))?;
    let key = Arc::new(CertifiedKey::new(vec![certificate, identity.clone()], signing));
    Ok(Short { key, fingerprint, from })
}

fn wrap(error: rcgen::Error) -> IdentityError {
    IdentityError::Certificate(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_certificate_is_the_announced_one() {
        let now = SystemTime::now();
        let rotation =
            Rotation::at(&Identity::generate().expect("a key"), now).expect("certificates");
        let at = |time| rotation.turned(time).map(|short| short.fingerprint);
        let [first, second] = at(now);
        assert_eq!(at(now + SHOWN - DAY), [first, second]);
        let [now_second, third] = at(now + SHOWN);
        assert!(now_second == second && third != second && third != first);
        // A server that was suspended shows a valid certificate.
        let [late, _] = rotation.turned(now + 10 * SHOWN);
        assert!(late.fingerprint != third && late.from == now + 10 * SHOWN);
    }

    #[test]
    fn no_certificate_is_valid_for_more_than_two_weeks() {
        assert!(SKEW + VALID <= 14 * DAY);
        // A client that requests the hashes just before the next certificate is shown can use them
        // for more than a week.
        assert!(2 * SHOWN < VALID);
    }
}
