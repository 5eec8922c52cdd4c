//! What happens by itself: time passes, wills fall due, changes are handed over to be written down.
//!
//! Retained messages are handed over as they change; sessions, their queues and their unacknowledged messages once in
//! `Limits::snapshot_period_ms` (1 s), and completely at [`stop`](crate::Broker::stop).
//!
//! What `kill -9` or a power cut can cost, counted from the last batch that the gateway made durable:
//! - up to one period of QoS 1 and 2 messages for sessions that outlive their connection, though their publishers have the
//!   acknowledgement; of subscriptions; of new and ended sessions and wills;
//! - the retained messages of the last milliseconds.
//!
//! And what it can repeat: messages acknowledged within the last period. A clean stop costs nothing. If the gateway takes no
//! batches, changes coalesce in what is live anyway; nothing grows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::edge::memory::{self, Tide};
use crate::edge::shared::Shared;
use crate::engine::Moment;
use crate::state::StateChange;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Changes of retained messages within this time are handed over together.
const RETAINED_PAUSE: Duration = Duration::from_millis(20);

/// Lets time pass until the broker stops.
pub(crate) async fn keep_time(shared: Arc<Shared>) {
    let mut period = interval(TICK);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = shared.stopping.clone();
    let mut tide = Tide::rising(shared.hall.now_ms());
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = shared.hall.wills.notified() => {}
            _ = period.tick() => {
                for room in shared.sessions.rooms() {
                    room.with(|engine, now_ms| engine.tick(now_ms));
                }
                shared.hall.with(|engine, now_ms| engine.tick(now_ms));
                let (held, arrived) = (shared.held_bytes(), shared.gate.entered());
                if tide.ebbs(held, arrived, shared.hall.now_ms()) {
                    tokio::task::spawn_blocking(memory::give_back);
                }
            }
        }
        shared.speak_wills();
    }
}

/// Judges everybody anew now and then: certificates expire.
pub(crate) async fn sweep(shared: Arc<Shared>) {
    let mut period = interval(shared.limits.sweep_period());
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = shared.stopping.clone();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = period.tick() => {}
        }
        shared.recheck();
    }
}

/// Hands changes over until `finish` speaks or is dropped; then all that is left.
pub(crate) async fn hand_over(
    shared: Arc<Shared>,
    sender: mpsc::Sender<Vec<StateChange>>,
    mut finish: oneshot::Receiver<()>,
) {
    let mut period = interval(shared.limits.snapshot_period());
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (all, last) = tokio::select! {
            _ = &mut finish => (true, true),
            _ = period.tick() => (true, false),
            () = shared.hall.retained.notified() => (false, false),
        };
        if !send(&shared, &sender, all).await {
            tracing::error!("state changes are no longer stored: sessions will not survive");
            return;
        }
        if last {
            return;
        }
        sleep(RETAINED_PAUSE).await;
    }
}

/// Sends all changes that there are. False if nobody takes them.
async fn send(shared: &Shared, sender: &mpsc::Sender<Vec<StateChange>>, all: bool) -> bool {
    let most = shared.limits.state_batch_changes_max;
    loop {
        // Room first: what waits here coalesces.
        let Ok(place) = sender.reserve().await else {
            return false;
        };
        let home_s = (shared.now)().as_s();
        let changes = shared.hall.with(|engine, now_ms| {
            let moment = Moment { now_ms, home_s };
            engine.take_changes(most, all, moment)
        });
        if changes.is_empty() {
            return true;
        }
        place.send(changes);
    }
}
