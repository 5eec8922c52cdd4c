//! A TCP socket, and the switch that ends it at once.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A TCP socket that its [`Cut`] can reach. It closes when the task that serves it lets go.
pub(crate) struct SharedTcp(Arc<TcpStream>);

/// Ends a connection from any thread, without the task that serves it.
pub(crate) struct Cut {
    /// A cut that is still held must not keep the socket open.
    tcp: Weak<TcpStream>,
    done: AtomicBool,
}

/// No delay, and peers that are dead or take nothing are noticed within two minutes. On Linux a socket has the options of the
/// listener that it comes from (`inet_csk_clone_lock`), so that they are set once and not six times for each connection.
pub(crate) fn prepare(socket: &impl AsFd) {
    let prepared = sockopt::set_tcp_nodelay(socket, true)
        .and_then(|()| sockopt::set_socket_keepalive(socket, true))
        .and_then(|()| sockopt::set_tcp_keepidle(socket, Duration::from_secs(60)))
        .and_then(|()| sockopt::set_tcp_keepintvl(socket, Duration::from_secs(15)))
        .and_then(|()| sockopt::set_tcp_keepcnt(socket, 4))
        .and_then(|()| sockopt::set_tcp_user_timeout(socket, 120_000));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a socket option was refused");
    }
}

impl SharedTcp {
    /// Takes a fresh socket.
    pub(crate) fn new(tcp: TcpStream) -> (Self, Arc<Cut>) {
        if !cfg!(target_os = "linux") {
            prepare(&tcp);
        }
        let tcp = Arc::new(tcp);
        let cut = Arc::new(Cut {
            tcp: Arc::downgrade(&tcp),
            done: AtomicBool::new(false),
        });
        (Self(tcp), cut)
    }

    /// Acknowledges at once what has come. Simple clients hold CONNECT back until the end of their handshake is
    /// acknowledged, for which the kernel would wait 40 ms.
    pub(crate) fn acknowledge(&self) {
        if let Err(error) = sockopt::set_tcp_quickack(&*self.0, true) {
            tracing::debug!(%error, "a socket option was refused");
        }
    }
}

impl Cut {
    /// Shuts the socket down, now: the client sees the end, and whatever the kernel still holds for it is thrown away when
    /// the socket closes. Nothing more is read or written.
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

impl AsyncRead for SharedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled();
            let wanted = space.len();
            let mut came = None;
            // A read that fills less than it could has emptied the socket: the next one would only return that. It is said
            // here, in the same step, so that data that come meanwhile are not missed.
            let read = self.0.try_io(Interest::READABLE, || {
                let (n, _) = rustix::net::recv(&*self.0, &mut *space, RecvFlags::empty())?;
                came = Some(n);
                match n < wanted && n > 0 {
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            });
            match (came, read) {
                (Some(n), _) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                (None, Err(error)) => return Poll::Ready(Err(error)),
                (None, Ok(())) => return Poll::Ready(Ok(())),
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

    /// All records of a buffer in one call.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_socket_of_a_listener_has_no_delay_and_notices_dead_peers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare(&listener);
        let address = listener.local_addr().unwrap();
        let (_client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (SharedTcp(tcp), _cut) = SharedTcp::new(accepted.unwrap().0);
        assert!(sockopt::tcp_nodelay(&*tcp).unwrap());
        assert!(sockopt::socket_keepalive(&*tcp).unwrap());
        assert_eq!(
            sockopt::tcp_keepidle(&*tcp).unwrap(),
            Duration::from_secs(60)
        );
        assert_eq!(sockopt::tcp_keepcnt(&*tcp).unwrap(), 4);
        assert_eq!(sockopt::tcp_user_timeout(&*tcp).unwrap(), 120_000);
    }
}
