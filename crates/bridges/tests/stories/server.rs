//! A small HTTP/1.1 server, with or without TLS, that answers as a story wants: also with nonsense.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What is answered.
pub enum Reply {
    Json(u16, String),
    /// These bytes, and then the end.
    Raw(Vec<u8>),
    /// Nothing, for as long as the other side waits.
    Hang,
}

impl Reply {
    pub fn json(status: u16, body: impl ToString) -> Self {
        Self::Json(status, body.to_string())
    }

    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Json(status, body) => Some(
                format!(
                    "HTTP/1.1 {status} Word\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes(),
            ),
            Self::Raw(bytes) => Some(bytes),
            Self::Hang => None,
        }
    }
}

type Handler = Arc<dyn Fn(Asked) -> Reply + Send + Sync>;

/// A running server; it stops when it is dropped.
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    pub identity: Option<Identity>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A certificate for `localhost` and the loopback address, signed by itself.
pub struct Identity {
    pub pem: String,
    /// Its SHA-256, in hexadecimal digits.
    pub pin: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = rcgen::CertificateParams::new(names).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], private)
            .unwrap();
        Self {
            pem: certificate.pem(),
            pin: digest(&SHA256, &der)
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            config: Arc::new(config),
        }
    }
}

impl Server {
    pub async fn plain(handler: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(handler)).await
    }

    pub async fn tls(handler: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Some(Identity::new()), Arc::new(handler)).await
    }

    async fn start(identity: Option<Identity>, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let tls = identity
            .as_ref()
            .map(|identity| TlsAcceptor::from(identity.config.clone()));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, handler, seen) = (tls.clone(), handler.clone(), seen.clone());
                tokio::spawn(async move {
                    // A client that hangs up has what it wanted.
                    let _ = match tls {
                        None => serve(tcp, &handler, &seen).await,
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => serve(stream, &handler, &seen).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self {
            address,
            asked,
            identity,
            task,
        }
    }

    pub fn url(&self) -> String {
        let scheme = if self.identity.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: &Handler,
    seen: &Mutex<Vec<Asked>>,
) -> io::Result<()> {
    let asked = read(&mut stream).await?;
    seen.lock().unwrap().push(asked.clone());
    match handler(asked).bytes() {
        Some(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        // Until the other side has had enough.
        None => stream.read_u8().await.map(|_| ()),
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Asked {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}
