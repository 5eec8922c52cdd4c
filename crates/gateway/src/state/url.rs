//! Hosts in URLs.

use std::net::IpAddr;

/// A host as it is in a URL: IPv6 addresses in brackets.
pub(crate) fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}
