//! The beginning of TLS, for clients that take short records only (RFC 6066 §4, RFC 8449).
//!
//! rustls limits what it sends by its configuration and does not look at what a client asks for. So the ClientHello is
//! looked at as it passes, and a client that asks, or speaks TLS 1.2 at most, gets a configuration of its own, handshake
//! included. The extension is not echoed, which rustls cannot do; devices that ask read what they get.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hearthkey_core::ja4::Ja4;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, LazyConfigAcceptor};

use crate::client_hello::{CLIENT_HELLO_MAX_BYTES, ClientHello};

/// Reads the ClientHello and answers with the rest of the handshake, to be awaited, and with what kind of client it is.
///
/// The caller bounds the time of both. If the ClientHello is none, the alert has been sent, and the transport comes back
/// beside the error.
pub(crate) async fn begin<IO>(
    io: IO,
    config: Arc<ServerConfig>,
) -> Result<(Accept<IO>, Option<Ja4>), (io::Error, Option<IO>)>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), Noting::new(io));
    match (&mut acceptor).await {
        Ok(start) => {
            let Noting { io, seen } = start.io;
            let hello = ClientHello::read(&seen);
            let config = match hello.as_ref().and_then(ClientHello::record_limit) {
                Some(limit) => with_short_records(&config, limit),
                None => config,
            };
            let start = tokio_rustls::StartHandshake::from_parts(start.accepted, io);
            Ok((start.into_stream(config), hello.map(|hello| hello.ja4())))
        }
        Err(error) => Err((error, acceptor.take_io().map(|noting| noting.io))),
    }
}

/// The same configuration with records of at most `limit` bytes.
///
/// rustls counts the five bytes of a record's header in its bound, and encryption adds up to 24 more. The bound is held
/// without the header's five, so that the type of a TLS 1.3 record has its place in the limit, too.
fn with_short_records(config: &Arc<ServerConfig>, limit: usize) -> Arc<ServerConfig> {
    let mut short = ServerConfig::clone(config);
    let already = short.max_fragment_size.unwrap_or(usize::MAX);
    short.max_fragment_size = Some(limit.min(already));
    Arc::new(short)
}

/// A transport that keeps what was read from it, up to a bound.
struct Noting<IO> {
    io: IO,
    seen: Vec<u8>,
}

impl<IO> Noting<IO> {
    fn new(io: IO) -> Self {
        Self {
            io,
            seen: Vec::new(),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Noting<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let room = CLIENT_HELLO_MAX_BYTES.saturating_sub(self.seen.len());
        let new = buf.filled().get(before..).unwrap_or_default();
        self.seen.extend_from_slice(new.get(..room).unwrap_or(new));
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Noting<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::process::Command;

    use super::*;

    fn config() -> Arc<ServerConfig> {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
        // Twice the same certificate makes a handshake that is longer than the shortest record.
        let chain = vec![pair.cert.der().clone(), pair.cert.der().clone()];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }

    /// Hands bytes from one side to the other and notes them.
    async fn relay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Vec<u8> {
        let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = from.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..n]);
            if to.write_all(&chunk[..n]).await.is_err() {
                break;
            }
        }
        let _: io::Result<()> = to.shutdown().await;
        all
    }

    /// Every record that the server sends to `openssl s_client` with these options, handshake and 20,000 bytes: its
    /// type and length.
    async fn records(options: &[&str]) -> Vec<(u8, usize)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-quiet", "-ign_eof"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (outside, _) = listener.accept().await.unwrap();
        let (near, server) = tokio::io::duplex(1 << 16);
        let (from_client, to_client) = TcpStream::into_split(outside);
        let (from_server, to_server) = tokio::io::split(near);
        let forth = tokio::spawn(relay(from_client, to_server));
        let back = tokio::spawn(relay(from_server, to_client));
        let (handshake, ja4) = begin(server, config())
            .await
            .map_err(|(error, _)| error)
            .unwrap();
        assert!(ja4.is_some());
        let mut tls = handshake.await.unwrap();
        tls.write_all(&[b'x'; 20_000]).await.unwrap();
        tls.shutdown().await.unwrap();
        let mut arrived = Vec::new();
        let mut out = client.stdout.take().unwrap();
        out.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived.len(), 20_000, "{options:?}");
        drop(tls);
        drop(forth.await.unwrap());
        let sent = back.await.unwrap();
        let (mut found, mut rest) = (Vec::new(), &sent[..]);
        while let [kind, _, _, high, low, tail @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            found.push((*kind, length));
            rest = tail.get(length..).unwrap();
        }
        found
    }

    #[tokio::test]
    async fn no_record_is_longer_than_a_client_asks_for_handshake_included() {
        for (limit, text) in [
            (512, "512"),
            (1_024, "1024"),
            (2_048, "2048"),
            (4_096, "4096"),
        ] {
            for version in ["-tls1_2", "-tls1_3"] {
                let found = records(&[version, "-maxfraglen", text]).await;
                // Encryption adds 24 bytes in TLS 1.2 (AES-GCM), 17 in TLS 1.3.
                let longest = found.iter().map(|(_, length)| *length).max().unwrap();
                assert!(longest <= limit + 24, "{version} {limit}: {longest}");
                assert!(longest > limit / 2, "{version} {limit}: {longest}");
                let handshake = found.iter().filter(|(kind, _)| *kind == 22);
                assert!(handshake.map(|(_, length)| *length).max().unwrap() <= limit);
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_asks_for_nothing_gets_long_records_in_tls_1_3_alone() {
        let old = records(&["-tls1_2"]).await;
        assert!(old.iter().all(|(_, length)| *length <= 1_024 + 24));
        let found = records(&["-tls1_3"]).await;
        assert!(
            found.iter().any(|(_, length)| *length > 16_000),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn what_is_no_tls_is_refused_with_an_alert() {
        let (mut client, server) = tokio::io::duplex(4096);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let refused = begin(server, config()).await.err().unwrap();
        assert!(refused.1.is_some(), "the transport comes back");
        drop(refused);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.first(), Some(&21), "an alert: {answer:02x?}");
    }
}
