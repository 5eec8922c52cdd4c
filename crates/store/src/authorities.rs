//! The home's CAs, as the registry has them.

use hearthkey_core::id::EnvironmentName;
use hearthkey_core::time::Timestamp;

use crate::registry::{ReadError, Registry, time_if_any};

/// A CA or a certificate of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAuthority {
    /// What it is called here.
    pub name: String,
    /// Its certificate in DER.
    pub der: Vec<u8>,
    /// When another followed it, if one has.
    pub succeeded_at: Option<Timestamp>,
}

impl Registry<'_> {
    /// A CA's certificate and the number of its last CRL.
    pub fn authority(&self, name: &str) -> Result<Option<(Vec<u8>, u64)>, ReadError> {
        let sql = "SELECT certificate, crl_number FROM authority WHERE name = ?1";
        self.one(sql, [name], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Every CA, and the gateway's own certificates, by name.
    pub fn authorities(&self) -> Result<Vec<KnownAuthority>, ReadError> {
        self.all(
            "SELECT name, certificate, succeeded_at FROM authority ORDER BY name",
            [],
            |row| {
                Ok(KnownAuthority {
                    name: row.get(0)?,
                    der: row.get(1)?,
                    succeeded_at: time_if_any(row, 2)?,
                })
            },
        )
    }

    /// When the last certificate ends that was issued in an environment before a moment and is neither replaced nor taken back;
    /// none if there is no such certificate. It walks the table: ask seldom.
    pub fn last_end_of_issued_before(
        &self,
        environment: &EnvironmentName,
        moment: Timestamp,
    ) -> Result<Option<Timestamp>, ReadError> {
        let ends = self.one(
            "SELECT MAX(not_after) FROM certificate
             WHERE environment = ?1 AND issued_at < ?2 AND state IN ('issued', 'active')",
            (environment.as_str(), moment.as_ms()),
            |row| time_if_any(row, 0),
        )?;
        Ok(ends.flatten())
    }
}
