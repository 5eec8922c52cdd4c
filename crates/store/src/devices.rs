//! Lists of devices: filtered, sorted and counted by the database, a page at a time.

use hearthkey_core::certificate::{Certificate, RevocationReason};
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::{DeviceId, EnvironmentName, Fingerprint};
use hearthkey_core::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use crate::registry::{
    CERTIFICATE_COLUMNS, DEVICE_COLUMNS, KnownDevice, ReadError, Registry, Text, Word,
    read_certificate_at, read_device, time,
};

/// Columns of a device that come before those of its newest certificate.
const DEVICE_WIDTH: usize = 11;

/// By what a list of devices is sorted. Devices that lack it come last; those with the same, in the order in which they
/// were first named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortBy {
    /// Their names.
    #[default]
    Id,
    /// When their newest certificates end.
    NotAfter,
    /// When they were last seen.
    LastSeen,
    /// When they were first named.
    Created,
}

/// Which devices are listed.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// With this text in their names, owners or purposes; letters of ASCII in either case.
    pub text: Option<String>,
    /// In one of these states; in any if none are named.
    pub states: Vec<String>,
    /// Of one of these environments; of any if none.
    pub environments: Option<Vec<EnvironmentName>>,
    /// Of this profile.
    pub profile: Option<String>,
    /// Of this owner.
    pub owner: Option<String>,
    /// With one of these names: those that are connected, say.
    pub among: Option<Vec<String>>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default)]
pub struct DeviceSlice {
    /// By what it is sorted.
    pub sort: SortBy,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// After the device of this name, in the order of names.
    pub after: String,
    /// Without so many at the beginning.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

/// A text as part of a LIKE pattern.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn json(names: impl Iterator<Item = String>) -> Value {
    Value::Text(serde_json::to_string(&names.collect::<Vec<_>>()).unwrap_or_default())
}

