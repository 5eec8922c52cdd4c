//! The typed client: over the Unix socket of a gateway here, or over HTTPS to one elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::http::request::Builder;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::remote::{Identity, Remote, RemoteError};
use crate::token_file::TokenFile;
use crate::{Problem, SOCKET_FILE, code};

/// The largest answer, in bytes: a page of audit records of the greatest length.
const ANSWER_MAX_BYTES: usize = 80 * 1024 * 1024;
/// How long an answer may take. Unsealing with a passphrase takes about a tenth of a second.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long one may take that waits for a whole copy of the home.
const LONG_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// Why a call did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers on the socket.
    #[error(
        "no gateway responds on {path}: {source}. Start it, or name its data directory with --data-dir"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers on the network, or somebody else does.
    #[error(
        "the gateway {gateway} cannot be reached: {source}. Check its URL, and that the root is its own"
    )]
    Unreachable {
        /// Its host and port.
        gateway: String,
        /// Why.
        source: io::Error,
    },
    /// The gateway answered with a problem.
    #[error("{0}")]
    Problem(Problem),
    /// The answer cannot be understood.
    #[error("unexpected response from the gateway: {0}. Use the same version on both sides")]
    Garbled(String),
    /// The answer took too long.
    #[error(
        "the gateway did not respond in time. Check whether it is busy with `hearthkey status`"
    )]
    TimedOut,
}

/// A client of one gateway.
#[derive(Debug, Clone)]
pub struct Client {
    way: Way,
    patience: Duration,
}

/// How the gateway is reached.
#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    Network(Arc<Remote>),
}

/// An answer as it came.
struct Answer {
    ok: bool,
    nonce: Option<String>,
    body: Bytes,
}

impl Client {
    /// The client of the gateway that runs on a data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self::by(Way::Socket(data_dir.join(SOCKET_FILE)))
    }

    /// The client of a gateway on the network, without a token: for what everybody may ask.
    pub fn remote(url: &str, root: &str) -> Result<Self, RemoteError> {
        Ok(Self::by(Way::Network(Arc::new(Remote::new(
            url, root, None,
        )?))))
    }

    /// The client of the gateway that a token is for, at another URL if one is given. A token that is bound to a
    /// certificate needs that.
    pub fn with_token(
        file: &TokenFile,
        url: Option<&str>,
        identity: Option<&Identity>,
    ) -> Result<Self, RemoteError> {
        let remote = Remote::of_token(file, url, identity)?;
        Ok(Self::by(Way::Network(Arc::new(remote))))
    }

    fn by(way: Way) -> Self {
        Self {
            way,
            patience: TIMEOUT,
        }
    }

    /// The same client, for what waits for a whole copy of the home.
    pub fn patient(self) -> Self {
        Self {
            patience: LONG_TIMEOUT,
            ..self
        }
    }

    /// Whether it asks over the network.
    pub fn is_remote(&self) -> bool {
        matches!(self.way, Way::Network(_))
    }

    /// Asks for something in JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        parse(&self.call(Method::GET, path, Vec::new()).await?)
    }

    /// Asks for something that is not JSON.
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, CallError> {
        self.call(Method::GET, path, Vec::new()).await
    }

    /// Asks for something to be done.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|e| CallError::Garbled(e.to_string()))?;
        parse(&self.call(Method::POST, path, body).await?)
    }

    async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, CallError> {
        tokio::time::timeout(self.patience, self.exchange(method, path, body))
            .await
            .map_err(|_| CallError::TimedOut)?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Bytes, CallError> {
        let body = Bytes::from(body);
        let mut answer = self.ask(&method, path, body.clone()).await?;
        if let (Way::Network(remote), Some(nonce)) = (&self.way, &answer.nonce)
            && remote.take_nonce(nonce)
            && asks_for_nonce(&answer)
        {
            // What was refused for want of a nonce has not been begun.
            answer = self.ask(&method, path, body).await?;
        }
        if answer.ok {
            Ok(answer.body)
        } else {
            Err(CallError::Problem(parse(&answer.body)?))
        }
    }

    async fn ask(&self, method: &Method, path: &str, body: Bytes) -> Result<Answer, CallError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        match &self.way {
            Way::Socket(socket) => {
                let stream = UnixStream::connect(socket).await;
                let stream = stream.map_err(|source| CallError::NotRunning {
                    path: socket.clone(),
                    source,
                })?;
                send(stream, request.header("host", "hearthkey"), body).await
            }
            Way::Network(remote) => {
                let stream = remote.connect().await;
                let stream = stream.map_err(|source| CallError::Unreachable {
                    gateway: remote.authority().to_owned(),
                    source,
                })?;
                let request = remote.sign(request, method, path);
                let request = request.map_err(|error| CallError::Garbled(error.to_string()))?;
                send(stream, request, body).await
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Builder,
    body: Bytes,
) -> Result<Answer, CallError> {
    let garbled = |error: &dyn std::error::Error| CallError::Garbled(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| garbled(&e))?;
    tokio::spawn(connection);
    let request = request.body(Full::new(body)).map_err(|e| garbled(&e))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|e| garbled(&e))?;
    let nonce = response.headers().get("dpop-nonce");
    let nonce = nonce.and_then(|nonce| nonce.to_str().ok().map(str::to_owned));
    let ok = response.status().is_success();
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES)
        .collect()
        .await
        .map_err(|e| CallError::Garbled(e.to_string()))?
        .to_bytes();
    Ok(Answer { ok, nonce, body })
}

fn asks_for_nonce(answer: &Answer) -> bool {
    let problem = parse::<Problem>(&answer.body);
    !answer.ok && problem.is_ok_and(|problem| problem.code == code::PROOF_NEEDS_NONCE)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| CallError::Garbled(error.to_string()))
}
