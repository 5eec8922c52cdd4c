//! A TLS connection that is closed so that its last answer arrives.
//!
//! A socket that is closed while bytes lie in it unread answers them with a reset, and a reset throws away what the other
//! side has not read yet: its refusal. So the writing side ends first, and what still comes is thrown away, until the
//! other side has closed too or a bound is reached (RFC 9112 §9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// How long the other side may take to close. Then the socket is closed.
const CLOSING_FOR: Duration = Duration::from_secs(2);
/// What is thrown away meanwhile, in bytes on the wire. Then the socket is closed.
const THROWN_AWAY_MAX_BYTES: usize = 4 * 1024 * 1024;
/// What is read at a time.
const READ_BYTES: usize = 16 * 1024;

/// The connection.
pub(crate) struct Closing {
    tls: TlsStream<TcpStream>,
    rest: Option<Rest>,
}

struct Rest {
    over: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Closing {
    pub(crate) fn around(tls: TlsStream<TcpStream>) -> Self {
        Self { tls, rest: None }
    }
}

impl AsyncRead for Closing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for Closing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tls, rest } = &mut *self;
        let rest = match rest {
            Some(rest) => rest,
            None => {
                ready!(Pin::new(&mut *tls).poll_shutdown(context))?;
                rest.insert(Rest {
                    over: Box::pin(sleep(CLOSING_FOR)),
                    bytes: 0,
                })
            }
        };
        let tcp = tls.get_mut().0;
        let mut space = [0; READ_BYTES];
        while rest.bytes < THROWN_AWAY_MAX_BYTES && rest.over.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut space);
            // What comes is not decrypted: nobody will see it.
            match ready!(Pin::new(&mut *tcp).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => rest.bytes += buffer.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
