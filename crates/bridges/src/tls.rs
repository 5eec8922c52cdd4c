//! How a bridge proves who it is: by the system's roots, by roots of the settings, or by one pinned certificate.

use std::sync::{Arc, Mutex, PoisonError};

use hearthkey_core::id::Fingerprint;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::SettingsError;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS by the settings of a bridge. A pin goes before roots, and roots before those of the system.
pub(crate) fn config(
    root_pem: Option<&str>,
    pin_sha256: Option<&str>,
) -> Result<Arc<ClientConfig>, SettingsError> {
    match (pin_sha256, root_pem) {
        (Some(_), Some(_)) => Err(SettingsError::invalid(
            "pin_sha256",
            "and \"root_pem\" cannot be used together: keep one",
        )),
        (Some(pin), None) => pinned(Leaf::Pinned(read_pin(pin)?)),
        (None, Some(pem)) => rooted(roots_of(pem)?),
        (None, None) => rooted(system_roots()),
    }
}

/// Where the fingerprint of a certificate is left.
pub(crate) type Seen = Arc<Mutex<Option<Fingerprint>>>;

/// TLS that believes any certificate and remembers it. Only for asking what a certificate is: nothing secret may be
/// sent over it.
pub(crate) fn asking() -> Result<(Arc<ClientConfig>, Seen), SettingsError> {
    let seen = Seen::default();
    Ok((pinned(Leaf::Noted(seen.clone()))?, seen))
}

fn read_pin(pin: &str) -> Result<Fingerprint, SettingsError> {
    let digits = pin.replace(':', "").to_ascii_lowercase();
    digits.parse().map_err(|_| {
        SettingsError::invalid(
            "pin_sha256",
            "is not the 64 hexadecimal digits of a SHA-256",
        )
    })
}

fn roots_of(pem: &str) -> Result<RootCertStore, SettingsError> {
    let invalid = |why: String| SettingsError::invalid("root_pem", why);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| invalid("holds broken PEM".into()))?;
        roots
            .add(certificate)
            .map_err(|error| invalid(format!("holds no usable certificate: {error}")))?;
    }
    match roots.is_empty() {
        true => Err(invalid(
            "holds no certificate: paste it from BEGIN to END".into(),
        )),
        false => Ok(roots),
    }
}

/// What the machine's owner trusts. A root that cannot be read is left out: others may do.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn failed(error: &Error) -> SettingsError {
    SettingsError::Unreadable(format!("TLS cannot be set up: {error}"))
}

fn rooted(roots: RootCertStore) -> Result<Arc<ClientConfig>, SettingsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn pinned(leaf: Leaf) -> Result<Arc<ClientConfig>, SettingsError> {
    let provider = provider();
    let verifier = Pin {
        leaf,
        provider: provider.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

#[derive(Debug)]
enum Leaf {
    Pinned(Fingerprint),
    Noted(Seen),
}

/// Compares the leaf's SHA-256. Names and dates do not matter: a Hue bridge's certificate names its id, not its host.
/// That the peer holds the key is proven by the handshake's signature.
#[derive(Debug)]
struct Pin {
    leaf: Leaf,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Fingerprint::of(end_entity);
        match &self.leaf {
            Leaf::Pinned(pin) if *pin == found => Ok(ServerCertVerified::assertion()),
            Leaf::Pinned(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Leaf::Noted(seen) => {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                Ok(ServerCertVerified::assertion())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
