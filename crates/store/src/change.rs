//! What can be changed, as data: the one place where the registry is written.
//!
//! A [`Change`] is applied whole or not at all. A write whose precondition no longer holds makes
//! it a conflict; the use case then reads the facts again and decides anew.

use hearthkey_core::audit::Entry;
use hearthkey_core::certificate::{Certificate, CertificateState, RevocationReason};
use hearthkey_core::claim::{Claim, ClaimState, ClaimUse};
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::id::{ClaimId, DeviceId, EnvironmentName, Fingerprint, ProfileName};
use hearthkey_core::time::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::apply::{ApplyError, misplaced, one};
pub use crate::effect::Effect;
use crate::people::PersonWrite;
use crate::posture::PostureWrite;
use crate::rights::RightWrite;
use crate::tokens::TokenWrite;
use crate::vault::SealedSecret;
use crate::vault_apply;
use crate::vault_change::VaultWrite;

/// One durable transaction: what is written, and what is recorded about it.
#[derive(Debug, Default)]
pub struct Change {
    /// Applied in order.
    pub writes: Vec<Write>,
    /// Appended to the audit log in order.
    pub entries: Vec<Entry>,
    /// What must still be the newest about a thing: else nothing of the change happens.
    pub expects: Option<Expected>,
}

/// A thing as a decision saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What audit records call the thing.
    pub object: String,
    /// The number of the newest record about it; none if there was none.
    pub newest: Option<u64>,
}

impl Change {
    /// A change that is only recorded.
    pub fn record(entry: Entry) -> Self {
        Self {
            writes: Vec::new(),
            entries: vec![entry],
            expects: None,
        }
    }

    /// The same, if the newest record about a thing is still this one.
    pub fn expecting(mut self, object: String, newest: Option<u64>) -> Self {
        self.expects = Some(Expected { object, newest });
        self
    }

    /// With one more record.
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// With one more write to the vault.
    pub fn vault(self, write: VaultWrite) -> Self {
        self.write(Write::Vault(write))
    }

    /// With one more write.
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }
}

