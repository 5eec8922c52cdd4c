//! One change of a thing at a time: who decides on a device or a credential holds its turn until it
//! is done.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;

use tokio::sync::{Mutex, MutexGuard};

/// Things share this many turns. Two of them on one turn wait for each other, and no more.
const TURNS: usize = 256;

pub(crate) struct Turns<T>(Vec<Mutex<()>>, PhantomData<fn(&T)>);

impl<T: Hash> Turns<T> {
    pub(crate) fn new() -> Self {
        Self((0..TURNS).map(|_| Mutex::new(())).collect(), PhantomData)
    }

    pub(crate) async fn of(&self, thing: &T) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        let turn = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
        self.0[turn].lock().await
    }
}
