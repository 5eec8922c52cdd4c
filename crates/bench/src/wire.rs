//! The least MQTT 3.1.1 client that measures a broker and not itself: the same for every broker.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why the client gave up.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The network or TLS.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// Key, certificate or trust.
    #[error("the identity cannot be used: {0}")]
    Identity(String),
    /// The broker said something else than was expected.
    #[error("the broker answered {0:#04x} where {1:#04x} was expected")]
    Unexpected(u8, u8),
}

/// The TLS identity of a device, from the agent's directory.
pub fn identity(directory: &Path, trust: &Path) -> Result<Arc<ClientConfig>, WireError> {
    let odd = |error: &dyn std::fmt::Display| WireError::Identity(error.to_string());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(trust).map_err(|e| odd(&e))? {
        roots.add(root.map_err(|e| odd(&e))?).map_err(|e| odd(&e))?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(directory.join("device.crt"))
        .map_err(|e| odd(&e))?
        .collect();
    let key = PrivateKeyDer::from_pem_file(directory.join("device.key")).map_err(|e| odd(&e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let path = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|e| odd(&e))?;
    let verifier = Arc::new(Pinned {
        path,
        certificate: OnceLock::new(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| odd(&e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain.map_err(|e| odd(&e))?, key)
        .map_err(|e| odd(&e))?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Verifies the path of the broker's certificate once and compares bytes from then on, as a device with a pinned
/// certificate does: a rate is then less that of the client. The signature of every handshake is verified.
#[derive(Debug)]
struct Pinned {
    path: Arc<WebPkiServerVerifier>,
    certificate: OnceLock<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self
            .certificate
            .get()
            .is_some_and(|known| known == certificate)
        {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self
            .path
            .verify_server_cert(certificate, intermediates, name, ocsp, now)?;
        self.certificate
            .get_or_init(|| certificate.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.path
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.path
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.path.supported_verify_schemes()
    }
}

/// A connected client.
pub struct Wire(BufStream<TlsStream<TcpStream>>);

impl Wire {
    /// Connects from a local address, and waits for the CONNACK.
    pub async fn connect(
        broker: SocketAddr,
        local: IpAddr,
        config: &Arc<ClientConfig>,
        client_id: &str,
    ) -> Result<Self, WireError> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(local, 0))?;
        let tcp = socket.connect(broker).await?;
        tcp.set_nodelay(true)?;
        let name =
            ServerName::try_from("localhost").map_err(|e| WireError::Identity(e.to_string()))?;
        let tls = TlsConnector::from(Arc::clone(config))
            .connect(name, tcp)
            .await?;
        let mut wire = Self(BufStream::new(tls));
        let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
        string(&mut body, client_id);
        wire.send(0x10, &body).await?;
        wire.0.flush().await?;
        wire.expect(0x20).await?;
        Ok(wire)
    }

    async fn send(&mut self, kind: u8, body: &[u8]) -> Result<(), WireError> {
        let mut length = body.len();
        let mut head = vec![kind];
        loop {
            let more = if length > 127 { 0x80 } else { 0 };
            head.push((length % 128) as u8 | more);
            length /= 128;
            if length == 0 {
                break;
            }
        }
        self.0.write_all(&head).await?;
        self.0.write_all(body).await?;
        Ok(())
    }

    async fn receive(&mut self) -> Result<(u8, Vec<u8>), WireError> {
        let kind = self.0.read_u8().await?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.0.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift > 21 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((kind, body))
    }

    async fn expect(&mut self, wanted: u8) -> Result<Vec<u8>, WireError> {
        let (kind, body) = self.receive().await?;
        if kind & 0xf0 == wanted {
            Ok(body)
        } else {
            Err(WireError::Unexpected(kind, wanted))
        }
    }

    /// Subscribes with QoS 0 or 1.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), WireError> {
        let mut body = vec![0, 1];
        string(&mut body, filter);
        body.push(qos);
        self.send(0x82, &body).await?;
        self.0.flush().await?;
        match self.expect(0x90).await?.last() {
            Some(granted) if *granted == qos => Ok(()),
            Some(code) => Err(WireError::Unexpected(*code, qos)),
            None => Err(WireError::Unexpected(0, qos)),
        }
    }

    /// Publishes some messages at once, and waits until all are acknowledged if they are of QoS 1.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        (count, qos): (u16, u8),
    ) -> Result<(), WireError> {
        for id in 1..=count {
            let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
            string(&mut body, topic);
            if qos > 0 {
                body.extend(id.to_be_bytes());
            }
            body.extend(payload);
            self.send(0x30 | qos << 1, &body).await?;
        }
        self.0.flush().await?;
        for _ in 0..count * u16::from(qos) {
            self.expect(0x40).await?;
        }
        Ok(())
    }

    /// Publishes a message that is retained, with QoS 1.
    pub async fn retain(&mut self, topic: &str, payload: &[u8]) -> Result<(), WireError> {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
        string(&mut body, topic);
        body.extend([0, 1]);
        body.extend(payload);
        self.send(0x33, &body).await?;
        self.0.flush().await?;
        self.expect(0x40).await.map(drop)
    }

    /// Asks for an answer: everything before it has been read.
    pub async fn ping(&mut self) -> Result<(), WireError> {
        self.send(0xc0, &[]).await?;
        self.0.flush().await?;
        self.expect(0xd0).await.map(drop)
    }

    /// Waits for a message, and acknowledges it if it is of QoS 1.
    pub async fn take(&mut self) -> Result<(), WireError> {
        let (kind, body) = self.receive().await?;
        match kind & 0xf6 {
            0x30 => return Ok(()),
            0x32 => {}
            other => return Err(WireError::Unexpected(other, 0x30)),
        }
        let topic = body
            .get(..2)
            .map_or(0, |n| usize::from(u16::from_be_bytes([n[0], n[1]])));
        let id = body.get(2 + topic..4 + topic).unwrap_or_default().to_vec();
        self.send(0x40, &id).await?;
        // Acknowledgements go out together while more messages are waiting.
        if self.0.get_ref().get_ref().1.wants_read() {
            self.0.flush().await?;
        }
        Ok(())
    }

    /// Waits until the broker ends the connection.
    pub async fn closed(mut self) {
        while self.receive().await.is_ok() {}
    }
}

fn string(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.as_bytes());
}
