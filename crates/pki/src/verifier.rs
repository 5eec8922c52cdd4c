//! The listener: which client certificates are let in. Stricter than webpki, which accepts a leaf
//! without an extended key usage, and asked afresh on every handshake.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use hearthkey_core::access::{Access, Admitted, DoorRefusal};
use hearthkey_core::certificate::BACKDATE;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::ca_certificate::CaCertificate;
use crate::leaf::Leaf;
use crate::refusal::ClientRefusal;
use crate::shape::check_shape;

/// The largest client certificate that is looked at, in bytes of DER.
pub const CLIENT_CERTIFICATE_BYTES_MAX: usize = 4096;

/// Certificates that are remembered as rightly made. One more forgets all of them.
const MADE_HERE_MAX: usize = 65_536;

/// What clients may sign with: the issuing CAs sign with P-256 and SHA-256 alone, devices have
/// P-256, P-384 or RSA keys. In TLS 1.2 a scheme does not fix the curve.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[algorithms::ECDSA_P256_SHA256],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[algorithms::ECDSA_P384_SHA384, algorithms::ECDSA_P256_SHA384],
        ),
        (
            SignatureScheme::RSA_PSS_SHA256,
            &[algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA384,
            &[algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA512,
            &[algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            &[algorithms::RSA_PKCS1_2048_8192_SHA256],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA384,
            &[algorithms::RSA_PKCS1_2048_8192_SHA384],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            &[algorithms::RSA_PKCS1_2048_8192_SHA512],
        ),
    ],
};

/// Verifies client certificates against the issuing CAs and the live facts.
pub struct ClientVerifier {
    anchors: Vec<TrustAnchor<'static>>,
    hints: Vec<DistinguishedName>,
    access: Arc<RwLock<Access>>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    refused: fn(Fingerprint),
    optional: bool,
    /// Whether a certificate that a restored home does not know may wait for a person.
    readmits: bool,
    /// Certificates of the right form that one of `anchors` has signed, and the second from which each is valid. Neither
    /// can change; a device that comes back is spared the signature's cost.
    made_here: Mutex<HashMap<Fingerprint, i64>>,
}

impl ClientVerifier {
    /// A verifier that trusts these issuing CAs directly. `access` and `now` are asked on every
    /// handshake.
    pub fn new(
        issuers: &[CaCertificate],
        access: Arc<RwLock<Access>>,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        let anchors: Vec<_> = issuers.iter().map(|ca| ca.anchor.clone()).collect();
        let mut hints: Vec<DistinguishedName> = Vec::with_capacity(anchors.len());
        for anchor in &anchors {
            let name = DistinguishedName::in_sequence(&anchor.subject);
            // A CA and its successor have one name.
            if !hints.iter().any(|hint| hint.as_ref() == name.as_ref()) {
                hints.push(name);
            }
        }
        Self {
            anchors,
            hints,
            access,
            now,
            refused: |_| {},
            optional: false,
            readmits: false,
            made_here: Mutex::default(),
        }
    }

    /// Lets clients without a certificate in at any time: who they are is asked later. A
    /// certificate that is shown must be good all the same.
    pub fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// Lets certificates wait that a restored home does not know. Their handshake gets to its end, so that it is known who
    /// holds their keys, and nothing after it.
    pub fn readmitting(self) -> Self {
        Self {
            readmits: true,
            ..self
        }
    }

    /// Calls `refused` with every certificate that is refused, on the thread of its handshake.
    /// Who showed it has not proven to hold its key.
    pub fn telling(self, refused: fn(Fingerprint)) -> Self {
        Self { refused, ..self }
    }

    /// Whether a client certificate may come in now, as whom, and how far: the same judgment
    /// as in the handshake, for the check after it.
    pub fn judge(&self, certificate: &[u8]) -> Result<Admitted, ClientRefusal> {
        if certificate.len() > CLIENT_CERTIFICATE_BYTES_MAX {
            return Err(ClientRefusal::TooLarge);
        }
        let fingerprint = Fingerprint::of(certificate);
        let now = (self.now)();
        let known = self.made_here().get(&fingerprint).copied();
        let begins_s = match known {
            Some(begins_s) => begins_s,
            None => self.judge_making(certificate, fingerprint, now)?,
        };
        if now.as_s() < begins_s {
            return Err(ClientRefusal::NotYetValid);
        }
        match self.access().admit(&fingerprint, now) {
            Err(DoorRefusal::UnknownCertificate) if self.readmits => {
                Err(self.let_wait(fingerprint, certificate).into())
            }
            judged => Ok(judged?),
        }
    }

    /// Lets a certificate wait that a CA of this home has signed, if the home may have forgotten it. What is known to have
    /// ended stays so: a device that is out, and a key in other hands.
    fn let_wait(&self, fingerprint: Fingerprint, certificate: &[u8]) -> DoorRefusal {
        let Some(leaf) = Leaf::read(certificate) else {
            return DoorRefusal::UnknownCertificate;
        };
        let access = self.access();
        if !access.strangers().expects(leaf.not_before.after(BACKDATE)) {
            return DoorRefusal::UnknownCertificate;
        }
        let device = access.device(&leaf.device);
        if device.is_some_and(|device| device.state.is_over()) || access.is_compromised(&leaf.key) {
            return DoorRefusal::Revoked;
        }
        match access
            .strangers()
            .show(fingerprint, leaf.device, certificate)
        {
            true => DoorRefusal::Waiting,
            false => DoorRefusal::UnknownCertificate,
        }
    }

    /// Judges what never changes about a certificate, and remembers it. Returns the second from which it is valid.
    fn judge_making(
        &self,
        certificate: &[u8],
        fingerprint: Fingerprint,
        now: Timestamp,
    ) -> Result<i64, ClientRefusal> {
        let x509 = match X509Certificate::from_der(certificate) {
            Ok(([], x509)) => x509,
            _ => return Err(ClientRefusal::Malformed),
        };
        if !self
            .hints
            .iter()
            .any(|name| name.as_ref() == x509.issuer().as_raw())
        {
            return Err(ClientRefusal::UnknownIssuer);
        }
        check_shape(&x509)?;
        self.check_chain(certificate, &x509, now)?;
        let begins_s = x509.validity().not_before.timestamp();
        let mut made_here = self.made_here();
        if made_here.len() >= MADE_HERE_MAX {
            made_here.clear();
        }
        made_here.insert(fingerprint, begins_s);
        Ok(begins_s)
    }

    fn made_here(&self) -> std::sync::MutexGuard<'_, HashMap<Fingerprint, i64>> {
        self.made_here
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies the signature up to an issuing CA. Expiry is left to the live facts, which know
    /// of the grace in which a device may still renew.
    fn check_chain(
        &self,
        certificate: &[u8],
        x509: &X509Certificate<'_>,
        now: Timestamp,
    ) -> Result<(), ClientRefusal> {
        let not_after_s = x509.validity().not_after.timestamp();
        let at_s = u64::try_from(now.as_s().min(not_after_s))
            .map_err(|_| ClientRefusal::Shape("it ended before 1970"))?;
        let der = CertificateDer::from(certificate);
        EndEntityCert::try_from(&der)
            .map_err(|_| ClientRefusal::Malformed)?
            .verify_for_usage(
                ALGORITHMS.all,
                &self.anchors,
                &[],
                UnixTime::since_unix_epoch(Duration::from_secs(at_s)),
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map(|_| ())
            .map_err(|error| match error {
                webpki::Error::CertNotValidYet { .. } => ClientRefusal::NotYetValid,
                webpki::Error::InvalidCertValidity => {
                    ClientRefusal::Shape("it ends before it begins")
                }
                // Everything that could be wrong with its form has been judged already: what
                // is left is that none of the issuing CAs has signed it.
                _ => ClientRefusal::UnknownIssuer,
            })
    }

    /// Each change to the facts is a single assignment, so a writer's panic leaves them whole,
    /// and refusing everybody because of it would lock the home out.
    fn access(&self) -> RwLockReadGuard<'_, Access> {
        self.access.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier")
            .field("issuers", &self.anchors.len())
            .finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    /// Somebody without a certificate is let in only while a claim is open.
    fn client_auth_mandatory(&self) -> bool {
        let now = (self.now)();
        !self.optional && !self.access().bell(now)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    /// The issuing CAs are trusted directly, so whatever chain a client sends along is not even
    /// parsed. The time is the gateway's own, not the library's.
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.judge(end_entity) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            // Who waits is refused when they have shown the key.
            Err(ClientRefusal::Door(DoorRefusal::Waiting)) if self.readmits => {
                Ok(ClientCertVerified::assertion())
            }
            Err(refusal) => {
                (self.refused)(Fingerprint::of(end_entity));
                Err(refusal.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &ALGORITHMS)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}
