//! What the registry has of a home's posture, and the findings that were accepted.

use hearthkey_core::audit::{Outcome, Record};
use hearthkey_core::credential::{CredentialId, Kind};
use hearthkey_core::id::{DeviceId, EnvironmentName, ProfileName};
use hearthkey_core::posture::Named;
use hearthkey_core::posture::backups::Backups;
use hearthkey_core::right::{Narrowing, Right, Verb};
use hearthkey_core::time::Timestamp;
use rusqlite::{Row, Transaction, params};

use crate::apply::{ApplyError, one};
use crate::inventory::id;
use crate::registry::{ReadError, Registry, Text, time, time_if_any};

/// That somebody accepts a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The finding's id.
    pub finding: String,
    /// Who is responsible for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When.
    pub accepted_at: Timestamp,
    /// Who said so.
    pub accepted_by: String,
    /// Until when it holds; for good if never.
    pub until: Option<Timestamp>,
}

/// What can be changed about acceptances.
#[derive(Debug)]
pub enum PostureWrite {
    /// Accepts a finding, in place of what was said before.
    Accept(Acceptance),
    /// Takes an acceptance back; a conflict if there is none.
    Reopen(String),
}

/// An active device that has been there, and what of its rights it has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightsUsed {
    /// The device.
    pub device: DeviceId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its profile.
    pub profile: ProfileName,
    /// Since when uses are counted, or since it was last promised its rights by a claim.
    pub since: Timestamp,
    /// When it last came, as far as it is written down.
    pub last_seen_at: Option<Timestamp>,
    /// To what its rights are narrowed.
    pub narrowing: Option<Narrowing>,
    /// What it used, and when last.
    pub used: Vec<(Right, Timestamp)>,
}

/// Records about backups that are looked at.
const BACKUPS_LOOKED_AT: u32 = 200;

/// DER of the curve P-256 (RFC 5480 §2.1.1.1) and of ecdsa-with-SHA256 (RFC 5758 §3.2): what the home issues with.
const P256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ECDSA_WITH_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

pub(crate) fn apply(tx: &Transaction<'_>, write: &PostureWrite) -> Result<(), ApplyError> {
    match write {
        PostureWrite::Accept(accepted) => {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO acceptance
                     (finding, owner, reason, accepted_at, accepted_by, until)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                accepted.finding,
                accepted.owner,
                accepted.reason,
                accepted.accepted_at.as_ms(),
                accepted.accepted_by,
                accepted.until.map(Timestamp::as_ms),
            ])?;
            Ok(())
        }
        PostureWrite::Reopen(finding) => one(tx
            .prepare_cached("DELETE FROM acceptance WHERE finding = ?1")?
            .execute([finding])?),
    }
}

