//! How the changes of the registry are written, each within the transaction of its group: the one place where that is done.

use hearthkey_core::certificate::Certificate;
use hearthkey_core::claim::ClaimState;
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::DeviceId;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::apply::{ApplyError, misplaced, one, seal};
use crate::change::{Expected, Write};
use crate::vault::SecretName;

/// The number of the newest record of what was decided about a thing. It looks into the index of these records, which the
/// condition has to name as its migration does. Of records that are archived, the number alone is kept.
pub(crate) const NEWEST_DECISION: &str = "SELECT seq FROM (
         SELECT seq FROM audit WHERE object = ?1
         AND CASE WHEN json_valid(CAST(record AS TEXT))
             THEN json_extract(CAST(record AS TEXT), '$.action') NOT GLOB '*.refuse' ELSE 1 END
         ORDER BY seq DESC LIMIT 1)
     UNION ALL SELECT decided FROM log_gone WHERE object = ?1 AND decided IS NOT NULL
     ORDER BY 1 DESC LIMIT 1";

/// Whether the newest decision about a thing is still the one that a decision saw.
pub(crate) fn check(tx: &Transaction<'_>, expected: &Expected) -> Result<(), ApplyError> {
    let newest: Option<u64> = tx
        .prepare_cached(NEWEST_DECISION)?
        .query_row([&expected.object], |row| row.get(0))
        .optional()?;
    match newest == expected.newest {
        true => Ok(()),
        false => Err(ApplyError::Changed),
    }
}

const DEVICE_ID: &str = "(SELECT id FROM device WHERE name = ?1)";

pub(crate) fn apply(tx: &Transaction<'_>, write: &Write) -> Result<(), ApplyError> {
    let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
        tx.prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
    };
    match write {
        Write::Setting(name, value) => {
            run(
                "INSERT OR REPLACE INTO setting VALUES (?1, ?2)",
                &[name, value],
            )?;
        }
        Write::Environment(name, at) => {
            run(
                "INSERT OR IGNORE INTO environment (name, created_at) VALUES (?1, ?2)",
                &[&name.as_str(), &at.as_ms()],
            )?;
        }
        Write::Profile {
            name,
            toml,
            built_in,
        } => {
            let sql = "INSERT OR REPLACE INTO profile VALUES (?1, ?2, ?3)";
            run(sql, &[&name.as_str(), toml, built_in])?;
        }
        Write::Secret {
            kind,
            name,
            version,
            sealed,
            at,
        } => {
            let row = SecretName {
                kind,
                name,
                version: *version,
            };
            seal(tx, row, sealed, *at)?;
        }
        Write::Effect(effect) => {
            let text = serde_json::to_string(effect)
                .map_err(|error| ApplyError::Defect(error.to_string()))?;
            run("INSERT INTO outbox (effect) VALUES (?1)", &[&text])?;
        }
        Write::EffectsDone(last) => {
            run("DELETE FROM outbox WHERE id <= ?1", &[last])?;
        }
        Write::BrokerState { kind, key, value } => match value {
            Some(value) => {
                let sql = "INSERT OR REPLACE INTO broker_state VALUES (?1, ?2, ?3)";
                run(sql, &[kind, key, value])?;
            }
            None => {
                let sql = "DELETE FROM broker_state WHERE kind = ?1 AND key = ?2";
                run(sql, &[kind, key])?;
            }
        },
        Write::Vault(write) => crate::vault_apply::apply(tx, write)?,
        Write::Token(write) => crate::tokens::apply(tx, write)?,
        Write::Person(write) => crate::people::apply(tx, write)?,
        Write::Posture(write) => crate::posture::apply(tx, write)?,
        Write::Right(write) => crate::rights::apply(tx, write)?,
        Write::Log(write) => crate::log_start::apply(tx, write)?,
        Write::Again(write) => match apply(tx, write) {
            Err(ApplyError::Conflict) => {}
            done => done?,
        },
        Write::TurnBack(turn) => crate::turn_back::apply(tx, *turn)?,
        Write::Device(..)
        | Write::DeviceState { .. }
        | Write::CutOff { .. }
        | Write::StillActive(..)
        | Write::Activate { .. }
        | Write::Seen { .. }
        | Write::AskRotation(..)
        | Write::TrustBundle(..) => apply_to_device(tx, write)?,
        Write::OpenClaim(..)
        | Write::WrongSecret { .. }
        | Write::UseClaim(..)
        | Write::PresentKey(..)
        | Write::ApproveKey(..)
        | Write::CloseClaims(..)
        | Write::CloseClaim(..)
        | Write::ForgetClaims(..) => apply_to_claim(tx, write)?,
        Write::Authority(..)
        | Write::FormerAuthority(..)
        | Write::DestroyAuthorityKey(..)
        | Write::ForgetAuthority(..)
        | Write::ForgetServer(..)
        | Write::CrlNumber(..)
        | Write::CrlNumbersAhead(..) => apply_to_authority(tx, write)?,
        Write::Certificate(..)
        | Write::CertificateState(..)
        | Write::RevokeCertificates(..)
        | Write::SupersedeOtherLineages(..) => apply_to_certificate(tx, write)?,
    }
    Ok(())
}

