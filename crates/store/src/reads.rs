//! Reads that wait for the disk, on the workers of the runtime.
//!
//! A read is short, and is done where its question is asked. A disk that hangs makes it long; then it holds a worker, and as
//! many of them hold all, so that nothing else goes on, the end of access included. So none takes the last worker: one that
//! would is done beside them, on a thread that another worker takes the place of. On a disk that answers, many at once are work
//! and not waiting, and more threads would only be in each other's way: behind sixteen, the next waits a moment for one of them.
//! On a disk that does not, nothing is gained by waiting, and what is too much is refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::registry::{ReadError, Registry};

/// Reads that are done beside the workers at the same time, while the disk answers.
const ASIDE_MAX: usize = 16;
/// The same while it does not. One more is refused. The runtime has twice as many threads.
const HANGING_MAX: usize = 256;
/// How long a worker waits for one of them to end.
const MOMENT: Duration = Duration::from_millis(10);

/// Connections that are kept for the next question.
const KEPT_MAX: usize = 3;

/// The reads that go on.
#[derive(Default)]
pub(crate) struct Reads {
    all: AtomicUsize,
    aside: Mutex<Aside>,
    /// One of those beside the workers has ended.
    ended: Condvar,
}

/// Those beside the workers.
#[derive(Default)]
struct Aside {
    going: usize,
    /// None of them has ended in the moment that somebody waited for one.
    hang: bool,
}

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

/// One of those beside the workers.
struct Place<'a>(&'a Reads);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut aside = self.0.aside();
        aside.going -= 1;
        aside.hang = false;
        drop(aside);
        self.0.ended.notify_one();
    }
}

impl Reads {
    fn aside(&self) -> MutexGuard<'_, Aside> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a read.
    pub(crate) fn during<T>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let before = self.all.fetch_add(1, Ordering::AcqRel);
        let _going = Going(&self.all);
        match Handle::try_current() {
            Ok(runtime) if takes_the_last_worker(&runtime, before) => {
                let _place = self.place()?;
                block_in_place(read)
            }
            _ => read(),
        }
    }

    /// A place beside the workers.
    fn place(&self) -> Result<Place<'_>, ReadError> {
        let full = |aside: &mut Aside| aside.going >= ASIDE_MAX && !aside.hang;
        let waited = self.ended.wait_timeout_while(self.aside(), MOMENT, full);
        let (mut aside, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        aside.hang |= waited.timed_out();
        if aside.going >= HANGING_MAX {
            return Err(ReadError("the disk does not respond".into()));
        }
        aside.going += 1;
        Ok(Place(self))
    }
}

/// Whether there would be no worker left, if each of the reads before held one. A runtime of a single thread has none to give.
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
            let (reads, hanging) = (Arc::new(Reads::default()), ASIDE_MAX + 8);
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
            while reads.all.load(Ordering::Acquire) < hanging {
                std::thread::yield_now();
            }
            let other = runtime.spawn(async { 7 });
            assert_eq!(runtime.block_on(other).unwrap(), 7);
            disk.wait();
        }
    }

    #[test]
    fn what_is_too_much_for_a_disk_that_hangs_is_refused() {
        let reads = Reads::default();
        let places: Vec<_> = (0..HANGING_MAX).map(|_| reads.place().unwrap()).collect();
        assert!(reads.place().is_err());
        drop(places);
        assert!(reads.place().is_ok());
    }
}
