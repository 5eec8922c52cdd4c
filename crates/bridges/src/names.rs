//! The addresses of a bridge's name.
//!
//! The system's resolver is asked on a thread that cannot be called back: a caller that gives up waiting leaves it behind. So each
//! look-up holds a place until the resolver has answered, and a resolver that hangs holds these few threads and no more.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits::{LOOK_UP_PLACE_WAIT, LOOK_UPS_MAX};

/// Places for look-ups of all bridges together.
static PLACES: Semaphore = Semaphore::const_new(LOOK_UPS_MAX);

/// The addresses of a host. Has no bound of its own but for the place: the caller puts one around the whole exchange.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // This machine is known without a resolver (RFC 6761 §6.3): one that hangs keeps no bridge here from being asked.
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]);
    }
    let host = host.to_owned();
    let look = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
    in_place(&PLACES, LOOK_UP_PLACE_WAIT, look).await
}

async fn in_place<T: Send + 'static>(
    places: &'static Semaphore,
    wait: Duration,
    look: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let Ok(Ok(place)) = timeout(wait, places.acquire()).await else {
        return Err(io::Error::other(
            "its name is not looked up: too many look-ups before it have no answer from the resolver",
        ));
    };
    let looked = tokio::task::spawn_blocking(move || {
        let _place = place;
        look()
    });
    looked.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80")] {
            let found = addresses(host, 80).await.unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
    }

    #[tokio::test]
    async fn this_machine_is_known_without_a_resolver() {
        let found = addresses("LocalHost", 80).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
    }

    #[tokio::test]
    async fn a_look_up_that_hangs_holds_its_place_though_nobody_waits_for_it_any_more() {
        static ONE: Semaphore = Semaphore::const_new(1);
        let a_while = Duration::from_millis(50);
        let (answer, hanging) = std::sync::mpsc::channel::<()>();
        let first = in_place(&ONE, a_while, move || {
            hanging.recv().map_err(io::Error::other)
        });
        assert!(timeout(a_while, first).await.is_err());
        let refused = in_place(&ONE, a_while, || Ok(())).await.unwrap_err();
        assert!(
            refused.to_string().contains("too many look-ups"),
            "{refused}"
        );
        answer.send(()).unwrap();
        let free = in_place(&ONE, Duration::from_secs(20), || Ok(())).await;
        assert!(free.is_ok());
    }
}
