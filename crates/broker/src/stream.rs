//! The bytes between a client and the library, and the switch that ends them at once.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connect::Version;
use crate::egress::{Verdict, judge, packet_length};

/// A TCP socket that its [`Cut`] can reach. It closes when the task that serves it lets go.
pub(crate) struct SharedTcp(Arc<TcpStream>);

/// Ends a connection from any thread, without the task that serves it.
pub(crate) struct Cut {
    /// The library keeps policies, and with them cuts, for as long as a will is delayed: a cut
    /// must not keep the socket.
    tcp: Weak<TcpStream>,
    done: AtomicBool,
}

impl SharedTcp {
    /// Takes a fresh socket: no delay, and peers that are dead or take nothing are noticed
    /// within two minutes.
    pub(crate) fn new(tcp: TcpStream) -> (Self, Arc<Cut>) {
        let prepared = tcp
            .set_nodelay(true)
            .and_then(|()| Ok(sockopt::set_socket_keepalive(&tcp, true)?))
            .and_then(|()| Ok(sockopt::set_tcp_keepidle(&tcp, Duration::from_secs(60))?))
            .and_then(|()| Ok(sockopt::set_tcp_keepintvl(&tcp, Duration::from_secs(15))?))
            .and_then(|()| Ok(sockopt::set_tcp_keepcnt(&tcp, 4)?))
            .and_then(|()| Ok(sockopt::set_tcp_user_timeout(&tcp, 120_000)?));
        if let Err(error) = prepared {
            tracing::debug!(%error, "a socket option was refused");
        }
        let tcp = Arc::new(tcp);
        let cut = Arc::new(Cut {
            tcp: Arc::downgrade(&tcp),
            done: AtomicBool::new(false),
        });
        (Self(tcp), cut)
    }
}

impl Cut {
    /// Shuts the socket down, now: the client sees the end, and whatever the kernel still holds
    /// for it is thrown away when the socket closes. Nothing more is read or written.
    pub(crate) fn now(&self) {
        if self.done.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(tcp) = self.tcp.upgrade() else {
            return;
        };
        let ended = sockopt::set_socket_linger(&*tcp, Some(Duration::ZERO))
            .and_then(|()| rustix::net::shutdown(&*tcp, rustix::net::Shutdown::Both));
        if let Err(error) = ended {
            tracing::trace!(%error, "the socket had already ended");
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
}

impl SharedTcp {
    /// Acknowledges at once what has come. Simple clients hold CONNECT back until the end of
    /// their handshake is acknowledged, for which the kernel would wait 40 ms.
    pub(crate) fn acknowledge(&self) {
        if let Err(error) = sockopt::set_tcp_quickack(&*self.0, true) {
            tracing::debug!(%error, "a socket option was refused");
        }
    }
}

impl AsyncRead for SharedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for SharedTcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(
            match rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write) {
                Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
                Err(error) => Err(error.into()),
            },
        )
    }
}

/// What the library reads from and writes to: first the replayed CONNECT, then the client.
pub(crate) struct ClientStream {
    tls: TlsStream<SharedTcp>,
    cut: Arc<Cut>,
    peer: SocketAddr,
    version: Version,
    replay: Bytes,
    /// Bytes of a packet from the library that is not whole yet.
    partial: Vec<u8>,
    /// Rewritten bytes that the client has not taken yet.
    pending: Bytes,
    /// How much of the present packet still passes as it is.
    passing: usize,
}

impl ClientStream {
    pub(crate) fn new(
        tls: TlsStream<SharedTcp>,
        cut: Arc<Cut>,
        peer: SocketAddr,
        version: Version,
        replay: Bytes,
    ) -> Self {
        let (partial, pending) = (Vec::new(), Bytes::new());
        Self {
            tls,
            cut,
            peer,
            version,
            replay,
            partial,
            pending,
            passing: 0,
        }
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.tls).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes in bytes that do not pass as they are. Returns how many were taken, 0 if the packet
    /// that begins here does.
    fn take_in(&mut self, buf: &[u8]) -> usize {
        if self.partial.is_empty()
            && let Some(length) = packet_length(buf).filter(|length| *length <= buf.len())
        {
            return match judge(self.version, &buf[..length]) {
                Verdict::Keep => {
                    self.passing = length;
                    0
                }
                Verdict::Leave => length,
                Verdict::Replace(bytes) => {
                    self.pending = bytes.into();
                    length
                }
            };
        }
        // The library hands over whole packets; this is for the day when it does not.
        self.partial.extend_from_slice(buf);
        let mut out = Vec::new();
        while let Some(length) = packet_length(&self.partial).filter(|l| *l <= self.partial.len()) {
            let packet: Vec<u8> = self.partial.drain(..length).collect();
            match judge(self.version, &packet) {
                Verdict::Keep => out.extend_from_slice(&packet),
                Verdict::Leave => {}
                Verdict::Replace(bytes) => out.extend_from_slice(&bytes),
            }
        }
        self.pending = out.into();
        buf.len()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.is_done() {
            return Poll::Ready(Ok(()));
        }
        if !self.replay.is_empty() {
            let n = self.replay.len().min(buf.remaining());
            buf.put_slice(&self.replay.split_to(n));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match ready!(Pin::new(&mut self.tls).poll_read(cx, buf)) {
            // Devices that lose power send no close_notify; MQTT's own DISCONNECT is what counts.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Poll::Ready(Err(error)),
            Ok(()) => {}
        }
        if self.cut.is_done() {
            buf.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.is_done() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_pending(cx))?;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.passing == 0 {
            let taken = self.take_in(buf);
            if taken > 0 {
                if let Poll::Ready(Err(error)) = self.poll_pending(cx) {
                    return Poll::Ready(Err(error));
                }
                return Poll::Ready(Ok(taken));
            }
        }
        let passing = self.passing.min(buf.len());
        let written = ready!(Pin::new(&mut self.tls).poll_write(cx, &buf[..passing]))?;
        self.passing -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

impl mqtt5::broker::transport::WebSocketTransport for ClientStream {
    fn peer_addr(&self) -> mqtt5::Result<SocketAddr> {
        Ok(self.peer)
    }
}
