//! The log is checked against what was signed: every record hashed again, a part at a time.
//!
//! The tree that is built here from the records alone must have the stored hashes, and the root that the newest
//! checkpoint signs. Each part is read in one short snapshot: the writer is never held up, and the write-ahead log
//! never kept from being emptied.

use std::collections::BTreeMap;

use hearthkey_core::id::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::anchor::Incident;
use crate::log::{Edge, SignedCheckpoint, open_checkpoint};
use crate::log_hashes::{edge_here, first_here, log_size};
use crate::registry::{ReadError, Registry};
use crate::store::Store;

/// The setting that holds what was found before and accepted by a person.
pub const ACCEPTED: &str = "log_accepted";
/// Altered records that are listed; with more, the log counts as rewritten.
const ALTERED_MAX: usize = 1000;

/// What is wrong with the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Records that are not what was signed, with the SHA-256 of what they are now.
    altered: BTreeMap<u64, String>,
    /// Whether the tree is another than the one that was signed.
    rewritten: Option<u64>,
}

/// How far a check has come, and what it has found.
#[derive(Debug, Clone, Default)]
pub struct LogCheck {
    edge: Edge,
    faults: Faults,
}

/// How one part of a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// There is more to check.
    More,
    /// The tree is the one that was signed, but for what [`LogCheck::faults`] names.
    Whole(SignedCheckpoint),
    /// It is not; nothing more can be said of it.
    Broken(Incident),
}

struct Row {
    record: Vec<u8>,
    hashes: Vec<u8>,
    object: Option<String>,
}

#[derive(Deserialize)]
struct Filed {
    seq: u64,
    object: String,
}

impl Faults {
    /// The first of these that is none of those that were accepted. A record that has changed again is another one.
    pub fn beyond(&self, accepted: &Self) -> Option<Incident> {
        let altered = |(seq, now): &(&u64, &String)| accepted.altered.get(seq) != Some(now);
        let altered = self.altered.iter().find(altered);
        altered
            .map(|(seq, _)| Incident::RecordAltered(*seq))
            .or_else(|| {
                let unknown = accepted.rewritten.is_none();
                self.rewritten.filter(|_| unknown).map(Incident::Rewritten)
            })
    }

    /// These and those.
    pub fn with(mut self, others: &Self) -> Self {
        self.altered.extend(others.altered.clone());
        self.rewritten = self.rewritten.or(others.rewritten);
        self
    }

    /// What is wrong, in one sentence; nothing if nothing is.
    pub fn text(&self) -> Option<String> {
        let more = match self.altered.len() {
            0 | 1 => String::new(),
            altered => format!(", and so it is with {} others", altered - 1),
        };
        let first = self.beyond(&Self::default())?;
        Some(format!("{first}{more}"))
    }

    /// As it is kept.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl LogCheck {
    /// Records that were checked.
    pub fn checked(&self) -> u64 {
        self.edge.size()
    }

    /// What is wrong with them.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Takes the next record: its stored hashes must be those of the tree, and it must be filed under what it says. One
    /// that is not what was signed is noted, and the tree goes on with the leaf that was.
    fn take(&mut self, row: &Row) -> Result<(), Incident> {
        let seq = self.edge.size();
        let filed = serde_json::from_slice::<Filed>(&row.record).ok();
        let in_place =
            filed.is_some_and(|filed| filed.seq == seq && Some(filed.object) == row.object);
        let before = self.edge.clone();
        if self
            .edge
            .append(&row.record)
            .is_ok_and(|hashes| hashes == row.hashes)
            && in_place
        {
            return Ok(());
        }
        self.edge = before;
        let leaf = row.hashes.first_chunk::<32>().copied().unwrap_or_default();
        let signed = self.edge.append_leaf(leaf);
        if signed.is_ok_and(|hashes| hashes == row.hashes)
            && self.faults.altered.len() < ALTERED_MAX
        {
            let now = Fingerprint::of(&row.record).to_string();
            self.faults.altered.insert(seq, now);
            return Ok(());
        }
        Err(self.broken(seq + 1))
    }

    fn broken(&mut self, size: u64) -> Incident {
        self.faults.rewritten = Some(size);
        Incident::Rewritten(size)
    }

