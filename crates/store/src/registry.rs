//! What is known: questions to the registry, answered through read-only connections.

use hearthkey_core::certificate::{Certificate, CertificateState, RenewalWindow, RevocationReason};
use hearthkey_core::claim::{Claim, ClaimState, ClaimUse};
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::id::{ClaimId, DeviceId, EnvironmentName, Fingerprint, SerialNumber};
use hearthkey_core::time::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::effect::Effect;
use crate::vault::SealedSecret;

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the storage cannot be read: {0}. Repair the disk, or restore a backup")]
pub struct ReadError(pub(crate) String);

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

/// A device with what has been seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    /// The device.
    pub device: Device,
    /// When an operator last asked it to renew at once.
    pub rotate_asked_at: Option<Timestamp>,
    /// When it was last connected.
    pub last_seen_at: Option<Timestamp>,
    /// The address it last came from.
    pub last_address: Option<String>,
    /// The trust bundle it says it uses.
    pub trust_bundle: Option<Fingerprint>,
}

/// One entry of a CRL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Its serial number.
    pub serial: SerialNumber,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// What the broker asked to be remembered: kind, key, value.
pub type BrokerRow = (String, String, Vec<u8>);

/// Reads a column through its text form.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: std::str::FromStr> FromSql for Text<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value
            .as_str()?
            .parse()
            .map(Text)
            .map_err(|_| FromSqlError::InvalidType)
    }
}

/// Reads a column through its word in serde's form.
pub(crate) struct Word<T>(pub(crate) T);

impl<T: serde::de::DeserializeOwned> FromSql for Word<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = serde_json::Value::String(value.as_str()?.to_owned());
        serde_json::from_value(word)
            .map(Word)
            .map_err(|_| FromSqlError::InvalidType)
    }
}

/// Reads a column that holds JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: serde::de::DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?)
            .map(Json)
            .map_err(|_| FromSqlError::InvalidType)
    }
}

pub(crate) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_ms)
}

pub(crate) fn time_if_any(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)
        .map(|ms| ms.map(Timestamp::from_ms))
}

fn fingerprint_if_any(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Fingerprint>> {
    row.get::<_, Option<[u8; 32]>>(column)
        .map(|bytes| bytes.map(Fingerprint))
}

pub(crate) const DEVICE_COLUMNS: &str =
    "d.name, d.state, d.environment, d.profile, d.owner, d.purpose,
    d.created_at, d.rotate_asked_at, d.last_seen_at, d.last_address, d.trust_bundle";

pub(crate) fn read_device(row: &Row<'_>) -> rusqlite::Result<KnownDevice> {
    Ok(KnownDevice {
        device: Device {
            id: row.get::<_, Text<_>>(0)?.0,
            state: row.get::<_, Word<DeviceState>>(1)?.0,
            environment: row.get::<_, Text<_>>(2)?.0,
            profile: row.get::<_, Text<_>>(3)?.0,
            owner: row.get(4)?,
            purpose: row.get(5)?,
            created_at: time(row, 6)?,
        },
        rotate_asked_at: time_if_any(row, 7)?,
        last_seen_at: time_if_any(row, 8)?,
        last_address: row.get(9)?,
        trust_bundle: fingerprint_if_any(row, 10)?,
    })
}

pub(crate) const CERTIFICATE_COLUMNS: &str =
    "c.fingerprint, c.serial, d.name, c.environment, c.key, c.lineage,
    c.generation, c.state, c.not_before, c.not_after, c.renew_after, c.renew_before, c.issued_at";

fn read_certificate(row: &Row<'_>) -> rusqlite::Result<Certificate> {
    read_certificate_at(row, 0)
}

/// A certificate whose columns begin at this one.
pub(crate) fn read_certificate_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Certificate> {
    Ok(Certificate {
        fingerprint: Fingerprint(row.get(at)?),
        serial: SerialNumber(row.get(at + 1)?),
        device: row.get::<_, Text<_>>(at + 2)?.0,
        environment: row.get::<_, Text<_>>(at + 3)?.0,
        key: Fingerprint(row.get(at + 4)?),
        lineage: SerialNumber(row.get(at + 5)?),
        generation: row.get(at + 6)?,
        state: row.get::<_, Word<CertificateState>>(at + 7)?.0,
        not_before: time(row, at + 8)?,
        not_after: time(row, at + 9)?,
        window: RenewalWindow {
            renew_after: time(row, at + 10)?,
            renew_before: time(row, at + 11)?,
        },
        issued_at: time(row, at + 12)?,
    })
}

fn read_claim(row: &Row<'_>) -> rusqlite::Result<Claim> {
    let used = match (
        fingerprint_if_any(row, 7)?,
        fingerprint_if_any(row, 8)?,
        time_if_any(row, 9)?,
    ) {
        (Some(key), Some(certificate), Some(at)) => Some(ClaimUse {
            key,
            certificate,
            at,
        }),
        _ => None,
    };
    Ok(Claim {
        id: row.get::<_, Text<_>>(0)?.0,
        device: row.get::<_, Text<_>>(1)?.0,
        state: row.get::<_, Word<ClaimState>>(2)?.0,
        secret_hash: Fingerprint(row.get(3)?),
        wrong_tries: row.get(4)?,
        opened_at: time(row, 5)?,
        expires_at: time(row, 6)?,
        used,
        presented_key: fingerprint_if_any(row, 10)?,
        approved_key: fingerprint_if_any(row, 11)?,
        opened_by: row.get(12)?,
    })
}

const CLAIM_COLUMNS: &str = "id, device, state, secret_hash, wrong_tries, opened_at, expires_at,
    used_key, used_certificate, used_at, presented_key, approved_key, opened_by";

/// A read-only connection, for as long as a question takes.
pub struct Registry<'a>(pub(crate) &'a Connection);

