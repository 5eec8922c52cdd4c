//! The gateway's own log: verified, archived, shortened.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::auth::Auth;
use crate::state::Ctx;
use log_state::LogState;

pub(crate) mod archives;
pub(crate) mod log_check;
mod log_state;
pub(crate) mod shortening;

/// The gateway's own log.
pub(crate) struct Audit {
    ctx: Arc<Ctx>,
    /// The state of the verifying of the log.
    log_state: Mutex<LogState>,
    /// The whole log is to be verified now.
    verify_again: Notify,
    auth: Arc<Auth>,
    /// The log begins later now: there are records to be dropped.
    shortened: Notify,
    /// One shortens it at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Audit {
    pub(crate) fn new(ctx: Arc<Ctx>, auth: Arc<Auth>) -> Self {
        Self {
            ctx,
            log_state: Mutex::default(),
            verify_again: Notify::new(),
            auth,
            shortened: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The whole log is verified now.
    pub(crate) fn verify_now(&self) {
        self.verify_again.notify_one();
    }

    /// How many records the log has.
    pub(crate) fn log_size(&self) -> u64 {
        self.ctx
            .store()
            .checkpoints()
            .borrow()
            .as_ref()
            .map_or(0, |newest| newest.size)
    }
}
