//! The one writer: a thread that commits what has gathered, each change in its own SAVEPOINT.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tlog_tiles::{Error as TlogError, Hash, HashReader};
use tokio::sync::{mpsc, oneshot, watch};

use crate::apply::ApplyError;
use crate::change::{Change, apply, check};
use crate::connection::{self, Use};
use crate::files::{DataDir, DatabaseFiles};
use crate::keys::DerivedKey;
use crate::log::{Edge, LogKey, SignedCheckpoint, stored_at};

/// Changes that may wait; beyond it, callers wait.
const QUEUE: usize = 1024;
/// Changes that share one commit at most.
const GROUP: usize = 256;

/// What was committed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The number of the change's first audit record.
    pub first_seq: u64,
}

/// Why a change was not committed. Nothing of it has happened, except where that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The facts have changed since the decision: read them again and decide anew.
    #[error("the registry changed in the meantime. Try again")]
    Conflict,
    /// The thing is not as the decision saw it: what the change expects to be the newest about it is not.
    #[error("it has changed since it was looked at. Look at it again, and decide anew")]
    Changed,
    /// The registry cannot hold the change, now or later: a defect of the program.
    #[error("the registry cannot hold the change: {0}. Report it with the gateway's log")]
    Unfit(String),
    /// The database cannot be written.
    #[error("the storage cannot be written: {0}. Free or mend the disk; no restart is needed")]
    Unavailable(String),
    /// The storage failed while it was taking the change: whether it has it is not known. Read the facts again.
    #[error(
        "the storage failed at the end of the change: {0}. Look whether it happened before you try again"
    )]
    Unknown(String),
    /// The log does not match its anchor, so nothing is added to it.
    #[error(
        "the home is read-only: {0}. Look at `hearthkey status`, then accept it with `hearthkey log accept`"
    )]
    ReadOnly(String),
    /// The home is being sealed.
    #[error("the gateway is sealed. Open it with `hearthkey unseal`")]
    Sealed,
}

pub(crate) struct Job {
    change: Change,
    reply: oneshot::Sender<Result<Committed, CommitError>>,
}

pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(
        (dir, path, database): (Arc<DataDir>, PathBuf, DatabaseFiles),
        key: Arc<DerivedKey>,
        log_key: LogKey,
        checkpoints: watch::Sender<Option<Arc<SignedCheckpoint>>>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let mut state = State {
            dir,
            path,
            database,
            key,
            log_key,
            checkpoints,
            open: None,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || state.run(queue))?;
        Ok(Self { jobs, thread })
    }

    pub(crate) async fn commit(&self, change: Change) -> Result<Committed, CommitError> {
        let (reply, answer) = oneshot::channel();
        self.jobs
            .send(Job { change, reply })
            .await
            .map_err(|_| CommitError::Sealed)?;
        let ended = || CommitError::Unknown("the writer ended".into());
        answer.await.map_err(|_| ended())?
    }

    /// Ends the thread once everything that waits is committed. Blocks until then.
    pub(crate) fn stop(self) {
        drop(self.jobs);
        if self.thread.join().is_err() {
            tracing::error!("the writer thread panicked");
        }
    }
}

/// Reads stored hashes through a connection.
pub(crate) struct StoredHashes<'a>(pub(crate) &'a Connection);

impl HashReader for StoredHashes<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TlogError> {
        let missing = |_| TlogError::IndexesNotInTree;
        let mut statement = self
            .0
            .prepare_cached("SELECT substr(hashes, ?2 * 32 + 1, 32) FROM audit WHERE seq = ?1")
            .map_err(missing)?;
        let mut read = |index: u64| {
            let (seq, place) = stored_at(index);
            statement
                .query_row((seq, place), |row| row.get::<_, [u8; 32]>(0))
                .map(Hash)
        };
        indexes
            .iter()
            .map(|index| read(*index).map_err(missing))
            .collect()
    }
}

struct State {
    dir: Arc<DataDir>,
    path: PathBuf,
    /// Which files the database is.
    database: DatabaseFiles,
    key: Arc<DerivedKey>,
    log_key: LogKey,
    checkpoints: watch::Sender<Option<Arc<SignedCheckpoint>>>,
    /// None after a failure: the next group opens the database anew.
    open: Option<(Connection, Edge)>,
}

type Verdict = Result<u64, CommitError>;

/// What became of the changes of a group, and the checkpoint that they led to.
type Done = (Vec<Verdict>, Option<SignedCheckpoint>);