impl Registry<'_> {
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ReadError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let rows = statement
            .query_map(params, read)?
            .collect::<Result<_, _>>()?;
        Ok(rows)
    }

    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, ReadError> {
        Ok(self
            .0
            .prepare_cached(sql)?
            .query_row(params, read)
            .optional()?)
    }

    /// A named value.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.one("SELECT value FROM setting WHERE name = ?1", [name], |row| {
            row.get(0)
        })
    }

    /// Every environment.
    pub fn environments(&self) -> Result<Vec<EnvironmentName>, ReadError> {
        self.all("SELECT name FROM environment ORDER BY name", [], |row| {
            Ok(row.get::<_, Text<_>>(0)?.0)
        })
    }

    /// Every profile's text, and whether it came with the program.
    pub fn profiles(&self) -> Result<Vec<(String, bool)>, ReadError> {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.all("SELECT toml, built_in FROM profile ORDER BY name", [], read)
    }

    /// The names of the profiles.
    pub fn profile_names(&self) -> Result<Vec<String>, ReadError> {
        self.all("SELECT name FROM profile", [], |row| row.get(0))
    }

    /// A device.
    pub fn device(&self, id: &DeviceId) -> Result<Option<KnownDevice>, ReadError> {
        let sql = format!("SELECT {DEVICE_COLUMNS} FROM device d WHERE d.name = ?1");
        self.one(&sql, [id.as_str()], read_device)
    }

    /// Devices in the order of their ids, after one of them, at most `limit`.
    pub fn devices(&self, after: &str, limit: u32) -> Result<Vec<KnownDevice>, ReadError> {
        let sql = format!(
            "SELECT {DEVICE_COLUMNS} FROM device d WHERE d.name > ?1 ORDER BY d.name LIMIT ?2"
        );
        self.all(&sql, (after, limit), read_device)
    }

    /// How many devices there are.
    pub fn device_count(&self) -> Result<u64, ReadError> {
        Ok(self
            .one("SELECT count(*) FROM device", [], |row| row.get(0))?
            .unwrap_or_default())
    }

    /// A claim.
    pub fn claim(&self, id: &ClaimId) -> Result<Option<Claim>, ReadError> {
        let sql = format!("SELECT {CLAIM_COLUMNS} FROM claim WHERE id = ?1");
        self.one(&sql, [id.as_str()], read_claim)
    }

    /// The claims of a device, newest first.
    pub fn claims_of(&self, device: &DeviceId) -> Result<Vec<Claim>, ReadError> {
        let sql = format!(
            "SELECT {CLAIM_COLUMNS} FROM claim WHERE device = ?1 ORDER BY opened_at DESC LIMIT 100"
        );
        self.all(&sql, [device.as_str()], read_claim)
    }

    /// The claims that had not ended at a moment.
    pub fn claims_since(&self, moment: Timestamp) -> Result<Vec<Claim>, ReadError> {
        let sql = format!("SELECT {CLAIM_COLUMNS} FROM claim WHERE expires_at > ?1");
        self.all(&sql, [moment.as_ms()], read_claim)
    }

    /// One certificate of a device.
    pub fn certificate(
        &self,
        device: &DeviceId,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Certificate>, ReadError> {
        let sql = format!(
            "SELECT {CERTIFICATE_COLUMNS} FROM device d CROSS JOIN certificate c ON c.device = d.id
             WHERE d.name = ?1 AND c.fingerprint = ?2"
        );
        self.one(&sql, (device.as_str(), fingerprint.0), read_certificate)
    }

    /// The DER of one certificate of a device.
    pub fn certificate_der(
        &self,
        device: &DeviceId,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        self.one(
            "SELECT c.der FROM device d CROSS JOIN certificate c ON c.device = d.id
             WHERE d.name = ?1 AND c.fingerprint = ?2",
            (device.as_str(), fingerprint.0),
            |row| row.get(0),
        )
    }

    /// The certificates of a device, newest first, at most `limit`.
    pub fn certificates_of(
        &self,
        device: &DeviceId,
        limit: u32,
    ) -> Result<Vec<Certificate>, ReadError> {
        let sql = format!(
            "SELECT {CERTIFICATE_COLUMNS} FROM device d CROSS JOIN certificate c ON c.device = d.id
             WHERE d.name = ?1 ORDER BY c.id DESC LIMIT ?2"
        );
        self.all(&sql, (device.as_str(), limit), read_certificate)
    }

    /// Whether a certificate of a device, however old, has this key.
    pub fn has_had_key(&self, device: &DeviceId, key: &Fingerprint) -> Result<bool, ReadError> {
        let found = self.one(
            "SELECT 1 FROM device d CROSS JOIN certificate c ON c.device = d.id
             WHERE d.name = ?1 AND c.key = ?2",
            (device.as_str(), key.0),
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }

    /// The keys of all certificates that were revoked for a reason.
    pub fn keys_revoked_for(
        &self,
        reason: RevocationReason,
    ) -> Result<Vec<Fingerprint>, ReadError> {
        let sql = "SELECT key FROM certificate WHERE state = 'revoked' AND reason = ?1";
        self.all(sql, [reason.as_str()], |row| row.get(0).map(Fingerprint))
    }

    /// Calls `each` with every certificate that can still play a part at the listener: not yet past
    /// its life and the longest grace.
    pub fn each_certificate_since(
        &self,
        moment: Timestamp,
        mut each: impl FnMut(Certificate),
    ) -> Result<(), ReadError> {
        let sql = format!(
            "SELECT {CERTIFICATE_COLUMNS} FROM certificate c JOIN device d ON c.device = d.id
             WHERE c.not_after > ?1 ORDER BY c.id"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let mut rows = statement.query([moment.as_ms()])?;
        while let Some(row) = rows.next()? {
            each(read_certificate(row)?);
        }
        Ok(())
    }

    /// The certificates that were issued since a moment, oldest first, each with its device: of the newest few thousand.
    pub(crate) fn issued_since(
        &self,
        moment: Timestamp,
    ) -> Result<Vec<(Device, Certificate, Vec<u8>)>, ReadError> {
        let sql = format!(
            "SELECT * FROM (SELECT {DEVICE_COLUMNS}, {CERTIFICATE_COLUMNS}, c.der, c.id
                 FROM certificate c JOIN device d ON c.device = d.id ORDER BY c.id DESC LIMIT 4096)
             WHERE issued_at >= ?1 ORDER BY 26"
        );
        self.all(&sql, [moment.as_ms()], |row| {
            Ok((
                read_device(row)?.device,
                read_certificate_at(row, 11)?,
                row.get(24)?,
            ))
        })
    }

    /// The certificates of an environment that were issued last, newest first, at most `limit`: whose, and their DER.
    pub fn newest_certificates(
        &self,
        environment: &EnvironmentName,
        limit: u32,
    ) -> Result<Vec<(DeviceId, Vec<u8>)>, ReadError> {
        self.all(
            "SELECT d.name, c.der FROM certificate c JOIN device d ON d.id = c.device
             WHERE c.environment = ?1 ORDER BY c.id DESC LIMIT ?2",
            (environment.as_str(), limit),
            |row| Ok((row.get::<_, Text<_>>(0)?.0, row.get(1)?)),
        )
    }

    /// The revoked certificates of an environment that had not expired at a moment.
    pub fn revoked(
        &self,
        environment: &EnvironmentName,
        moment: Timestamp,
    ) -> Result<Vec<RevokedCertificate>, ReadError> {
        self.all(
            "SELECT serial, revoked_at, reason FROM certificate
             WHERE state = 'revoked' AND environment = ?1 AND not_after > ?2",
            (environment.as_str(), moment.as_ms()),
            |row| {
                Ok(RevokedCertificate {
                    serial: SerialNumber(row.get(0)?),
                    at: time(row, 1)?,
                    reason: row.get::<_, Word<_>>(2)?.0,
                })
            },
        )
    }

    /// The newest version of a secret.
    pub fn secret(&self, kind: &str, name: &str) -> Result<Option<(u32, SealedSecret)>, ReadError> {
        self.one(
            "SELECT version, epoch, wrapped, sealed FROM secret WHERE kind = ?1 AND name = ?2
             ORDER BY version DESC LIMIT 1",
            (kind, name),
            |row| {
                let secret = SealedSecret {
                    epoch: row.get(1)?,
                    wrapped: row.get(2)?,
                    sealed: row.get(3)?,
                };
                Ok((row.get(0)?, secret))
            },
        )
    }

    /// Effects that have not happened yet, oldest first, at most `limit`.
    pub fn effects(&self, limit: u32) -> Result<Vec<(i64, Effect)>, ReadError> {
        let rows = self.all(
            "SELECT id, effect FROM outbox ORDER BY id LIMIT ?1",
            [limit],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )?;
        rows.into_iter()
            .map(|(id, text)| {
                let effect = serde_json::from_str(&text).map_err(|e| ReadError(e.to_string()))?;
                Ok((id, effect))
            })
            .collect()
    }

    /// All that the broker asked to be remembered.
    pub fn broker_state(&self) -> Result<Vec<BrokerRow>, ReadError> {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        self.all(
            "SELECT kind, key, value FROM broker_state ORDER BY kind, key",
            [],
            read,
        )
    }

    /// Audit records from a number on, at most `limit`: the leaves' bytes. Those before the first here are left out.
    pub fn records(&self, from: u64, limit: u32) -> Result<Vec<Vec<u8>>, ReadError> {
        // SQLite's integers end at 2⁶³ - 1, and so do the numbers of records.
        let from = i64::try_from(from.max(self.first_here()?)).unwrap_or(i64::MAX);
        let sql = "SELECT record FROM audit WHERE seq >= ?1 ORDER BY seq LIMIT ?2";
        self.all(sql, (from, limit), |row| row.get(0))
    }

    /// The newest audit record.
    pub fn last_record(&self) -> Result<Option<Vec<u8>>, ReadError> {
        self.one(
            "SELECT record FROM audit ORDER BY seq DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
    }
}
