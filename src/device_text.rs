//! Devices for people.

use hearthkey_api::{DeviceChanged, DeviceView, Revoked, WaitingList};

use crate::table::{Table, count, facts};

/// What is said of a revocation that is not saved to disk yet.
pub const NOT_DURABLE: &str = "The revocation is in effect, but not saved to disk yet. It holds while the gateway runs, and is saved as soon as the disk can be written. Check the gateway's disk and `hearthkey status`.";

/// The devices as a table.
pub fn list(devices: &[DeviceView]) -> String {
    let mut table = Table::new(&[
        "DEVICE",
        "STATE",
        "ENVIRONMENT",
        "PROFILE",
        "OWNER",
        "CERTIFICATE UNTIL",
        "SESSIONS",
        "LAST SEEN",
    ]);
    for device in devices {
        let until = device.certificate.as_ref().map(|newest| &newest.not_after);
        table.row(&[
            &device.id,
            &device.state,
            &device.environment,
            &device.profile,
            &device.owner,
            until.map_or("", String::as_str),
            &device.sessions.len().to_string(),
            device.last_seen_at.as_deref().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// The devices that wait after a restore.
pub fn waiting(list: &WaitingList) -> String {
    if list.devices.is_empty() {
        return "No device waits. One that waits is listed when it has tried to connect since the gateway was started."
            .to_owned();
    }
    let mut table = Table::new(&[
        "DEVICE",
        "KNOWN AS",
        "ENVIRONMENT",
        "ISSUED AT",
        "LAST CAME",
        "FROM",
        "CERTIFICATE",
    ]);
    for one in &list.devices {
        table.row(&[
            &one.device,
            one.state.as_deref().unwrap_or("not known"),
            &one.environment,
            &one.issued_at,
            &one.last_came_at,
            &one.address,
            &one.certificate_sha256,
        ]);
    }
    format!(
        "{}\n\nConfirm only those that are yours and were not revoked after the backup: `hearthkey device readmit DEVICE`.",
        table.render()
    )
}

/// One device in full.
pub fn device(device: &DeviceView) -> String {
    let mut parts = vec![facts(&[
        ("device", Some(device.id.clone())),
        ("state", Some(device.state.clone())),
        ("environment", Some(device.environment.clone())),
        ("profile", Some(device.profile.clone())),
        ("owner", Some(device.owner.clone())),
        ("purpose", Some(device.purpose.clone())),
        ("created", Some(device.created_at.clone())),
        ("last seen", device.last_seen_at.clone()),
        ("last address", device.last_address.clone()),
        ("trust bundle", device.trust_bundle_sha256.clone()),
    ])];
    if !device.sessions.is_empty() {
        let mut table = Table::new(&["SESSION", "ADDRESS", "SINCE"]);
        for session in &device.sessions {
            table.row(&[&session.client_id, &session.address, &session.since]);
        }
        parts.push(table.render());
    }
    if !device.certificates.is_empty() {
        let mut table = Table::new(&["CERTIFICATE", "STATE", "NOT BEFORE", "NOT AFTER", "KEY"]);
        for known in &device.certificates {
            table.row(&[
                &known.serial,
                &known.state,
                &known.not_before,
                &known.not_after,
                &known.key_sha256,
            ]);
        }
        parts.push(table.render());
    }
    if !device.claims.is_empty() {
        let mut table = Table::new(&["CLAIM", "STATE", "EXPIRES", "KEY TO APPROVE"]);
        for claim in &device.claims {
            let key = claim.presented_key.as_deref().unwrap_or_default();
            table.row(&[&claim.claim, &claim.state, &claim.expires_at, key]);
        }
        parts.push(table.render());
    }
    parts.join("\n\n")
}

/// What became of a device after `verb`.
pub fn changed(changed: &DeviceChanged, verb: &str) -> String {
    let dropped = count(changed.sessions_dropped as u64, "session");
    let DeviceChanged { device, state, .. } = changed;
    match verb {
        "rotate" => format!("{device} is {state}, and was asked for a new key."),
        "approve" => format!(
            "The key of {device} is approved. The device gets its certificate when it asks again."
        ),
        "readmit" => format!(
            "{device} may come in to renew. It can do nothing else until it has its new key."
        ),
        _ => format!("{device} is {state}; {dropped} dropped."),
    }
}

/// What a revocation did.
pub fn revoked(revoked: &Revoked) -> String {
    format!(
        "{} is revoked: {} taken back, {} dropped in {}.{:03} ms.",
        revoked.device,
        count(revoked.certificates_revoked as u64, "certificate"),
        count(revoked.sessions_dropped as u64, "session"),
        revoked.latency_us / 1000,
        revoked.latency_us % 1000,
    )
}

#[cfg(test)]
pub mod tests {
    use hearthkey_api::{CertificateView, ClaimView, SessionView};

    use super::*;

    /// A device with nothing but an id.
    pub fn view(id: &str) -> DeviceView {
        DeviceView {
            id: id.into(),
            state: "pending".into(),
            environment: "home".into(),
            profile: "generic".into(),
            owner: "anna".into(),
            purpose: "light".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            certificate: None,
            sessions: Vec::new(),
            last_seen_at: None,
            last_address: None,
            trust_bundle_sha256: None,
            certificates: Vec::new(),
            claims: Vec::new(),
        }
    }

    fn certificate() -> CertificateView {
        CertificateView {
            serial: "0a".into(),
            state: "active".into(),
            not_before: "2026-01-01T00:00:00Z".into(),
            not_after: "2026-01-31T00:00:00Z".into(),
            renew_after: "2026-01-26T00:00:00Z".into(),
            sha256: "cc".into(),
            key_sha256: "dd".into(),
            generation: 0,
        }
    }

    #[test]
    fn devices_are_listed_in_aligned_columns() {
        let mut lamp = view("lamp");
        lamp.state = "active".into();
        lamp.certificate = Some(certificate());
        lamp.last_seen_at = Some("2026-01-02T00:00:00Z".into());
        assert_eq!(
            list(&[lamp, view("front-door")]),
            "DEVICE      STATE    ENVIRONMENT  PROFILE  OWNER  CERTIFICATE UNTIL     SESSIONS  LAST SEEN\n\
             lamp        active   home         generic  anna   2026-01-31T00:00:00Z  0         2026-01-02T00:00:00Z\n\
             front-door  pending  home         generic  anna   -                     0         -"
        );
    }

    #[test]
    fn a_device_is_shown_with_what_waits_for_approval() {
        let mut lamp = view("lamp");
        lamp.sessions.push(SessionView {
            client_id: "lamp".into(),
            address: "10.0.0.9:4711".into(),
            since: "2026-01-02T00:00:00Z".into(),
            certificate_sha256: "cc".into(),
        });
        lamp.certificates.push(certificate());
        lamp.claims.push(ClaimView {
            claim: "c-1".into(),
            state: "open".into(),
            opened_at: "2026-01-01T00:00:00Z".into(),
            expires_at: "2026-01-01T00:15:00Z".into(),
            presented_key: Some("ee".into()),
        });
        let told = device(&lamp);
        assert!(told.contains("purpose      light\n"), "{told}");
        assert!(
            told.contains("lamp     10.0.0.9:4711  2026-01-02T00:00:00Z"),
            "{told}"
        );
        assert!(
            told.contains("0a           active  2026-01-01T00:00:00Z"),
            "{told}"
        );
        assert!(
            told.ends_with("c-1    open   2026-01-01T00:15:00Z  ee"),
            "{told}"
        );
    }

    #[test]
    fn a_revocation_says_what_it_did_and_how_fast() {
        let done = Revoked {
            device: "lamp".into(),
            certificates_revoked: 2,
            sessions_dropped: 1,
            latency_us: 3042,
            durable: true,
        };
        assert_eq!(
            revoked(&done),
            "lamp is revoked: 2 certificates taken back, 1 session dropped in 3.042 ms."
        );
    }

    #[test]
    fn a_change_says_where_the_device_stands() {
        let done = DeviceChanged {
            device: "lamp".into(),
            state: "suspended".into(),
            sessions_dropped: 1,
            durable: true,
        };
        assert_eq!(
            changed(&done, "suspend"),
            "lamp is suspended; 1 session dropped."
        );
    }
}
