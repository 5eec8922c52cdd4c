//! The typed client of the local API, over its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{Problem, SOCKET_FILE};

/// The largest answer, in bytes: a page of audit records of the greatest length.
const ANSWER_MAX_BYTES: usize = 80 * 1024 * 1024;
/// How long an answer may take. Unsealing with a passphrase takes about a tenth of a second.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a call did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers on the socket.
    #[error(
        "no gateway answers on {path}: {source}. Start it with `hearthkey run`, or name its data directory with --data-dir"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The gateway answered with a problem.
    #[error("{0}")]
    Problem(Problem),
    /// The answer cannot be understood.
    #[error("the gateway's answer cannot be understood: {0}. Use the same version on both sides")]
    Garbled(String),
    /// The answer took too long.
    #[error("the gateway did not answer in time. See whether it is busy with `hearthkey status`")]
    TimedOut,
}

/// A client of one gateway.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The client of the gateway that runs on a data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            socket: data_dir.join(SOCKET_FILE),
        }
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
        tokio::time::timeout(TIMEOUT, self.exchange(method, path, body))
            .await
            .map_err(|_| CallError::TimedOut)?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Bytes, CallError> {
        let garbled = |error: &dyn std::error::Error| CallError::Garbled(error.to_string());
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| CallError::NotRunning {
                    path: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| garbled(&e))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "hearthkey")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| garbled(&e))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| garbled(&e))?;
        let ok = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES)
            .collect()
            .await
            .map_err(|e| CallError::Garbled(e.to_string()))?
            .to_bytes();
        if ok {
            Ok(body)
        } else {
            Err(CallError::Problem(parse(&body)?))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| CallError::Garbled(error.to_string()))
}
