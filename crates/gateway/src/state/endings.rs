//! Access that ends: it is cut off in memory first, and written down then.
//!
//! A revocation waits for nothing that could be held up: for no lock, no disk, no bridge. Whatever ends access goes this one
//! way. The caller cuts it off in memory and hands it over; a task of its own writes it into the journal and into the
//! registry, both at the same time, and tries each again every second until it is there. The caller waits for that no
//! longer than [`PATIENCE`], and answers whether it is durable. Until it is, the end is pending, `status` counts it, and
//! nothing that would give the same thing access again is begun.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearthkey_core::audit::Entry;
use hearthkey_core::id::Fingerprint;
use hearthkey_store::change::Change;
use hearthkey_store::journal::Revocation;
use hearthkey_store::registry::{ReadError, Registry};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::state::lock::locked;

/// How long an answer waits for the disk. The access has ended before.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Ends of one thing that one caller has decided on and that are not on the disk yet, after which that caller replaces none
/// of them. Another caller has as many.
const REPLACED_MAX: usize = 8;
/// An end of access, as it is written down.
pub(crate) trait End: Send + Sync {
    /// What audit records call the thing whose access has ended.
    fn object(&self) -> String;

    /// What tells it from other ends of the same thing.
    fn kind(&self) -> String;

    /// The decision, if it takes the place of one of its kind before it: they are written one after the other, the newest
    /// last.
    fn replaces(&self) -> Option<Decision> {
        None
    }

    /// What the journal gets, if it is for the journal.
    fn revocation(&self) -> Option<&Revocation> {
        None
    }

    /// Whether the journal has it by itself, so that nothing is written there.
    fn is_journaled(&self) -> bool {
        false
    }

    /// Whether the files of the home have it by themselves, so that it holds again when the home is opened again.
    fn lasts(&self) -> bool {
        false
    }

    /// What the registry gets. It is the same for each try.
    fn change(&self) -> Change;

    /// Whether the registry has it.
    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError>;

    /// It is in the registry now.
    fn written(&self) {}

    /// The registry does not take it, because of its state. Returns whether it is given up then, and takes back what was
    /// done in memory.
    fn is_refused(&self) -> bool {
        false
    }
}

/// What is decided of a thing whose ends replace one another, and by whom.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    by: String,
    what: Fingerprint,
}

impl Decision {
    pub(crate) fn of(entry: &Entry, what: &impl Serialize) -> Self {
        Self {
            by: entry.actor.name.clone(),
            what: Fingerprint::of(&serde_json::to_vec(what).unwrap_or_default()),
        }
    }
}

/// What ends, and how.
type Key = (String, String);

/// The ends of access that are not saved to disk yet. They are bounded by the things that can end, the same end of the same
/// thing being one, and by [`REPLACED_MAX`] of each caller.
pub(crate) struct Endings {
    pub(super) pending: Mutex<HashMap<Key, Pending>>,
    /// How many have replaced another.
    replaced: AtomicU64,
    begun: mpsc::UnboundedSender<Begun>,
    /// Turns true when nothing more begins: what is not stored by then is tried no more.
    closed: watch::Sender<bool>,
    /// What writes them down.
    writer: Mutex<Option<JoinHandle<()>>>,
    pub(super) queue: Mutex<Option<mpsc::UnboundedReceiver<Begun>>>,
}

pub(super) struct Pending {
    told: watch::Receiver<bool>,
    /// Whether it holds again when the home is opened again, although it is not everywhere yet.
    lasts: bool,
    /// What was decided, if it replaces another one.
    decision: Option<Decision>,
}

pub(super) struct Begun {
    pub(super) end: Box<dyn End>,
    pub(super) key: Key,
    /// The one that it replaces, if that is not saved to disk yet.
    pub(super) before: Option<watch::Receiver<bool>>,
    pub(super) durable: watch::Sender<bool>,
}

