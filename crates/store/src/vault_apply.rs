//! How the changes of the vault are written, each within the transaction of its group.

use hearthkey_core::credential::{Credential, CredentialId, VersionState};
use hearthkey_core::lease::Lease;
use hearthkey_core::rotation::{Rotation, Step};
use hearthkey_core::time::{Span, Timestamp};
use rusqlite::{Transaction, params};
use serde::Serialize;

use crate::apply::{ApplyError, misplaced, one, run, seal};
use crate::vault::CredentialPlace;
use crate::vault_change::{NewVersion, VaultWrite};
use crate::{errands, tiers};

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The credential in a statement whose first two parameters name it.
const CREDENTIAL: &str = "(SELECT id FROM credential WHERE name = ?1 AND environment = ?2)";

pub(crate) fn apply(tx: &Transaction<'_>, write: &VaultWrite) -> Result<(), ApplyError> {
    match write {
        VaultWrite::Add(credential) => add(tx, credential),
        VaultWrite::Describe(credential) => describe(tx, credential),
        VaultWrite::Version(credential, version) => add_version(tx, credential, version),
        VaultWrite::MoveVersion { .. }
        | VaultWrite::Used { .. }
        | VaultWrite::MoveCredential { .. }
        | VaultWrite::Shred(..)
        | VaultWrite::Expires(..)
        | VaultWrite::Verified(..) => apply_to_credential(tx, write),
        VaultWrite::BeginRotation(credential, rotation) => begin(tx, credential, rotation),
        VaultWrite::Rotate(from, rotation) => keep(tx, *from, rotation),
        VaultWrite::Tell(news, at) => errands::add(tx, news, *at),
        VaultWrite::TellLater(errand) => errands::put_off(tx, errand),
        VaultWrite::Told(errand) => errands::end(tx, *errand),
        VaultWrite::Lease(lease) => add_lease(tx, lease),
        VaultWrite::LeaseChild {
            lease,
            environment,
            remote_id,
            sealed,
            at,
        } => {
            one(tx
                .prepare_cached(
                    "UPDATE lease SET remote_id = ?2 WHERE id = ?1 AND ended_at IS NULL",
                )?
                .execute((lease, remote_id))?)?;
            let place = CredentialPlace::of_lease(environment, lease);
            seal(tx, place.row(), sealed, *at)
        }
        VaultWrite::EndLease {
            lease,
            environment,
            at,
            by,
            note,
        } => {
            one(tx
                .prepare_cached(
                    "UPDATE lease SET ended_at = ?2, ended_by = ?3, note = coalesce(?4, note)
                     WHERE id = ?1 AND ended_at IS NULL",
                )?
                .execute(params![lease, at.as_ms(), by, note])?)?;
            destroy(tx, &CredentialPlace::of_lease(environment, lease))
        }
        VaultWrite::Bridge(..)
        | VaultWrite::Disconnect(..)
        | VaultWrite::KeepTier(..)
        | VaultWrite::ForgetEnded(..)
        | VaultWrite::Habit(..)
        | VaultWrite::KekEpoch(..)
        | VaultWrite::Reseal { .. } => apply_to_surroundings(tx, write),
        VaultWrite::Finding(..)
        | VaultWrite::Resolved(..)
        | VaultWrite::Settled(..)
        | VaultWrite::Overtaken { .. } => apply_to_finding(tx, write),
    }
}

fn add(tx: &Transaction<'_>, c: &Credential) -> Result<(), ApplyError> {
    // A name whose credential is over may be used again; its versions count on.
    one(tx
        .prepare_cached(
            "INSERT INTO credential (name, environment, kind, owner, purpose, tier, custody, location,
                 provenance, state, rotation, used_by, scopes, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'active', ?10, ?11, ?12, ?13)
             ON CONFLICT (name, environment) DO UPDATE SET kind = ?3, owner = ?4, purpose = ?5,
                 tier = ?6, custody = ?7, location = ?8, provenance = ?9, state = 'active',
                 rotation = ?10, used_by = ?11, scopes = ?12, expires_at = ?13, uses = 0,
                 found_scopes = NULL, privileged = NULL, verified_at = NULL, shred_at = NULL
             WHERE state <> 'active'",
        )?
        .execute(params![
            c.id.name.as_str(),
            c.id.environment.as_str(),
            c.kind.as_str(),
            c.owner,
            c.purpose,
            c.tier.as_str(),
            c.custody.as_str(),
            c.location,
            json(&c.provenance),
            json(&c.rotation),
            json(&c.used_by),
            json(&c.scopes),
            c.expires_at.map(Timestamp::as_ms),
        ])?)
}

