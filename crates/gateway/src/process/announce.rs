//! The gateway says in the local network where it is, with DNS-SD over multicast DNS (RFC 6762, RFC 6763): an agent that does not
//! find it where it was looks there, and believes only who proves the home's root.
//!
//! What is said is what the gateway's certificate says to everybody who connects: its hosts and its port.

use std::net::SocketAddr;
use std::sync::Arc;

use hearthkey_core::id::HomeId;
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};

use crate::state::Ctx;

/// The service type of gateways.
const SERVICE: &str = "_hearthkey._tcp.local.";
/// The key of the TXT record that lists the hosts.
const HOSTS: &str = "hosts";
/// Bytes that a string of a TXT record has at most, with its key (RFC 6763 §6.1).
const TXT_MAX: usize = 255;

/// Whether the gateway says in the network where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Announce {
    /// Where devices of the network reach it: not on loopback.
    #[default]
    Auto,
    /// In any case.
    On,
    /// Never.
    Off,
}

impl Announce {
    fn applies(self, mqtt: SocketAddr) -> bool {
        match self {
            Self::Auto => !mqtt.ip().is_loopback(),
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// As many of the hosts as fit, the first ones first.
fn listed(hosts: &[String]) -> String {
    let mut list = String::new();
    for host in hosts {
        let comma = usize::from(!list.is_empty());
        if HOSTS.len() + 1 + list.len() + comma + host.len() > TXT_MAX {
            break;
        }
        if comma == 1 {
            list.push(',');
        }
        list.push_str(host);
    }
    list
}

fn begin(
    home: &HomeId,
    hosts: &[String],
    mqtt: SocketAddr,
) -> Result<(ServiceDaemon, String), mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    if mqtt.ip().is_loopback() {
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(IfKind::LoopbackV4)?;
    }
    let home = home.to_string();
    let host = format!("hearthkey-{home}.local.");
    let txt = [(HOSTS, listed(hosts))];
    let service = match mqtt.ip() {
        any if any.is_unspecified() => {
            ServiceInfo::new(SERVICE, &home, &host, "", mqtt.port(), &txt[..])?.enable_addr_auto()
        }
        ip => ServiceInfo::new(SERVICE, &home, &host, ip, mqtt.port(), &txt[..])?,
    };
    let name = service.get_fullname().to_owned();
    daemon.register(service)?;
    Ok((daemon, name))
}

/// Says where the gateway is, until the home closes. A network without multicast is no trouble: agents are told by a person then.
pub(crate) async fn announce(ctx: Arc<Ctx>, announce: Announce) {
    let mqtt = ctx.broker().local_addr();
    if !announce.applies(mqtt) {
        return;
    }
    let (daemon, name) = match begin(ctx.id(), ctx.hosts(), mqtt) {
        Ok(begun) => begun,
        Err(error) => {
            tracing::warn!(%error, "agents that look for this gateway in the network do not find it");
            return;
        }
    };
    let mut stopping = ctx.stopping().subscribe();
    let _ = stopping.wait_for(|stop| *stop).await;
    if let Ok(gone) = daemon.unregister(&name) {
        let _ = gone.recv_async().await;
    }
    let _ = daemon.shutdown();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_only_its_own_machine_reaches_says_nothing_unasked() {
        let (here, all) = (
            "127.0.0.1:8883".parse().unwrap(),
            "0.0.0.0:8883".parse().unwrap(),
        );
        assert!(!Announce::Auto.applies(here) && Announce::Auto.applies(all));
        assert!(Announce::On.applies(here) && !Announce::Off.applies(all));
    }

    #[test]
    fn as_many_hosts_are_named_as_fit_into_a_record() {
        let hosts: Vec<String> = (0..40).map(|n| format!("hub-{n:02}.local")).collect();
        let list = listed(&hosts);
        assert!(list.starts_with("hub-00.local,hub-01.local,"));
        assert!(HOSTS.len() + 1 + list.len() <= TXT_MAX);
        assert!(list.ends_with(".local"));
        assert_eq!(listed(&hosts[..1]), "hub-00.local");
    }
}
