//! News of rotations on their way to places of use.

use hearthkey_core::id::EnvironmentName;
use hearthkey_core::news::{Errand, News};
use hearthkey_core::time::Timestamp;
use rusqlite::{Row, Transaction, params};

use crate::apply::{ApplyError, one};
use crate::inventory::id;
use crate::registry::{ReadError, Registry, Word, time, time_if_any};

fn read_errand(row: &Row<'_>) -> rusqlite::Result<Errand> {
    Ok(Errand {
        id: row.get(0)?,
        news: News {
            credential: id(row, 1, 2)?,
            place: row.get(3)?,
            event: row.get::<_, Word<_>>(4)?.0,
            version: row.get(5)?,
            deadline: time_if_any(row, 6)?,
        },
        tries: row.get(7)?,
        not_before: time(row, 8)?,
    })
}

impl Registry<'_> {
    /// The errands whose time has come, at most `limit`: of each place only the oldest, so that it gets its news in order.
    pub fn due_errands(&self, now: Timestamp, limit: u32) -> Result<Vec<Errand>, ReadError> {
        let sql =
            "SELECT id, credential, environment, place, event, version, deadline, tries, not_before
                   FROM errand e WHERE not_before <= ?1 AND NOT EXISTS (
                       SELECT 1 FROM errand o
                       WHERE o.place = e.place AND o.environment = e.environment AND o.id < e.id)
                   ORDER BY id LIMIT ?2";
        self.all(sql, (now.as_ms(), limit), read_errand)
    }
}

pub(crate) fn add(tx: &Transaction<'_>, news: &News, at: Timestamp) -> Result<(), ApplyError> {
    tx.prepare_cached(
        "INSERT INTO errand (credential, environment, place, event, version, deadline, tries, not_before)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
    )?
    .execute(params![
        news.credential.name.as_str(),
        news.credential.environment.as_str(),
        news.place,
        news.event.as_str(),
        news.version,
        news.deadline.map(Timestamp::as_ms),
        at.as_ms(),
    ])?;
    Ok(())
}

pub(crate) fn put_off(tx: &Transaction<'_>, errand: &Errand) -> Result<(), ApplyError> {
    one(tx
        .prepare_cached("UPDATE errand SET tries = ?2, not_before = ?3 WHERE id = ?1")?
        .execute((errand.id, errand.tries, errand.not_before.as_ms()))?)
}

pub(crate) fn end(tx: &Transaction<'_>, errand: i64) -> Result<(), ApplyError> {
    one(tx
        .prepare_cached("DELETE FROM errand WHERE id = ?1")?
        .execute([errand])?)
}

/// A place that no longer exists is not notified.
pub(crate) fn end_of(
    tx: &Transaction<'_>,
    place: &str,
    environment: &EnvironmentName,
) -> Result<(), ApplyError> {
    tx.prepare_cached("DELETE FROM errand WHERE place = ?1 AND environment = ?2")?
        .execute((place, environment.as_str()))?;
    Ok(())
}