/// Written after a commit whose end is not known.
const SETTLED: &str = "settled";

impl State {
    fn run(&mut self, mut queue: mpsc::Receiver<Job>) {
        let mut group = Vec::with_capacity(GROUP);
        while queue.blocking_recv_many(&mut group, GROUP) > 0 {
            self.commit_group(std::mem::take(&mut group));
        }
        // What the write-ahead log still holds goes into the database file.
        if let Some((connection, _)) = self.open.take() {
            let _ = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE");
        }
    }

    fn commit_group(&mut self, group: Vec<Job>) {
        let (changes, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|job| (job.change, job.reply)).unzip();
        if let Err(gone) = self.database.are_still_there(&self.dir) {
            // What is open still has what was committed, and writes it down where it can when the gateway stops.
            tracing::error!(gone, "nothing is committed");
            for reply in replies {
                let _ = reply.send(Err(CommitError::Unavailable(gone.clone())));
            }
            return;
        }
        match self.try_commit(changes) {
            Ok((verdicts, checkpoint)) => {
                if let Some(checkpoint) = checkpoint {
                    self.checkpoints.send_replace(Some(Arc::new(checkpoint)));
                }
                for (reply, verdict) in replies.into_iter().zip(verdicts) {
                    let _ = reply.send(verdict.map(|first_seq| Committed { first_seq }));
                }
            }
            Err(error) => {
                // A connection that has seen corruption or a failed write is not used again.
                self.open = None;
                tracing::error!(%error, "a commit failed");
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn try_commit(&mut self, changes: Vec<Change>) -> Result<Done, CommitError> {
        // Until the commit itself, a failure leaves nothing behind.
        let nothing = CommitError::Unavailable;
        let text = |error: rusqlite::Error| nothing(error.to_string());
        if self.open.is_none() {
            self.open = Some(self.reopen().map_err(nothing)?);
        }
        let Some((connection, edge)) = self.open.as_mut() else {
            return Err(nothing("the database is closed".into()));
        };
        let before = edge.size();
        let mut grown = edge.clone();
        let mut tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(text)?;
        let mut verdicts = Vec::with_capacity(changes.len());
        for change in changes {
            verdicts.push(apply_in_savepoint(&mut tx, &mut grown, change).map_err(nothing)?);
        }
        let checkpoint = if grown.size() > before {
            Some(sign_and_store(&tx, &self.log_key, &grown).map_err(nothing)?)
        } else {
            None
        };
        if let Err(error) = tx.commit() {
            let sizes = (before, grown.size());
            return self.settle(sizes, (verdicts, checkpoint), error.to_string());
        }
        *edge = grown;
        Ok((verdicts, checkpoint))
    }

    /// The storage failed at the end of a commit. SQLite may have it in its log without showing it, until something else is
    /// committed after it; so that is done, and then the size of the log tells whether it is there. If that fails too, or
    /// the commit left no record, it stays unknown.
    fn settle(
        &mut self,
        (before, after): (u64, u64),
        done: Done,
        why: String,
    ) -> Result<Done, CommitError> {
        self.open = None;
        let size = self.commit_something().map_err(|error| {
            tracing::error!(error, "what became of a commit is not known");
            CommitError::Unknown(why.clone())
        })?;
        match size {
            _ if before == after => Err(CommitError::Unknown(why)),
            size if size == after => Ok(done),
            size if size == before => Err(CommitError::Unavailable(why)),
            _ => Err(CommitError::Unknown(why)),
        }
    }

    /// Opens the database anew and commits something to it that says nothing. Returns the size of the log.
    fn commit_something(&mut self) -> Result<u64, String> {
        let (connection, edge) = self.reopen()?;
        let size = edge.size();
        connection
            .execute(
                "INSERT OR REPLACE INTO setting VALUES (?1, ?2)",
                (SETTLED, size.to_string().into_bytes()),
            )
            .map_err(|error| error.to_string())?;
        self.open = Some((connection, edge));
        Ok(size)
    }

    fn reopen(&self) -> Result<(Connection, Edge), String> {
        self.dir.still_there()?;
        let connection = connection::open(&self.path, &self.key, Use::Write)
            .map_err(|error| error.to_string())?;
        let size = log_size(&connection).map_err(|error| error.to_string())?;
        let edge =
            Edge::load(size, &StoredHashes(&connection)).map_err(|error| error.to_string())?;
        Ok((connection, edge))
    }
}

pub(crate) fn log_size(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT coalesce(max(seq) + 1, 0) FROM audit", [], |row| {
        row.get(0)
    })
}

fn apply_in_savepoint(
    tx: &mut Transaction<'_>,
    edge: &mut Edge,
    change: Change,
) -> Result<Verdict, String> {
    let run = |sql: &str| {
        tx.prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map_err(|error| error.to_string())
    };
    run("SAVEPOINT change")?;
    let first_seq = edge.size();
    let mut grown = edge.clone();
    match apply_change(tx, &mut grown, change) {
        Ok(()) => {
            run("RELEASE change")?;
            *edge = grown;
            Ok(Ok(first_seq))
        }
        Err(error) => {
            let refusal = own_fault(error)?;
            run("ROLLBACK TO change")?;
            run("RELEASE change")?;
            Ok(Err(refusal))
        }
    }
}

/// What is wrong with the change alone, so that those beside it are committed all the same; or
/// else what is wrong with the database.
fn own_fault(error: ApplyError) -> Result<CommitError, String> {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    match error {
        ApplyError::Conflict => Ok(CommitError::Conflict),
        ApplyError::Changed => Ok(CommitError::Changed),
        ApplyError::Defect(error) => {
            tracing::error!(error, "a change could not be applied");
            Ok(CommitError::Unfit(error))
        }
        ApplyError::Database(error) => match error.sqlite_error_code() {
            Some(ConstraintViolation | TooBig | TypeMismatch) => {
                tracing::error!(%error, "a change does not fit the registry");
                Ok(CommitError::Unfit(error.to_string()))
            }
            _ => Err(error.to_string()),
        },
        ApplyError::Log(error) => Err(error),
    }
}

fn apply_change(tx: &Transaction<'_>, edge: &mut Edge, change: Change) -> Result<(), ApplyError> {
    if let Some(expected) = &change.expects {
        check(tx, expected)?;
    }
    for write in &change.writes {
        apply(tx, write)?;
    }
    for entry in change.entries {
        let seq = edge.size();
        let object = entry.object.clone();
        let record = entry.into_record(seq);
        let broken = |error: &dyn std::fmt::Display| ApplyError::Log(error.to_string());
        let hashes = edge.append(&record).map_err(|error| broken(&error))?;
        tx.prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut statement| statement.execute((seq, record, hashes, object)))
            .map_err(|error| broken(&error))?;
    }
    Ok(())
}