fn describe(tx: &Transaction<'_>, c: &Credential) -> Result<(), ApplyError> {
    one(tx
        .prepare_cached(
            "UPDATE credential SET owner = ?3, purpose = ?4, tier = ?5, location = ?6, rotation = ?7,
                 used_by = ?8, scopes = ?9, expires_at = ?10, provenance = ?11
             WHERE name = ?1 AND environment = ?2 AND state = 'active'",
        )?
        .execute(params![
            c.id.name.as_str(),
            c.id.environment.as_str(),
            c.owner,
            c.purpose,
            c.tier.as_str(),
            c.location,
            json(&c.rotation),
            json(&c.used_by),
            json(&c.scopes),
            c.expires_at.map(Timestamp::as_ms),
            json(&c.provenance),
        ])?)
}

fn add_version(tx: &Transaction<'_>, id: &CredentialId, v: &NewVersion) -> Result<(), ApplyError> {
    let sql = format!(
        "INSERT INTO credential_version (credential, version, state, fingerprint, bytes, origin,
             remote_id, created_at, created_by)
         SELECT {CREDENTIAL}, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
         WHERE NOT EXISTS (SELECT 1 FROM credential_version WHERE credential = {CREDENTIAL} AND version >= ?3)"
    );
    one(tx.prepare_cached(&sql)?.execute(params![
        id.name.as_str(),
        id.environment.as_str(),
        v.version,
        v.state.as_str(),
        v.fingerprint.0,
        v.bytes,
        v.origin.as_str(),
        v.remote_id,
        v.at.as_ms(),
        v.by,
    ])?)?;
    if v.state == VersionState::Current {
        starts_anew(tx, id)?;
    }
    let place = CredentialPlace::of(id, v.version);
    seal(tx, place.row(), &v.sealed, v.at)
}

/// Another version is current: its uses count from nothing, and no bridge has been asked.
fn starts_anew(tx: &Transaction<'_>, id: &CredentialId) -> Result<(), ApplyError> {
    tx.prepare_cached(
        "UPDATE credential SET uses = 0, verified_at = NULL, found_scopes = NULL, privileged = NULL
         WHERE name = ?1 AND environment = ?2",
    )?
    .execute((id.name.as_str(), id.environment.as_str()))?;
    Ok(())
}

/// Crypto-shredding: without its data key, copies of the value alone are noise. The limits: docs/SECURITY.md.
fn destroy(tx: &Transaction<'_>, place: &CredentialPlace) -> Result<(), ApplyError> {
    let row = place.row();
    tx.prepare_cached("DELETE FROM secret WHERE kind = ?1 AND name = ?2 AND version = ?3")?
        .execute((row.kind, row.name, row.version))?;
    Ok(())
}

fn shred(tx: &Transaction<'_>, id: &CredentialId, version: u32) -> Result<(), ApplyError> {
    let sql = format!(
        "UPDATE credential_version SET state = 'destroyed', ended_at = coalesce(ended_at, created_at)
         WHERE credential = {CREDENTIAL} AND version = ?3"
    );
    one(tx.prepare_cached(&sql)?.execute(params![
        id.name.as_str(),
        id.environment.as_str(),
        version
    ])?)?;
    destroy(tx, &CredentialPlace::of(id, version))
}

