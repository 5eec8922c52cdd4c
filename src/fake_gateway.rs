//! A gateway for tests: it answers what a test prepared, over a real socket and real HTTP.

use std::path::Path;

use hearthkey_api::{Client, SOCKET_FILE};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Answers each path in its script in turn, and any other request with a problem.
pub struct FakeGateway {
    directory: TempDir,
}

impl FakeGateway {
    /// A gateway that expects these paths in this order and answers with these bodies.
    pub fn answering(script: Vec<(&'static str, String)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET_FILE)).unwrap();
        tokio::spawn(async move {
            for (path, body) in script {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, path, &body).await;
            }
        });
        Self { directory }
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(self.data_dir())
    }
}

async fn answer(mut stream: UnixStream, path: &str, body: &str) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
    let head = String::from_utf8_lossy(&request);
    let asked = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = if asked == path {
        ("200 OK", body.to_owned())
    } else {
        let detail = format!("{asked} instead of {path}");
        let problem = serde_json::json!({
            "code": "invalid", "status": 400, "title": "T.", "detail": detail, "remedy": "R."
        });
        ("400 Bad Request", problem.to_string())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
}
