//! Writes down access that has ended in memory ([`Endings`](crate::state::endings::Endings)), until the disk has it.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::journal::Event;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::state::clock::LAST_TIME;
use crate::state::endings::{Begun, End, PATIENCE};
use crate::state::{Ctx, locked};

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Tries after which a failure is logged again.
const TOLD_EVERY: u64 = 60;

/// How a try ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    Done,
    Failed,
    Refused,
}

/// Writes down what ends, until nothing more can end: later than the home begins to close, since requests that are being
/// worked on end access still.
pub(crate) async fn keep_writing_down(ctx: Arc<Ctx>) {
    let Some(mut queue) = locked(&ctx.endings.queue).take() else {
        return;
    };
    let mut stopping = ctx.endings.closed();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            begun = queue.recv() => match begun {
                Some(begun) => { tasks.spawn(write_down(Arc::clone(&ctx), begun)); }
                None => break,
            },
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an end of access was not stored");
                }
            }
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    // What came last is tried once, as everything else.
    queue.close();
    while let Some(begun) = queue.recv().await {
        tasks.spawn(write_down(Arc::clone(&ctx), begun));
    }
    // What is being written gets to its end, unless the disk hangs.
    let rest = async { while tasks.join_next().await.is_some() {} };
    if timeout(PATIENCE, rest).await.is_err() {
        tracing::error!("some ends of access were not saved to disk: they were in memory only");
    }
}

async fn write_down(ctx: Arc<Ctx>, begun: Begun) {
    let Begun {
        end,
        key,
        before,
        durable,
    } = begun;
    let end = end.as_ref();
    let mut stopping = ctx.endings.closed();
    if let Some(mut before) = before {
        tokio::select! {
            // One that is given up is not waited for.
            _ = before.wait_for(|durable| *durable) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
    let journaling = async {
        let journaled = ctx.keep_journaling(end, stopping.clone()).await;
        if journaled && end.revocation().is_some() {
            ctx.endings.is_in_journal(&key);
        }
        journaled
    };
    let (journaled, registered) =
        tokio::join!(journaling, ctx.keep_registering(end, stopping.clone()));
    // What is left because the home closes is reported as not durable.
    if (journaled && registered) || !*ctx.endings.closed().borrow() {
        locked(&ctx.endings.pending).remove(&key);
    }
    durable.send_replace(journaled && registered);
}

/// Whether a failure is logged, after so many others: its messages must not fill a full disk.
fn is_told(tried: u64) -> bool {
    tried == 0 || tried.is_multiple_of(TOLD_EVERY)
}

/// Waits before another try. Returns false if the home closes meanwhile.
async fn again(stopping: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = sleep(AGAIN) => true,
        _ = stopping.wait_for(|stop| *stop) => false,
    }
}

impl Ctx {
    async fn keep_journaling(&self, end: &dyn End, mut stopping: watch::Receiver<bool>) -> bool {
        let mut tried = 0;
        while !self.write_into_journal(end, tried).await {
            tried += 1;
            if !again(&mut stopping).await {
                return false;
            }
        }
        true
    }

    async fn keep_registering(&self, end: &dyn End, mut stopping: watch::Receiver<bool>) -> bool {
        for tried in 0.. {
            match self.write_into_registry(end, tried).await {
                Tried::Done => return true,
                Tried::Refused => return false,
                Tried::Failed => {}
            }
            if !again(&mut stopping).await {
                break;
            }
        }
        false
    }

    async fn write_into_journal(&self, end: &dyn End, tried: u64) -> bool {
        let change = end.change();
        let at = change.entries.first().map(|entry| entry.time);
        let events = match end.revocation() {
            Some(revocation) => vec![revocation.clone().into()],
            None if end.is_journaled() => return true,
            None => Event::all_of(&change),
        };
        if events.is_empty() {
            return true;
        }
        let written = self.store.journal_all(at, events).await;
        if let Err(error) = written.as_ref().map_err(|error| error.to_string())
            && is_told(tried)
        {
            tracing::error!(
                error,
                tried,
                object = end.object(),
                "the journal does not have an end of access yet"
            );
        }
        written.is_ok()
    }

    async fn write_into_registry(&self, end: &dyn End, tried: u64) -> Tried {
        // The journal is told beside it, and first: a disk that takes one of the two is enough for the end to be known.
        let change = end.change().journaled();
        let error = match self.commit_with_effects(change).await {
            Ok(_) => {
                end.written();
                return Tried::Done;
            }
            Err(error) => error,
        };
        if is_told(tried) {
            tracing::error!(%error, tried, object = end.object(), "an end of access is not durable yet");
        }
        match error {
            CommitError::Conflict | CommitError::Unknown(_) => {}
            _ => return Tried::Failed,
        }
        let holds = || self.store.read(|registry| end.holds(registry));
        match holds() {
            // What is read may be on the disk in part only, until something else is committed after it; and what was not
            // there may be after that.
            Ok(true) if self.commit_something().await && holds().unwrap_or_default() => {
                end.written();
                Tried::Done
            }
            Ok(true) => Tried::Failed,
            Ok(false) if error == CommitError::Conflict && end.is_refused() => Tried::Refused,
            Ok(false) => Tried::Failed,
            Err(error) => {
                tracing::error!(%error, "an end of access could not be looked up");
                Tried::Failed
            }
        }
    }

    async fn commit_something(&self) -> bool {
        let now = self.now().to_string().into_bytes();
        let change = Change::default().write(Write::Setting(LAST_TIME, now));
        self.commit(change).await.is_ok()
    }
}
