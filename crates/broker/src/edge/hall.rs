//! An engine behind its lock, and what follows when it is free again.
//!
//! One lock for the home, taken for a batch of packets or for one buffer of output: a few microseconds. With an owner of
//! its own for each session, every message would pass a queue between two tasks, which costs more than the lock does.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::event::{Event, EventSender};

/// A room: the home's, or one connection's own.
pub(crate) struct Hall {
    engine: Mutex<Engine>,
    began: Instant,
    events: EventSender,
    /// A will may be due.
    pub(crate) wills: Notify,
    /// Retained messages have changed.
    pub(crate) retained: Notify,
}

impl Hall {
    pub(crate) fn new(engine: Engine, events: EventSender) -> Arc<Self> {
        Arc::new(Self {
            engine: Mutex::new(engine),
            began: Instant::now(),
            events,
            wills: Notify::new(),
            retained: Notify::new(),
        })
    }

    /// The engine's time.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Does something with the engine. Keep it short: everybody else waits.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Engine, u64) -> T) -> T {
        let now_ms = self.now_ms();
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut engine, now_ms);
        let calls = engine.take_calls();
        let notes = engine.take_notes();
        let has_wills = engine.take_new_wills();
        let has_retained = engine.has_retained_changes();
        drop(engine);
        self.follow_up(notes, has_wills, has_retained);
        for waker in calls {
            waker.wake();
        }
        done
    }

    fn follow_up(&self, notes: Vec<Event>, has_wills: bool, has_retained: bool) {
        for note in notes {
            self.events.offer(note);
        }
        if has_wills {
            self.wills.notify_one();
        }
        if has_retained {
            self.retained.notify_one();
        }
    }
}
