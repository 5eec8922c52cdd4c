//! Backups: made, verified, listed; where they go; whether the recovery code opens them.
//!
//! What waits for a disk runs on a thread of its own: a place that hangs, as a network share may, holds up neither the
//! runtime nor the end of the process. One backup is made or verified at a time.

use std::sync::{Arc, Mutex};

use hearthkey_core::posture::backups::{Backups as Facts, Restored};
use hearthkey_core::time::Timestamp;
use hearthkey_store::registry::{ReadError, Registry};
use tokio::sync::Notify;

use crate::auth::Auth;
use crate::state::Ctx;
use attempt::Attempts;

mod attempt;
pub(crate) mod due;
mod journal_place;
mod kit;
mod list;
mod make;
mod place;
mod plan;
mod refusal;
pub(crate) mod ship;
pub(crate) mod trial;
mod verify;

/// The setting that says how a home was restored.
pub(crate) const RESTORED: &str = "restored";

/// What is known of backups, as findings judge it.
pub(crate) fn facts(registry: &Registry<'_>) -> Result<Facts, ReadError> {
    Ok(Facts {
        every: plan::plan_of(registry)?.map(|plan| plan.every),
        ..registry.backups()?
    })
}

/// How the home was restored, if it was.
pub(crate) fn restored(registry: &Registry<'_>) -> Result<Option<Restored>, ReadError> {
    let text = registry.setting(RESTORED)?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// The backups of a home.
pub(crate) struct Backups {
    ctx: Arc<Ctx>,
    auth: Arc<Auth>,
    /// Held by who makes or verifies a backup.
    turn: tokio::sync::Mutex<()>,
    attempts: Mutex<Attempts>,
    /// The plan was set.
    planned: Notify,
    /// The place may be another: the journal is put there.
    moved: Notify,
}

impl Backups {
    pub(crate) fn new(ctx: Arc<Ctx>, auth: Arc<Auth>) -> Self {
        Self {
            ctx,
            auth,
            turn: tokio::sync::Mutex::default(),
            attempts: Mutex::default(),
            planned: Notify::new(),
            moved: Notify::new(),
        }
    }

    /// Home time, without its fraction of a second: what the name of a backup can hold.
    fn now(&self) -> Timestamp {
        self.ctx.now().whole_second()
    }
}
