//! One HTTP/1.1 request and its whole answer, on a connection of its own, bounded in time and size.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::BridgeError;
use crate::limits::HEAD_MAX_BYTES;
use crate::line::{Line, within};

/// A request to a bridge. The host is the line's.
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query, after the site's prefix.
    pub(crate) target: Zeroizing<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// A whole answer.
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Heard {
    /// The body as JSON; what it holds otherwise is not repeated.
    pub(crate) fn json(&self, at: &impl ToString) -> Result<Value, BridgeError> {
        serde_json::from_slice(&self.body).map_err(|error| BridgeError::Garbled {
            at: at.to_string(),
            why: format!(
                "it is no JSON (line {}, column {})",
                error.line(),
                error.column()
            ),
        })
    }
}

/// A header whose value is a secret, so that nothing prints it.
pub(crate) fn secret_header(value: &str) -> Result<HeaderValue, BridgeError> {
    let mut header = HeaderValue::from_str(value).map_err(|_| BridgeError::Incomplete {
        why: "a value has characters that no HTTP header can carry".into(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// Asks, and reads the whole answer.
pub(crate) async fn exchange(
    line: &Line,
    ask: Ask,
    limit: Duration,
    most_bytes: usize,
) -> Result<Heard, BridgeError> {
    let work = async {
        let stream = TokioIo::new(line.open().await?);
        let closed = || BridgeError::ClosedEarly {
            at: line.site.to_string(),
        };
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_MAX_BYTES)
            .handshake::<_, Full<Bytes>>(stream)
            .await
            .map_err(|_| closed())?;
        let request = request(line, ask)?;
        let mut asked = pin!(async move {
            let answer = sender.send_request(request).await;
            read(
                line,
                answer.map_err(|error| broken(line, &error))?,
                most_bytes,
            )
            .await
        });
        // The connection is driven by the same future, so that dropping it closes the socket.
        tokio::select! {
            biased;
            heard = &mut asked => heard,
            _ = connection => asked.await,
        }
    };
    within(limit, &line.site, work).await
}

fn request(line: &Line, ask: Ask) -> Result<Request<Full<Bytes>>, BridgeError> {
    let impossible = || BridgeError::Incomplete {
        why: "path or headers do not fit into an HTTP request".into(),
    };
    let target = Zeroizing::new(format!("{}{}", line.site.prefix, *ask.target));
    let uri: Uri = target.parse().map_err(|_| impossible())?;
    let mut request = Request::builder()
        .method(ask.method)
        .uri(uri)
        .header(HOST, line.site.authority())
        .header(USER_AGENT, "hearthkey");
    for (name, value) in ask.headers {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from_owner(ask.body));
    request.body(body).map_err(|_| impossible())
}

fn broken(line: &Line, error: &hyper::Error) -> BridgeError {
    let at = line.site.to_string();
    match error {
        error if error.is_parse() => BridgeError::Garbled {
            at,
            why: "it is not HTTP, or its head is too long".into(),
        },
        _ => BridgeError::ClosedEarly { at },
    }
}

async fn read(
    line: &Line,
    answer: hyper::Response<hyper::body::Incoming>,
    most_bytes: usize,
) -> Result<Heard, BridgeError> {
    let at = || line.site.to_string();
    let status = answer.status();
    if status.is_redirection() {
        let to = answer.headers().get(LOCATION);
        return Err(BridgeError::Redirected {
            at: at(),
            to: elsewhere(to.and_then(|to| to.to_str().ok()).unwrap_or_default()),
        });
    }
    let mut incoming = answer.into_body();
    let mut body = Zeroizing::new(Vec::new());
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| broken(line, &error))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if body.len() + data.len() > most_bytes {
            return Err(BridgeError::TooLong {
                at: at(),
                most_bytes,
            });
        }
        body.extend_from_slice(data);
    }
    Ok(Heard {
        status: status.as_u16(),
        body,
    })
}

/// Where a redirect leads: the host alone, since a path may carry what was asked.
fn elsewhere(location: &str) -> String {
    let host = location.parse::<Uri>().ok();
    match host.as_ref().and_then(|uri| uri.host()) {
        Some(host) => crate::quote::peer(host),
        None => "another path".to_owned(),
    }
}
