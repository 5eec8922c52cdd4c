//! Credentials between the registry's form and the contract's.

use hearthkey_api::{
    CredentialView, LeaseView, ProvenanceView, RotationPolicyView, RotationView, VersionView,
};
use hearthkey_core::credential::{CredentialId, Custody, State};
use hearthkey_core::lease::Lease;
use hearthkey_core::rotation::{Due, Next, OVERLAP_MAX, Rotation, RotationPolicy};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::inventory::{KnownCredential, KnownVersion};

use crate::state::failure::Failure;

/// A span as a person writes it, in the largest unit that divides it.
fn span_text(span: Span) -> String {
    let s = span.as_s();
    match s {
        _ if s > 0 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        _ if s > 0 && s % 3600 == 0 => format!("{}h", s / 3600),
        _ if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        _ => format!("{s}s"),
    }
}

/// Reads a policy.
pub(crate) fn policy(view: &RotationPolicyView) -> Result<RotationPolicy, Failure> {
    let span = |text: &Option<String>| -> Result<Option<Span>, Failure> {
        let parsed = text.as_deref().map(str::parse).transpose();
        parsed.map_err(|error: hearthkey_core::time::InvalidSpan| Failure::invalid(&error))
    };
    let every = span(&view.every)?;
    if every.is_some_and(|every| every < Span::s(1)) {
        return Err(Failure::invalid(&"a value is rotated every second at most"));
    }
    if view.after_uses == Some(0) {
        return Err(Failure::invalid(
            &"a value is rotated after one use at the earliest",
        ));
    }
    let overlap = span(&view.overlap)?;
    if overlap.is_some_and(|overlap| overlap > OVERLAP_MAX) {
        return Err(Failure::invalid(
            &"two values can be valid for 90 days at most",
        ));
    }
    let on = view.on.as_deref().map(str::parse).transpose();
    Ok(RotationPolicy {
        max_age_ms: every.map(Span::as_ms),
        calendar: on
            .map_err(|error: hearthkey_core::rotation::InvalidCalendar| Failure::invalid(&error))?,
        max_uses: view.after_uses,
        automatic: view.automatic,
        overlap_ms: overlap.map(Span::as_ms),
    })
}

fn policy_view(policy: &RotationPolicy) -> RotationPolicyView {
    RotationPolicyView {
        every: policy.max_age_ms.map(|ms| span_text(Span::ms(ms))),
        on: policy.calendar.map(|calendar| calendar.to_string()),
        after_uses: policy.max_uses,
        automatic: policy.automatic,
        overlap: policy.overlap_ms.map(|ms| span_text(Span::ms(ms))),
    }
}

fn text(time: Timestamp) -> String {
    time.to_string()
}

/// Since when a credential has the value that it has, if it is one that can be due.
fn made_at(known: &KnownCredential) -> Option<Timestamp> {
    let c = &known.credential;
    if c.state != State::Active {
        return None;
    }
    match c.custody {
        Custody::Vault => Some(known.current?.1),
        // It is known since it was recorded, or since somebody said that it was replaced.
        Custody::External => Some(c.provenance.at),
        Custody::Own => None,
    }
}

/// Why a credential is due for rotation, if it is.
pub(crate) fn due(known: &KnownCredential, now: Timestamp) -> Option<Due> {
    let c = &known.credential;
    c.rotation.due(c.tier, made_at(known)?, known.uses, now)
}

/// When a credential ends, or is due for rotation, whichever comes first.
pub(crate) fn ends_at(known: &KnownCredential) -> Option<Timestamp> {
    let c = &known.credential;
    let due = made_at(known).map(|made_at| c.rotation.due_at(c.tier, made_at));
    let expires = c.expires_at.filter(|_| c.state == State::Active);
    [due, expires].into_iter().flatten().min()
}

/// A credential as it is listed.
pub(crate) fn credential(known: &KnownCredential, now: Timestamp) -> CredentialView {
    let c = &known.credential;
    CredentialView {
        name: c.id.name.to_string(),
        environment: c.id.environment.to_string(),
        kind: c.kind.to_string(),
        owner: c.owner.clone(),
        purpose: c.purpose.clone(),
        tier: c.tier.to_string(),
        custody: c.custody.to_string(),
        location: c.location.clone(),
        provenance: ProvenanceView {
            origin: c.provenance.origin.to_string(),
            source: c.provenance.source.clone(),
            by: c.provenance.by.clone(),
            address: c.provenance.address.clone(),
            at: c.provenance.at.to_string(),
        },
        state: c.state.to_string(),
        rotation: policy_view(&c.rotation),
        used_by: c.used_by.clone(),
        scopes: c.scopes.clone(),
        found_scopes: known.found_scopes.clone(),
        privileged: known.privileged,
        expires_at: c.expires_at.map(text),
        version: known.current.map(|(version, _)| version),
        version_at: known.current.map(|(_, at)| text(at)),
        rotating: known.rotating.map(|step| step.as_str().to_owned()),
        due: due(known, now).map(|due| due.to_string()),
        verified_at: known.verified_at.map(text),
        last_used_at: known.last_used_at.map(text),
        last_used_by: known.last_used_by.clone(),
        uses: known.uses,
        shred_at: known.shred_at.map(text),
    }
}

/// A version as it is shown.
pub(crate) fn version(known: &KnownVersion) -> VersionView {
    VersionView {
        version: known.version,
        state: known.state.to_string(),
        bytes: known.bytes,
        origin: known.origin.to_string(),
        remote_id: known.remote_id.clone(),
        created_at: text(known.created_at),
        created_by: known.created_by.clone(),
        ended_at: known.ended_at.map(text),
    }
}

/// A rotation as it is shown.
pub(crate) fn rotation(id: &CredentialId, r: &Rotation, now: Timestamp) -> RotationView {
    RotationView {
        name: id.name.to_string(),
        environment: id.environment.to_string(),
        step: r.step.as_str().into(),
        from_version: r.from_version,
        to_version: r.to_version,
        reason: r.reason.clone(),
        begun_by: r.begun_by.clone(),
        begun_at: text(r.begun_at),
        deadline: r.deadline.map(text),
        confirmed: r.confirmed.clone(),
        unconfirmed: r.unconfirmed().map(str::to_owned).collect(),
        held: r.next(now) == Next::Hold,
        rests: r.rests(now),
        bridge_says: None,
        notes: r.notes.clone(),
        ended_at: r.ended_at.map(text),
    }
}

/// A lease as it is listed.
pub(crate) fn lease(lease: &Lease) -> LeaseView {
    LeaseView {
        lease: lease.id.clone(),
        name: lease.credential.name.to_string(),
        environment: lease.credential.environment.to_string(),
        version: lease.version,
        holder: lease.holder.clone(),
        address: lease.address.clone(),
        issued_at: text(lease.issued_at),
        expires_at: text(lease.expires_at),
        child: lease.child,
        ended_at: lease.ended_at.map(text),
        note: lease.note.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_and_written_in_the_same_words() {
        let view = RotationPolicyView {
            every: Some("90d".into()),
            on: Some("monthly".into()),
            after_uses: Some(1000),
            automatic: true,
            overlap: Some("36h".into()),
        };
        assert_eq!(policy_view(&policy(&view).unwrap()), view);
        for bad in [
            RotationPolicyView {
                every: Some("0s".into()),
                ..view.clone()
            },
            RotationPolicyView {
                on: Some("daily".into()),
                ..view.clone()
            },
            RotationPolicyView {
                overlap: Some("91d".into()),
                ..view.clone()
            },
        ] {
            assert!(policy(&bad).is_err(), "{bad:?}");
        }
    }
}