/// An end of access that is being written down.
pub(crate) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Whether it is on the disk within the patience of an answer.
    pub(crate) async fn durable_in_time(mut self) -> bool {
        let durable = self.0.wait_for(|durable| *durable);
        matches!(timeout(PATIENCE, durable).await, Ok(Ok(_)))
    }

    /// Waits for the disk, as long as that takes. False if it is given up, or the home closes.
    pub(crate) async fn durable(mut self) -> bool {
        self.0.wait_for(|durable| *durable).await.is_ok()
    }

    /// Whether it is on the disk by now.
    pub(crate) fn is_durable(&self) -> bool {
        *self.0.borrow()
    }
}

/// Waits until ends of access are on the disk, for all of them together no longer than one answer waits.
pub(crate) async fn all_in_time(all: impl Iterator<Item = &mut Ending>) {
    let each = async {
        for ending in all {
            // One that is given up is not waited for.
            let _ = ending.0.wait_for(|durable| *durable).await;
        }
    };
    // What is not durable by then is reported as such.
    let _ = timeout(PATIENCE, each).await;
}

/// Whether all of them are on the disk within the patience of one answer.
pub(crate) async fn all_durable_in_time(mut all: Vec<Ending>) -> bool {
    all_in_time(all.iter_mut()).await;
    all.iter().all(Ending::is_durable)
}

/// An end that is about to begin. Dropped once it has.
pub(crate) struct Announced<'a> {
    endings: &'a Endings,
    pub(super) key: Key,
    begun: watch::Sender<bool>,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        locked(&self.endings.pending).remove(&self.key);
        self.begun.send_replace(true);
    }
}

impl Default for Endings {
    fn default() -> Self {
        let (begun, queue) = mpsc::unbounded_channel();
        Self {
            pending: Mutex::default(),
            replaced: AtomicU64::new(0),
            begun,
            closed: watch::Sender::new(false),
            writer: Mutex::default(),
            queue: Mutex::new(Some(queue)),
        }
    }
}

impl Endings {
    /// Hands over what has been cut off in memory.
    pub(crate) fn begin(&self, end: impl End + 'static) -> Ending {
        let mut pending = locked(&self.pending);
        let (mut key, mut before) = ((end.object(), end.kind()), None);
        let decision = end.replaces();
        if decision.is_some() {
            before = newest_like(&pending, &key).map(|its| its.told.clone());
            let number = self.replaced.fetch_add(1, Ordering::Relaxed);
            key.1 = format!("{} {number}", key.1);
        } else if let Some(same) = pending.get(&key) {
            return Ending(same.told.clone());
        }
        let (durable, told) = watch::channel(false);
        let its = Pending {
            told: told.clone(),
            lasts: end.lasts(),
            decision,
        };
        pending.insert(key.clone(), its);
        let begun = Begun {
            end: Box::new(end),
            key,
            before,
            durable,
        };
        if self.begun.send(begun).is_err() {
            tracing::error!("an end of access cannot be stored: the home is closed");
        }
        Ending(told)
    }

