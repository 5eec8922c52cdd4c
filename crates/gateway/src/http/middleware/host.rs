//! By which names the HTTPS listener may be called.
//!
//! A page of a stranger can make a browser ask under any name that it has led to this address (DNS
//! rebinding); under a name that is not the gateway's own, nothing is answered.

use crate::state::url::bracketed;
use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};
use rustls_pki_types::ServerName;

/// The names and addresses under which requests are answered.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    names: Vec<String>,
    port: u16,
}

/// Why nothing is answered under the name that a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misdirected {
    /// It has no name, or more than one.
    Unnamed,
    /// It has a name that is not ours, or a port.
    Stranger,
}

impl Hosts {
    /// The `--host` names, and those of the machine for itself where only it can ask.
    pub(crate) fn new(hosts: &[String], listening: SocketAddr) -> Self {
        let mut names: Vec<String> = hosts.iter().map(|host| bracketed(host)).collect();
        if listening.ip().is_loopback() {
            names.extend(["localhost".to_owned(), "[::1]".to_owned()]);
            names.extend([
                "127.0.0.1".to_owned(),
                bracketed(&listening.ip().to_string()),
            ]);
        }
        Self {
            names,
            port: listening.port(),
        }
    }

    /// The name and port by which a request was made: that of its `Host`, and of its URI where that
    /// is an absolute one.
    pub(crate) fn authority(&self, headers: &HeaderMap, uri: &Uri) -> Result<String, Misdirected> {
        let absolute = uri.authority().map(axum::http::uri::Authority::as_str);
        let mut named = headers.get_all(header::HOST).iter();
        let host = match (named.next(), named.next(), absolute) {
            (Some(host), None, _) => host.to_str().map_err(|_| Misdirected::Stranger)?,
            // HTTP/2 names the host in its own way (RFC 9113 §8.3.1).
            (None, _, Some(absolute)) => absolute,
            _ => return Err(Misdirected::Unnamed),
        };
        if !self.is_ours(host) || absolute.is_some_and(|absolute| !self.is_ours(absolute)) {
            return Err(Misdirected::Stranger);
        }
        if uri.scheme_str().is_some_and(|scheme| scheme != "https") {
            return Err(Misdirected::Stranger);
        }
        // RFC 9112 §3.2.2: an absolute URI goes before the header.
        Ok(absolute.unwrap_or(host).to_owned())
    }

    fn is_ours(&self, authority: &str) -> bool {
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (authority, None),
        };
        let port_fits = port.is_none_or(|port| port == self.port.to_string());
        port_fits
            && self
                .names
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

/// Why a text is not a name by which devices reach a gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// There is nothing.
    #[error("a --host is empty. {NAME_IT}")]
    Empty,
    /// It represents every address of this machine, or many machines.
    #[error(
        "{0} means many addresses, and nothing can connect to it. Use it for --mqtt and --http alone. {NAME_IT}"
    )]
    Wildcard(String),
    /// There is more than a name: a scheme, a port or a path.
    #[error(
        "{given} is more than a name. Write it without a scheme, a port and a path: --host {name}"
    )]
    MoreThanAName {
        /// What was given.
        given: String,
        /// The name in it.
        name: String,
    },
    /// It is neither a name nor an address.
    #[error("{0} is neither a host name nor an IP address. {NAME_IT}")]
    Malformed(String),
}

/// What to do about a `--host` that cannot be one.
const NAME_IT: &str =
    "Give --host the name or address that devices use, like gateway.home.arpa or 192.168.1.2";

/// The host in a text: a DNS name, or an IP address without brackets in its usual form. Claim codes, setup links and
/// the server certificate name it, so it must be one that a device can connect to.
pub fn check_host(text: &str) -> Result<String, InvalidHost> {
    let given = text.trim();
    if given.is_empty() {
        return Err(InvalidHost::Empty);
    }
    if let Some(host) = judge(given) {
        return host;
    }
    let after_scheme = given.split_once("://").map_or(given, |(_, rest)| rest);
    let authority = after_scheme
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default();
    let without_port = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    match judge(without_port) {
        Some(Ok(name)) => Err(InvalidHost::MoreThanAName {
            given: given.to_owned(),
            name,
        }),
        Some(Err(wildcard)) => Err(wildcard),
        None => Err(InvalidHost::Malformed(given.to_owned())),
    }
}

