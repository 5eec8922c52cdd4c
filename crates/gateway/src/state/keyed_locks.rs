//! One change of a thing at a time: a decision about a device or a credential holds the thing's lock until it is committed.
//!
//! Each thing has a lock of its own, which is there only while somebody holds it or waits for it. What ends access takes
//! none of them: see [`crate::state::endings`].

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use crate::state::lock::locked;

pub(crate) struct Turns<T>(Mutex<HashMap<T, Lock>>);

/// The lock of one thing.
struct Lock {
    mutex: Arc<tokio::sync::Mutex<()>>,
    /// How many hold it or wait for it.
    users: usize,
}

/// The lock of a thing, held until it is dropped.
pub(crate) struct Turn<'a, T: Hash + Eq> {
    turns: &'a Turns<T>,
    thing: T,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<T: Hash + Eq + Clone> Turns<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(crate) async fn of(&self, thing: &T) -> Turn<'_, T> {
        let mutex = {
            let mut locks = locked(&self.0);
            let lock = locks.entry(thing.clone()).or_insert_with(|| Lock {
                mutex: Arc::default(),
                users: 0,
            });
            lock.users += 1;
            Arc::clone(&lock.mutex)
        };
        // From here on it is counted down again, also if nobody waits to the end.
        let mut turn = Turn {
            turns: self,
            thing: thing.clone(),
            guard: None,
        };
        turn.guard = Some(mutex.lock_owned().await);
        turn
    }
}

impl<T: Hash + Eq> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = locked(&self.turns.0);
        if let Some(lock) = locks.get_mut(&self.thing) {
            lock.users -= 1;
            if lock.users == 0 {
                locks.remove(&self.thing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Long enough to be sure that a lock is held.
    const A_WHILE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn no_thing_waits_for_the_lock_of_another_and_no_lock_outlives_its_users() {
        let turns = Turns::new();
        let held = turns.of(&0).await;
        for other in 1..2000 {
            let free = timeout(Duration::from_secs(20), turns.of(&other)).await;
            assert!(free.is_ok(), "{other}");
        }
        assert!(timeout(A_WHILE, turns.of(&0)).await.is_err());
        assert_eq!(locked(&turns.0).len(), 1);
        drop(held);
        assert!(locked(&turns.0).is_empty());
        drop(turns.of(&0).await);
        assert!(locked(&turns.0).is_empty());
    }
}
