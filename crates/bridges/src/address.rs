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
                    "begins with neither {}:// nor {}://: write it like {example}",
                    schemes.tls.0, schemes.plain.0
                )));
            }
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(invalid(
                "names a user: a secret does not belong in a URL".into(),
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
        let plain = plain_form(ip);
        if let Some(why) = never(ip).or_else(|| never(plain)) {
            return Some(why);
        }
        // What goes to a translator leaves this machine, wherever it ends.
        let ip = ip.to_canonical();
        match (self.tls, ip.is_loopback(), is_private(ip), self.allow_plain) {
            (true, ..) | (_, true, ..) | (_, _, true, true) => None,
            (_, _, true, false) => Some(
                "without TLS anyone in the network can read it: use TLS, or accept it with the setting allow_plain, like --set allow_plain=true",
            ),
            _ => Some("without TLS only private addresses are allowed"),
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

/// The IPv4 address that an IPv6 address represents on this machine's own network: mapped (RFC 4291 §2.5.5.2), or
/// behind the well-known prefix of NAT64 (RFC 6052 §2.1). Otherwise the address itself.
fn plain_form(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4_of(high, low).into(),
        _ => ip,
    }
}

fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

/// The IPv4 addresses to which a translator or a tunnel may carry what is sent to an IPv6 address, beside those of a
/// network's own prefix.
fn carried_to(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let segments = v6.segments();
    let [_, b, c, d, e, f, g, h] = segments;
    let last = v4_of(g, h);
    // ISATAP (RFC 5214 §6.1): under any prefix.
    let isatap = matches!(e, 0 | 0x0200) && f == 0x5efe;
    let mut to = match segments {
        // Compatible, translated (RFC 2765) and mapped (RFC 4291).
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] => {
            vec![last]
        }
        // NAT64: the well-known prefix, and those below the one for local use (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last],
        [0x64, 0xff9b, ..] => embedded(v6).map(|(v4, _)| v4).to_vec(),
        // 6to4 (RFC 3056): the router, and what the address is behind it.
        [0x2002, ..] => vec![v4_of(b, c)],
        // Teredo (RFC 4380): the server, and the client with its bits turned over.
        [0x2001, 0, ..] => vec![v4_of(c, d), v4_of(!g, !h)],
        _ => Vec::new(),
    };
    if isatap {
        to.push(last);
    }
    to
}

/// What is at each place where a NAT64 prefix may have an IPv4 address (RFC 6052 §2.2), and whether everything that
/// has to be zero there is.
fn embedded(v6: Ipv6Addr) -> [(Ipv4Addr, bool); 6] {
    let octets = v6.octets();
    // From /32 to /96, and where what follows the address begins.
    let places = [
        ([4, 5, 6, 7], 8),
        ([5, 6, 7, 9], 10),
        ([6, 7, 9, 10], 11),
        ([7, 9, 10, 11], 12),
        ([9, 10, 11, 12], 13),
        ([12, 13, 14, 15], 16),
    ];
    places.map(|(places, end)| {
        let v4 = Ipv4Addr::from(places.map(|place: usize| octets[place]));
        let is_zero = octets[8] == 0 && octets[end..].iter().all(|octet| *octet == 0);
        (v4, is_zero)
    })
}

/// Whether a network's own prefix, which is not known here, could lead from this address to a cloud. An address that only
/// looks so is one too many, so where a whole range is meant, the rest has to look so, too.
fn could_lead_to_cloud(v6: Ipv6Addr) -> bool {
    embedded(v6)
        .into_iter()
        .any(|(v4, is_zero)| METADATA_V4.contains(&v4) || (is_zero && v4.is_link_local()))
}

/// Where clouds answer over IPv4: most of them, containers of AWS, Alibaba, Azure, Oracle.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Whether a cloud answers there over IPv6. The ranges are unique local ones that clouds use for nothing else.
fn is_metadata_v6(v6: Ipv6Addr) -> bool {
    matches!(
        v6.segments(),
        // AWS; Google; Linode; Scaleway.
        [0xfd00, 0xec2, ..]
            | [0xfd20, 0xce, ..]
            | [0xfd00, 0xa9fe, 0xa9fe, ..]
            | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
    )
}

const NEVER_A_BRIDGE: &str = "link-local and metadata addresses are never a bridge";
const NOT_ONE_MACHINE: &str = "it is not the address of one machine";

/// Why an address is never a bridge, whatever the settings say.
fn never(ip: IpAddr) -> Option<&'static str> {
    let v6 = match ip {
        IpAddr::V4(v4) => return never_v4(v4),
        IpAddr::V6(v6) => v6,
    };
    if v6.is_unspecified() || v6.is_multicast() {
        return Some(NOT_ONE_MACHINE);
    }
    if v6.is_loopback() {
        return None;
    }
    // fec0::/10 was link-local's neighbor until RFC 3879.
    let site_local = v6.segments()[0] & 0xffc0 == 0xfec0;
    if v6.is_unicast_link_local() || site_local || is_metadata_v6(v6) {
        return Some(NEVER_A_BRIDGE);
    }
    let mut carried = carried_to(v6).into_iter();
    (carried.any(is_cloud_v4) || could_lead_to_cloud(v6)).then_some(NEVER_A_BRIDGE)
}

fn is_cloud_v4(v4: Ipv4Addr) -> bool {
    v4.is_link_local() || METADATA_V4.contains(&v4)
}

