//! `hearthkey status`.

use hearthkey_api::{Status, Written};

use crate::context::Context;
use crate::failure::Failure;
use crate::table::{bytes, facts};

/// Shows how the gateway is.
pub async fn show(context: &Context) -> Result<(), Failure> {
    let status: Status = context.client()?.get("/api/v1/status").await?;
    context.output.answer(&status, || text(&status))
}

/// The status for people: what needs them comes last, where they look first.
pub fn text(status: &Status) -> String {
    let open = !status.sealed;
    let state = if status.sealed {
        match status.slots.iter().any(|slot| slot == "keyfile") {
            true => {
                "sealed: unseal with `hearthkey unseal` and the recovery code, or restart the gateway"
            }
            false => "sealed: unseal with `hearthkey unseal`",
        }
    } else {
        "unsealed"
    };
    let mqtt = status.listeners.mqtt.as_deref().unwrap_or("closed");
    let clock = if status.clock.trusted || !open {
        status.clock.now.clone()
    } else {
        let machine = status.clock.machine.as_deref().unwrap_or("not known");
        format!(
            "{}, not trusted: the system clock shows {machine}; compare, then `hearthkey clock confirm`",
            status.clock.now
        )
    };
    let storage = if status.storage_available {
        "available"
    } else {
        "write failed: nothing is issued until it can be written"
    };
    let mut lines = vec![facts(&[
        ("home", Some(status.home.clone())),
        ("version", Some(status.version.clone())),
        ("state", Some(state.to_owned())),
        ("mqtt", Some(mqtt.to_owned())),
        (
            "http",
            open.then(|| status.listeners.http.clone()).flatten(),
        ),
        ("socket", Some(status.listeners.socket.clone())),
        ("sessions", open.then(|| status.sessions.to_string())),
        ("devices", open.then(|| status.devices.to_string())),
        ("log records", open.then(|| records(status))),
        (
            "log size",
            (open && status.log_bytes > 0).then(|| log_size(status)),
        ),
        ("written to disk", status.written.map(written)),
        ("clock", Some(clock)),
        ("storage", open.then(|| storage.to_owned())),
        (
            "revocations not yet on disk",
            (status.revocations_pending > 0).then(|| status.revocations_pending.to_string()),
        ),
        ("backed up until", status.backed_up_until.clone()),
        ("slots", Some(status.slots.join(", "))),
    ])];
    lines.extend(
        crate::clock::why(&status.clock)
            .filter(|_| open)
            .map(|why| format!("CLOCK: {why}")),
    );
    lines.extend(status.incident.iter().map(|incident| {
        format!("INCIDENT: {incident}\nAfter a look at it: `hearthkey log accept --reason WHY`")
    }));
    lines.extend(
        status
            .warnings
            .iter()
            .map(|text| format!("WARNING: {text}")),
    );
    lines.join("\n")
}

fn records(status: &Status) -> String {
    match &status.log_verified_at {
        Some(at) => format!("{}, verified {at}", status.log_size),
        None => format!("{}, not verified", status.log_size),
    }
}

/// How large the log is here, and how much of it is archived.
fn log_size(status: &Status) -> String {
    let here = status.log_size.saturating_sub(status.log_first);
    let size = format!("about {} here", bytes(status.log_bytes));
    match (status.log_first, status.log_archived_before) {
        (0, 0) => format!("{size}, nothing archived"),
        (first, archived) if archived > first => format!(
            "{size} ({here} records); records before {archived} are archived, those before {first} not here any more"
        ),
        (first, _) => {
            format!("{size} ({here} records); records before {first} are archived, not here")
        }
    }
}

fn written(written: Written) -> String {
    let hours = written.seconds / 3600;
    match written.bytes_a_day() {
        Some(a_day) => format!(
            "{} since the start {hours} h ago: {} a day at this rate",
            bytes(written.bytes),
            bytes(a_day)
        ),
        None => format!(
            "{} since the start {} min ago",
            bytes(written.bytes),
            written.seconds / 60
        ),
    }
}

#[cfg(test)]
mod tests {
    use hearthkey_api::{ClockView, Listeners};

    use super::*;

    fn status() -> Status {
        Status {
            sealed: false,
            version: "0.1.0".into(),
            home: "attic".into(),
            listeners: Listeners {
                mqtt: Some("127.0.0.1:8883".into()),
                http: Some("127.0.0.1:8443".into()),
                socket: "/d/hearthkey.sock".into(),
            },
            sessions: 1,
            devices: 2,
            log_size: 30,
            log_first: 0,
            log_archived_before: 0,
            log_bytes: 0,
            written: None,
            log_verified_at: Some("2026-01-02T03:04:04Z".into()),
            clock_trusted: true,
            clock: ClockView {
                trusted: true,
                now: "2026-01-02T03:04:05Z".into(),
                machine: Some("2026-01-02T03:04:05Z".into()),
                synchronized: Some(true),
                doubt: None,
            },
            storage_available: true,
            revocations_pending: 0,
            backed_up_until: None,
            incident: None,
            warnings: Vec::new(),
            slots: vec!["key file".into(), "recovery code".into()],
        }
    }

    #[test]
    fn an_unsealed_gateway_is_told_in_full() {
        assert_eq!(
            text(&status()),
            "home         attic\nversion      0.1.0\nstate        unsealed\nmqtt         127.0.0.1:8883\n\
             http         127.0.0.1:8443\n\
             socket       /d/hearthkey.sock\nsessions     1\ndevices      2\nlog records  30, verified 2026-01-02T03:04:04Z\n\
             clock        2026-01-02T03:04:05Z\nstorage      available\nslots        key file, recovery code"
        );
    }

    #[test]
    fn a_sealed_gateway_does_not_claim_to_have_no_devices() {
        let told = text(&Status {
            sealed: true,
            ..status()
        });
        assert!(told.contains("sealed: unseal with `hearthkey unseal`"));
        assert!(!told.contains("devices"));
    }

    #[test]
    fn a_sealed_gateway_does_not_ask_to_confirm_a_clock_that_it_cannot_judge() {
        let mut sealed = status();
        sealed.sealed = true;
        sealed.clock.trusted = false;
        assert!(!text(&sealed).contains("clock confirm"));
    }

    #[test]
    fn what_needs_a_person_comes_last_with_what_to_do() {
        let told = text(&Status {
            incident: Some("the database was rolled back".into()),
            warnings: vec!["the key file protects nothing at rest".into()],
            ..status()
        });
        assert!(told.ends_with(
            "INCIDENT: the database was rolled back\nAfter a look at it: `hearthkey log accept --reason WHY`\n\
             WARNING: the key file protects nothing at rest"
        ));
    }

    #[test]
    fn a_clock_that_is_not_trusted_says_how_to_confirm_it() {
        let mut untrusted = status();
        untrusted.clock.trusted = false;
        untrusted.clock.machine = Some("2036-01-02T03:04:05Z".into());
        untrusted.clock.doubt = Some(hearthkey_api::ClockDoubt {
            since: "2026-01-01T00:00:00Z".into(),
            code: "far-ahead".into(),
            says: "The system clock is more than a day ahead of home time.".into(),
        });
        let told = text(&untrusted);
        assert!(told.contains(
            "not trusted: the system clock shows 2036-01-02T03:04:05Z; compare, then `hearthkey clock confirm`"
        ));
        assert!(told.contains("CLOCK: The system clock is more than a day ahead of home time. Not trusted since 2026-01-01"));
    }
}
