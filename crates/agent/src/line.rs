//! The TLS line to the gateway, which remembers why it broke: the MQTT client above it forgets.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Leaf;
use crate::key::{DeviceKey, KeyError};
use crate::pin::PinnedRoot;
use crate::trust::TrustBundle;

/// The application protocol that asks the gateway for its whole chain, root included.
const ENROLL_ALPN: &[u8] = b"hearthkey-enroll";

/// The first TLS error a line met.
pub(crate) type Fault = Arc<OnceLock<rustls::Error>>;

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS for enrollment: no client certificate, the root pinned by fingerprint.
pub(crate) fn pinned_config(pin: Arc<PinnedRoot>) -> Result<ClientConfig, rustls::Error> {
    let mut config = builder()?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_no_client_auth();
    config.alpn_protocols = vec![ENROLL_ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// TLS for an enrolled device: its own certificate, sent alone, and the roots it keeps.
pub(crate) fn device_config(
    leaf: &Leaf,
    key: &DeviceKey,
    trust: &TrustBundle,
) -> Result<ClientConfig, ConfigError> {
    let identity = CertifiedKey::new(vec![leaf.der.clone()], key.for_tls()?);
    let mut config = builder()?
        .with_root_certificates(trust.anchors()?)
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)));
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Why TLS could not be set up from what the device holds.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The key cannot sign a handshake.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The trust bundle holds something that is not a root.
    #[error(transparent)]
    Trust(#[from] crate::trust::TrustError),
    /// rustls refuses the combination.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

/// A TLS stream that notes its first TLS error in a place that outlives it.
pub(crate) struct Line {
    tls: TlsStream<TcpStream>,
    fault: Fault,
}

impl Line {
    /// Connects, and completes the TLS handshake.
    pub(crate) async fn open(
        host: String,
        port: u16,
        config: Arc<ClientConfig>,
        fault: Fault,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(host.clone())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a host name"))?;
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        match TlsConnector::from(config).connect(name, tcp).await {
            Ok(tls) => Ok(Self { tls, fault }),
            Err(error) => {
                note(&fault, &error);
                Err(error)
            }
        }
    }

    /// After a failed write, reads what the peer said before it closed: an alert may be waiting there.
    fn listen_for_last_words(&mut self, cx: &mut Context<'_>) {
        const MOST_READS: usize = 16;
        let mut scratch = [0; 4096];
        for _ in 0..MOST_READS {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.tls).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Err(error)) => return note(&self.fault, &error),
                Poll::Ready(Ok(())) | Poll::Pending => return,
            }
        }
    }

    fn noted<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            note(&self.fault, error);
            self.listen_for_last_words(cx);
        }
        polled
    }
}

/// Notes the TLS error inside an I/O error; the first one is the cause, later ones are its echoes.
fn note(fault: &Fault, error: &io::Error) {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(tls) = inner {
        let _ = fault.set(tls.clone());
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.tls).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &polled {
            note(&self.fault, error);
        }
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tls).poll_write(cx, bytes);
        self.noted(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.tls).poll_flush(cx);
        self.noted(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
