//! What is weaker than what the home issues, and what is not encrypted at all.

use std::net::IpAddr;
use std::sync::PoisonError;

use axum::http::Uri;
use hearthkey_core::bridge::Bridge;
use hearthkey_core::posture::strength::{
    KEY_BYTES_MIN, Thing, Weakness, of_certificate, of_key, of_profile, of_value,
};
use hearthkey_core::posture::{Each, Named};
use hearthkey_core::time::Timestamp;
use hearthkey_pki::{algorithms, keys_in_pem};
use hearthkey_store::registry::{ReadError, Registry};
use serde::Deserialize;

use crate::posture::Posture;

/// What a bridge's settings say of how it is talked to. What they cannot say is left out.
#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(alias = "base_url")]
    url: Option<String>,
    root_pem: Option<String>,
}

impl Line {
    fn of(bridge: &Bridge) -> Self {
        serde_json::from_str(&bridge.settings).unwrap_or_default()
    }

    /// Whether secrets go over a network in the clear. What stays on this machine does not.
    fn is_plain(&self) -> bool {
        let uri = self.url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        uri.is_some_and(|uri| {
            let plain = matches!(uri.scheme_str(), Some("http" | "mqtt"));
            plain && !uri.host().is_some_and(is_here)
        })
    }
}

fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn name(bridge: &Bridge) -> String {
    format!("{}/{}", bridge.environment, bridge.name)
}

/// The bridges that secrets are sent to in the clear.
pub(super) fn unencrypted(registry: &Registry<'_>) -> Result<Named, ReadError> {
    let mut named = Named::default();
    for bridge in registry.bridges()? {
        if Line::of(&bridge).is_plain() {
            named.add(name(&bridge));
        }
    }
    Ok(named)
}

fn add(each: &mut Each, thing: &Thing, weakness: Option<Weakness>) {
    if let Some(weakness) = weakness {
        each.add(|| thing.name(), || weakness.finding(thing));
    }
}

fn of_der(der: &[u8], now: Timestamp) -> Option<Weakness> {
    of_certificate(algorithms(der)?, now)
}

impl Posture {
    /// What is weaker than what the home issues. Requests with keys that no rule covers were refused when they came, so
    /// of devices this finds those with short RSA keys; and the CAs are the home's own.
    pub(super) fn weak(&self, registry: &Registry<'_>, now: Timestamp) -> Result<Each, ReadError> {
        let mut each = Each::default();
        for name in self.authority_names() {
            let known = registry.authority(&name)?;
            let weakness = known.and_then(|(der, _)| of_der(&der, now));
            add(&mut each, &Thing::Authority(name), weakness);
        }
        let profiles = self
            .ctx
            .profiles()
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut profiles: Vec<_> = profiles.into_iter().collect();
        profiles.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, profile) in profiles {
            add(&mut each, &Thing::Profile(name), of_profile(&profile, now));
        }
        for bridge in registry.bridges()? {
            let trusted = Line::of(&bridge).root_pem.unwrap_or_default();
            let weakest = keys_in_pem(&trusted)
                .into_iter()
                .min_by_key(|key| key.security_bits());
            let weakness = weakest.and_then(|key| of_key(key, now));
            add(&mut each, &Thing::Bridge(name(&bridge)), weakness);
        }
        for (id, kind, bytes) in registry.values_shorter_than(KEY_BYTES_MIN)? {
            add(&mut each, &Thing::Credential(id), of_value(kind, bytes));
        }
        registry.each_unlike_ours(|device, der| {
            add(&mut each, &Thing::Device(device), of_der(der, now));
        })?;
        Ok(each)
    }

    /// The registry's names of the home's CAs, and of its own certificate.
    fn authority_names(&self) -> Vec<String> {
        let issuers = self
            .ctx
            .issuers()
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = issuers
            .keys()
            .map(crate::trust::authority::issuing)
            .collect();
        names.extend(["root", "server", crate::trust::server_tls::LEAF].map(str::to_owned));
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(settings: &str) -> Line {
        serde_json::from_str(settings).unwrap()
    }

    #[test]
    fn what_goes_over_a_network_in_the_clear_is_found_and_what_stays_on_the_machine_is_not() {
        for (settings, plain) in [
            (r#"{"url": "http://192.168.1.5"}"#, true),
            (r#"{"base_url": "http://hub.lan:8123/api"}"#, true),
            (r#"{"url": "mqtt://10.0.0.2:1883"}"#, true),
            (r#"{"url": "https://192.168.1.5"}"#, false),
            (r#"{"url": "mqtts://10.0.0.2"}"#, false),
            (r#"{"url": "http://127.0.0.1:8123"}"#, false),
            (r#"{"url": "http://[::1]:8123"}"#, false),
            (r#"{"url": "http://localhost"}"#, false),
            (r#"{"program": "/usr/bin/true"}"#, false),
        ] {
            assert_eq!(line(settings).is_plain(), plain, "{settings}");
        }
    }
}
