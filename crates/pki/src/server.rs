//! How the listener speaks TLS.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::sign::{RsaSigningKey, any_ecdsa_type};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::ca_certificate::CaCertificate;
use crate::key::SigningKey;
use crate::provider::provider;
use crate::rsa_key::RsaLeaf;
use crate::verifier::ClientVerifier;

/// The application protocol of a client that enrolls: it does not trust the root yet and knows
/// only the hash of the root's key, so it is sent the root as well.
pub const ENROLL_ALPN: &[u8] = b"hearthkey-enroll";

/// The application protocols (RFC 7301) that are spoken: enrollment, MQTT, and MQTT as AWS IoT
/// devices call it. A client that offers none is served too; one that offers only others is not.
const ALPN: [&[u8]; 3] = [ENROLL_ALPN, b"mqtt", b"x-amzn-mqtt-ca"];

/// Why there is no server configuration.
#[derive(Debug, thiserror::Error)]
pub enum ServerConfigError {
    /// The key is not usable, or not the certificate's.
    #[error("the server's private key does not belong to its certificate")]
    Key(#[source] rustls::Error),
    /// TLS as asked for is not available.
    #[error("the TLS configuration was refused")]
    Tls(#[source] rustls::Error),
}

/// The configuration of the listener: TLS 1.2 and 1.3, client certificates by `verifier`, no
/// resumption of any kind (a resumed session would never be shown to the verifier).
///
/// `chain` is the server CA and then the root. A client is sent the leaf and the server CA; one
/// that offers [`ENROLL_ALPN`] is sent the root as well. `rsa` is shown to clients that cannot
/// verify what the usual leaf's key signs, and to no other.
pub fn server_config(
    leaf_der: &[u8],
    chain: &[CaCertificate],
    key: &SigningKey,
    verifier: Arc<ClientVerifier>,
    rsa: Option<&RsaLeaf>,
) -> Result<Arc<ServerConfig>, ServerConfigError> {
    let mut shown = Shown::new(leaf_der, chain, key)?;
    if let Some(rsa) = rsa {
        shown.rsa = Some(ByProtocol::of_rsa(rsa, chain)?);
    }
    configure(shown, verifier, &ALPN)
}

/// The configuration of the HTTPS listener: as that of the listener, for HTTP/1.1 alone. Both may show
/// one certificate: a client that names its protocol is not let in by the wrong one, and so cannot
/// be led to mistake one for the other.
pub fn https_config(
    leaf_der: &[u8],
    chain: &[CaCertificate],
    key: &SigningKey,
    verifier: Arc<ClientVerifier>,
) -> Result<Arc<ServerConfig>, ServerConfigError> {
    let shown = Shown::new(leaf_der, chain, key)?;
    configure(shown, verifier, &[b"h2", b"http/1.1"])
}

fn configure(
    shown: Shown,
    verifier: Arc<ClientVerifier>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, ServerConfigError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(ServerConfigError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(shown));
    // AES-128 with SHA-256 for all who can: most clients name AES-256 with SHA-384 first, which costs both sides a tenth of
    // the handshake and protects nothing more, with keys on P-256.
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The certificates that clients are shown.
#[derive(Debug)]
struct Shown {
    usual: ByProtocol,
    rsa: Option<ByProtocol>,
}

impl Shown {
    fn new(
        leaf_der: &[u8],
        chain: &[CaCertificate],
        key: &SigningKey,
    ) -> Result<Self, ServerConfigError> {
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8()));
        let key = any_ecdsa_type(&pkcs8).map_err(ServerConfigError::Key)?;
        Ok(Self {
            usual: ByProtocol::new(leaf_der, chain, key)?,
            rsa: None,
        })
    }
}

impl ResolvesServerCert for Shown {
    /// The signature algorithms are those of the client that also go with its cipher suites. One that can verify
    /// nothing of ours is shown the usual certificate, and refused for it.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = hello.signature_schemes();
        let usual_fits = self.usual.usual.key.choose_scheme(offered).is_some();
        let certificate = match &self.rsa {
            Some(rsa) if !usual_fits => rsa,
            _ => &self.usual,
        };
        let enrolling = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == ENROLL_ALPN));
        Some(Arc::clone(if enrolling {
            &certificate.enrolling
        } else {
            &certificate.usual
        }))
    }
}

/// One certificate, with its chain as it is sent.
#[derive(Debug)]
struct ByProtocol {
    usual: Arc<CertifiedKey>,
    enrolling: Arc<CertifiedKey>,
}

impl ByProtocol {
    fn new(
        leaf_der: &[u8],
        chain: &[CaCertificate],
        key: Arc<dyn rustls::sign::SigningKey>,
    ) -> Result<Self, ServerConfigError> {
        let certified = |issuers: usize| {
            let chain = std::iter::once(leaf_der)
                .chain(chain.iter().take(issuers).map(|ca| ca.der.as_slice()))
                .map(|der| CertificateDer::from(der.to_vec()))
                .collect();
            CertifiedKey::new(chain, Arc::clone(&key))
        };
        let usual = certified(1);
        usual.keys_match().map_err(ServerConfigError::Key)?;
        Ok(Self {
            usual: Arc::new(usual),
            enrolling: Arc::new(certified(chain.len())),
        })
    }

    fn of_rsa(leaf: &RsaLeaf, chain: &[CaCertificate]) -> Result<Self, ServerConfigError> {
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key.pkcs8()));
        let key = RsaSigningKey::new(&pkcs8).map_err(ServerConfigError::Key)?;
        Self::new(&leaf.der, chain, Arc::new(key))
    }
}