    fn part(
        &mut self,
        registry: &Registry<'_>,
        vkey: &str,
        at_most: u32,
    ) -> Result<Part, ReadError> {
        let size = log_size(registry.0)?;
        if size < self.checked() {
            let (log, anchor) = (size, self.checked());
            return Ok(Part::Broken(Incident::RolledBack { log, anchor }));
        }
        let note = registry.one("SELECT note FROM checkpoint", [], |row| {
            row.get::<_, Vec<u8>>(0)
        })?;
        let signed = note.and_then(|note| open_checkpoint(&note, vkey).ok());
        let Some(signed) = signed.filter(|signed| signed.size == size) else {
            return Ok(match size {
                0 => Part::More,
                _ => Part::Broken(self.broken(size)),
            });
        };
        let first = first_here(registry.0)?;
        if self.checked() < first {
            // What is before is archived. The hashes that are kept of it are right if the root is, in the end.
            self.edge = edge_here(registry.0)?;
        }
        for row in registry.log_rows(self.checked(), at_most)? {
            if let Err(incident) = self.take(&row) {
                return Ok(Part::Broken(incident));
            }
        }
        if self.checked() < size {
            return Ok(Part::More);
        }
        let root = self.edge.root().map(|root| root.0);
        Ok(match root.is_ok_and(|root| root == signed.root) {
            true => Part::Whole(signed),
            false => Part::Broken(self.broken(size)),
        })
    }
}

impl Store {
    /// Checks at most so many further records against the newest checkpoint.
    pub fn check_log(&self, check: &mut LogCheck, at_most: u32) -> Result<Part, ReadError> {
        self.read(|registry| check.part(registry, self.vkey(), at_most))
    }

    /// What an incident says is wrong with the log as it is now.
    pub fn faults_of(&self, incident: &Incident) -> Result<Faults, ReadError> {
        let mut faults = Faults::default();
        match incident {
            Incident::RecordAltered(seq) => {
                let now = self.read(|registry| registry.records(*seq, 1))?;
                let now = now
                    .first()
                    .map(|record| Fingerprint::of(record).to_string());
                faults.altered.extend(now.map(|now| (*seq, now)));
            }
            Incident::Rewritten(size) => faults.rewritten = Some(*size),
            _ => {}
        }
        Ok(faults)
    }

    /// What was found before and accepted.
    pub fn accepted_faults(&self) -> Result<Faults, ReadError> {
        let bytes = self.read(|registry| registry.setting(ACCEPTED))?;
        let read = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(read.unwrap_or_default())
    }
}

