//! What is under way in the vault: rotations and leases, as they stand.

use hearthkey_core::credential::CredentialId;
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::lease::Lease;
use hearthkey_core::rotation::Rotation;
use hearthkey_core::time::{Span, Timestamp};
use rusqlite::Row;

use crate::inventory::id;
use crate::registry::{Json, ReadError, Registry, Word, time, time_if_any};

const ROTATION_COLUMNS: &str = "r.id, r.step, r.from_version, r.to_version, r.reason, r.begun_by,
    r.begun_at, r.deadline, r.dependents, r.confirmed, r.tries, r.not_before, r.notes, r.ended_at,
    r.overlap_ms, r.asked, r.other_expires_at";

fn read_rotation(row: &Row<'_>) -> rusqlite::Result<Rotation> {
    Ok(Rotation {
        id: row.get(0)?,
        step: row.get::<_, Word<_>>(1)?.0,
        from_version: row.get(2)?,
        to_version: row.get(3)?,
        reason: row.get(4)?,
        begun_by: row.get(5)?,
        begun_at: time(row, 6)?,
        deadline: time_if_any(row, 7)?,
        dependents: row.get::<_, Json<_>>(8)?.0,
        confirmed: row.get::<_, Json<_>>(9)?.0,
        tries: row.get(10)?,
        not_before: time(row, 11)?,
        notes: row.get::<_, Json<_>>(12)?.0,
        ended_at: time_if_any(row, 13)?,
        overlap: row.get::<_, Option<i64>>(14)?.map(Span::ms),
        asked: row.get(15)?,
        other_expires_at: time_if_any(row, 16)?,
    })
}

const LEASE_COLUMNS: &str =
    "l.id, c.name, c.environment, l.version, l.holder, l.address, l.issued_at,
    l.expires_at, l.child, l.remote_id, l.ended_at, l.ended_by, l.note";

fn read_lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        id: row.get(0)?,
        credential: id(row, 1, 2)?,
        version: row.get(3)?,
        holder: row.get(4)?,
        address: row.get(5)?,
        issued_at: time(row, 6)?,
        expires_at: time(row, 7)?,
        child: row.get(8)?,
        remote_id: row.get(9)?,
        ended_at: time_if_any(row, 10)?,
        ended_by: row.get(11)?,
        note: row.get(12)?,
    })
}

impl Registry<'_> {
    /// Retired credentials of which a version is still in use, or a rotation runs: the gateway stopped in the middle.
    pub fn retired_in_part(&self) -> Result<Vec<CredentialId>, ReadError> {
        self.all(
            "SELECT c.name, c.environment FROM credential c WHERE c.state = 'retired'
             AND (EXISTS (SELECT 1 FROM credential_version v
                     WHERE v.credential = c.id AND v.state IN ('pending', 'current', 'previous'))
                 OR EXISTS (SELECT 1 FROM rotation r WHERE r.credential = c.id AND r.ended_at IS NULL))
             LIMIT 500",
            [],
            |row| id(row, 0, 1),
        )
    }

    /// The rotation of a credential that runs.
    pub fn rotation(&self, id: &CredentialId) -> Result<Option<Rotation>, ReadError> {
        let sql = format!(
            "SELECT {ROTATION_COLUMNS} FROM credential c JOIN rotation r ON r.credential = c.id
             WHERE c.name = ?1 AND c.environment = ?2 AND r.ended_at IS NULL"
        );
        let key = (id.name.as_str(), id.environment.as_str());
        self.one(&sql, key, read_rotation)
    }

    /// The rotations of a credential, newest first.
    pub fn rotations(&self, id: &CredentialId, limit: u32) -> Result<Vec<Rotation>, ReadError> {
        let sql = format!(
            "SELECT {ROTATION_COLUMNS} FROM credential c JOIN rotation r ON r.credential = c.id
             WHERE c.name = ?1 AND c.environment = ?2 ORDER BY r.id DESC LIMIT ?3"
        );
        let key = (id.name.as_str(), id.environment.as_str(), limit);
        self.all(&sql, key, read_rotation)
    }

    /// The rotations that run, the oldest first.
    pub fn running_rotations(&self) -> Result<Vec<(CredentialId, Rotation)>, ReadError> {
        let sql = format!(
            "SELECT {ROTATION_COLUMNS}, c.name, c.environment FROM rotation r
             JOIN credential c ON c.id = r.credential WHERE r.ended_at IS NULL ORDER BY r.id LIMIT 10000"
        );
        self.all(&sql, [], |row| Ok((id(row, 17, 18)?, read_rotation(row)?)))
    }

    /// A lease.
    pub fn lease(&self, lease: &str) -> Result<Option<Lease>, ReadError> {
        let sql = format!(
            "SELECT {LEASE_COLUMNS} FROM lease l JOIN credential c ON c.id = l.credential WHERE l.id = ?1"
        );
        self.one(&sql, [lease], read_lease)
    }

    /// The leases that have not ended, the first to end first, at most `limit`.
    pub fn leases(&self, limit: u32) -> Result<Vec<Lease>, ReadError> {
        let sql = format!(
            "SELECT {LEASE_COLUMNS} FROM lease l JOIN credential c ON c.id = l.credential
             WHERE l.ended_at IS NULL ORDER BY l.expires_at LIMIT ?1"
        );
        self.all(&sql, [limit], read_lease)
    }

    /// The leases whose time has come, the first to end first, at most `limit`.
    pub fn due_leases(&self, now: Timestamp, limit: u32) -> Result<Vec<Lease>, ReadError> {
        let sql = format!(
            "SELECT {LEASE_COLUMNS} FROM lease l JOIN credential c ON c.id = l.credential
             WHERE l.ended_at IS NULL AND l.expires_at <= ?1 ORDER BY l.expires_at LIMIT ?2"
        );
        self.all(&sql, (now.as_ms(), limit), read_lease)
    }

    /// How many children of a bridge are lent.
    pub fn children_at(
        &self,
        bridge: &str,
        environment: &EnvironmentName,
    ) -> Result<u64, ReadError> {
        let sql = "SELECT count(*) FROM lease l JOIN credential c ON c.id = l.credential
                   WHERE l.ended_at IS NULL AND l.child = 1 AND c.environment = ?2
                   AND substr(c.name, 1, instr(c.name, '/') - 1) = ?1";
        let count = self.one(sql, (bridge, environment.as_str()), |row| row.get(0))?;
        Ok(count.unwrap_or(0))
    }

    /// The leases of a credential that have not ended.
    pub fn leases_of(&self, id: &CredentialId) -> Result<Vec<Lease>, ReadError> {
        let sql = format!(
            "SELECT {LEASE_COLUMNS} FROM lease l JOIN credential c ON c.id = l.credential
             WHERE c.name = ?1 AND c.environment = ?2 AND l.ended_at IS NULL LIMIT 10000"
        );
        let key = (id.name.as_str(), id.environment.as_str());
        self.all(&sql, key, read_lease)
    }

    /// The leases that somebody holds, the first to end first, at most `limit`.
    pub fn leases_held_by(&self, holder: &str, limit: u32) -> Result<Vec<Lease>, ReadError> {
        let sql = format!(
            "SELECT {LEASE_COLUMNS} FROM lease l JOIN credential c ON c.id = l.credential
             WHERE l.ended_at IS NULL AND l.holder = ?1 ORDER BY l.expires_at LIMIT ?2"
        );
        self.all(&sql, (holder, limit), read_lease)
    }
}