impl Registry<'_> {
    /// Every acceptance.
    pub fn acceptances(&self) -> Result<Vec<Acceptance>, ReadError> {
        let sql = "SELECT finding, owner, reason, accepted_at, accepted_by, until FROM acceptance
                   ORDER BY finding LIMIT 10000";
        self.all(sql, [], |row| {
            Ok(Acceptance {
                finding: row.get(0)?,
                owner: row.get(1)?,
                reason: row.get(2)?,
                accepted_at: time(row, 3)?,
                accepted_by: row.get(4)?,
                until: time_if_any(row, 5)?,
            })
        })
    }

    /// Active devices whose newest certificate should have been replaced by now, of those that end before a moment.
    pub fn devices_unrenewed(&self, now: Timestamp, ends: Timestamp) -> Result<Named, ReadError> {
        self.named(
            "SELECT d.name FROM device d JOIN certificate c ON c.id = d.newest
             WHERE d.not_after <= ?2 AND d.state = 'active' AND c.renew_before <= ?1
             ORDER BY d.not_after",
            (now.as_ms(), ends.as_ms()),
        )
    }

    /// Each active device that was named before a moment and of which no sighting is written down, by its name.
    pub fn each_never_seen(
        &self,
        before: Timestamp,
        mut see: impl FnMut(String),
    ) -> Result<(), ReadError> {
        let sql = "SELECT name FROM device
             WHERE last_seen_at IS NULL AND state = 'active' AND created_at < ?1 ORDER BY name";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([before.as_ms()])?;
        while let Some(row) = rows.next()? {
            see(row.get(0)?);
        }
        Ok(())
    }

    /// Devices in use that belong to one of these people.
    pub fn devices_owned_by(&self, owners: &[String]) -> Result<Named, ReadError> {
        if owners.is_empty() {
            return Ok(Named::default());
        }
        let owners = serde_json::to_string(owners).unwrap_or_default();
        self.named(
            "SELECT name FROM device WHERE state IN ('pending', 'active', 'suspended')
                 AND lower(owner) IN (SELECT value FROM json_each(?1)) ORDER BY name",
            [owners],
        )
    }

    /// Active devices whose present key was first certified before a moment.
    pub fn devices_with_keys_from_before(&self, moment: Timestamp) -> Result<Named, ReadError> {
        self.named(
            "SELECT d.name FROM device d JOIN certificate c ON c.id = d.newest
             WHERE d.state = 'active' AND d.created_at < ?1 AND EXISTS
                 (SELECT 1 FROM certificate o WHERE o.device = d.id AND o.key = c.key AND o.issued_at < ?1)
             ORDER BY d.name",
            [moment.as_ms()],
        )
    }

    /// Active devices whose newest certificate was issued after a moment.
    pub fn devices_of_the_future(&self, moment: Timestamp) -> Result<Named, ReadError> {
        self.named(
            "SELECT d.name FROM device d JOIN certificate c ON c.id = d.newest
             WHERE d.state = 'active' AND c.issued_at > ?1 ORDER BY d.name",
            [moment.as_ms()],
        )
    }

    /// Shows the newest certificate of each active device to `see`, in the order of their names, unless it is made
    /// with P-256 and SHA-256 as the home's own are.
    pub fn each_unlike_ours(&self, mut see: impl FnMut(DeviceId, &[u8])) -> Result<(), ReadError> {
        let sql = "SELECT d.name, c.der FROM device d JOIN certificate c ON c.id = d.newest
             WHERE d.state = 'active' AND (instr(c.der, ?1) = 0 OR instr(c.der, ?2) = 0) ORDER BY d.name";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query((P256, ECDSA_WITH_SHA256))?;
        while let Some(row) = rows.next()? {
            let device = row.get::<_, Text<_>>(0)?.0;
            let der = row
                .get_ref(1)?
                .as_blob()
                .map_err(|error| ReadError(error.to_string()))?;
            see(device, der);
        }
        Ok(())
    }

    /// The values of active credentials that are shorter than this, and how long they are.
    pub fn values_shorter_than(
        &self,
        bytes: u64,
    ) -> Result<Vec<(CredentialId, Kind, u64)>, ReadError> {
        self.all(
            "SELECT c.name, c.environment, c.kind, v.bytes FROM credential c
             JOIN credential_version v ON v.credential = c.id AND v.state = 'current'
             WHERE c.state = 'active' AND v.bytes < ?1 ORDER BY c.id",
            [bytes],
            |row| Ok((id(row, 0, 1)?, row.get::<_, Text<_>>(2)?.0, row.get(3)?)),
        )
    }

    /// Shows each active device that has been there, and has held its rights since before a moment, to `see`.
    pub fn each_rights_used(
        &self,
        before: Timestamp,
        mut see: impl FnMut(RightsUsed),
    ) -> Result<(), ReadError> {
        // A claim is a new agreement on rights; ended ones are kept for as long as it matters here.
        let sql = "SELECT d.name, d.environment, d.profile, coalesce(d.rights_since, d.created_at),
                 d.last_seen_at, d.narrowing, u.verb, u.filter, u.last_used_at
             FROM device d LEFT JOIN right_use u ON u.device = d.id
             WHERE d.state = 'active'
                 AND coalesce(d.rights_since, d.created_at) <= ?1
                 AND NOT EXISTS (SELECT 1 FROM claim c WHERE c.device = d.name AND c.opened_at > ?1)
             ORDER BY d.name";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query([before.as_ms()])?;
        let mut present: Option<RightsUsed> = None;
        while let Some(row) = rows.next()? {
            let device: DeviceId = row.get::<_, Text<_>>(0)?.0;
            if present
                .as_ref()
                .is_none_or(|present| present.device != device)
                && let Some(whole) = present.replace(rights_used(row, device)?)
            {
                see(whole);
            }
            let verb: Option<Text<Verb>> = row.get(6)?;
            if let (Some(verb), Some(present)) = (verb, present.as_mut()) {
                present.used.push(((verb.0, row.get(7)?), time(row, 8)?));
            }
        }
        if let Some(last) = present {
            see(last);
        }
        Ok(())
    }

    /// When backups were made and tried, and whether the last attempt failed: records `backup.create`, and `backup.verify` or
    /// `backup.restore`, about `backup:…`.
    pub fn backups(&self) -> Result<Backups, ReadError> {
        let mut backups = Backups::default();
        for record in self.backup_records()? {
            let is_done = record.outcome == Outcome::Done;
            let failed = record.outcome == Outcome::Alert && record.action == "backup.create";
            if failed && backups.made_at.is_none() {
                let why = record.reason.unwrap_or_default();
                backups.failed.get_or_insert((record.time, why));
            }
            if !is_done {
                continue;
            }
            let newest = match record.action.as_str() {
                "backup.create" => &mut backups.made_at,
                "backup.verify" | "backup.restore" => &mut backups.tried_at,
                _ => continue,
            };
            newest.get_or_insert(record.time);
        }
        Ok(backups)
    }

    /// The newest records about backups, newest first.
    fn backup_records(&self) -> Result<Vec<Record>, ReadError> {
        let records = self.all(
            "SELECT record FROM audit WHERE object >= 'backup:' AND object < 'backup;'
             ORDER BY seq DESC LIMIT ?1",
            [BACKUPS_LOOKED_AT],
            |row| row.get::<_, Vec<u8>>(0),
        )?;
        let read = records.iter();
        let read = read.filter_map(|record| serde_json::from_slice(record).ok());
        Ok(read.collect())
    }

    /// The number of the record that says when the newest backup was made; none if none was, as far as is known here.
    pub fn newest_backup_record(&self) -> Result<Option<u64>, ReadError> {
        let made = self
            .backup_records()?
            .into_iter()
            .find(|record| record.action == "backup.create" && record.outcome == Outcome::Done);
        Ok(made.map(|record| record.seq))
    }

    /// When the newest backup was put at a place, as the log tells.
    pub fn backed_up_to(&self, place: &str) -> Result<Option<Timestamp>, ReadError> {
        let made = self.backup_records()?.into_iter().find(|record| {
            let is_made = record.action == "backup.create" && record.outcome == Outcome::Done;
            is_made && record.details.get("to").and_then(|to| to.as_str()) == Some(place)
        });
        Ok(made.map(|record| record.time))
    }

    fn named(&self, sql: &str, params: impl rusqlite::Params) -> Result<Named, ReadError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut named = Named::default();
        while let Some(row) = rows.next()? {
            named.add(row.get(0)?);
        }
        Ok(named)
    }
}

fn rights_used(row: &Row<'_>, device: DeviceId) -> rusqlite::Result<RightsUsed> {
    let narrowing: Option<String> = row.get(5)?;
    Ok(RightsUsed {
        device,
        environment: row.get::<_, Text<_>>(1)?.0,
        profile: row.get::<_, Text<_>>(2)?.0,
        since: time(row, 3)?,
        last_seen_at: time_if_any(row, 4)?,
        narrowing: narrowing.map(|text| serde_json::from_str(&text).unwrap_or_default()),
        used: Vec::new(),
    })
}
