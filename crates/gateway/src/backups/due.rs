//! A backup is made by itself when its time has come.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::audit::Actor;
use hearthkey_store::registry::Registry;
use tokio::time::{MissedTickBehavior, interval};

use super::Backups;
use crate::state::aside::aside;
use crate::state::locked;

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Makes what is due, until the home closes.
pub(crate) async fn make_what_is_due(backups: Arc<Backups>) {
    {
        let _turn = backups.turn.lock().await;
        aside(|| backups.ctx.store().forget_backup_leftovers());
    }
    let mut stopping = backups.ctx.stopping().subscribe();
    let mut minutes = interval(LOOK_EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let goes_on = tokio::select! {
            _ = minutes.tick() => true,
            () = backups.planned.notified() => true,
            _ = stopping.wait_for(|stop| *stop) => false,
        };
        if !goes_on {
            return;
        }
        backups.make_if_due().await;
    }
}

impl Backups {
    async fn make_if_due(&self) {
        let Ok(Some(plan)) = self.plan() else { return };
        // One that somebody took away on a stick is none of those at this place.
        let made_at = |registry: &Registry<'_>| registry.backed_up_to(plan.to.as_str());
        let Ok(made_at) = self.ctx.store().read(made_at) else {
            return;
        };
        let (now, failed_at) = (self.ctx.now(), locked(&self.attempts).failed_at);
        if !plan.is_due(made_at, failed_at, now) {
            return;
        }
        let entry = self.entry(Actor::gateway(), "");
        let made = self.attempt(entry, plan.to.clone(), Some(&plan)).await;
        let failed = made.is_err();
        locked(&self.attempts).failed_at = failed.then(|| self.ctx.now());
    }
}
