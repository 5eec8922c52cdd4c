//! The one writer: a thread that commits what has gathered, each change in its own SAVEPOINT.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use hearthkey_core::time::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use crate::apply::ApplyError;
use crate::change::Change;
use crate::change_apply::{apply, check};
use crate::connection::{self, Use};
use crate::files::{DataDir, DatabaseFiles};
use crate::journal::{Event, Inlet};
use crate::keys::DerivedKey;
use crate::log::{Edge, LogKey, SignedCheckpoint};
use crate::log_hashes::{StoredHashes, log_size};

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
    #[error(
        "the storage cannot be written: {0}. Free space or repair the disk; no restart is needed"
    )]
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

impl CommitError {
    /// Whether it is the disk that is full or fails.
    pub fn is_of_storage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unknown(_))
    }
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
        journal: Inlet,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let mut state = State {
            dir,
            path,
            database,
            key,
            log_key,
            checkpoints,
            journal: Some(journal),
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

struct State {
    dir: Arc<DataDir>,
    path: PathBuf,
    /// Which files the database is.
    database: DatabaseFiles,
    key: Arc<DerivedKey>,
    log_key: LogKey,
    checkpoints: watch::Sender<Option<Arc<SignedCheckpoint>>>,
    /// Where durable changes are told to the journal; in tests of the writer alone there is none.
    journal: Option<Inlet>,
    /// None after a failure: the next group opens the database anew.
    open: Option<(Connection, Edge)>,
}

type Verdict = Result<u64, CommitError>;
type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// What the journal is told of a change.
struct Told {
    at: Option<Timestamp>,
    events: Vec<Event>,
}

impl Told {
    fn of(change: &Change) -> Self {
        Self {
            at: change.entries.first().map(|entry| entry.time),
            events: match change.is_journaled {
                true => Vec::new(),
                false => Event::all_of(change),
            },
        }
    }
}

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
        let told: Vec<Told> = changes.iter().map(Told::of).collect();
        match self.try_commit(changes) {
            Ok((verdicts, checkpoint)) => {
                if let Some(checkpoint) = checkpoint {
                    if let Some(journal) = &self.journal {
                        journal.log_is(checkpoint.size);
                    }
                    self.checkpoints.send_replace(Some(Arc::new(checkpoint)));
                }
                for ((reply, verdict), told) in replies.into_iter().zip(verdicts).zip(told) {
                    self.answer(reply, verdict, told);
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

    /// Answers at once; or, where the change gave or ended access, when the journal has it too.
    fn answer(&self, reply: Answer, verdict: Verdict, told: Told) {
        let committed = verdict.map(|first_seq| Committed { first_seq });
        let (Ok(_), Some(journal), false) = (&committed, &self.journal, told.events.is_empty())
        else {
            let _ = reply.send(committed);
            return;
        };
        let then = move |written: std::io::Result<()>| {
            let answer = match written {
                Ok(()) => committed,
                Err(error) => Err(CommitError::Unknown(format!(
                    "the journal beside the database cannot be written: {error}"
                ))),
            };
            // Nobody may be waiting any more.
            let _ = reply.send(answer);
        };
        journal.put(told.at, told.events, Box::new(then));
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
mod tests;