impl Registry<'_> {
    fn log_rows(&self, from: u64, at_most: u32) -> Result<Vec<Row>, ReadError> {
        let sql = "SELECT record, hashes, object FROM audit WHERE seq >= ?1 ORDER BY seq LIMIT ?2";
        self.all(sql, (from, at_most), |row| {
            Ok(Row {
                record: row.get(0)?,
                hashes: row.get(1)?,
                object: row.get(2)?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use hearthkey_core::audit::{Actor, Entry};
    use hearthkey_core::id::HomeId;
    use hearthkey_core::time::Timestamp;
    use rusqlite::Connection;
    use tempfile::TempDir;
    use zeroize::Zeroizing;

    use super::*;
    use crate::change::{Change, Write};
    use crate::connection::{self, Use};
    use crate::files::DATABASE_FILE;
    use crate::keys::RootKey;
    use crate::log_start::{Archive, LogWrite};

    struct Home {
        store: Store,
        dir: TempDir,
    }

    fn id() -> HomeId {
        "home-1".parse().unwrap()
    }

    fn root() -> RootKey {
        RootKey::new(Zeroizing::new([7; 32]))
    }

    impl Home {
        async fn with(records: u32) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let now = Timestamp::from_s(1_800_000_000);
            Store::create(dir.path(), &root(), &id(), now).unwrap();
            let store = Store::open(dir.path(), root(), &id()).unwrap().store;
            let home = Self { store, dir };
            home.grow(records).await;
            home
        }

        async fn grow(&self, records: u32) {
            for n in 0..records {
                let at = Timestamp::from_s(1_800_000_000 + i64::from(n));
                let entry = Entry::new(at, Actor::gateway(), "test", format!("device:d{n}"));
                self.store.commit(Change::record(entry)).await.unwrap();
            }
        }

        /// As somebody has the database who holds its keys.
        fn thief(&self) -> Connection {
            let path = self.dir.path().join(DATABASE_FILE);
            connection::open(&path, &root().database(&id()), Use::Write).unwrap()
        }

        fn tamper(&self, sql: &str) {
            assert!(self.thief().execute(sql, []).unwrap() > 0, "{sql}");
        }

        fn check(&self, check: &mut LogCheck) -> Part {
            loop {
                match self.store.check_log(check, 7).unwrap() {
                    Part::More => {}
                    end => return end,
                }
            }
        }

        fn checked(&self) -> (Part, Option<String>) {
            let mut check = LogCheck::default();
            (self.check(&mut check), check.faults().text())
        }
    }

    #[tokio::test]
    async fn a_whole_log_verifies_from_its_beginning_and_from_where_it_was_verified() {
        let home = Home::with(20).await;
        let mut check = LogCheck::default();
        let Part::Whole(then) = home.check(&mut check) else {
            panic!("{check:?}");
        };
        assert_eq!(then.size, 20);
        home.grow(15).await;
        let Part::Whole(now) = home.check(&mut check) else {
            panic!("{check:?}");
        };
        assert_eq!((now.size, check.faults().text()), (35, None));
        assert_eq!(home.checked(), (Part::Whole(now), None));
    }

    #[tokio::test]
    async fn records_that_were_altered_are_named_and_the_rest_is_still_checked() {
        let home = Home::with(20).await;
        let altered = "UPDATE audit SET record = CAST(replace(CAST(record AS TEXT), 'device:d', 'device:x') AS BLOB)";
        home.tamper(&format!("{altered} WHERE seq IN (3, 12)"));
        let (part, faults) = home.checked();
        assert!(
            matches!(part, Part::Whole(_)),
            "the tree is what was signed"
        );
        let told =
            "the audit log's record 3 does not match the signature, and so it is with 1 others";
        assert_eq!(faults.as_deref(), Some(told));
    }

    #[tokio::test]
    async fn hashes_that_are_kept_of_archived_records_and_were_altered_break_the_tree() {
        for altered in ["hash = zeroblob(32)", "hash = x'00'", "place = place + 1"] {
            let home = Home::with(20).await;
            let (first, sha256) = (11, Fingerprint::of(b"file"));
            let root = home.store.segment(first).unwrap().unwrap().checkpoint.root;
            let archive = Archive {
                first: 0,
                before: first,
                root,
                sha256,
                bytes: 1,
                at: Timestamp::from_s(0),
            };
            let writes = [
                LogWrite::Archived(archive),
                LogWrite::BeginAt { first, sha256 },
                LogWrite::Drop { at_most: 20 },
            ];
            let change = writes.into_iter().fold(Change::default(), |change, write| {
                change.write(Write::Log(write))
            });
            home.store.commit(change).await.unwrap();
            assert!(matches!(home.checked().0, Part::Whole(_)));
            home.tamper(&format!(
                "UPDATE log_kept SET {altered} WHERE place = (SELECT max(place) FROM log_kept)"
            ));
            let mut check = LogCheck::default();
            let found = home.store.check_log(&mut check, 100);
            assert!(
                !matches!(found, Ok(Part::Whole(_) | Part::More)),
                "{altered}"
            );
        }
    }

    #[tokio::test]
    async fn a_record_that_is_filed_under_another_object_is_named() {
        let home = Home::with(9).await;
        home.tamper("UPDATE audit SET object = 'device:other' WHERE seq = 4");
        let told = "the audit log's record 4 does not match the signature";
        assert_eq!(home.checked().1.as_deref(), Some(told));
    }

    #[tokio::test]
    async fn a_tree_that_was_altered_shortened_or_thinned_is_broken() {
        for tamper in [
            "UPDATE audit SET hashes = zeroblob(length(hashes)) WHERE seq = 3",
            "DELETE FROM audit WHERE seq = 19",
            "DELETE FROM audit WHERE seq = 5",
            "DELETE FROM checkpoint",
        ] {
            let home = Home::with(20).await;
            home.tamper(tamper);
            assert!(matches!(home.checked().0, Part::Broken(_)), "{tamper}");
        }
        let home = Home::with(20).await;
        let mut check = LogCheck::default();
        home.check(&mut check);
        home.tamper("DELETE FROM audit WHERE seq > 10");
        let shortened = Incident::RolledBack {
            log: 11,
            anchor: 20,
        };
        assert_eq!(home.check(&mut check), Part::Broken(shortened));
    }

    #[tokio::test]
    async fn what_was_accepted_is_no_incident_again_unless_it_changes_again() {
        let home = Home::with(9).await;
        let alter = |seq: u64, to: &str| {
            home.tamper(&format!(
                "UPDATE audit SET record = CAST('{to}' AS BLOB) WHERE seq = {seq}"
            ));
            let mut check = LogCheck::default();
            home.check(&mut check);
            check.faults().clone()
        };
        let accepted = alter(2, "first");
        assert_eq!(accepted.beyond(&accepted), None);
        let another = alter(5, "other").beyond(&accepted);
        assert_eq!(another, Some(Incident::RecordAltered(5)));
        let again = alter(2, "second").beyond(&accepted);
        assert_eq!(again, Some(Incident::RecordAltered(2)));
        let kept: Faults = serde_json::from_slice(&accepted.to_json()).unwrap();
        assert_eq!(kept, accepted);
    }
}
