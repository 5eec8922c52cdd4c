//! A gateway that is not where it was is looked for with DNS-SD over multicast DNS (RFC 6762, RFC 6763).
//!
//! What is found so is anybody's word. A place is believed only after the gateway there has proved the root that the device has,
//! as in `hearthkey-agent move`; the device shows its own certificate to nobody else.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent};
use tokio::time::timeout;

use crate::claim_code::is_host;
use crate::device::Device;
use crate::moving::Place;

/// The service type of gateways.
const SERVICE: &str = "_hearthkey._tcp.local.";
/// The key of the TXT record that lists where the gateway is, separated by commas: what its certificate names.
const HOSTS: &str = "hosts";
/// How long answers are waited for.
const LISTEN: Duration = Duration::from_secs(3);
/// Places that are tried at most, and how long each.
const PLACES_MAX: usize = 8;
const TRY_FOR: Duration = Duration::from_secs(10);

/// The places that a gateway names in its answer.
fn places(service: &ResolvedService) -> Vec<Place> {
    let hosts = service.get_property_val_str(HOSTS).unwrap_or_default();
    let port = service.get_port();
    let is_place = |host: &&str| port != 0 && (is_host(host) || host.parse::<IpAddr>().is_ok());
    let hosts = hosts.split(',').filter(is_place);
    let place = |host: &str| Place {
        host: host.to_owned(),
        port,
    };
    hosts.map(place).collect()
}

/// Whether a host is this machine itself. Its gateway is looked for here, and nowhere else.
fn is_this_machine(host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// The places where gateways say that they are, without the one that is known; nothing where multicast cannot be used.
async fn listen(known: &Place) -> Result<Vec<Place>, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    if is_this_machine(&known.host) {
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(IfKind::LoopbackV4)?;
    }
    let answers = daemon.browse(SERVICE)?;
    let mut found = BTreeSet::new();
    let heard = async {
        while let Ok(event) = answers.recv_async().await {
            if let ServiceEvent::ServiceResolved(service) = event {
                let others = places(&service).into_iter().filter(|place| place != known);
                found.extend(others.map(|place| (place.host, place.port)));
            }
            if found.len() >= PLACES_MAX {
                break;
            }
        }
    };
    let _ = timeout(LISTEN, heard).await;
    let _ = daemon.shutdown();
    let found = found.into_iter().take(PLACES_MAX);
    Ok(found.map(|(host, port)| Place { host, port }).collect())
}

impl Device {
    /// Looks for the gateway in the local network. Where it has proved that it is this home's is written down, and returned.
    pub(crate) async fn search(&mut self) -> Option<Place> {
        let known = self.place();
        let found = match listen(&known).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "the network cannot be searched for the gateway");
                return None;
            }
        };
        for place in found {
            let proved = timeout(TRY_FOR, self.prove(&place)).await;
            if let Ok(Ok(session)) = proved {
                drop(session.close().await);
                if let Err(error) = self.settle(&place) {
                    tracing::error!(%error, "where the gateway is now could not be written down");
                }
                return Some(place);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(hosts: &str, port: u16) -> Vec<String> {
        let txt = [(HOSTS, hosts)];
        let service = mdns_sd::ServiceInfo::new(
            SERVICE,
            "a home",
            "hearthkey.local.",
            "192.0.2.7",
            port,
            &txt[..],
        );
        let service = service.unwrap().as_resolved_service();
        let named = places(&service).into_iter();
        named
            .map(|place| format!("{} {}", place.host, place.port))
            .collect()
    }

    #[test]
    fn a_gateway_names_where_it_is_and_what_is_no_host_is_left_out() {
        assert_eq!(
            announced("hub.local,192.0.2.7,fd00::7", 8883),
            ["hub.local 8883", "192.0.2.7 8883", "fd00::7 8883"]
        );
        assert_eq!(announced("a b,,hub local", 8883), [""; 0]);
        assert_eq!(announced("hub.local", 0), [""; 0]);
    }

    #[test]
    fn the_gateway_of_this_machine_is_looked_for_on_this_machine() {
        assert!(is_this_machine("localhost") && is_this_machine("127.0.9.9"));
        assert!(is_this_machine("::1"));
        assert!(!is_this_machine("hub.local") && !is_this_machine("192.0.2.7"));
    }
}
