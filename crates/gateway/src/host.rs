//! By which names the HTTPS listener may be called.
//!
//! A page of a stranger can make a browser ask under any name that it has led to this address (DNS
//! rebinding); under a name that is not the gateway's own, nothing is answered.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

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

/// A host as it stands in a URL: IPv6 addresses in brackets.
pub(crate) fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
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
