//! The listener as a client sees it: TLS with any certificate, and every refusal in its exact words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::mqtt::{Client, Hello};
use crate::rig::{PATIENCE, Rig};

/// A certificate and the key that says it belongs to it.
#[derive(Debug)]
pub struct Identity {
    pub device: String,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From PEM as the gateway sends it: leaf first.
    pub fn from_pem(device: &str, chain: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
        Self {
            device: device.to_owned(),
            chain: chain.map(Result::unwrap).collect(),
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        }
    }

    /// This certificate with another key: what somebody has who has only seen it pass by.
    pub fn with_key_of(&self, other: &Self) -> Self {
        Self {
            device: self.device.clone(),
            chain: self.chain.clone(),
            key: other.key.clone_key(),
        }
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        self.with_key_of(self)
    }
}

/// Shows its certificate whatever the server asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// How a client was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// By a TLS alert with this number.
    Alert(u8),
    /// By a CONNACK with this code, and its reason string.
    Connack(u8, String),
    /// By an MQTT 5 DISCONNECT with this code.
    Disconnect(u8),
    /// Without a word.
    Closed(String),
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        let tls = error.get_ref().and_then(|e| e.downcast_ref());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert((*alert).into()),
            _ => Self::Closed(error.to_string()),
        }
    }
}

pub const REVOKED: Refused = Refused::Alert(44);
pub const SUSPENDED: Refused = Refused::Alert(49);
pub const UNKNOWN_CA: Refused = Refused::Alert(48);
pub const DECRYPT_ERROR: Refused = Refused::Alert(51);
pub const EXPIRED: Refused = Refused::Alert(45);
pub const CERTIFICATE_REQUIRED: Refused = Refused::Alert(116);

/// Both versions of TLS that the listener speaks.
pub const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// Runs something that must end in time.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// The listener of a home as a client sees it.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    pub from: Option<IpAddr>,
    roots: Arc<RootCertStore>,
    /// What is verified of the gateway's certificate where it is believed unchecked.
    careless: Option<Verifies>,
}

/// Which signatures a client can verify.
type Verifies = fn(&SignatureScheme) -> bool;

/// Believes every server. Signatures are checked, or no handshake would be complete.
#[derive(Debug)]
struct Gullible(rustls::crypto::WebPkiSupportedAlgorithms, Verifies);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.0.supported_schemes();
        schemes.retain(self.1);
        schemes
    }
}

impl Door {
    pub async fn of(rig: &Rig) -> Self {
        let pem = rig.cli(&["trust", "bundle"]).await.stdout;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&pem) {
            roots.add(root.unwrap()).unwrap();
        }
        let address = rig.status().await.listeners.mqtt.unwrap();
        Self {
            address: address.parse().unwrap(),
            from: None,
            roots: Arc::new(roots),
            careless: None,
        }
    }

    /// The same door, for a device that does not look at the gateway's certificate.
    pub fn careless(&self) -> Self {
        self.verifying(|_| true)
    }

    /// The same door, for a device that can verify these signatures alone, and does not look at the gateway's
    /// certificate.
    pub fn verifying(&self, schemes: Verifies) -> Self {
        Self {
            careless: Some(schemes),
            ..self.clone()
        }
    }

    /// The same door, seen from another address.
    pub fn seen_from(&self, address: IpAddr) -> Self {
        let from = Some(address);
        Self {
            from,
            ..self.clone()
        }
    }

    pub fn config(
        &self,
        who: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = if let Some(schemes) = self.careless {
            let gullible = Gullible(provider.signature_verification_algorithms, schemes);
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(gullible))
        } else {
            builder.with_root_certificates(Arc::clone(&self.roots))
        };
        let config = match who {
            None => builder.with_no_client_auth(),
            Some(who) => {
                let key = provider.key_provider.load_private_key(who.key.clone_key());
                let certified = CertifiedKey::new(who.chain.clone(), key.unwrap());
                builder.with_client_cert_resolver(Arc::new(Always(Arc::new(certified))))
            }
        };
        Arc::new(config)
    }

    pub async fn tcp(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind((from, 0).into())?;
        }
        within("a TCP connection", socket.connect(self.address)).await
    }

    /// A TLS connection that has said nothing yet. In TLS 1.3 a refusal comes later.
    pub async fn dial_with(
        &self,
        config: Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, Refused> {
        let tcp = self.tcp().await?;
        let name = ServerName::from(self.address.ip());
        let tls = TlsConnector::from(config).connect(name, tcp);
        Ok(within("a TLS handshake", tls).await?)
    }

    pub async fn dial(&self, who: Option<&Identity>) -> Result<TlsStream<TcpStream>, Refused> {
        self.dial_with(self.config(who, rustls::ALL_VERSIONS)).await
    }

    /// Connects and says hello.
    pub async fn connect(
        &self,
        who: Option<&Identity>,
        hello: &Hello<'_>,
    ) -> Result<Client, Refused> {
        let config = self.config(who, rustls::ALL_VERSIONS);
        self.connect_with(config, hello).await
    }

    pub async fn connect_with(
        &self,
        config: Arc<ClientConfig>,
        hello: &Hello<'_>,
    ) -> Result<Client, Refused> {
        let tls = self.dial_with(config).await?;
        let mut client = Client::new(tls, hello.v5);
        client.send(&hello.packet()).await;
        let (first, body) = client.read().await?;
        assert_eq!(first, 0x20, "CONNACK comes first");
        client.session_present = body[0] == 1;
        if body[1] == 0 {
            return Ok(client);
        }
        let reason = body
            .get(6..)
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        Err(Refused::Connack(body[1], reason.into_owned()))
    }

    /// Connects as a device, under its own id.
    pub async fn device(&self, who: &Identity) -> Result<Client, Refused> {
        self.connect(Some(who), &Hello::v5(&who.device)).await
    }
}