fn sign_and_store(
    tx: &Transaction<'_>,
    key: &LogKey,
    edge: &Edge,
) -> Result<SignedCheckpoint, String> {
    let root = edge.root().map_err(|error| error.to_string())?;
    let checkpoint = key
        .sign(edge.size(), root)
        .map_err(|error| error.to_string())?;
    tx.prepare_cached("INSERT OR REPLACE INTO checkpoint VALUES (1, ?1, ?2)")
        .and_then(|mut statement| statement.execute((checkpoint.size, &checkpoint.note)))
        .map_err(|error| error.to_string())?;
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use hearthkey_core::audit::{Actor, Entry};
    use hearthkey_core::claim::{Claim, LIFETIME_DEFAULT};
    use hearthkey_core::id::{Fingerprint, HomeId};
    use hearthkey_core::time::Timestamp;

    use super::*;
    use crate::change::{NEWEST_DECISION, Write};
    use crate::keys::RootKey;
    use crate::log::{open_checkpoint, verify_export};

    const ORIGIN: &str = "hearthkey.home.arpa/home-1";

    struct Fixture {
        state: State,
        vkey: String,
        checkpoints: watch::Receiver<Option<Arc<SignedCheckpoint>>>,
        _dir: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let home: HomeId = "home-1".parse().unwrap();
        let path = dir.path().join("hearthkey.db");
        let key = Arc::new(RootKey::generate().database(&home));
        std::fs::File::create(&path).unwrap();
        let mut connection = connection::open(&path, &key, Use::Write).unwrap();
        connection::migrate(&mut connection).unwrap();
        let (private, vkey) = LogKey::generate(ORIGIN);
        let log_key = LogKey::parse(&private, ORIGIN).unwrap();
        let (sender, checkpoints) = watch::channel(None);
        let files = Arc::new(DataDir::open(dir.path()).unwrap());
        let state = State {
            database: DatabaseFiles::of(&files).unwrap(),
            dir: files,
            path,
            key,
            log_key,
            checkpoints: sender,
            open: None,
        };
        Fixture {
            state,
            vkey,
            checkpoints,
            _dir: dir,
        }
    }

    fn recorded(name: &'static str) -> Change {
        let at = Timestamp::from_s(1_800_000_000);
        Change::record(Entry::new(at, Actor::gateway(), "test", name.into()))
            .write(Write::Setting(name, b"1".to_vec()))
    }

    impl Fixture {
        /// Commits changes as one group and tells what became of each.
        fn group(&mut self, changes: Vec<Change>) -> Vec<Result<u64, CommitError>> {
            let (jobs, answers): (Vec<_>, Vec<_>) = changes
                .into_iter()
                .map(|change| {
                    let (reply, answer) = oneshot::channel();
                    (Job { change, reply }, answer)
                })
                .unzip();
            self.state.commit_group(jobs);
            let verdict = |answer: oneshot::Receiver<_>| answer.blocking_recv().unwrap();
            let verdicts = answers.into_iter().map(verdict);
            verdicts
                .map(|verdict: Result<Committed, _>| verdict.map(|done| done.first_seq))
                .collect()
        }

        /// By which index a question is answered.
        fn plan(&self, sql: &str) -> String {
            let (connection, _) = self.state.reopen().unwrap();
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            connection.query_row(&sql, ["a"], |row| row.get(3)).unwrap()
        }

        fn settings(&self) -> Vec<String> {
            let (connection, _) = self.state.reopen().unwrap();
            let mut names = connection
                .prepare("SELECT name FROM setting ORDER BY name")
                .unwrap();
            let rows = names.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        }

        /// Checks the whole log against the newest checkpoint, and gives its size.
        fn verified(&self) -> u64 {
            let (connection, _) = self.state.reopen().unwrap();
            let records = crate::registry::Registry(&connection).records(0, 1000);
            let export: Vec<u8> = records
                .unwrap()
                .into_iter()
                .flat_map(|record| [record, b"\n".to_vec()].concat())
                .collect();
            let newest = self.checkpoints.borrow().clone().unwrap();
            open_checkpoint(&newest.note, &self.vkey).unwrap();
            verify_export(export.as_slice(), &newest.note[..], &self.vkey)
                .unwrap()
                .size
        }
    }

    #[test]
    fn a_conflict_in_the_middle_of_a_group_rolls_back_only_itself() {
        let mut fixture = fixture();
        // The claim is not there, so that the change stops after its first write.
        let conflict = recorded("b").write(Write::PresentKey(
            "c-00000000000000ff".parse().unwrap(),
            Fingerprint([1; 32]),
        ));
        let verdicts = fixture.group(vec![recorded("a"), conflict, recorded("c")]);
        assert_eq!(verdicts, [Ok(0), Err(CommitError::Conflict), Ok(1)]);
        assert_eq!(fixture.settings(), ["a", "c"]);
        assert_eq!(fixture.verified(), 2);
    }

    #[test]
    fn a_change_that_rests_on_what_is_not_the_newest_record_does_not_happen() {
        let mut fixture = fixture();
        let expecting = |name, newest| recorded(name).expecting("a".into(), newest);
        let verdicts = fixture.group(vec![
            expecting("a", None),
            // The first is in the same group, and has happened all the same.
            expecting("b", None),
            expecting("a", Some(0)),
            expecting("c", Some(0)),
        ]);
        let changed = || Err(CommitError::Changed);
        assert_eq!(verdicts, [Ok(0), changed(), Ok(1), changed()]);
        assert_eq!(fixture.settings(), ["a"]);
        assert_eq!(fixture.verified(), 2);
    }

    #[test]
    fn what_was_refused_about_a_thing_makes_no_newer_version_of_it() {
        let mut fixture = fixture();
        let at = Timestamp::from_s(1_800_000_000);
        let refused = || {
            let entry = Entry::new(at, Actor::gateway(), "token.refuse", "a".into());
            Change::record(entry)
        };
        let verdicts = fixture.group(vec![
            refused(),
            recorded("a").expecting("a".into(), None),
            refused(),
            recorded("a").expecting("a".into(), Some(1)),
            recorded("a").expecting("a".into(), Some(2)),
        ]);
        assert_eq!(
            verdicts,
            [Ok(0), Ok(1), Ok(2), Ok(3), Err(CommitError::Changed)]
        );
        let plan = fixture.plan(NEWEST_DECISION);
        assert!(plan.contains("USING INDEX audit_decided"), "{plan}");
    }

    #[test]
    fn a_change_that_the_registry_cannot_hold_takes_no_other_with_it() {
        let mut fixture = fixture();
        let claim = Claim::opened(
            "c-00000000000000ff".parse().unwrap(),
            "lamp".parse().unwrap(),
            Fingerprint([1; 32]),
            Timestamp::from_s(0),
            LIFETIME_DEFAULT,
        );
        let opened = || recorded("b").write(Write::OpenClaim(claim.clone()));
        let verdicts = fixture.group(vec![opened(), opened(), recorded("c")]);
        assert!(matches!(
            &verdicts[..],
            [Ok(0), Err(CommitError::Unfit(_)), Ok(1)]
        ));
        assert_eq!(fixture.verified(), 2);
    }

    #[test]
    fn a_group_of_nothing_but_conflicts_leaves_the_log_as_it_is() {
        let mut fixture = fixture();
        assert_eq!(fixture.group(vec![recorded("a")]), [Ok(0)]);
        let conflict = recorded("b").write(Write::CrlNumber("nowhere".into()));
        assert_eq!(fixture.group(vec![conflict]), [Err(CommitError::Conflict)]);
        assert_eq!(fixture.group(vec![recorded("c")]), [Ok(1)]);
        assert_eq!(fixture.settings(), ["a", "c"]);
        assert_eq!(fixture.verified(), 2);
    }

    #[test]
    fn a_commit_whose_end_was_not_known_is_known_once_something_is_committed_after_it() {
        let mut fixture = fixture();
        assert_eq!(fixture.group(vec![recorded("a")]), [Ok(0)]);
        let mut settled = |sizes| {
            let done = (vec![Ok(0)], None);
            let settled = fixture.state.settle(sizes, done, "EIO".into());
            settled.map(|(verdicts, _)| verdicts)
        };
        assert_eq!(settled((0, 1)), Ok(vec![Ok(0)]), "it is there");
        let nothing = CommitError::Unavailable("EIO".into());
        assert_eq!(settled((1, 2)), Err(nothing), "it is not");
        let unknown = CommitError::Unknown("EIO".into());
        assert_eq!(settled((1, 1)), Err(unknown.clone()), "it left no record");
        assert_eq!(settled((2, 3)), Err(unknown), "others are missing, too");
        assert_eq!(fixture.settings(), ["a", SETTLED]);
        assert_eq!(fixture.group(vec![recorded("b")]), [Ok(1)]);
        assert_eq!(fixture.verified(), 2);
    }

    #[test]
    fn nothing_is_committed_to_a_log_that_was_taken_away_and_nothing_is_lost() {
        let mut fixture = fixture();
        assert_eq!(fixture.group(vec![recorded("a")]), [Ok(0)]);
        fixture.state.database = DatabaseFiles::of(&fixture.state.dir).unwrap();
        let log = fixture.state.path.with_file_name("hearthkey.db-wal");
        std::fs::remove_file(&log).unwrap();
        let verdicts = fixture.group(vec![recorded("b")]);
        let told = match &verdicts[..] {
            [Err(CommitError::Unavailable(told))] => told,
            other => panic!("{other:?}"),
        };
        assert!(told.contains("hearthkey.db-wal was taken away"), "{told}");
        // As when the gateway stops.
        let (connection, _) = fixture.state.open.take().unwrap();
        connection
            .pragma_update(None, "wal_checkpoint", "TRUNCATE")
            .unwrap();
        drop(connection);
        assert_eq!(fixture.settings(), ["a"]);
    }

    #[test]
    fn after_a_failed_commit_the_reopened_writer_continues_the_tree() {
        let mut fixture = fixture();
        for name in ["a", "b", "c"] {
            assert!(fixture.group(vec![recorded(name)])[0].is_ok());
        }
        let (connection, _) = fixture.state.open.as_ref().unwrap();
        let full = |connection: &Connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            // Answers with the new limit, which holds for this connection only.
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        };
        full(connection).unwrap();
        let large = recorded("d").write(Write::Setting("large", vec![7; 1 << 20]));
        let verdicts = fixture.group(vec![recorded("e"), large]);
        for verdict in verdicts {
            assert!(matches!(verdict, Err(CommitError::Unavailable(_))));
        }
        assert_eq!(fixture.verified(), 3);
        assert_eq!(fixture.group(vec![recorded("f")]), [Ok(3)]);
        assert_eq!(fixture.settings(), ["a", "b", "c", "f"]);
        assert_eq!(fixture.verified(), 4);
    }
}
