//! Where a bridge is, as its settings confirm it, and which addresses are never talked to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hyper::Uri;

use crate::error::SettingsError;

/// A bridge's place: the only host that a connector talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// Whether a private address may be talked to without TLS.
    pub(crate) allow_plain: bool,
    /// What every path begins with; empty, or `/` and no `/` at the end.
    pub(crate) prefix: String,
}

/// The schemes of one kind of bridge, and their ports.
pub(crate) struct Schemes {
    pub(crate) tls: (&'static str, u16),
    pub(crate) plain: (&'static str, u16),
}

pub(crate) const HTTP: Schemes = Schemes {
    tls: ("https", 443),
    plain: ("http", 80),
};
pub(crate) const MQTT: Schemes = Schemes {
    tls: ("mqtts", 8883),
    plain: ("mqtt", 1883),
};

impl Site {
    /// Reads the URL of a setting.
    pub(crate) fn read(
        name: &'static str,
        url: &str,
        schemes: &Schemes,
        allow_plain: bool,
    ) -> Result<Self, SettingsError> {
        let invalid = |why: String| SettingsError::invalid(name, why);
        let example = format!("{}://host:{}", schemes.tls.0, schemes.tls.1);
        let uri = Uri::from_str(url)
            .map_err(|_| invalid(format!("is no URL: write it like {example}")))?;
        let (tls, port) = match uri.scheme_str() {
            Some(scheme) if scheme == schemes.tls.0 => (true, schemes.tls.1),
            Some(scheme) if scheme == schemes.plain.0 => (false, schemes.plain.1),
            _ => {
                return Err(invalid(format!(
                    "has another scheme: write it like {example}"
                )));
            }
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(invalid(
                "names a user: a secret does not belong into a URL".into(),
            ));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.len() > 253 {
            return Err(invalid(format!("names no host: write it like {example}")));
        }
        if url.contains(['?', '#']) {
            return Err(invalid("has a query or a fragment: leave them out".into()));
        }
        let site = Self {
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(port),
            tls,
            allow_plain,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        };
        match host
            .parse::<IpAddr>()
            .ok()
            .and_then(|ip| site.objection(ip))
        {
            Some(why) => Err(invalid(format!("may not be used: {why}"))),
            None => Ok(site),
        }
    }

    /// Why this address must not be talked to for this site, if so. Asked of every address that the name resolves to,
    /// and the connection is made to the very address that was asked about.
    pub(crate) fn objection(&self, ip: IpAddr) -> Option<&'static str> {
        let ip = plain_form(ip);
        if let Some(why) = never(ip) {
            return Some(why);
        }
        match (self.tls, ip.is_loopback(), is_private(ip), self.allow_plain) {
            (true, ..) | (_, true, ..) | (_, _, true, true) => None,
            (_, _, true, false) => Some(
                "without TLS anyone in the network can read along: use TLS, or write \"allow_plain\": true to accept it",
            ),
            _ => Some("without TLS only private addresses are talked to"),
        }
    }

    /// The value of `Host` (RFC 9110 §7.2).
    pub(crate) fn authority(&self) -> String {
        let bracketed = self.host.contains(':');
        match (bracketed, self.port) {
            (true, port) => format!("[{}]:{port}", self.host),
            (false, port) => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (RFC 4291 §2.5.5.2), or behind the well-known prefix of
/// NAT64 (RFC 6052 §2.1). Otherwise the address itself.
fn plain_form(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into()
        }
        _ => ip,
    }
}

/// Addresses that are never a bridge.
fn never(ip: IpAddr) -> Option<&'static str> {
    // Where clouds answer outside the link-local range: Alibaba, Azure, AWS over IPv6.
    const METADATA: [IpAddr; 3] = [
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    ];
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local || METADATA.contains(&ip) {
        return Some("link-local and metadata addresses are never a bridge");
    }
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0);
    (ip.is_unspecified() || ip.is_multicast() || broadcast)
        .then_some("it is not the address of one machine")
}

/// Private (RFC 1918) and unique local (RFC 4193) addresses.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(url: &str, allow_plain: bool) -> Result<Site, SettingsError> {
        Site::read("url", url, &HTTP, allow_plain)
    }

    #[test]
    fn a_site_is_scheme_host_port_and_prefix() {
        let site = site("https://Hue.example:8443/base/", false).unwrap();
        assert_eq!(site.to_string(), "hue.example:8443");
        assert_eq!(site.prefix, "/base");
        let v6 = Site::read("url", "mqtt://[::1]", &MQTT, false).unwrap();
        assert_eq!(v6.to_string(), "[::1]:1883");
        for bad in [
            "",
            "hue.example",
            "ftp://hue.example",
            concat!("https://user:pw", "@hue.example"),
            "https://",
            "https://hue.example/?a=b",
            "https://hue.example/#a",
            "mqtt://hue.example",
        ] {
            assert!(super::tests::site(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_however_they_are_written() {
        for bad in [
            "https://169.254.169.254/",
            "https://[fe80::1]/",
            "https://[febf::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[fd00:ec2::254]/",
            "https://100.100.100.200/",
            "https://168.63.129.16/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
        ] {
            assert!(site(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_is_for_loopback_and_for_private_addresses_that_are_accepted() {
        assert!(site("http://127.0.0.1", false).is_ok());
        assert!(site("http://[::1]", false).is_ok());
        for private in ["http://192.168.1.2", "http://10.0.0.1", "http://[fd12::1]"] {
            assert!(site(private, true).is_ok(), "{private}");
            assert!(site(private, false).is_err(), "{private}");
        }
        assert!(site("http://93.184.216.34", true).is_err());
        assert!(site("https://93.184.216.34", false).is_ok());
        let named = site("http://api.example", true).unwrap();
        assert!(named.objection("93.184.216.34".parse().unwrap()).is_some());
        assert!(
            named
                .objection("169.254.169.254".parse().unwrap())
                .is_some()
        );
        assert!(named.objection("192.168.1.2".parse().unwrap()).is_none());
    }
}
