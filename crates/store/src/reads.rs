//! Reads that wait for the disk, on the workers of the runtime.
//!
//! A read is short, and is done where its question is asked. A disk that hangs makes it long; then it holds a worker, and as
//! many of them hold all, so that nothing else goes on, the end of access included. So none takes the last worker: one that
//! would is done beside them, on a thread that another worker takes the place of.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::registry::{ReadError, Registry};

/// Reads at the same time. Many fewer are at work on a disk that answers; on one that does not, each of them is a thread.
const READS_MAX: usize = 128;

/// Connections that are kept for the next question.
const KEPT_MAX: usize = 3;

/// The reads that go on.
#[derive(Default)]
pub(crate) struct Reads(AtomicUsize);

/// The connections on which questions are answered.
pub(crate) struct Readers {
    free: Mutex<Vec<Connection>>,
    reads: Reads,
}

impl Readers {
    pub(crate) fn new(first: Connection) -> Self {
        Self {
            free: Mutex::new(vec![first]),
            reads: Reads::default(),
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a question from one state of the database, however many statements it takes, on a connection that is free or
    /// opened for it. One that failed is not used again.
    pub(crate) fn ask<T>(
        &self,
        open: impl FnOnce() -> Result<Connection, ReadError>,
        question: impl FnOnce(&Registry<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.reads.during(|| {
            let free = self.free().pop();
            let connection = free.map_or_else(open, Ok)?;
            let answer = in_one_snapshot(&connection, question);
            let mut free = self.free();
            if answer.is_ok() && free.len() < KEPT_MAX {
                free.push(connection);
            }
            answer
        })
    }

    /// Closes those that are free.
    pub(crate) fn close(&self) {
        self.free().clear();
    }
}

fn in_one_snapshot<T>(
    connection: &Connection,
    question: impl FnOnce(&Registry<'_>) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let snapshot = connection.unchecked_transaction()?;
    let answer = question(&Registry(&snapshot))?;
    snapshot.finish()?;
    Ok(answer)
}

/// One of them.
struct Going<'a>(&'a AtomicUsize);

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Reads {
    /// Does a read.
    pub(crate) fn during<T>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        let _going = Going(&self.0);
        if before >= READS_MAX {
            return Err(ReadError(format!(
                "the disk does not answer: {READS_MAX} reads wait for it"
            )));
        }
        match Handle::try_current() {
            Ok(runtime) if takes_the_last_worker(&runtime, before) => block_in_place(read),
            _ => read(),
        }
    }
}

/// Whether there would be no worker left, if each of the reads before held one. One of a single thread has none to give.
fn takes_the_last_worker(runtime: &Handle, before: usize) -> bool {
    runtime.runtime_flavor() == RuntimeFlavor::MultiThread
        && before + 1 >= runtime.metrics().num_workers()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn reads_that_hang_leave_a_worker_for_everything_else() {
        for workers in [1, 2] {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(workers)
                .enable_all()
                .build()
                .unwrap();
            let (reads, hanging) = (Arc::new(Reads::default()), 6);
            let disk = Arc::new(Barrier::new(hanging + 1));
            for _ in 0..hanging {
                let (reads, disk) = (Arc::clone(&reads), Arc::clone(&disk));
                runtime.spawn(async move {
                    let _ = reads.during(|| {
                        disk.wait();
                        Ok(())
                    });
                });
            }
            while reads.0.load(Ordering::Acquire) < hanging {
                std::thread::yield_now();
            }
            let other = runtime.spawn(async { 7 });
            assert_eq!(runtime.block_on(other).unwrap(), 7);
            disk.wait();
        }
    }

    #[test]
    fn reads_beyond_their_bound_are_refused_at_once() {
        let reads = Reads(AtomicUsize::new(READS_MAX));
        assert!(reads.during(|| Ok(())).is_err());
        let reads = Reads(AtomicUsize::new(READS_MAX - 1));
        reads.during(|| Ok(())).unwrap();
        assert_eq!(reads.0.load(Ordering::Acquire), READS_MAX - 1);
    }
}
