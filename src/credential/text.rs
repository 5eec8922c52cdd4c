//! Credentials for people.

use hearthkey_api::{
    CredentialInFull, CredentialView, LeaseView, RotationPolicyView, RotationView,
};

use crate::table::{Table, count, facts};

/// The inventory as a table.
pub fn list(credentials: &[CredentialView]) -> String {
    let mut table = Table::new(&[
        "CREDENTIAL",
        "ENVIRONMENT",
        "KIND",
        "TIER",
        "STATE",
        "OWNER",
        "VERSION",
        "MADE",
        "LAST USED",
        "DUE",
    ]);
    for c in credentials {
        let state = match (&c.rotating, c.custody.as_str()) {
            (Some(step), _) => format!("rotating: {step}"),
            (None, "external") => format!("{}, elsewhere", c.state),
            _ => c.state.clone(),
        };
        table.row(&[
            &c.name,
            &c.environment,
            &c.kind,
            &c.tier,
            &state,
            &c.owner,
            &c.version
                .map_or_else(String::new, |version| version.to_string()),
            c.version_at.as_deref().unwrap_or_default(),
            c.last_used_at.as_deref().unwrap_or_default(),
            c.due.as_deref().unwrap_or_default(),
        ]);
    }
    table.render()
}

fn policy(policy: &RotationPolicyView, tier: &str) -> String {
    let mut parts = Vec::new();
    parts.extend(policy.every.as_ref().map(|age| format!("every {age}")));
    parts.extend(policy.on.as_ref().map(|day| match day.ends_with("ly") {
        true => day.clone(),
        false => format!("on {day}"),
    }));
    let by_tier = parts.is_empty();
    parts.extend(
        policy
            .after_uses
            .map(|uses| format!("after {}", count(uses, "use"))),
    );
    // A use count of its own does not stand in for the tier's age.
    if by_tier {
        let age = match tier {
            "critical" => "90d",
            "high" => "180d",
            _ => "365d",
        };
        parts.push(format!("every {age}, as for every {tier} credential"));
    }
    parts.push(
        if policy.automatic {
            "by itself, if the gateway or its bridge can create the value"
        } else {
            "by a person"
        }
        .into(),
    );
    parts.extend(
        policy
            .overlap
            .as_ref()
            .map(|span| format!("both values are valid {span}")),
    );
    parts.join(", ")
}

fn list_of(items: &[String]) -> Option<String> {
    Some(items.join(", ")).filter(|text| !text.is_empty())
}

/// One credential.
pub fn one(c: &CredentialView) -> String {
    let p = &c.provenance;
    let from = [p.source.as_deref(), p.address.as_deref()];
    let from: Vec<&str> = from.into_iter().flatten().collect();
    let provenance = format!("{} by {} at {} {}", p.origin, p.by, p.at, from.join(" "));
    let used = match (&c.last_used_at, &c.last_used_by) {
        (Some(at), Some(by)) => format!("{at} by {by}"),
        (Some(at), None) => at.clone(),
        _ => "never".into(),
    };
    let version = c.version.map(|version| version.to_string());
    let vault = c.custody == "vault";
    // Of what is not given out here, no use may be known at all.
    let used = Some(used).filter(|_| vault || c.last_used_at.is_some());
    let environment = match c.environment.as_str() {
        "" => "the whole home".to_owned(),
        name => name.to_owned(),
    };
    facts(&[
        ("credential", Some(c.name.clone())),
        ("environment", Some(environment)),
        ("kind", Some(c.kind.clone())),
        ("tier", Some(c.tier.clone())),
        ("state", Some(c.state.clone())),
        ("owner", Some(c.owner.clone())),
        ("purpose", Some(c.purpose.clone())),
        (
            "kept",
            c.location.clone().or_else(|| Some(c.custody.clone())),
        ),
        ("provenance", Some(provenance.trim_end().to_owned())),
        ("version", version),
        ("made", c.version_at.clone()),
        ("used by", list_of(&c.used_by)),
        ("scopes", list_of(&c.scopes)),
        ("scopes found", c.found_scopes.as_deref().and_then(list_of)),
        (
            "privileged",
            c.privileged.then(|| "yes: it has every permission".into()),
        ),
        ("rotation", vault.then(|| policy(&c.rotation, &c.tier))),
        ("due", c.due.clone()),
        ("rotating", c.rotating.clone()),
        ("tried", c.verified_at.clone()),
        ("last used", used),
        ("uses", vault.then(|| c.uses.to_string())),
        ("expires", c.expires_at.clone()),
        ("keys destroyed", c.shred_at.clone()),
    ])
}