fn apply_to_authority(tx: &Transaction<'_>, write: &Write) -> Result<(), ApplyError> {
    match write {
        Write::Authority(name, certificate) => {
            tx.prepare_cached(
                "INSERT INTO authority (name, certificate, crl_number) VALUES (?1, ?2, 0)
                 ON CONFLICT (name) DO UPDATE SET certificate = ?2",
            )?
            .execute(params![name, certificate])?;
        }
        Write::FormerAuthority(name, certificate, at) => {
            tx.prepare_cached(
                "INSERT INTO authority (name, certificate, crl_number, succeeded_at) VALUES (?1, ?2, 0, ?3)",
            )?
            .execute(params![name, certificate, at.as_ms()])?;
        }
        Write::DestroyAuthorityKey(name) => {
            tx.prepare_cached("DELETE FROM secret WHERE kind = 'ca' AND name = ?1")?
                .execute([name])?;
        }
        Write::ForgetAuthority(name) => {
            for sql in [
                "DELETE FROM authority WHERE name = ?1",
                "DELETE FROM secret WHERE kind = 'ca' AND name = ?1",
            ] {
                tx.prepare_cached(sql)?.execute([name])?;
            }
        }
        Write::ForgetServer(name) => {
            for sql in [
                "DELETE FROM authority WHERE name = ?1",
                "DELETE FROM secret WHERE kind = 'server' AND name = ?1",
            ] {
                tx.prepare_cached(sql)?.execute([name])?;
            }
        }
        Write::CrlNumbersAhead(numbers) => {
            tx.prepare_cached("UPDATE authority SET crl_number = crl_number + ?1")?
                .execute([numbers])?;
        }
        Write::CrlNumber(name) => one(tx
            .prepare_cached("UPDATE authority SET crl_number = crl_number + 1 WHERE name = ?1")?
            .execute([name])?)?,
        other => return misplaced(other),
    }
    Ok(())
}

fn apply_to_device(tx: &Transaction<'_>, write: &Write) -> Result<(), ApplyError> {
    match write {
        Write::Device(device) => {
            tx.prepare_cached(
                "INSERT INTO device (name, state, environment, profile, owner, purpose, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (name) DO UPDATE SET state = ?2, environment = ?3, profile = ?4,
                     owner = ?5, purpose = ?6, narrowing = NULL, narrowed_at = NULL",
            )?
            .execute(params![
                device.id.as_str(),
                device.state.as_str(),
                device.environment.as_str(),
                device.profile.as_str(),
                device.owner,
                device.purpose,
                device.created_at.as_ms(),
            ])?;
        }
        Write::DeviceState { device, from, to } => one(tx
            .prepare_cached("UPDATE device SET state = ?2 WHERE name = ?1 AND state IN (?2, ?3)")?
            .execute(params![device.as_str(), to.as_str(), from.as_str()])?)?,
        Write::CutOff { device, to } => cut_off(tx, device, *to)?,
        Write::StillActive(device) => one(tx
            .prepare_cached("SELECT count(*) FROM device WHERE name = ?1 AND state = 'active'")?
            .query_row([device.as_str()], |row| row.get(0))?)?,
        Write::Activate { device, from } => one(tx
            .prepare_cached("UPDATE device SET state = 'active' WHERE name = ?1 AND state = ?2")?
            .execute(params![device.as_str(), from.as_str()])?)?,
        Write::Seen {
            device,
            at,
            address,
        } => {
            tx.prepare_cached(
                "UPDATE device SET last_seen_at = ?2, last_address = ?3 WHERE name = ?1",
            )?
            .execute(params![device.as_str(), at.as_ms(), address])?;
        }
        Write::AskRotation(device, at) => one(tx
            .prepare_cached("UPDATE device SET rotate_asked_at = ?2 WHERE name = ?1")?
            .execute(params![device.as_str(), at.as_ms()])?)?,
        Write::TrustBundle(device, bundle) => {
            tx.prepare_cached("UPDATE device SET trust_bundle = ?2 WHERE name = ?1")?
                .execute(params![device.as_str(), bundle.0])?;
        }
        other => return misplaced(other),
    }
    Ok(())
}

/// What ends access applies to the current state of the device, except that nothing makes an end milder.
fn cut_off(tx: &Transaction<'_>, device: &DeviceId, to: DeviceState) -> Result<(), ApplyError> {
    let from = match to {
        DeviceState::Revoked => "1",
        DeviceState::Retired => "state <> 'revoked'",
        DeviceState::Suspended => "state IN ('active', 'suspended')",
        DeviceState::Pending | DeviceState::Active => {
            return Err(ApplyError::Defect(format!("{} ends nothing", to.as_str())));
        }
    };
    let sql = format!("UPDATE device SET state = ?2 WHERE name = ?1 AND {from}");
    one(tx
        .prepare_cached(&sql)?
        .execute((device.as_str(), to.as_str()))?)
}

