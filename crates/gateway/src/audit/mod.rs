//! The gateway's own log, verified.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::state::Ctx;
use log_state::LogState;

pub(crate) mod log_check;
mod log_state;

/// The gateway's own log.
pub(crate) struct Audit {
    ctx: Arc<Ctx>,
    /// The state of the verifying of the log.
    log_state: Mutex<LogState>,
    /// The whole log is to be verified now.
    verify_again: Notify,
}

impl Audit {
    pub(crate) fn new(ctx: Arc<Ctx>) -> Self {
        Self {
            ctx,
            log_state: Mutex::default(),
            verify_again: Notify::new(),
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