    /// Says that an end of a thing is about to begin, under the lock under which it is cut off: it is pending from then on.
    pub(crate) fn announce(&self, object: String) -> Announced<'_> {
        let number = self.replaced.fetch_add(1, Ordering::Relaxed);
        let key = (object, format!("announced {number}"));
        let (begun, told) = watch::channel(false);
        let its = Pending {
            told,
            lasts: false,
            decision: None,
        };
        locked(&self.pending).insert(key.clone(), its);
        Announced {
            endings: self,
            key,
            begun,
        }
    }

    /// Says what writes them down.
    pub(crate) fn written_by(&self, writer: JoinHandle<()>) {
        *locked(&self.writer) = Some(writer);
    }

    /// Turns true when nothing more begins.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Writes down what has begun, as long as an answer waits; nothing begins any more. The last thing before the store is
    /// closed: requests that were being worked on may still have ended access after everybody was out.
    pub(crate) async fn close(&self) {
        self.closed.send_replace(true);
        let writer = locked(&self.writer).take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "what writes ends of access down has ended badly");
        }
    }

    /// How many are not saved to disk yet.
    pub(crate) fn pending(&self) -> usize {
        locked(&self.pending).len()
    }

    /// How many would be undone if the home were closed and opened again.
    pub(crate) fn fleeting(&self) -> usize {
        let pending = locked(&self.pending);
        pending.values().filter(|its| !its.lasts).count()
    }

    /// The journal has it, and is replayed when the home is opened.
    pub(super) fn is_in_journal(&self, key: &Key) {
        if let Some(its) = locked(&self.pending).get_mut(key) {
            its.lasts = true;
        }
    }

    /// Whether an end of a thing is not saved to disk yet.
    pub(crate) fn is_pending(&self, object: &str) -> bool {
        let pending = locked(&self.pending);
        pending.keys().any(|(its, _)| its == object)
    }

    /// An end of a thing that is not saved to disk yet and whose kind begins so; with the rest of its kind.
    pub(crate) fn begun_as(&self, object: &str, kind: &str) -> Option<(String, Ending)> {
        let pending = locked(&self.pending);
        pending.iter().find_map(|((its, of), begun)| {
            let rest = of.strip_prefix(kind).filter(|_| its == object)?;
            Some((rest.to_owned(), Ending(begun.told.clone())))
        })
    }

    /// Whether an end of a thing may replace another one, if it is this caller's.
    pub(crate) fn has_room(&self, object: &str, caller: &str) -> bool {
        let pending = locked(&self.pending);
        let is_theirs = |its: &Pending| its.decision.as_ref().is_some_and(|its| its.by == caller);
        let theirs = pending
            .iter()
            .filter(|((of, _), its)| of == object && is_theirs(its));
        theirs.count() < REPLACED_MAX
    }

    /// The end of a kind that was decided on last, if it is not on the disk yet and decides the same. It is not begun again.
    pub(crate) fn same(&self, object: &str, kind: &str, decision: &Decision) -> Option<Ending> {
        let pending = locked(&self.pending);
        let newest = newest_like(&pending, &(object.to_owned(), kind.to_owned()))?;
        let is_same = newest.decision.as_ref()?.what == decision.what;
        is_same.then(|| Ending(newest.told.clone()))
    }

    /// Waits until no end of a thing is pending, as long as an answer waits. Returns whether none is.
    pub(crate) async fn settled(&self, object: &str) -> bool {
        self.none_pending(|its, _| its == object).await
    }

    /// Waits until no end would be undone if the home were closed and opened again, as long as an answer waits. Returns
    /// whether none would.
    pub(crate) async fn all_last(&self) -> bool {
        self.none_pending(|_, its| !its.lasts).await
    }

    /// Waits until every end that was begun is on the disk, as long as an answer waits. Returns whether all are.
    pub(crate) async fn nothing_pending(&self) -> bool {
        self.none_pending(|_, _| true).await
    }

    async fn none_pending(&self, of: impl Fn(&str, &Pending) -> bool) -> bool {
        let of_it = || {
            let pending = locked(&self.pending);
            let mut all = pending.iter().filter(|((object, _), its)| of(object, its));
            all.next().map(|(_, its)| its.told.clone())
        };
        let none_left = async {
            while let Some(mut told) = of_it() {
                // It is taken off the list before this is reported, and when its task ends.
                if told.wait_for(|durable| *durable).await.is_err() {
                    return;
                }
            }
        };
        timeout(PATIENCE, none_left).await.is_ok() && of_it().is_none()
    }
}

/// The newest of a kind of thing that replace one another.
fn newest_like<'a>(
    pending: &'a HashMap<Key, Pending>,
    (object, kind): &Key,
) -> Option<&'a Pending> {
    let number = |(its, of): &Key| {
        let number = of.strip_prefix(kind)?.strip_prefix(' ')?;
        number.parse::<u64>().ok().filter(|_| its == object)
    };
    let like = pending
        .iter()
        .filter_map(|(key, its)| Some((number(key)?, its)));
    like.max_by_key(|(number, _)| *number).map(|(_, its)| its)
}

#[cfg(test)]
mod tests;