/// Every host of a command line, each once.
pub(crate) fn check_hosts(texts: &[String]) -> Result<Vec<String>, InvalidHost> {
    let mut hosts: Vec<String> = Vec::new();
    for text in texts {
        let host = check_host(text)?;
        if !hosts.iter().any(|known| known.eq_ignore_ascii_case(&host)) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// A host, or a wildcard; nothing if it is neither.
fn judge(text: &str) -> Option<Result<String, InvalidHost>> {
    let wildcard = || Some(Err(InvalidHost::Wildcard(text.to_owned())));
    if text == "*" || text.starts_with("*.") {
        return wildcard();
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        let many = match address.to_canonical() {
            IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
        };
        return if many {
            wildcard()
        } else {
            Some(Ok(address.to_string()))
        };
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    // What ends in a number is read as an IPv4 address by many programs: 0x0 is 0.0.0.0.
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_name = matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)));
    (is_name && !is_number).then(|| Ok(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listening: &str) -> Hosts {
        let named = ["Gateway.home.arpa", "192.0.2.7", "2001:db8::7"].map(str::to_owned);
        Hosts::new(&named, listening.parse().unwrap())
    }

    fn judge(hosts: &Hosts, named: &[&str], uri: &str) -> Result<String, Misdirected> {
        let mut headers = HeaderMap::new();
        for name in named {
            headers.append(header::HOST, name.parse().unwrap());
        }
        hosts.authority(&headers, &uri.parse().unwrap())
    }

    #[test]
    fn a_request_is_answered_under_the_names_of_the_gateway_alone() {
        let hosts = hosts("192.0.2.7:8443");
        for good in [
            "gateway.home.arpa:8443",
            "GATEWAY.HOME.ARPA",
            "192.0.2.7:8443",
            "[2001:db8::7]:8443",
            "[2001:db8::7]",
        ] {
            assert_eq!(judge(&hosts, &[good], "/"), Ok(good.to_owned()));
        }
        for bad in [
            "",
            ":8443",
            "evil.example",
            "evil.example:8443",
            "gateway.home.arpa:443",
            "gateway.home.arpa:08443",
            "gateway.home.arpa:",
            "gateway.home.arpa.",
            "gateway.home.arpa:8443:8443",
            "x@gateway.home.arpa:8443",
            "gateway.home.arpa:8443@evil.example",
            "gateway.home.arpa.evil.example",
            "2001:db8::7",
            "[2001:db8::7",
            "localhost",
            "127.0.0.1:8443",
            "gateway.home.arpa, evil.example",
        ] {
            let judged = judge(&hosts, &[bad], "/");
            assert_eq!(judged, Err(Misdirected::Stranger), "{bad}");
        }
        assert_eq!(judge(&hosts, &[], "/"), Err(Misdirected::Unnamed));
        let twice = ["gateway.home.arpa", "gateway.home.arpa"];
        assert_eq!(judge(&hosts, &twice, "/"), Err(Misdirected::Unnamed));
    }

    #[test]
    fn an_absolute_uri_must_be_ours_too() {
        let hosts = hosts("192.0.2.7:8443");
        let ours = ["gateway.home.arpa"];
        let good = judge(&hosts, &ours, "https://192.0.2.7:8443/x");
        assert_eq!(good.as_deref(), Ok("192.0.2.7:8443"));
        for bad in [
            "https://evil.example/x",
            "http://192.0.2.7:8443/x",
            &format!("https://{}@192.0.2.7:8443/x", "x"),
        ] {
            assert_eq!(judge(&hosts, &ours, bad), Err(Misdirected::Stranger));
        }
        let strange = judge(&hosts, &["evil.example"], "https://192.0.2.7:8443/x");
        assert_eq!(strange, Err(Misdirected::Stranger));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_that_something_can_connect_to() {
        for (text, host) in [
            ("gateway.home.arpa", "gateway.home.arpa"),
            ("gateway.home.arpa.", "gateway.home.arpa"),
            (" attic ", "attic"),
            ("localhost", "localhost"),
            ("192.168.1.2", "192.168.1.2"),
            ("127.0.0.1", "127.0.0.1"),
            ("fd00::1", "fd00::1"),
            ("[FD00::0001]", "fd00::1"),
        ] {
            assert_eq!(check_host(text).as_deref(), Ok(host), "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_no_host_in_any_form() {
        for text in [
            "0.0.0.0",
            "::",
            "[::]",
            "::0",
            "0:0:0:0:0:0:0:0",
            "::ffff:0.0.0.0",
            "*",
            "*.home.arpa",
            "0.0.0.0:8883",
            "[::]:8883",
            "https://0.0.0.0:8443/setup",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
        ] {
            let refused = check_host(text).unwrap_err();
            assert!(
                matches!(refused, InvalidHost::Wildcard(_)),
                "{text}: {refused:?}"
            );
            assert!(
                refused.to_string().contains("gateway.home.arpa"),
                "{refused}"
            );
        }
    }

    #[test]
    fn what_is_more_than_a_name_is_answered_with_the_name_in_it() {
        for (text, name) in [
            ("gateway.home.arpa:8883", "gateway.home.arpa"),
            ("mqtts://gateway.home.arpa", "gateway.home.arpa"),
            ("https://192.168.1.2:8443/x", "192.168.1.2"),
            ("[fd00::1]:8883", "fd00::1"),
            ("attic/", "attic"),
        ] {
            let refused = check_host(text).unwrap_err().to_string();
            assert!(refused.ends_with(&format!("--host {name}")), "{refused}");
        }
    }

    #[test]
    fn what_is_neither_a_name_nor_an_address_is_refused_with_a_remedy() {
        assert_eq!(check_host(""), Err(InvalidHost::Empty));
        assert_eq!(check_host("  "), Err(InvalidHost::Empty));
        for text in [
            "a b",
            "-x",
            "0",
            "0x0",
            "1.2.3",
            "a..b",
            "x@y",
            "fe80::1%eth0",
            ":8883",
        ] {
            let refused = check_host(text).unwrap_err();
            assert!(
                matches!(refused, InvalidHost::Malformed(_)),
                "{text}: {refused:?}"
            );
        }
    }

    #[test]
    fn hosts_are_named_once_each() {
        let twice = ["Attic", "attic", "[fd00::1]", "fd00::1"].map(str::to_owned);
        assert_eq!(check_hosts(&twice).unwrap(), ["Attic", "fd00::1"]);
    }

    #[test]
    fn on_loopback_the_machine_may_call_itself_by_its_own_names() {
        let hosts = hosts("127.0.0.2:8443");
        for good in [
            "localhost:8443",
            "127.0.0.2",
            "127.0.0.1:8443",
            "[::1]:8443",
        ] {
            assert!(judge(&hosts, &[good], "/").is_ok(), "{good}");
        }
    }
}