/// One credential with all that is known of it.
pub fn in_full(full: &CredentialInFull) -> String {
    let mut parts = vec![one(&full.credential)];
    if !full.versions.is_empty() {
        let mut table = Table::new(&[
            "VERSION", "STATE", "BYTES", "ORIGIN", "MADE", "BY", "ENDED", "ID",
        ]);
        for v in &full.versions {
            table.row(&[
                &v.version.to_string(),
                &v.state,
                &v.bytes.to_string(),
                &v.origin,
                &v.created_at,
                &v.created_by,
                v.ended_at.as_deref().unwrap_or_default(),
                v.remote_id.as_deref().unwrap_or_default(),
            ]);
        }
        parts.push(table.render());
    }
    if !full.rotations.is_empty() {
        let rotations: Vec<String> = full.rotations.iter().map(rotation).collect();
        parts.push(rotations.join("\n"));
    }
    if !full.leases.is_empty() {
        parts.push(leases(&full.leases));
    }
    for finding in &full.findings {
        parts.push(format!(
            "{}: {} {}",
            finding.severity, finding.what, finding.remedy
        ));
    }
    parts.join("\n\n")
}

/// A rotation in a few lines.
pub fn rotation(r: &RotationView) -> String {
    let version = |version: Option<u32>| version.map_or("none".into(), |v| v.to_string());
    let change = format!("{} → {}", version(r.from_version), version(r.to_version));
    let now = match r.step.as_str() {
        _ if r.held => "held: the bridge could not be reached",
        "mint" => "a new value is being created",
        "verify" => "the new value is being tested",
        "switch" if r.unconfirmed.is_empty() => "both values are valid",
        "switch" => "both values are valid; places of use switch",
        "revoke" => "the old value is being ended",
        "undo" => "the new value is being taken back",
        "done" => "done",
        _ => "undone: only the old value is valid",
    };
    let mut lines = vec![format!(
        "rotation of {} in {}, version {change}: {now} ({}, begun by {} at {})",
        r.name, r.environment, r.reason, r.begun_by, r.begun_at
    )];
    if let (Some(deadline), None) = (&r.deadline, &r.ended_at) {
        lines.push(format!("  until {deadline} at the latest"));
    }
    if !r.confirmed.is_empty() {
        lines.push(format!("  switched: {}", r.confirmed.join(", ")));
    }
    if !r.unconfirmed.is_empty() && r.ended_at.is_none() {
        lines.push(format!("  not switched yet: {}", r.unconfirmed.join(", ")));
    }
    lines.extend(r.bridge_says.iter().map(|says| format!("  {says}")));
    lines.extend(r.notes.iter().map(|note| format!("  {note}")));
    lines.join("\n")
}

/// Leases as a table.
pub fn leases(leases: &[LeaseView]) -> String {
    let mut table = Table::new(&[
        "LEASE",
        "CREDENTIAL",
        "ENVIRONMENT",
        "HOLDER",
        "UNTIL",
        "CHILD",
    ]);
    for l in leases {
        let child = if l.child { "yes" } else { "no" };
        table.row(&[
            &l.lease,
            &l.name,
            &l.environment,
            &l.holder,
            &l.expires_at,
            child,
        ]);
    }
    table.render()
}

/// One lease in a sentence or two.
pub fn lease(l: &LeaseView) -> String {
    let note = l.note.as_ref().map(|note| format!(" Note: {note}."));
    let note = note.unwrap_or_default();
    match &l.ended_at {
        Some(at) => format!("Lease {} of {} ended at {at}.{note}", l.lease, l.name),
        None => format!(
            "Lease {} of {} lasts until {}.{note}",
            l.lease, l.name, l.expires_at
        ),
    }
}