fn apply_to_credential(tx: &Transaction<'_>, write: &VaultWrite) -> Result<(), ApplyError> {
    match write {
        VaultWrite::MoveVersion {
            credential,
            version,
            from,
            to,
            at,
        } => {
            let sql = format!(
                "UPDATE credential_version SET state = ?5,
                     ended_at = CASE WHEN ?5 IN ('retired', 'failed') THEN ?6 ELSE ended_at END
                 WHERE credential = {CREDENTIAL} AND version = ?3 AND state = ?4"
            );
            one(tx.prepare_cached(&sql)?.execute(params![
                credential.name.as_str(),
                credential.environment.as_str(),
                version,
                from.as_str(),
                to.as_str(),
                at.as_ms(),
            ])?)?;
            if *to == VersionState::Current {
                starts_anew(tx, credential)?;
            }
            Ok(())
        }
        VaultWrite::Used {
            credential,
            version,
            by,
            at,
        } => one(tx
            .prepare_cached(
                "UPDATE credential SET uses = uses + 1, last_used_at = ?4, last_used_by = ?5
                 WHERE name = ?1 AND environment = ?2 AND state = 'active'
                 AND EXISTS (SELECT 1 FROM credential_version v WHERE v.credential = credential.id
                     AND v.version = ?3 AND v.state IN ('current', 'previous'))",
            )?
            .execute(params![
                credential.name.as_str(),
                credential.environment.as_str(),
                version,
                at.as_ms(),
                by,
            ])?),
        VaultWrite::MoveCredential {
            credential,
            from,
            to,
            shred_at,
        } => one(tx
            .prepare_cached(
                "UPDATE credential SET state = ?4, shred_at = ?5
                 WHERE name = ?1 AND environment = ?2 AND state = ?3",
            )?
            .execute(params![
                credential.name.as_str(),
                credential.environment.as_str(),
                from.as_str(),
                to.as_str(),
                shred_at.map(Timestamp::as_ms),
            ])?),
        VaultWrite::Shred(credential, version) => shred(tx, credential, *version),
        VaultWrite::Expires(credential, at) => one(tx
            .prepare_cached(
                "UPDATE credential SET expires_at = ?3 WHERE name = ?1 AND environment = ?2",
            )?
            .execute(params![
                credential.name.as_str(),
                credential.environment.as_str(),
                at.map(Timestamp::as_ms),
            ])?),
        VaultWrite::Verified(credential, verdict) => {
            tx.prepare_cached(
                "UPDATE credential SET verified_at = ?3, found_scopes = ?4, privileged = ?5
                 WHERE name = ?1 AND environment = ?2",
            )?
            .execute(params![
                credential.name.as_str(),
                credential.environment.as_str(),
                verdict.at.as_ms(),
                verdict.scopes.as_ref().map(json),
                verdict.privileged,
            ])?;
            Ok(())
        }
        other => misplaced(other),
    }
}

fn begin(tx: &Transaction<'_>, id: &CredentialId, r: &Rotation) -> Result<(), ApplyError> {
    let sql = format!(
        "INSERT INTO rotation (credential, step, from_version, to_version, reason, begun_by, begun_at,
             deadline, dependents, confirmed, tries, not_before, notes, overlap_ms, asked, other_expires_at)
         SELECT {CREDENTIAL}, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17
         WHERE NOT EXISTS (SELECT 1 FROM rotation WHERE credential = {CREDENTIAL} AND ended_at IS NULL)
         AND EXISTS (SELECT 1 FROM credential WHERE id = {CREDENTIAL} AND state = 'active')"
    );
    one(tx.prepare_cached(&sql)?.execute(params![
        id.name.as_str(),
        id.environment.as_str(),
        r.step.as_str(),
        r.from_version,
        r.to_version,
        r.reason,
        r.begun_by,
        r.begun_at.as_ms(),
        r.deadline.map(Timestamp::as_ms),
        json(&r.dependents),
        json(&r.confirmed),
        r.tries,
        r.not_before.as_ms(),
        json(&r.notes),
        r.overlap.map(Span::as_ms),
        r.asked,
        r.other_expires_at.map(Timestamp::as_ms),
    ])?)
}

fn keep(tx: &Transaction<'_>, from: Step, r: &Rotation) -> Result<(), ApplyError> {
    one(tx
        .prepare_cached(
            "UPDATE rotation SET step = ?3, to_version = ?4, deadline = ?5, dependents = ?6,
                 confirmed = ?7, tries = ?8, not_before = ?9, notes = ?10, ended_at = ?11, asked = ?12,
                 other_expires_at = ?13
             WHERE id = ?1 AND step = ?2 AND ended_at IS NULL",
        )?
        .execute(params![
            r.id,
            from.as_str(),
            r.step.as_str(),
            r.to_version,
            r.deadline.map(Timestamp::as_ms),
            json(&r.dependents),
            json(&r.confirmed),
            r.tries,
            r.not_before.as_ms(),
            json(&r.notes),
            r.ended_at.map(Timestamp::as_ms),
            r.asked,
            r.other_expires_at.map(Timestamp::as_ms),
        ])?)
}

