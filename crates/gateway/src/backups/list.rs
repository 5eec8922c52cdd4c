//! Which backups there are.

use hearthkey_api as api;
use hearthkey_core::backup::{self, Plan};
use hearthkey_core::role::Act;
use hearthkey_core::time::Timestamp;

use super::Backups;
use super::attempt::aside;
use super::place::{Directory, Found};
use super::plan::view;
use crate::auth::permit::Permit;
use crate::state::failure::Failure;
use crate::state::locked;

/// Backups that a list has at most.
const LISTED_MAX: usize = 1000;

impl Backups {
    /// The backups at the place that is set, newest first.
    pub(crate) async fn list(&self, permit: &Permit) -> Result<api::BackupList, Failure> {
        permit.actor_at_home(Act::BackupRead)?;
        let (plan, store) = (self.plan()?, self.ctx.store());
        let facts = store.read(|registry| registry.backups())?;
        let kit_known = store.kit_recipients().is_ok_and(|kit| !kit.is_empty());
        let (found, unreadable) = match &plan {
            Some(plan) => self.found_at(plan).await,
            None => (Vec::new(), None),
        };
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let of = |found: Found| api::BackupView {
            made_at: text(backup::made_at(self.ctx.id(), &found.name)).unwrap_or_default(),
            name: found.name,
            bytes: found.bytes,
        };
        Ok(api::BackupList {
            plan: plan.as_ref().map(view),
            kit_known,
            backups: found.into_iter().take(LISTED_MAX).map(of).collect(),
            unreadable,
            made_at: text(facts.made_at),
            verified_at: text(facts.tried_at),
            failed: facts.failed.map(|(_, why)| why),
            running_since: text(locked(&self.attempts).since),
            journal: plan.as_ref().map(|_| self.shipped()),
        })
    }

    /// How far the place knows the journal.
    fn shipped(&self) -> api::JournalShipped {
        let shipped = self.ctx.shipped_now();
        let known_until = shipped.known_until(self.ctx.now());
        api::JournalShipped {
            known_until: known_until.map(|at| at.whole_second().to_string()),
            behind_since: shipped.behind_since.map(|at| at.to_string()),
            failed: shipped.failed,
        }
    }

    /// The backups at a place, newest first; or why it cannot be read.
    pub(super) async fn found_at(&self, plan: &Plan) -> (Vec<Found>, Option<String>) {
        let (to, home) = (plan.to.clone(), self.ctx.id().clone());
        let looked = aside(&self.ctx, move |_, _| {
            Ok(Directory::open(&to).and_then(|place| place.backups(&home)))
        });
        let mut found = match looked.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return (Vec::new(), Some(error.to_string())),
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        found.sort_unstable_by_key(|found| {
            std::cmp::Reverse(backup::made_at(self.ctx.id(), &found.name))
        });
        (found, None)
    }
}
