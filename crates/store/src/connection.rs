//! Opening the database: its key, its settings, its migrations, its integrity.

use std::ffi::c_int;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, ffi};
use zeroize::Zeroizing;

use crate::keys::DerivedKey;

/// The migrations, in the order of their numbers. Append only.
const MIGRATIONS: [&str; 17] = [
    include_str!("../../../migrations/0001_spine.sql"),
    include_str!("../../../migrations/0002_claim_order.sql"),
    include_str!("../../../migrations/0003_vault.sql"),
    include_str!("../../../migrations/0004_tokens.sql"),
    include_str!("../../../migrations/0005_rotation.sql"),
    include_str!("../../../migrations/0006_errand.sql"),
    include_str!("../../../migrations/0007_people.sql"),
    include_str!("../../../migrations/0008_lists.sql"),
    include_str!("../../../migrations/0009_acceptance.sql"),
    include_str!("../../../migrations/0010_rights.sql"),
    include_str!("../../../migrations/0011_token_mandate.sql"),
    include_str!("../../../migrations/0012_device_ends.sql"),
    include_str!("../../../migrations/0013_broker_state.sql"),
    include_str!("../../../migrations/0014_decisions.sql"),
    include_str!("../../../migrations/0015_makers.sql"),
    include_str!("../../../migrations/0016_authorities.sql"),
    include_str!("../../../migrations/0017_log_archive.sql"),
];

/// The page cache of the writer, in KiB; the readers have an eighth of it each, because every
/// commit makes what they hold stale.
const CACHE_KIB: i64 = 2 * 1024;
/// Pages of the write-ahead log after which they are moved into the database: 16 MiB. A page that
/// many commits have changed is then written, and waited for, once.
const CHECKPOINT_PAGES: i64 = 4096;

/// Which way a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Write,
    Read,
}

/// Opens a keyed connection. A wrong key shows as `NotADatabase` here, not later.
pub(crate) fn open(path: &Path, key: &DerivedKey, usage: Use) -> rusqlite::Result<Connection> {
    let access = match usage {
        // A database is made by hand: one that is not there, or a link to a disk that is not, is never made by opening it.
        Use::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Use::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    set_key(&connection, key)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Without it, SQLite compiles a prepared statement anew for every value it is bound to.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cipher_log_level", "NONE")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_query_value(None, "schema_version", |_| Ok(()))?;
    match usage {
        Use::Write => {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            // What is deleted is overwritten: destroyed data keys are gone from the file.
            connection.pragma_update(None, "secure_delete", true)?;
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        }
        Use::Read => only_read(&connection)?,
    }
    Ok(connection)
}

/// Prepares the empty file of a new database: pages that are freed later can be given back to the disk a few at a time.
pub(crate) fn prepare_new(path: &Path, key: &DerivedKey) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_key(&connection, key)?;
    connection.pragma_update(None, "cipher_log_level", "NONE")?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    // The mode is in the first page, which is written with the first table.
    connection.execute_batch("CREATE TABLE prepared (x); DROP TABLE prepared;")
}

/// The pages of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) all: u64,
    pub(crate) free: u64,
    /// How many bytes each has.
    pub(crate) bytes: u64,
    /// Whether free ones can be given back to the disk a few at a time.
    pub(crate) can_shrink: bool,
}

impl Pages {
    /// Whether so much is free that the file should become smaller: an eighth, and not less than 64 pages.
    pub(crate) fn has_much_room(self) -> bool {
        self.free >= 64 && self.free >= self.all / 8
    }
}

/// Counts the pages of a database.
pub(crate) fn pages(connection: &Connection) -> rusqlite::Result<Pages> {
    let ask = |name| {
        connection.pragma_query_value(None, name, |row| match row.get_ref(0)? {
            // SQLCipher answers some of these as text.
            ValueRef::Text(text) => Ok(String::from_utf8_lossy(text).parse().unwrap_or_default()),
            _ => row.get::<_, u64>(0),
        })
    };
    Ok(Pages {
        all: ask("page_count")?,
        free: ask("freelist_count")?,
        bytes: ask("page_size")?,
        can_shrink: ask("auto_vacuum")? == 2,
    })
}

