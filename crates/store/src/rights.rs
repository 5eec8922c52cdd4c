//! Which rights devices have used, and to what they are narrowed.

use hearthkey_core::id::DeviceId;
use hearthkey_core::right::{Narrowing, Verb};
use hearthkey_core::time::Timestamp;
use rusqlite::{Transaction, params};

use crate::apply::{ApplyError, one};
use crate::registry::{ReadError, Registry, Text, time, time_if_any};

/// How often a right was used since the last time that this was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses {
    /// By whom.
    pub device: DeviceId,
    /// How.
    pub verb: Verb,
    /// The filter, as the profile grants it to the device.
    pub filter: String,
    /// How often.
    pub uses: u64,
}

/// What can be changed about rights.
#[derive(Debug)]
pub enum RightWrite {
    /// Adds uses.
    Used(Vec<Uses>, Timestamp),
    /// Narrows a device's rights.
    Narrow(DeviceId, Narrowing, Timestamp),
    /// Gives a device all that its profile grants; a conflict if it has that.
    Widen(DeviceId),
}

/// How a right has been used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownUse {
    /// How.
    pub verb: Verb,
    /// The filter.
    pub filter: String,
    /// How often.
    pub uses: u64,
    /// When last, to about ten seconds.
    pub last_used_at: Timestamp,
}

/// What is known of a device's rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownRights {
    /// Since when uses are counted.
    pub since: Option<Timestamp>,
    /// To what they are narrowed.
    pub narrowing: Option<Narrowing>,
    /// Since when.
    pub narrowed_at: Option<Timestamp>,
    /// What was used.
    pub uses: Vec<KnownUse>,
}

pub(crate) fn apply(tx: &Transaction<'_>, write: &RightWrite) -> Result<(), ApplyError> {
    match write {
        RightWrite::Used(all, at) => {
            let mut statement = tx.prepare_cached(
                "INSERT INTO right_use (device, verb, filter, uses, last_used_at)
                 SELECT id, ?2, ?3, ?4, ?5 FROM device WHERE name = ?1
                 ON CONFLICT (device, verb, filter)
                 DO UPDATE SET uses = uses + ?4, last_used_at = ?5",
            )?;
            for used in all {
                statement.execute(params![
                    used.device.as_str(),
                    used.verb.as_str(),
                    used.filter,
                    used.uses,
                    at.as_ms()
                ])?;
            }
            Ok(())
        }
        RightWrite::Narrow(device, narrowing, at) => {
            let text = serde_json::to_string(narrowing).unwrap_or_default();
            one(tx
                .prepare_cached(
                    "UPDATE device SET narrowing = ?2, narrowed_at = ?3 WHERE name = ?1",
                )?
                .execute(params![device.as_str(), text, at.as_ms()])?)
        }
        RightWrite::Widen(device) => one(tx
            .prepare_cached(
                "UPDATE device SET narrowing = NULL, narrowed_at = NULL
                 WHERE name = ?1 AND narrowing IS NOT NULL",
            )?
            .execute([device.as_str()])?),
    }
}

impl Registry<'_> {
    /// What is known of a device's rights.
    pub fn rights_of(&self, device: &DeviceId) -> Result<KnownRights, ReadError> {
        let known = self.one(
            "SELECT coalesce(rights_since, created_at), narrowing, narrowed_at FROM device
             WHERE name = ?1",
            [device.as_str()],
            |row| {
                let narrowing: Option<String> = row.get(1)?;
                Ok(KnownRights {
                    since: time_if_any(row, 0)?,
                    narrowing: narrowing.and_then(|text| serde_json::from_str(&text).ok()),
                    narrowed_at: time_if_any(row, 2)?,
                    uses: Vec::new(),
                })
            },
        )?;
        let uses = self.all(
            "SELECT u.verb, u.filter, u.uses, u.last_used_at
             FROM right_use u JOIN device d ON d.id = u.device WHERE d.name = ?1",
            [device.as_str()],
            |row| {
                Ok(KnownUse {
                    verb: row.get::<_, Text<_>>(0)?.0,
                    filter: row.get(1)?,
                    uses: row.get(2)?,
                    last_used_at: time(row, 3)?,
                })
            },
        )?;
        Ok(KnownRights {
            uses,
            ..known.unwrap_or_default()
        })
    }

    /// Every device whose rights are narrowed. What cannot be read keeps nothing but the gateway's own topics.
    pub fn narrowings(&self) -> Result<Vec<(DeviceId, Narrowing)>, ReadError> {
        let sql = "SELECT name, narrowing FROM device WHERE narrowing IS NOT NULL";
        self.all(sql, [], |row| {
            let text: String = row.get(1)?;
            let narrowing = serde_json::from_str(&text).unwrap_or_default();
            Ok((row.get::<_, Text<_>>(0)?.0, narrowing))
        })
    }
}