impl DeviceFilter {
    /// The condition, and what is in it.
    fn condition(&self) -> (String, Vec<Value>) {
        let mut parts = vec!["1".to_owned()];
        let mut values = Vec::new();
        let mut add = |part: &str, value: Value| {
            values.push(value);
            parts.push(part.replace('#', &format!("?{}", values.len())));
        };
        if let Some(text) = &self.text {
            let part = "(d.name LIKE # ESCAPE '\\' OR d.owner LIKE # ESCAPE '\\' \
                 OR d.purpose LIKE # ESCAPE '\\')";
            add(part, Value::Text(escaped(text)));
        }
        if !self.states.is_empty() {
            let states = json(self.states.iter().cloned());
            add("d.state IN (SELECT value FROM json_each(#))", states);
        }
        if let Some(environments) = &self.environments {
            let names = json(environments.iter().map(ToString::to_string));
            add("d.environment IN (SELECT value FROM json_each(#))", names);
        }
        if let Some(profile) = &self.profile {
            add("d.profile = #", Value::Text(profile.clone()));
        }
        if let Some(owner) = &self.owner {
            add("d.owner = #", Value::Text(owner.clone()));
        }
        if let Some(among) = &self.among {
            let names = json(among.iter().cloned());
            add("d.name IN (SELECT value FROM json_each(#))", names);
        }
        (parts.join(" AND "), values)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(KnownDevice, Option<Certificate>)> {
    let has_certificate = row.get::<_, Option<i64>>(DEVICE_WIDTH)?.is_some();
    let certificate = match has_certificate {
        true => Some(read_certificate_at(row, DEVICE_WIDTH + 1)?),
        false => None,
    };
    Ok((read_device(row)?, certificate))
}

/// A certificate that was taken back, as the revocation journal is to hold it.
pub(crate) struct TakenBack {
    pub(crate) device: DeviceId,
    pub(crate) certificate: Fingerprint,
    pub(crate) key: Fingerprint,
    pub(crate) reason: RevocationReason,
    pub(crate) at: Timestamp,
}

impl Registry<'_> {
    /// The devices that are retired or revoked.
    pub(crate) fn devices_that_are_over(&self) -> Result<Vec<(DeviceId, DeviceState)>, ReadError> {
        let sql =
            "SELECT name, state FROM device WHERE state IN ('retired', 'revoked') ORDER BY name";
        self.all(sql, [], |row| {
            Ok((row.get::<_, Text<_>>(0)?.0, row.get::<_, Word<_>>(1)?.0))
        })
    }

    /// Every certificate that was revoked. It is asked at each look at the home: of all others none is read.
    pub(crate) fn certificates_taken_back(&self) -> Result<Vec<TakenBack>, ReadError> {
        let sql = "SELECT d.name, c.fingerprint, c.key, c.reason, c.revoked_at
             FROM certificate c INDEXED BY certificate_revoked
             JOIN device d ON d.id = c.device WHERE c.state = 'revoked'";
        self.all(sql, [], |row| {
            Ok(TakenBack {
                device: row.get::<_, Text<_>>(0)?.0,
                certificate: Fingerprint(row.get(1)?),
                key: Fingerprint(row.get(2)?),
                reason: row.get::<_, Word<_>>(3)?.0,
                at: time(row, 4)?,
            })
        })
    }

    /// A slice of the devices that fit, each with its newest certificate.
    pub fn devices_like(
        &self,
        filter: &DeviceFilter,
        slice: &DeviceSlice,
    ) -> Result<Vec<(KnownDevice, Option<Certificate>)>, ReadError> {
        let (condition, mut values) = filter.condition();
        let way = if slice.descending { "DESC" } else { "ASC" };
        let order = match slice.sort {
            SortBy::Id => format!("d.name {way}"),
            SortBy::NotAfter => format!("d.not_after {way} NULLS LAST, d.id"),
            SortBy::LastSeen => format!("d.last_seen_at {way} NULLS LAST, d.id"),
            SortBy::Created => format!("d.id {way}"),
        };
        values.extend([
            Value::Text(slice.after.clone()),
            Value::Integer(i64::from(slice.limit)),
            Value::Integer(i64::from(slice.offset)),
        ]);
        let count = values.len();
        let after = match (slice.sort, slice.after.is_empty()) {
            (SortBy::Id, false) => format!("AND d.name > ?{}", count - 2),
            // It is there so that every number has its place.
            _ => format!("AND ?{} IS NOT NULL", count - 2),
        };
        let sql = format!(
            "SELECT {DEVICE_COLUMNS}, c.id, {CERTIFICATE_COLUMNS}
             FROM (SELECT d.id FROM device d WHERE {condition} {after}
                   ORDER BY {order} LIMIT ?{} OFFSET ?{count}) page
             JOIN device d ON d.id = page.id
             LEFT JOIN certificate c ON c.id = d.newest ORDER BY {order}",
            count - 1
        );
        self.all(&sql, params_from_iter(values), read)
    }

    /// How many devices fit.
    pub fn count_devices_like(&self, filter: &DeviceFilter) -> Result<u64, ReadError> {
        let (condition, values) = filter.condition();
        let sql = format!("SELECT count(*) FROM device d WHERE {condition}");
        let count = self.one(&sql, params_from_iter(values), |row| row.get(0))?;
        Ok(count.unwrap_or_default())
    }

    /// Of these devices those that there are, each with how many certificates it has that are not revoked.
    pub fn devices_named(&self, names: &[DeviceId]) -> Result<Vec<(KnownDevice, u64)>, ReadError> {
        let names = json(names.iter().map(ToString::to_string));
        let sql = format!(
            "SELECT {DEVICE_COLUMNS}, (SELECT count(*) FROM certificate c
                 WHERE c.device = d.id AND c.state <> 'revoked')
             FROM device d WHERE d.name IN (SELECT value FROM json_each(?1)) ORDER BY d.name"
        );
        self.all(&sql, [names], |row| {
            Ok((read_device(row)?, row.get(DEVICE_WIDTH)?))
        })
    }

    /// Of active devices of these environments, how many newest certificates end on each day from a moment to another:
    /// the day's number since 1970, and how many.
    pub fn certificates_ending(
        &self,
        environments: Option<&[EnvironmentName]>,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<(i64, u64)>, ReadError> {
        let names = environments.map(|names| json(names.iter().map(ToString::to_string)));
        let sql = "SELECT not_after / 86400000, count(*) FROM device
                   WHERE not_after >= ?1 AND not_after < ?2 AND state = 'active'
                     AND (?3 IS NULL OR environment IN (SELECT value FROM json_each(?3)))
                   GROUP BY 1 ORDER BY 1";
        self.all(sql, (from.as_ms(), until.as_ms(), names), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_for_is_taken_by_its_letters() {
        assert_eq!(escaped("50%_\\"), "%50\\%\\_\\\\%");
    }

    #[test]
    fn each_value_of_a_condition_has_its_place() {
        let filter = DeviceFilter {
            text: Some("lamp".into()),
            states: vec!["active".into()],
            environments: Some(vec!["home".parse().unwrap()]),
            profile: Some("generic".into()),
            owner: None,
            among: Some(vec!["lamp".into()]),
        };
        let (condition, values) = filter.condition();
        assert_eq!(values.len(), 5);
        for number in 1..=5 {
            assert!(condition.contains(&format!("?{number}")), "{condition}");
        }
        assert!(!condition.contains('#'));
    }
}