/// Gives so many free pages back to the disk, within a transaction.
pub(crate) fn give_back(connection: &Connection, pages: u32) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// What is moved at once while a home opens, in bytes: SQLite holds it in memory meanwhile.
const MOVED_AT_ONCE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Makes a database that an older program has made smaller, if much of it is free and little is left to be moved. It can give
/// pages back by itself from then on.
pub(crate) fn shrink_once(connection: &Connection) -> rusqlite::Result<()> {
    let pages = pages(connection)?;
    let moved = (pages.all - pages.free) * pages.bytes;
    if pages.can_shrink || !pages.has_much_room() || moved > MOVED_AT_ONCE_MAX_BYTES {
        return Ok(());
    }
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;")?;
    empty_log(connection);
    Ok(())
}

/// Opens a copy of the database that nobody else has open, to be written into. What is lost in a crash is the copy alone, so
/// nothing waits for the disk.
pub(crate) fn open_copy(path: &Path, key: &DerivedKey) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_key(&connection, key)?;
    connection.pragma_update(None, "cipher_log_level", "NONE")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    Ok(connection)
}

/// Checks that tables and indexes agree (`PRAGMA integrity_check`), beyond what [`integrity`] sees of the pages. The first
/// thing that is wrong, if anything is.
pub(crate) fn disagreement(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let sql = "PRAGMA integrity_check(1)";
    let answer = connection.query_row(sql, [], |row| row.get::<_, String>(0))?;
    Ok((answer != "ok").then_some(answer))
}

/// From here on the connection reads, and keeps as few pages as a reader does.
pub(crate) fn only_read(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB / 8)
}

/// Gives the key raw, through the C interface, so that it never is in SQL text.
#[allow(unsafe_code)] // The one FFI call: rusqlite has no function for it.
fn set_key(connection: &Connection, key: &DerivedKey) -> rusqlite::Result<()> {
    let raw = Zeroizing::new(format!("x'{}'", hearthkey_core::id::hex(key.bytes())));
    // SAFETY: the handle is open for as long as `connection` is borrowed, and SQLCipher copies
    // the key's bytes before it returns.
    let code =
        unsafe { ffi::sqlite3_key(connection.handle(), raw.as_ptr().cast(), raw.len() as c_int) };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }
}

/// The number of the last migration that this program has.
pub(crate) const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// The number of the last migration that was applied.
pub(crate) fn schema(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// The number of the last migration that was applied to a database, which stays as it is: SQLite would otherwise move what a
/// crash has left in the write-ahead log into it.
pub(crate) fn schema_untouched(path: &Path, key: &DerivedKey) -> rusqlite::Result<i64> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let pending = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
    // Not to read only: that would leave an index of the log behind where there was none.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, pending)?;
    set_key(&connection, key)?;
    connection.pragma_update(None, "cipher_log_level", "NONE")?;
    schema(&connection)
}

/// Brings the schema up to date: all of it, or nothing, so that the program before still opens what could not be brought.
/// The number of the last migration is `user_version`.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let done = usize::try_from(schema(connection)?).unwrap_or(usize::MAX);
    let transaction = connection.transaction()?;
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", number + 1)?;
    }
    transaction.commit()
}

/// Moves all that the write-ahead log holds into the database. Whether that was done: not while somebody reads, nor on a
/// full disk.
pub(crate) fn empty_log(connection: &Connection) -> bool {
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, i64>(0)
    });
    matches!(busy, Ok(0))
}

/// Checks every page of the database file against its authentication code. One line for each page that fails. A page
/// that is in the write-ahead log alone may fail here: [`damaged`] tells such from damage.
pub(crate) fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA cipher_integrity_check")?;
    let lines = statement.query_map([], |row| row.get(0))?;
    lines.collect()
}

