//! One connection to a bridge: the name is resolved, every address is judged, TLS is completed.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hearthkey_core::id::Fingerprint;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::Site;
use crate::error::BridgeError;
use crate::names::addresses;

/// What bytes go through: TCP, or TLS over it.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A bridge's place and how it proves that it is there.
pub(crate) struct Line {
    pub(crate) site: Site,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Line {
    /// Connects. Has no bound of its own: the caller puts one around the whole exchange.
    pub(crate) async fn open(&self) -> Result<Box<dyn Duplex>, BridgeError> {
        let tcp = self.tcp().await?;
        if !self.site.tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(self.site.host.clone())
            .map_err(|_| self.unreachable("its name is no DNS name and no address"))?;
        let connector = TlsConnector::from(self.tls.clone());
        match connector.connect(name, tcp).await {
            Ok(tls) => Ok(Box::new(tls)),
            Err(error) => Err(self.tls_failed(&error)),
        }
    }

    async fn tcp(&self) -> Result<TcpStream, BridgeError> {
        let (host, port) = (self.site.host.as_str(), self.site.port);
        let found = addresses(host, port)
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let mut last = self.unreachable("its name has no address");
        for address in found {
            // A name may have several addresses, and the first may be link-local by mDNS.
            if let Some(why) = self.site.objection(address.ip()) {
                last = BridgeError::Forbidden {
                    at: self.site.to_string(),
                    why: format!("it is at {}, and {why}", address.ip()),
                };
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    // Answers are small; without this each waits for the next.
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Err(error) => last = self.unreachable(&error.to_string()),
            }
        }
        Err(last)
    }

    fn unreachable(&self, why: &str) -> BridgeError {
        BridgeError::Unreachable {
            at: self.site.to_string(),
            why: why.to_owned(),
        }
    }

    fn tls_failed(&self, error: &io::Error) -> BridgeError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let why = match inner {
            Some(rustls::Error::InvalidCertificate(
                rustls::CertificateError::ApplicationVerificationFailure,
            )) => "its certificate is not the pinned one".to_owned(),
            Some(rustls::Error::InvalidCertificate(why)) => distrust(why).to_owned(),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => {
                return self.unreachable("it closed the connection during the TLS handshake");
            }
            Some(rustls::Error::AlertReceived(_)) => {
                return self.unreachable("it refused the TLS handshake");
            }
            Some(_) => return self.unreachable("it does not speak TLS 1.2 or 1.3"),
            None => return self.unreachable(&error.to_string()),
        };
        BridgeError::NotTrusted {
            at: self.site.to_string(),
            why,
        }
    }
}

/// Why a bridge's certificate is not accepted.
fn distrust(why: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as Why;
    match why {
        Why::Expired | Why::ExpiredContext { .. } => "its certificate has expired",
        Why::NotValidYet | Why::NotValidYetContext { .. } => "its certificate is not valid yet",
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            "its certificate is for another name or address"
        }
        Why::UnknownIssuer => "its certificate was not issued under a root that is trusted here",
        _ => "its certificate is not accepted",
    }
}

/// Puts a bound around an exchange.
pub(crate) async fn within<T>(
    limit: Duration,
    at: &impl ToString,
    work: impl Future<Output = Result<T, BridgeError>>,
) -> Result<T, BridgeError> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(BridgeError::TimedOut {
            at: at.to_string(),
            after: limit,
        }),
    }
}

/// The SHA-256 of the certificate that a site shows now. Nothing is sent to it but the handshake.
pub(crate) async fn pin_of(site: Site, limit: Duration) -> Result<Fingerprint, BridgeError> {
    let (tls, seen) = crate::tls::asking().map_err(|error| BridgeError::Here {
        why: error.to_string(),
    })?;
    let line = Line { site, tls };
    let at = line.site.to_string();
    within(limit, &at, line.open()).await?;
    let seen = *seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.ok_or(BridgeError::ClosedEarly { at })
}
