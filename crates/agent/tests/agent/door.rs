//! The test gateway's client verifier: anyone may come in, until everyone is revoked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, crypto,
};
use rustls_pki_types::{CertificateDer, UnixTime};

#[derive(Debug, Default)]
pub struct Door {
    revoked: AtomicBool,
    everybody: Mutex<Option<CertificateError>>,
    refused: Mutex<Vec<CertificateDer<'static>>>,
}

impl Door {
    pub fn refuse(&self, certificate: CertificateDer<'static>) {
        self.refused.lock().unwrap().push(certificate);
    }

    pub fn refuse_all(&self, why: CertificateError) {
        *self.everybody.lock().unwrap() = Some(why);
    }

    pub fn revoke_all(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }
}

fn algorithms() -> crypto::WebPkiSupportedAlgorithms {
    crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

impl ClientCertVerifier for Door {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.revoked.load(Ordering::SeqCst) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        if let Some(why) = self.everybody.lock().unwrap().clone() {
            return Err(Error::InvalidCertificate(why));
        }
        if self
            .refused
            .lock()
            .unwrap()
            .iter()
            .any(|refused| refused == leaf)
        {
            return Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
