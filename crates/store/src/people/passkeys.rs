//! The passkeys that people log in with.

use hearthkey_core::time::Timestamp;
use rusqlite::{Row, Transaction, params};

use crate::apply::{ApplyError, one, run};
use crate::registry::{ReadError, Registry, time, time_if_any};

/// A passkey as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPasskey {
    /// The credential id.
    pub id: Vec<u8>,
    /// The person's id.
    pub person: String,
    /// What the person calls it.
    pub label: String,
    /// Public key and counter, in JSON.
    pub data: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

pub(super) fn add(tx: &Transaction<'_>, passkey: &StoredPasskey) -> Result<(), ApplyError> {
    run(
        tx,
        "INSERT OR IGNORE INTO passkey (id, person, label, data, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            passkey.id,
            passkey.person,
            passkey.label,
            passkey.data,
            passkey.created_at.as_ms()
        ],
    )
    .and_then(one)
}

pub(super) fn used(
    tx: &Transaction<'_>,
    id: &[u8],
    data: &str,
    at: Timestamp,
) -> Result<(), ApplyError> {
    let sql = "UPDATE passkey SET data = ?2, last_used_at = ?3 WHERE id = ?1";
    run(tx, sql, params![id, data, at.as_ms()]).and_then(one)
}

pub(super) fn end(tx: &Transaction<'_>, person: &str, id: &[u8]) -> Result<(), ApplyError> {
    let sql = "DELETE FROM passkey WHERE id = ?2 AND person = ?1";
    run(tx, sql, params![person, id]).and_then(one)
}

const PASSKEY: &str = "SELECT id, person, label, data, created_at, last_used_at FROM passkey";

fn read_passkey(row: &Row<'_>) -> rusqlite::Result<StoredPasskey> {
    Ok(StoredPasskey {
        id: row.get(0)?,
        person: row.get(1)?,
        label: row.get(2)?,
        data: row.get(3)?,
        created_at: time(row, 4)?,
        last_used_at: time_if_any(row, 5)?,
    })
}

impl Registry<'_> {
    /// A person's passkeys, the oldest first.
    pub fn passkeys_of(&self, person: &str) -> Result<Vec<StoredPasskey>, ReadError> {
        let sql = format!("{PASSKEY} WHERE person = ?1 ORDER BY created_at, id");
        self.all(&sql, [person], read_passkey)
    }

    /// The passkey with this credential id.
    pub fn passkey(&self, id: &[u8]) -> Result<Option<StoredPasskey>, ReadError> {
        self.one(&format!("{PASSKEY} WHERE id = ?1"), [id], read_passkey)
    }
}
