//! Reads that wait for the disk, on the workers of the runtime.
//!
//! A read is short, and is done where its question is asked. A disk that hangs makes it long; then it holds a worker, and as
//! many of them hold all, so that nothing else goes on, the end of access included. So none takes the last worker: one that
//! would waits a moment for another to end, which on a disk that answers is much less than a moment. If none does, the disk
//! hangs, and that read and those after it are done beside the workers, each on a thread that another worker takes the place
//! of. What is too much for that is refused.
//!
//! A handover to another thread costs more than most reads do, so that it is left to disks that hang. That is also why the gateway's
//! runtime has one worker more than there are cores (`WORKERS_SPARE`).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::registry::{ReadError, Registry};

/// Workers that a runtime has beside one for each core, so that each core can do a read and a worker is left.
pub const WORKERS_SPARE: usize = 1;
/// Reads that are done beside the workers at the same time. One more is refused. The runtime has twice as many threads.
const HANGING_MAX: usize = 256;
/// How long a worker waits for one of them to end.
const MOMENT: Duration = Duration::from_millis(10);

/// Connections that are kept for the next question.
const KEPT_MAX: usize = 3;

/// The reads that go on.
#[derive(Default)]
pub(crate) struct Reads {
    going: Mutex<Going>,
    /// One of those on the workers has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Going {
    /// On workers.
    here: usize,
    /// Beside them.
    aside: usize,
    /// Workers that wait for one of them to end.
    waiting: usize,
    /// None on a worker has ended in the moment that somebody waited for one, nor since.
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

/// Where a read is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Aside,
}

/// One of the reads that go on.
struct One<'a>(&'a Reads, Place);

impl Drop for One<'_> {
    fn drop(&mut self) {
        let mut going = self.0.going();
        match self.1 {
            Place::Here => {
                going.here -= 1;
                going.hang = false;
            }
            // Those on the workers may still hang, or be long.
            Place::Aside => going.aside -= 1,
        }
        let waits = going.waiting > 0;
        drop(going);
        if waits {
            self.0.ended.notify_one();
        }
    }
}

impl Reads {
    fn going(&self) -> MutexGuard<'_, Going> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a read.
    pub(crate) fn during<T>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let Some(workers) = workers() else {
            return read();
        };
        let one = self.begin(workers - 1)?;
        match one.1 {
            Place::Here => read(),
            Place::Aside => block_in_place(read),
        }
    }

    /// A place for a read, of which so many may be on workers.
    fn begin(&self, here_max: usize) -> Result<One<'_>, ReadError> {
        let mut going = self.going();
        if going.here >= here_max && here_max > 0 && !going.hang {
            going.waiting += 1;
            let full = |going: &mut Going| going.here >= here_max && !going.hang;
            let waited = self.ended.wait_timeout_while(going, MOMENT, full);
            let (after, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            going = after;
            going.waiting -= 1;
            going.hang |= waited.timed_out();
        }
        if going.here < here_max {
            going.here += 1;
            return Ok(One(self, Place::Here));
        }
        if going.aside >= HANGING_MAX {
            return Err(ReadError("the disk does not respond".into()));
        }
        going.aside += 1;
        Ok(One(self, Place::Aside))
    }
}

/// The workers of the runtime, if it is one that has several. One of a single thread has none to give.
fn workers() -> Option<usize> {
    let runtime = Handle::try_current().ok()?;
    let many = runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
    many.then(|| runtime.metrics().num_workers())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn reads_that_hang_leave_a_worker_for_everything_else() {
        for workers in [1, 2, 3] {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(workers)
                .enable_all()
                .build()
                .unwrap();
            let (reads, hanging) = (Arc::new(Reads::default()), 24);
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
            let all = |going: &Going| going.here + going.aside;
            while all(&reads.going()) < hanging {
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
        let places: Vec<_> = (0..=HANGING_MAX).map(|_| reads.begin(1).unwrap()).collect();
        assert!(reads.begin(1).is_err());
        drop(places);
        assert!(reads.begin(1).is_ok_and(|one| one.1 == Place::Here));
    }

    #[test]
    fn none_takes_the_last_worker_and_what_ends_makes_room_again() {
        let reads = Reads::default();
        let [first, second] = [(); 2].map(|()| reads.begin(2).unwrap());
        assert!(first.1 == Place::Here && second.1 == Place::Here);
        // Nobody ends in the moment that it waits.
        assert!(reads.begin(2).unwrap().1 == Place::Aside);
        drop(first);
        let again = reads.begin(2).unwrap();
        assert!(again.1 == Place::Here);
        let going = reads.going();
        assert_eq!((going.here, going.aside), (2, 0));
        drop(going);
        drop((second, again));
        assert_eq!(reads.going().here, 0);
    }
}
