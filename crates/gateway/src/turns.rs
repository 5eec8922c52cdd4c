//! One change of a device at a time: who decides on a device holds its turn until it is done.

use std::hash::{DefaultHasher, Hash, Hasher};

use hearthkey_core::id::DeviceId;
use tokio::sync::{Mutex, MutexGuard};

/// Devices share this many turns. Two devices on one turn wait for each other, and no more.
const TURNS: usize = 256;

pub(crate) struct Turns(Vec<Mutex<()>>);

impl Turns {
    pub(crate) fn new() -> Self {
        Self((0..TURNS).map(|_| Mutex::new(())).collect())
    }

    pub(crate) async fn of(&self, device: &DeviceId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        device.hash(&mut hasher);
        let turn = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
        self.0[turn].lock().await
    }
}