fn apply_to_claim(tx: &Transaction<'_>, write: &Write) -> Result<(), ApplyError> {
    match write {
        Write::OpenClaim(claim) => {
            tx.prepare_cached(
                "INSERT INTO claim (id, device, state, secret_hash, wrong_tries, opened_at, expires_at,
                     opened_by)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)",
            )?
            .execute(params![
                claim.id.as_str(),
                claim.device.as_str(),
                claim.state.as_str(),
                claim.secret_hash.0,
                claim.opened_at.as_ms(),
                claim.expires_at.as_ms(),
                claim.opened_by,
            ])?;
        }
        Write::WrongSecret { claim, locks } => {
            let locked = if *locks { ClaimState::Locked } else { ClaimState::Open };
            tx.prepare_cached(
                "UPDATE claim SET wrong_tries = wrong_tries + 1,
                     state = CASE state WHEN 'open' THEN ?2 ELSE state END
                 WHERE id = ?1",
            )?
            .execute(params![claim.as_str(), locked.as_str()])?;
        }
        Write::UseClaim(claim, used) => one(tx
            .prepare_cached(
                "UPDATE claim SET state = 'used', used_key = ?2, used_certificate = ?3, used_at = ?4
                 WHERE id = ?1 AND state = 'open'",
            )?
            .execute(params![claim.as_str(), used.key.0, used.certificate.0, used.at.as_ms()])?)?,
        Write::PresentKey(claim, key) => one(tx
            .prepare_cached("UPDATE claim SET presented_key = ?2 WHERE id = ?1 AND state = 'open'")?
            .execute(params![claim.as_str(), key.0])?)?,
        Write::ApproveKey(claim, key) => one(tx
            .prepare_cached(
                "UPDATE claim SET approved_key = ?2
                 WHERE id = ?1 AND state = 'open' AND presented_key = ?2",
            )?
            .execute(params![claim.as_str(), key.0])?)?,
        Write::CloseClaims(device) => {
            tx.prepare_cached("UPDATE claim SET state = 'closed' WHERE device = ?1 AND state = 'open'")?
                .execute([device.as_str()])?;
        }
        Write::CloseClaim(claim) => one(tx
            .prepare_cached("UPDATE claim SET state = 'closed' WHERE id = ?1 AND state = 'open'")?
            .execute([claim.as_str()])?)?,
        Write::ForgetClaims(before) => {
            tx.prepare_cached("DELETE FROM claim WHERE expires_at < ?1")?.execute([before.as_ms()])?;
        }
        other => return misplaced(other),
    }
    Ok(())
}

fn apply_to_certificate(tx: &Transaction<'_>, write: &Write) -> Result<(), ApplyError> {
    match write {
        Write::Certificate(certificate, der) => insert_certificate(tx, certificate, der)?,
        Write::CertificateState(device, fingerprint, state) => {
            let sql = format!(
                "UPDATE certificate SET state = ?3
                 WHERE device = {DEVICE_ID} AND fingerprint = ?2 AND state <> 'revoked'"
            );
            tx.prepare_cached(&sql)?.execute(params![
                device.as_str(),
                fingerprint.0,
                state.as_str()
            ])?;
        }
        Write::RevokeCertificates(device, reason, at) => {
            let sql = format!(
                "UPDATE certificate SET state = 'revoked', revoked_at = ?3, reason = ?2
                 WHERE device = {DEVICE_ID} AND state <> 'revoked'"
            );
            tx.prepare_cached(&sql)?.execute(params![
                device.as_str(),
                reason.as_str(),
                at.as_ms()
            ])?;
        }
        Write::SupersedeOtherLineages(device, lineage) => {
            let sql = format!(
                "UPDATE certificate SET state = 'superseded'
                 WHERE device = {DEVICE_ID} AND lineage <> ?2 AND state IN ('issued', 'active')"
            );
            tx.prepare_cached(&sql)?
                .execute(params![device.as_str(), lineage.0])?;
        }
        other => return misplaced(other),
    }
    Ok(())
}

fn insert_certificate(tx: &Transaction<'_>, c: &Certificate, der: &[u8]) -> Result<(), ApplyError> {
    let sql = format!(
        "INSERT INTO certificate (device, fingerprint, serial, environment, key, lineage, generation,
             state, not_before, not_after, renew_after, renew_before, issued_at, der)
         SELECT {DEVICE_ID}, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14
         WHERE NOT EXISTS (SELECT 1 FROM certificate
             WHERE device = {DEVICE_ID} AND lineage = ?6 AND generation = ?7)"
    );
    one(tx.prepare_cached(&sql)?.execute(params![
        c.device.as_str(),
        c.fingerprint.0,
        c.serial.0,
        c.environment.as_str(),
        c.key.0,
        c.lineage.0,
        c.generation,
        c.state.as_str(),
        c.not_before.as_ms(),
        c.not_after.as_ms(),
        c.window.renew_after.as_ms(),
        c.window.renew_before.as_ms(),
        c.issued_at.as_ms(),
        der,
    ])?)?;
    tx.prepare_cached("UPDATE device SET newest = ?2, not_after = ?3 WHERE name = ?1")?
        .execute(params![
            c.device.as_str(),
            tx.last_insert_rowid(),
            c.not_after.as_ms()
        ])?;
    Ok(())
}
