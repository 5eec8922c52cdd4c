//! A backup is verified: restored into a directory of its own with the home's key, and opened there.

use std::io;

use hearthkey_api as api;
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::backup::{self, Plan};
use hearthkey_core::role::Act;
use hearthkey_store::Store;
use hearthkey_store::backup::BackupError;
use hearthkey_store::change::Change;

use super::Backups;
use super::attempt::aside;
use super::place::Directory;
use super::refusal::{no_place, of_backup};
use super::trial::{TrialError, on_trial};
use crate::auth::permit::Permit;
use crate::state::failure::Failure;
use crate::state::locked;

impl Backups {
    /// Verifies the newest backup at the place that is set.
    pub(crate) async fn verify_latest(
        &self,
        permit: &Permit,
    ) -> Result<api::BackupVerified, Failure> {
        let actor = permit.actor_at_home(Act::BackupRead)?.clone();
        let plan = self.plan()?.ok_or_else(no_place)?;
        let _turn = self.turn.lock().await;
        locked(&self.attempts).since = Some(self.ctx.now());
        let tried = aside(&self.ctx, move |store, _| Ok(newest(store, &plan))).await;
        locked(&self.attempts).since = None;
        let tried = tried.map_err(|error| of_backup(&error))?;
        let (name, verified) = tried.map_err(|error| {
            let why = format!("the place for backups cannot be used: {error}");
            Failure::backup(
                &why,
                "Check the place: that it is there, mounted, and readable by the gateway.",
            )
        })?;
        let Some(name) = name else {
            return Err(Failure::refused(
                &"there is no backup of this home at the place that is set",
                "Make one. On the command line: `hearthkey backup create`.",
            ));
        };
        let entry = Entry::new(
            self.ctx.now(),
            actor,
            "backup.verify",
            format!("backup:{name}"),
        );
        let failure = match verified {
            Ok(Ok(verified)) => {
                let entry = entry.with("opened", verified.opened.len());
                self.ctx.commit(Change::record(entry)).await?;
                return Ok(verified);
            }
            Ok(Err(error)) => of_backup(&error),
            Err(error) => of_backup(&error),
        };
        let why = failure.0.detail.clone();
        self.ctx.record(entry.ended(Outcome::Alert, why)).await;
        Err(failure)
    }
}

type Tried = Result<Result<api::BackupVerified, TrialError>, BackupError>;

/// The newest backup at a place, and what became of its trial.
fn newest(store: &Store, plan: &Plan) -> io::Result<(Option<String>, Tried)> {
    let home = store.vault().home();
    let directory = Directory::open(&plan.to)?;
    let found = directory.backups(home)?.into_iter();
    let newest = found.max_by_key(|found| backup::made_at(home, &found.name));
    let Some(newest) = newest else {
        return Ok((None, Err(BackupError::Stopped)));
    };
    let file = directory.read(&newest.name)?;
    let tried = on_trial(store, &newest.name, file);
    Ok((Some(newest.name), tried))
}
