//! The pin of enrollment: nothing is believed, and nothing secret is sent, before the server has shown a chain that
//! leads to the root named in the claim.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::fingerprint::Fingerprint;

/// Verifies a server by the fingerprint of its root's public key, and keeps that root once it is proven.
#[derive(Debug)]
pub(crate) struct PinnedRoot {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
    proven: OnceLock<CertificateDer<'static>>,
}

/// Why a server's chain does not satisfy the pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// No certificate in the chain has the pinned public key.
    #[error(
        "root key mismatch: the server did not present the root whose key the claim code names"
    )]
    Mismatch,
    /// A certificate has the pinned key, but that key did not sign it.
    #[error("the server presented a root certificate that is not signed by its own key")]
    NotSelfSigned,
}

impl From<PinError> for Error {
    fn from(error: PinError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

impl PinnedRoot {
    pub(crate) fn new(pin: Fingerprint, provider: Arc<CryptoProvider>) -> Self {
        Self {
            pin,
            provider,
            proven: OnceLock::new(),
        }
    }

    /// The root certificate, once a server has proven it.
    pub(crate) fn proven(&self) -> Option<&CertificateDer<'static>> {
        self.proven.get()
    }

    fn find<'a>(
        &self,
        chain: impl Iterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<CertificateDer<'static>, PinError> {
        let mut best = Err(PinError::Mismatch);
        for der in chain {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else {
                continue;
            };
            if Fingerprint::of(certificate.public_key().raw) != self.pin {
                continue;
            }
            if is_self_signed(&certificate) {
                return Ok(der.clone().into_owned());
            }
            best = Err(PinError::NotSelfSigned);
        }
        best
    }
}

/// The pin covers the key alone; the signature is what ties name, constraints and dates to it.
fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
        && UnparsedPublicKey::new(
            &ECDSA_P256_SHA256_ASN1,
            &certificate.public_key().subject_public_key.data,
        )
        .verify(
            certificate.tbs_certificate.as_ref(),
            &certificate.signature_value.data,
        )
        .is_ok()
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = self.find(std::iter::once(end_entity).chain(intermediates))?;
        let mut anchors = RootCertStore::empty();
        anchors.add(root.clone())?;
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &anchors,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        verify_server_name(&leaf, server_name)?;
        // A second handshake with the same verifier proves the same root.
        let _ = self.proven.set(root);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::moment::Moment;
    use crate::small_ca::{SmallCa, within_validity};

    fn verify(
        pin: Fingerprint,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        host: &str,
        now: Moment,
    ) -> Result<Option<CertificateDer<'static>>, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = PinnedRoot::new(pin, provider);
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let since_epoch = Duration::from_secs(now.as_unix_s().unsigned_abs());
        let now = UnixTime::since_unix_epoch(since_epoch);
        let verdict = verifier.verify_server_cert(leaf, rest, &name, &[], now);
        verdict.map(|_| verifier.proven().cloned())
    }

    fn pin_error(error: &Error) -> Option<PinError> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(inner)) => {
                inner.0.downcast_ref().copied()
            }
            _ => None,
        }
    }

    #[test]
    fn the_pinned_root_is_accepted_and_kept() {
        let ca = SmallCa::new();
        let (leaf, _) = ca.server("hub.local");
        let rest = [ca.server_ca_der(), ca.root_der()];
        let root = verify(
            ca.root_fingerprint(),
            leaf.der(),
            &rest,
            "hub.local",
            within_validity(),
        );
        assert_eq!(root, Ok(Some(ca.root_der())));
    }

    #[test]
    fn another_root_is_refused() {
        let (ca, other) = (SmallCa::new(), SmallCa::new());
        let (leaf, _) = ca.server("hub.local");
        let rest = [ca.server_ca_der(), ca.root_der()];
        let error = verify(
            other.root_fingerprint(),
            leaf.der(),
            &rest,
            "hub.local",
            within_validity(),
        )
        .unwrap_err();
        assert_eq!(pin_error(&error), Some(PinError::Mismatch));
    }

    #[test]
    fn a_chain_without_its_root_is_refused() {
        let ca = SmallCa::new();
        let (leaf, _) = ca.server("hub.local");
        let rest = [ca.server_ca_der()];
        let error = verify(
            ca.root_fingerprint(),
            leaf.der(),
            &rest,
            "hub.local",
            within_validity(),
        )
        .unwrap_err();
        assert_eq!(pin_error(&error), Some(PinError::Mismatch));
    }

    #[test]
    fn the_right_root_beside_a_strangers_leaf_is_refused() {
        let (ca, thief) = (SmallCa::new(), SmallCa::new());
        let (leaf, _) = thief.server("hub.local");
        let rest = [thief.server_ca_der(), ca.root_der()];
        let verdict = verify(
            ca.root_fingerprint(),
            leaf.der(),
            &rest,
            "hub.local",
            within_validity(),
        );
        assert!(
            matches!(
                verdict,
                Err(Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature
                ))
            ),
            "{verdict:?}"
        );
    }

    #[test]
    fn another_host_name_is_refused() {
        let ca = SmallCa::new();
        let (leaf, _) = ca.server("hub.local");
        let rest = [ca.server_ca_der(), ca.root_der()];
        let verdict = verify(
            ca.root_fingerprint(),
            leaf.der(),
            &rest,
            "hub.other",
            within_validity(),
        );
        assert!(
            matches!(
                verdict,
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. }
                ))
            ),
            "{verdict:?}"
        );
    }

    #[test]
    fn an_expired_leaf_is_refused() {
        let ca = SmallCa::new();
        let (leaf, _) = ca.server("hub.local");
        let rest = [ca.server_ca_der(), ca.root_der()];
        let late = "2028-01-01T00:00:00Z".parse().unwrap();
        let verdict = verify(ca.root_fingerprint(), leaf.der(), &rest, "hub.local", late);
        assert!(
            matches!(
                verdict,
                Err(Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. }
                ))
            ),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_root_that_its_key_did_not_sign_is_refused() {
        let ca = SmallCa::new();
        let (leaf, _) = ca.server("hub.local");
        let mut forged = ca.root_der().to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let rest = [ca.server_ca_der(), CertificateDer::from(forged)];
        let error = verify(
            ca.root_fingerprint(),
            leaf.der(),
            &rest,
            "hub.local",
            within_validity(),
        )
        .unwrap_err();
        assert_eq!(pin_error(&error), Some(PinError::NotSelfSigned));
    }
}