fn never_v4(v4: Ipv4Addr) -> Option<&'static str> {
    if is_cloud_v4(v4) {
        return Some(NEVER_A_BRIDGE);
    }
    let first = v4.octets()[0];
    (first == 0 || first >= 224).then_some(NOT_ONE_MACHINE)
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
    fn link_local_and_metadata_addresses_are_refused_in_every_form() {
        for (form, bad) in [
            ("itself", "169.254.169.254"),
            ("itself, containers of AWS", "169.254.170.2"),
            ("itself, Alibaba", "100.100.100.200"),
            ("itself, Azure", "168.63.129.16"),
            ("itself, Oracle", "192.0.0.192"),
            ("none", "0.0.0.0"),
            ("none", "0.1.2.3"),
            ("many", "224.0.0.1"),
            ("reserved", "240.0.0.1"),
            ("all", "255.255.255.255"),
            ("none", "::"),
            ("many", "ff02::1"),
            ("link-local", "fe80::1"),
            ("link-local", "febf::1"),
            ("site-local", "fec0::1"),
            ("AWS", "fd00:ec2::254"),
            ("AWS, pods", "fd00:ec2::23"),
            ("Google", "fd20:ce::254"),
            ("Linode", "fd00:a9fe:a9fe::1"),
            ("Scaleway", "fd00:42::42"),
            ("Oracle", "fd00:c1::a9fe:a9fe"),
            ("mapped", "::ffff:169.254.169.254"),
            ("mapped, in digits", "::ffff:a9fe:a9fe"),
            ("mapped", "::ffff:169.254.1.1"),
            ("mapped", "::ffff:0.0.0.0"),
            ("compatible", "::169.254.169.254"),
            ("compatible", "::100.100.100.200"),
            ("translated", "::ffff:0:169.254.169.254"),
            ("NAT64", "64:ff9b::a9fe:a9fe"),
            ("NAT64", "64:ff9b::168.63.129.16"),
            ("NAT64 of one's own, /96", "64:ff9b:1:ffff::a9fe:a9fe"),
            ("NAT64 of one's own, /64", "64:ff9b:1:abcd:a9:fea9:fe00:0"),
            ("NAT64 of one's own, /56", "64:ff9b:1:a9:fe:a9fe::"),
            ("NAT64 of one's own, /48", "64:ff9b:1:a9fe:a9:fe00::"),
            ("a network's own prefix, /96", "2001:db8:64::a9fe:a9fe"),
            ("a network's own prefix, /96", "2001:db8:64::169.254.170.23"),
            (
                "a network's own prefix, /64",
                "2001:db8:64:0:a9:fea9:fe00:0",
            ),
            ("a network's own prefix, /56", "2001:db8:64:a9:fe:a9fe::"),
            ("a network's own prefix, /48", "2001:db8:64:a9fe:a9:fe00::"),
            ("a network's own prefix, /48", "fd12:3456:789a:a9fe:1:200::"),
            ("a network's own prefix, /40", "2001:db8:a9:fea9:fe::"),
            ("a network's own prefix, /32", "2001:db8:a9fe:a9fe::"),
            ("a network's own prefix, /32", "2001:db8:6464:64c8::1"),
            ("6to4", "2002:a9fe:a9fe::1"),
            ("6to4", "2002:6464:64c8::"),
            ("Teredo, its server", "2001:0:a9fe:a9fe::1"),
            ("Teredo, its client", "2001:0:102:304:0:0:5601:5601"),
            ("ISATAP", "2001:db8::5efe:169.254.169.254"),
            ("ISATAP, global", "2001:db8::200:5efe:169.254.1.1"),
            ("ISATAP under 6to4", "2002:c0a8:102:0:200:5efe:a9fe:101"),
            ("ISATAP, link-local", "fe80::5efe:192.168.1.2"),
        ] {
            let ip: IpAddr = bad.parse().unwrap();
            let written = match ip {
                IpAddr::V4(v4) => format!("https://{v4}/"),
                IpAddr::V6(v6) => format!("https://[{v6}]/"),
            };
            assert!(site(&written, true).is_err(), "{form}: {bad}");
            let named = site("https://bridge.example", true).unwrap();
            assert!(named.objection(ip).is_some(), "{form}: {bad}");
        }
    }

    #[test]
    fn addresses_that_look_a_little_like_those_are_let_through_over_tls() {
        for good in [
            "127.0.0.1",
            "::1",
            "192.168.1.2",
            "93.184.216.34",
            "::ffff:192.168.1.2",
            "64:ff9b::5db8:d822",
            "2002:c0a8:102::1",
            "2001:0:5db8:d822:0:0:a247:27dd",
            "64:ff9b:1::5db8:d822",
            "2001:db8::5efe:192.168.1.2",
            "2606:4700::1111",
            "fd12::1",
            "fd00:ec3::254",
            "fd00:42::43",
            "fd00:a9fe:a9ff::1",
            "2001:db8:64::c0a8:102",
            "2001:db8:a9fe:1::25",
            "2001:db8:1:2:3ab2:a9ff:a9fe:77",
        ] {
            let named = site("https://bridge.example", false).unwrap();
            assert_eq!(named.objection(good.parse().unwrap()), None, "{good}");
        }
    }

    #[tokio::test]
    async fn spellings_that_only_a_resolver_takes_are_judged_as_what_they_resolve_to() {
        for spelled in [
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
        ] {
            let site = site(&format!("https://{spelled}/"), true).unwrap();
            let found = tokio::net::lookup_host((site.host.as_str(), site.port)).await;
            // A resolver that does not take the spelling connects nowhere.
            for address in found.into_iter().flatten() {
                assert!(site.objection(address.ip()).is_some(), "{spelled}");
            }
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
        for translated in ["http://[64:ff9b::7f00:1]", "http://[64:ff9b::c0a8:102]"] {
            assert!(site(translated, true).is_err(), "{translated}");
        }
        assert!(site("http://[::ffff:127.0.0.1]", false).is_ok());
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
