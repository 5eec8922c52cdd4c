//! The least HTTP/1.1 client that measures a server and not itself: the same for every server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::clock::Stopwatch;

/// Why the client gave up.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The network or TLS.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// An answer that is not framed as this client expects.
    #[error("unexpected response: {0:?}")]
    Odd(String),
    /// The server answered something else than 200.
    #[error("the server answered {0}: {1}")]
    Status(u16, String),
    /// A connection's task panicked.
    #[error("a task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// How a server is reached.
#[derive(Clone)]
pub enum Way {
    /// A Unix socket.
    Unix(PathBuf),
    /// Loopback, with TLS.
    Tls(SocketAddr, Arc<ClientConfig>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An answer: its status, the lines of its head, its body.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head, its lines in lower case.
    pub head: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a line of the head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body, if the server did what was asked.
    pub fn done(self) -> Result<Vec<u8>, HttpError> {
        match self.status {
            200..=299 => Ok(self.body),
            status => Err(HttpError::Status(
                status,
                String::from_utf8_lossy(&self.body)
                    .chars()
                    .take(300)
                    .collect(),
            )),
        }
    }
}

/// A connection that is kept.
pub struct Http(BufReader<Box<dyn Stream>>);

impl Http {
    /// Connects.
    pub async fn connect(way: &Way) -> Result<Self, HttpError> {
        let stream: Box<dyn Stream> = match way {
            Way::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Way::Tls(address, config) => {
                let name = ServerName::try_from("localhost")
                    .map_err(|error| HttpError::Odd(error.to_string()))?;
                let connector = TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name, tcp(*address).await?).await?)
            }
        };
        Ok(Self(BufReader::with_capacity(64 * 1024, stream)))
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer, HttpError> {
        self.0.write_all(request).await?;
        self.0.flush().await?;
        let status_line = self.line().await?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| HttpError::Odd(status_line.clone()))?;
        let mut answer = Answer {
            status,
            head: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            answer
                .head
                .push(format!("{}: {}", name.to_lowercase(), value.trim()));
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            self.chunks(&mut answer.body).await?;
        } else if let Some(length) = answer.header("content-length") {
            let length = length
                .parse()
                .map_err(|_| HttpError::Odd(length.to_owned()))?;
            answer.body.resize(length, 0);
            self.0.read_exact(&mut answer.body).await?;
        }
        Ok(answer)
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> Result<(), HttpError> {
        loop {
            let line = self.line().await?;
            let length = usize::from_str_radix(&line, 16).map_err(|_| HttpError::Odd(line))?;
            let begin = body.len();
            body.resize(begin + length, 0);
            self.0.read_exact(&mut body[begin..]).await?;
            self.line().await?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> Result<String, HttpError> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err(HttpError::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(line.trim_end().to_owned())
    }
}

async fn tcp(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A request in full. The lines of `head` end with CRLF.
pub fn request(method: &str, path: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let begin = format!("{method} {path} HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n");
    [begin.as_bytes(), body].concat()
}

/// Sends requests, those of each list over a connection of its own, one after another. Gives how
/// long all of it took, in seconds, and each of them, in microseconds.
pub async fn drive(way: &Way, lists: Vec<Vec<Vec<u8>>>) -> Result<(f64, Vec<u64>), HttpError> {
    let mut connections = Vec::with_capacity(lists.len());
    for list in lists {
        connections.push((Http::connect(way).await?, list));
    }
    let watch = Stopwatch::start();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|(mut http, list)| {
            tokio::spawn(async move {
                let mut us = Vec::with_capacity(list.len());
                for request in &list {
                    let watch = Stopwatch::start();
                    http.exchange(request).await?.done()?;
                    us.push(watch.elapsed_us());
                }
                Ok::<_, HttpError>(us)
            })
        })
        .collect();
    let mut us = Vec::new();
    for task in tasks {
        us.extend(task.await??);
    }
    Ok((watch.elapsed().as_secs_f64(), us))
}