/// How many pages are damaged, while others may be writing. SQLite moves a part of its log into the file while somebody
/// reads, and leaves out pages that were written again since: those are read through the log.
pub(crate) fn damaged(connection: &Connection) -> rusqlite::Result<usize> {
    let failing = integrity(connection)?.len();
    if failing == 0 {
        return Ok(0);
    }
    let whole = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    Ok(match whole.as_deref() {
        Ok("ok") => 0,
        _ => failing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::RootKey;

    /// Writes one value into each of 200 rows, about a page for each.
    fn write(connection: &Connection, value: &str) {
        let sql = "INSERT OR REPLACE INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
             WHERE i < 200) SELECT i, printf('%.*c', 3000, ?1) FROM n";
        connection.execute(sql, [value]).unwrap();
    }

    #[test]
    fn an_older_home_is_brought_up_to_date_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database");
        std::fs::File::create(&path).unwrap();
        let home = "home-1".parse().unwrap();
        let key = RootKey::generate().database(&home);
        let mut connection = open(&path, &key, Use::Write).unwrap();
        for sql in &MIGRATIONS[..12] {
            connection.execute_batch(sql).unwrap();
        }
        connection.pragma_update(None, "user_version", 12).unwrap();
        // The fourteenth makes it; the thirteenth works.
        let in_the_way = "CREATE INDEX audit_decided ON audit (object)";
        connection.execute_batch(in_the_way).unwrap();
        assert!(migrate(&mut connection).is_err());
        assert_eq!(schema(&connection), Ok(12));
        connection
            .execute_batch("DROP INDEX audit_decided")
            .unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(schema(&connection), Ok(SCHEMA));
    }

    #[test]
    fn a_database_of_an_older_program_is_made_smaller_once_and_gives_pages_back_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database");
        std::fs::File::create(&path).unwrap();
        let home = "home-1".parse().unwrap();
        let key = RootKey::generate().database(&home);
        let writer = open(&path, &key, Use::Write).unwrap();
        let create = "CREATE TABLE t (i INTEGER PRIMARY KEY, v TEXT)";
        writer.execute_batch(create).unwrap();
        write(&writer, "a");
        shrink_once(&writer).unwrap();
        assert!(!pages(&writer).unwrap().can_shrink, "nothing is free");
        let reader = open(&path, &key, Use::Read).unwrap();
        let count = |connection: &Connection| -> i64 {
            let sql = "SELECT count(*) FROM t";
            connection.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(count(&reader), 200);
        writer.execute("DELETE FROM t WHERE i >= 20", []).unwrap();
        assert!(empty_log(&writer));
        let before = std::fs::metadata(&path).unwrap().len();
        shrink_once(&writer).unwrap();
        let after = std::fs::metadata(&path).unwrap().len();
        assert!(after < before / 4, "{before} → {after}");
        assert_eq!((count(&reader), count(&writer)), (19, 19));
        write(&writer, "b");
        writer.execute("DELETE FROM t WHERE i >= 20", []).unwrap();
        let free = pages(&writer).unwrap();
        assert!(free.can_shrink && free.has_much_room(), "{free:?}");
        while pages(&writer).unwrap().free > 0 {
            let transaction = writer.unchecked_transaction().unwrap();
            give_back(&transaction, 50).unwrap();
            transaction.commit().unwrap();
        }
        assert!(empty_log(&writer));
        assert!(std::fs::metadata(&path).unwrap().len() <= after + 4096);
        assert!(integrity(&writer).unwrap().is_empty());
    }

    #[test]
    fn a_page_that_stands_in_the_log_alone_is_told_from_a_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database");
        std::fs::File::create(&path).unwrap();
        let home = "home-1".parse().unwrap();
        let key = RootKey::generate().database(&home);
        let writer = open(&path, &key, Use::Write).unwrap();
        let create = "CREATE TABLE t (i INTEGER PRIMARY KEY, v TEXT)";
        writer.execute_batch(create).unwrap();
        write(&writer, "a");
        let reader = open(&path, &key, Use::Read).unwrap();
        reader
            .execute_batch("BEGIN; SELECT count(*) FROM t")
            .unwrap();
        let seen = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
        assert_eq!(seen, Ok(200));
        writer
            .execute("UPDATE t SET v = 'b' WHERE i < 50", [])
            .unwrap();
        writer
            .execute_batch("PRAGMA wal_checkpoint(PASSIVE)")
            .unwrap();
        let other = open(&path, &key, Use::Read).unwrap();
        assert!(!integrity(&other).unwrap().is_empty(), "half was moved");
        assert_eq!(damaged(&other), Ok(0));
        drop((reader, other));
        assert!(empty_log(&writer));
        assert!(integrity(&writer).unwrap().is_empty());
        drop(writer);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let altered = open(&path, &key, Use::Read).unwrap();
        assert_eq!(damaged(&altered), Ok(1));
    }
}
