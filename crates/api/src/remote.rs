//! A gateway on the network: HTTPS with the home's own root, and a proof with each request.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::request::Builder;
use hyper::{Method, Uri};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
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
    #[error("{0:?} is not the URL of a gateway. Write it like https://gateway.home.arpa:8443")]
    Url(String),
    /// Nobody says where the gateway is.
    #[error("nothing says where the gateway is. Name it with --gateway")]
    NoUrl,
    /// There is no root to trust.
    #[error(
        "the root certificate cannot be read: it is not PEM. Save it with `hearthkey trust bundle`"
    )]
    Root,
    /// The private key is no good.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// TLS as it is asked for is not available.
    #[error("TLS cannot be set up: {0}. Report it")]
    Tls(#[from] rustls::Error),
}

/// A token with the key that it is bound to.
struct Bearer {
    token: Zeroizing<String>,
    key: ProofKey,
    /// What the gateway last asked to be put into proofs.
    nonce: Mutex<Option<String>>,
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

fn trust(root: &str) -> Result<Arc<ClientConfig>, RemoteError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
        let certificate = certificate.map_err(|_| RemoteError::Root)?;
        roots.add(certificate).map_err(|_| RemoteError::Root)?;
    }
    if roots.is_empty() {
        return Err(RemoteError::Root);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Remote {
    /// The gateway with this URL, trusted by this root.
    pub(crate) fn new(url: &str, root: &str) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Url(url.chars().take(200).collect());
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
            tls: trust(root)?,
            bearer: None,
        })
    }

    /// The gateway of a token, at this URL instead of its own if there is one.
    pub(crate) fn of_token(file: &TokenFile, url: Option<&str>) -> Result<Self, RemoteError> {
        let url = url.or(file.gateway.as_deref()).ok_or(RemoteError::NoUrl)?;
        let key = ProofKey::from_pem(file.key.as_deref().ok_or(InvalidKey)?)?;
        let bearer = Bearer {
            token: Zeroizing::new(file.token.clone()),
            key,
            nonce: Mutex::default(),
        };
        let mut remote = Self::new(url, &file.root)?;
        remote.bearer = Some(bearer);
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

    /// Signs a request: with the token, and a proof made for this request alone.
    pub(crate) fn sign(
        &self,
        request: Builder,
        method: &Method,
        path: &str,
    ) -> Result<Builder, InvalidKey> {
        let request = request.header(HOST, &self.authority);
        let Some(Bearer { token, key, nonce }) = &self.bearer else {
            return Ok(request);
        };
        let url = format!("https://{}{path}", self.authority);
        let nonce = nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let proof = key.prove(method.as_str(), &url, token, nonce.as_deref())?;
        let authorization = Zeroizing::new(format!("DPoP {}", **token));
        let mut authorization =
            hyper::http::HeaderValue::from_str(&authorization).map_err(|_| InvalidKey)?;
        authorization.set_sensitive(true);
        Ok(request
            .header(AUTHORIZATION, authorization)
            .header("dpop", proof))
    }

    /// Puts a nonce into proofs from here on. Tells whether that is news.
    pub(crate) fn take_nonce(&self, nonce: &str) -> bool {
        let Some(bearer) = &self.bearer else {
            return false;
        };
        let mut kept = bearer.nonce.lock().unwrap_or_else(PoisonError::into_inner);
        kept.replace(nonce.to_owned()).as_deref() != Some(nonce)
    }
}