fn add_lease(tx: &Transaction<'_>, lease: &Lease) -> Result<(), ApplyError> {
    let id = &lease.credential;
    let sql = format!(
        "INSERT INTO lease (id, credential, version, holder, address, issued_at, expires_at, child, remote_id, note)
         VALUES (?3, {CREDENTIAL}, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    );
    tx.prepare_cached(&sql)?.execute(params![
        id.name.as_str(),
        id.environment.as_str(),
        lease.id,
        lease.version,
        lease.holder,
        lease.address,
        lease.issued_at.as_ms(),
        lease.expires_at.as_ms(),
        lease.child,
        lease.remote_id,
        lease.note,
    ])?;
    Ok(())
}

fn apply_to_surroundings(tx: &Transaction<'_>, write: &VaultWrite) -> Result<(), ApplyError> {
    match write {
        VaultWrite::Bridge(bridge) => {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO bridge VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                bridge.name,
                bridge.environment.as_str(),
                bridge.kind,
                bridge.owner,
                bridge.purpose,
                bridge.settings,
                bridge.authority.as_ref().map(|name| name.as_str()),
                bridge.created_at.as_ms(),
                bridge.created_by,
            ])?;
        }
        VaultWrite::Disconnect(name, environment) => {
            errands::end_of(tx, name, environment)?;
            one(tx
                .prepare_cached("DELETE FROM bridge WHERE name = ?1 AND environment = ?2")?
                .execute((name, environment.as_str()))?)?;
        }
        VaultWrite::KeepTier(bridge, environment, tier) => {
            tiers::keep(tx, bridge, environment, *tier)?;
        }
        VaultWrite::ForgetEnded(before) => {
            for sql in [
                "DELETE FROM lease WHERE ended_at < ?1",
                "DELETE FROM rotation WHERE ended_at < ?1",
                "DELETE FROM finding WHERE resolved_at < ?1",
            ] {
                tx.prepare_cached(sql)?.execute([before.as_ms()])?;
            }
        }
        VaultWrite::Habit(principal, fact, at) => {
            tx.prepare_cached("INSERT OR IGNORE INTO habit VALUES (?1, ?2, ?3)")?
                .execute(params![principal, fact, at.as_ms()])?;
        }
        VaultWrite::KekEpoch(environment, epoch) => one(tx
            .prepare_cached(
                "UPDATE environment SET kek_epoch = ?2 WHERE name = ?1 AND kek_epoch < ?2",
            )?
            .execute(params![environment.as_str(), epoch])?)?,
        VaultWrite::Reseal {
            place,
            from,
            sealed,
        } => {
            let row = place.row();
            one(tx
                .prepare_cached(
                    "UPDATE secret SET epoch = ?5, wrapped = ?6, sealed = ?7
                     WHERE kind = ?1 AND name = ?2 AND version = ?3 AND epoch = ?4",
                )?
                .execute(params![
                    row.kind,
                    row.name,
                    row.version,
                    from,
                    sealed.epoch,
                    sealed.wrapped,
                    sealed.sealed
                ])?)?;
        }
        other => return misplaced(other),
    }
    Ok(())
}

fn apply_to_finding(tx: &Transaction<'_>, write: &VaultWrite) -> Result<(), ApplyError> {
    match write {
        VaultWrite::Finding(finding, at) => {
            tx.prepare_cached(
                "INSERT INTO finding VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, NULL)
                 ON CONFLICT (id) DO UPDATE SET severity = ?3, what = ?5, remedy = ?6, last_seen = ?7,
                     resolved_at = NULL",
            )?
            .execute(params![
                finding.id,
                finding.kind.as_str(),
                finding.severity.as_str(),
                finding.object,
                finding.what,
                finding.remedy,
                at.as_ms(),
            ])?;
        }
        VaultWrite::Resolved(id, at) => one(resolve(tx, id, *at)?)?,
        VaultWrite::Settled(id, at) => {
            resolve(tx, id, *at)?;
        }
        VaultWrite::Overtaken {
            object,
            kind,
            seen_before,
            at,
        } => {
            tx.prepare_cached(
                "UPDATE finding SET resolved_at = ?4
                 WHERE object = ?1 AND kind = ?2 AND last_seen < ?3 AND resolved_at IS NULL",
            )?
            .execute(params![
                object,
                kind.to_string(),
                seen_before.as_ms(),
                at.as_ms()
            ])?;
        }
        other => return misplaced(other),
    }
    Ok(())
}

fn resolve(tx: &Transaction<'_>, finding: &str, at: Timestamp) -> Result<usize, ApplyError> {
    let sql = "UPDATE finding SET resolved_at = ?2 WHERE id = ?1 AND resolved_at IS NULL";
    run(tx, sql, params![finding, at.as_ms()])
}
