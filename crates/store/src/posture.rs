//! What the registry knows of a home's posture, and the findings that were accepted.

use hearthkey_core::posture::Named;
use hearthkey_core::time::Timestamp;
use rusqlite::{Transaction, params};

use crate::change::{ApplyError, one};
use crate::registry::{ReadError, Registry, time, time_if_any};

/// That somebody accepts a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The finding's id.
    pub finding: String,
    /// Who answers for it.
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

    /// Active devices that were named before a moment and never seen.
    pub fn devices_never_seen(&self, before: Timestamp) -> Result<Named, ReadError> {
        self.named(
            "SELECT name FROM device
             WHERE last_seen_at IS NULL AND state = 'active' AND created_at < ?1 ORDER BY name",
            [before.as_ms()],
        )
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
