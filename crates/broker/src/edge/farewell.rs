//! The end of a connection, so that the client gets to read the last that is said.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use crate::engine::Output;
use crate::protocol::{Connack, Encoder, ReasonCode};

/// How long a client has to take its last packet.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much more it may send before the socket is closed on it.
const FAREWELL_MAX_BYTES: u64 = 64 * 1024;

/// A CONNACK that says no.
pub(crate) fn refusal(encoder: &Encoder, code: ReasonCode, reason: &str) -> BytesMut {
    let mut packet = BytesMut::new();
    let mut connack = Connack::because(code);
    connack.reason_string = Some(reason);
    if encoder.connack(&connack, &mut packet).is_err() {
        tracing::trace!("a client takes no CONNACK of any length");
    }
    packet
}

/// Closes a connection on which nothing is left to be read: TLS's own goodbye, and no more.
pub(crate) async fn goodbye<S>(stream: &mut S)
where
    S: AsyncWrite + Unpin,
{
    if let Ok(Err(error)) = timeout(FAREWELL, stream.shutdown()).await {
        tracing::trace!(%error, "a client disconnected before its connection was closed");
    }
}

/// Writes the last bytes and closes so that the client gets to read them, TLS's own goodbye behind them: what it may still
/// be sending is taken in and thrown away, or the kernel would answer with a reset.
pub(crate) async fn farewell<S>(stream: S, packet: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let nothing = Output::default();
    farewell_after(stream, &nothing, 0, packet).await;
}

/// The same, behind the rest of what was being written: all of `output` but its first bytes.
pub(crate) async fn farewell_after<S>(mut stream: S, output: &Output, written: usize, packet: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let goodbye = async {
        let in_payload = written.saturating_sub(output.head.len());
        let head = output.head.get(written..).unwrap_or_default();
        stream.write_all(head).await?;
        if let Some(payload) = output.payload() {
            stream
                .write_all(payload.get(in_payload..).unwrap_or_default())
                .await?;
        }
        stream.write_all(packet).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_MAX_BYTES), &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = timeout(FAREWELL, goodbye).await {
        tracing::trace!(%error, "a client left before its last packet");
    }
}
