//! A gateway on the network: HTTPS with the home's own root, and a proof with each request.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Method, Uri};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::proof_key::{InvalidKey, ProofKey};
use crate::token_file::TokenFile;

/// Why a gateway on the network cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The URL is not that of a gateway.
    #[error("{0} is not the URL of a gateway. Write it like https://gateway.home.arpa:8443")]
    Url(String),
    /// Nobody says where the gateway is.
    #[error("no gateway is named. Name it with --gateway")]
    NoUrl,
    /// There is no root to trust.
    #[error(
        "the root certificate cannot be read: it is not PEM. Save it with `hearthkey trust bundle`"
    )]
    Root,
    /// The private key is no good.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The token file has no key, and nobody named a certificate.
    #[error("the token is bound to a certificate. Name it with --client-cert and --client-key")]
    NoIdentity,
    /// What was named is no certificate with its key.
    #[error(
        "--client-cert and --client-key are no certificate with its private key: {0}. Name both as PEM files"
    )]
    Identity(String),
    /// TLS as it is asked for is not available.
    #[error("TLS cannot be set up: {0}. Report it")]
    Tls(#[from] rustls::Error),
}

/// A client certificate with its private key, both in PEM, by which a service is known in the handshake.
pub struct Identity {
    /// The certificate, and those between it and the root if there are any.
    pub certificate: String,
    /// Its private key.
    pub key: Zeroizing<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// A token, and how its bearer proves that it is theirs.
struct Bearer {
    token: Zeroizing<String>,
    proof: Proof,
}

enum Proof {
    /// By a signature of each request (RFC 9449).
    Key {
        key: ProofKey,
        /// What the gateway last asked to be put into proofs.
        nonce: Mutex<Option<String>>,
    },
    /// By the certificate of the connection (RFC 8705).
    Certificate,
}

/// A gateway on the network.
pub(crate) struct Remote {
    /// Host and port as the URL has them.
    authority: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    bearer: Option<Bearer>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.authority)
    }
}

/// What is told of a URL: nothing of one that has a user, a query or a fragment, for a password, a token or the secret of a
/// link may stand there.
fn shown(url: &str) -> String {
    match url.contains(['@', '?', '#']) {
        true => "what has a user, a query or a fragment".to_owned(),
        false => format!("{:?}", url.chars().take(200).collect::<String>()),
    }
}

fn tls(root: &str, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, RemoteError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
        let certificate = certificate.map_err(|_| RemoteError::Root)?;
        roots.add(certificate).map_err(|_| RemoteError::Root)?;
    }
    if roots.is_empty() {
        return Err(RemoteError::Root);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let wrong = |error: pem::Error| RemoteError::Identity(error.to_string());
            let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(wrong)?;
            let wrong = |error: rustls::Error| RemoteError::Identity(error.to_string());
            config.with_client_auth_cert(chain, key).map_err(wrong)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Remote {
    /// The gateway with this URL, trusted by this root.
    pub(crate) fn new(
        url: &str,
        root: &str,
        identity: Option<&Identity>,
    ) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Url(shown(url));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let plain = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/");
        let authority = uri.authority().filter(|_| plain && uri.query().is_none());
        let authority = authority.ok_or_else(wrong)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if authority.as_str().contains('@') {
            return Err(wrong());
        }
        Ok(Self {
            authority: authority.to_string(),
            port: authority.port_u16().unwrap_or(443),
            name: ServerName::try_from(host.clone()).map_err(|_| wrong())?,
            host,
            tls: tls(root, identity)?,
            bearer: None,
        })
    }

    /// The gateway of a token, at this URL instead of its own if there is one.
    pub(crate) fn of_token(
        file: &TokenFile,
        url: Option<&str>,
        identity: Option<&Identity>,
    ) -> Result<Self, RemoteError> {
        let url = url.or(file.gateway.as_deref()).ok_or(RemoteError::NoUrl)?;
        let proof = match (&file.key, identity) {
            (Some(key), _) => Proof::Key {
                key: ProofKey::from_pem(key)?,
                nonce: Mutex::default(),
            },
            (None, Some(_)) => Proof::Certificate,
            (None, None) => return Err(RemoteError::NoIdentity),
        };
        let mut remote = Self::new(url, &file.root, identity)?;
        remote.bearer = Some(Bearer {
            token: Zeroizing::new(file.token.clone()),
            proof,
        });
        Ok(remote)
    }

    /// Where the gateway is.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector.connect(self.name.clone(), tcp).await
    }

    /// Signs a request: with the token, and where it is bound to a key, a proof made for this request alone.
    pub(crate) fn sign(
        &self,
        request: Builder,
        method: &Method,
        path: &str,
    ) -> Result<Builder, InvalidKey> {
        let mut request = request.header(HOST, &self.authority);
        let Some(Bearer { token, proof }) = &self.bearer else {
            return Ok(request);
        };
        let scheme = match proof {
            Proof::Certificate => "Bearer",
            Proof::Key { key, nonce } => {
                let url = format!("https://{}{path}", self.authority);
                let nonce = nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let proof = key.prove(method.as_str(), &url, token, nonce.as_deref())?;
                request = request.header("dpop", proof);
                "DPoP"
            }
        };
        let authorization = Zeroizing::new(format!("{scheme} {}", **token));
        let mut authorization = HeaderValue::from_str(&authorization).map_err(|_| InvalidKey)?;
        authorization.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, authorization))
    }

    /// Puts a nonce into proofs from here on. Tells whether that is news.
    pub(crate) fn take_nonce(&self, nonce: &str) -> bool {
        let Some(Proof::Key { nonce: kept, .. }) = self.bearer.as_ref().map(|b| &b.proof) else {
            return false;
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.replace(nonce.to_owned()).as_deref() != Some(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_repeated_of_a_url_that_may_hold_a_secret() {
        let told = |url: &str| Remote::new(url, "", None).unwrap_err().to_string();
        for url in [
            concat!("https://ada:secret", "@gateway:8443"),
            "https://gateway:8443/setup#secret",
            "https://gateway:8443/?token=secret",
            "https://gateway:8443/ ?secret",
        ] {
            let told = told(url);
            assert!(!told.contains("secret"), "{told}");
        }
        let plain = told("http://gateway:8443");
        assert!(plain.starts_with("\"http://gateway:8443\" is"), "{plain}");
    }
}