/// One write.
#[derive(Debug)]
pub enum Write {
    /// Sets a named value.
    Setting(&'static str, Vec<u8>),
    /// Adds an environment.
    Environment(EnvironmentName, Timestamp),
    /// Adds or replaces a profile.
    Profile {
        /// Its name.
        name: ProfileName,
        /// Its text.
        toml: String,
        /// Whether it came with the program.
        built_in: bool,
    },
    /// Adds a device, or replaces what is known of it except its sightings.
    Device(Device),
    /// Moves a device from one state to another; a conflict if it is in neither. Not for what ends access: see `CutOff`.
    DeviceState {
        /// The device.
        device: DeviceId,
        /// Where it must stand.
        from: DeviceState,
        /// Where it goes.
        to: DeviceState,
    },
    /// Suspends, retires or revokes a device, in whichever state it is; a conflict if it is cut off for longer already.
    CutOff {
        /// The device.
        device: DeviceId,
        /// Where it goes.
        to: DeviceState,
    },
    /// Nothing is written; a conflict if the device is not active.
    StillActive(DeviceId),
    /// Makes a device active; a conflict if it does not stand where the decision saw it.
    Activate {
        /// The device.
        device: DeviceId,
        /// Where it must stand.
        from: DeviceState,
    },
    /// Notes that a device was seen.
    Seen {
        /// The device.
        device: DeviceId,
        /// When.
        at: Timestamp,
        /// From which address.
        address: String,
    },
    /// Asks a device to renew at once.
    AskRotation(DeviceId, Timestamp),
    /// Notes which trust bundle a device uses.
    TrustBundle(DeviceId, Fingerprint),
    /// Adds a claim.
    OpenClaim(Claim),
    /// Counts a wrong secret, and locks the claim if that was the last try.
    WrongSecret {
        /// The claim.
        claim: ClaimId,
        /// Whether to lock it.
        locks: bool,
    },
    /// Uses a claim; a conflict if it is not open.
    UseClaim(ClaimId, ClaimUse),
    /// Notes the key that waits for approval.
    PresentKey(ClaimId, Fingerprint),
    /// Approves a key for a claim; a conflict if another key was presented.
    ApproveKey(ClaimId, Fingerprint),
    /// Closes the open claims of a device.
    CloseClaims(DeviceId),
    /// Closes one claim; a conflict if it is not open.
    CloseClaim(ClaimId),
    /// Adds a certificate with its DER; a conflict if its generation is taken in its lineage.
    Certificate(Certificate, Vec<u8>),
    /// Moves a certificate to another state, unless it has been revoked.
    CertificateState(DeviceId, Fingerprint, CertificateState),
    /// Revokes every certificate of a device that is not revoked yet.
    RevokeCertificates(DeviceId, RevocationReason, Timestamp),
    /// Supersedes every live certificate of a device outside one lineage.
    SupersedeOtherLineages(DeviceId, hearthkey_core::id::SerialNumber),
    /// Adds or replaces a CA's certificate.
    Authority(String, Vec<u8>),
    /// Forgets a server certificate and destroys its key.
    ForgetServer(&'static str),
    /// Counts a CRL number up.
    CrlNumber(String),
    /// Adds a version of a secret.
    Secret {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
        /// The value, sealed for this row.
        sealed: SealedSecret,
        /// When.
        at: Timestamp,
    },
    /// Adds an effect that must happen once the change is durable.
    Effect(Effect),
    /// The effects up to this one have happened.
    EffectsDone(i64),
    /// Remembers something for the broker, or forgets it.
    BrokerState {
        /// The kind of thing.
        kind: String,
        /// Its key.
        key: String,
        /// Its value; none to forget it.
        value: Option<Vec<u8>>,
    },
    /// Drops claims that ended before a moment.
    ForgetClaims(Timestamp),
    /// Something in the vault.
    Vault(VaultWrite),
    /// Changes something about service tokens.
    Token(TokenWrite),
    /// Changes something about people and their sessions.
    Person(PersonWrite),
    /// Accepts a finding, or takes that back.
    Posture(PostureWrite),
    /// Notes the use of rights, narrows or widens them.
    Right(RightWrite),
}

/// The number of the newest record of what was decided about a thing. It looks into the index of these records, which the
/// condition has to name as its migration does.
pub(crate) const NEWEST_DECISION: &str = "SELECT seq FROM audit WHERE object = ?1
     AND CASE WHEN json_valid(CAST(record AS TEXT))
         THEN json_extract(CAST(record AS TEXT), '$.action') NOT GLOB '*.refuse' ELSE 1 END
     ORDER BY seq DESC LIMIT 1";

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
        Write::Authority(name, certificate) => {
            let sql = "INSERT INTO authority VALUES (?1, ?2, 0)
                       ON CONFLICT (name) DO UPDATE SET certificate = ?2";
            run(sql, &[name, certificate])?;
        }
        Write::ForgetServer(name) => {
            run("DELETE FROM authority WHERE name = ?1", &[name])?;
            let sql = "DELETE FROM secret WHERE kind = 'server' AND name = ?1";
            run(sql, &[name])?;
        }
        Write::CrlNumber(name) => {
            one(run(
                "UPDATE authority SET crl_number = crl_number + 1 WHERE name = ?1",
                &[name],
            )?)?;
        }
        Write::Secret {
            kind,
            name,
            version,
            sealed,
            at,
        } => {
            let SealedSecret {
                epoch,
                wrapped,
                sealed,
            } = sealed;
            let sql = "INSERT INTO secret VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            run(
                sql,
                &[kind, name, version, epoch, wrapped, sealed, &at.as_ms()],
            )?;
        }
        Write::Effect(effect) => {
            let text = serde_json::to_string(effect)
                .map_err(|error| ApplyError::Defect(error.to_string()))?;
            run("INSERT INTO outbox (effect) VALUES (?1)", &[&text])?;
        }
        Write::EffectsDone(last) => {
            run("DELETE FROM outbox WHERE id <= ?1", &[last])?;
        }
        Write::BrokerState {
            kind,
            key,
            value: Some(value),
        } => {
            run(
                "INSERT OR REPLACE INTO broker_state VALUES (?1, ?2, ?3)",
                &[kind, key, value],
            )?;
        }
        Write::BrokerState {
            kind,
            key,
            value: None,
        } => {
            run(
                "DELETE FROM broker_state WHERE kind = ?1 AND key = ?2",
                &[kind, key],
            )?;
        }
        Write::Vault(write) => vault_apply::apply(tx, write)?,
        Write::Token(write) => crate::tokens::apply(tx, write)?,
        Write::Person(write) => crate::people::apply(tx, write)?,
        Write::Posture(write) => crate::posture::apply(tx, write)?,
        Write::Right(write) => crate::rights::apply(tx, write)?,
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
        Write::Certificate(..)
        | Write::CertificateState(..)
        | Write::RevokeCertificates(..)
        | Write::SupersedeOtherLineages(..) => apply_to_certificate(tx, write)?,
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
