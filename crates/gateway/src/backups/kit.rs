//! A person types the recovery code, and learns whether it works. Nothing of it is shown.

use hearthkey_api as api;
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::backup::Place;
use hearthkey_core::role::Act;
use hearthkey_store::backup::{Identity, header_opens};
use hearthkey_store::change::Change;
use hearthkey_store::slots::kit::{KitChecked, kit_identity};
use zeroize::Zeroizing;

use super::Backups;
use super::attempt::aside;
use super::place::Directory;
use super::refusal::of_backup;
use crate::auth::permit::Permit;
use crate::state::aside::aside as aside_of_runtime;
use crate::state::failure::Failure;

/// Backups that a code is tried on.
const TRIED_MAX: usize = 100;

impl Backups {
    /// Whether a code is the recovery code, and which backups it opens. From now on backups are encrypted for it, if they
    /// were not. A passphrase is not tried, so that nobody guesses at one here: a recovery code has 160 random bits.
    pub(crate) async fn kit_check(
        &self,
        permit: &Permit,
        code: Zeroizing<String>,
    ) -> Result<api::KitChecked, Failure> {
        let actor = permit.actor_at_home(Act::BackupChange)?.clone();
        let checked = aside_of_runtime(|| self.ctx.store().check_kit(&code));
        let checked = checked.map_err(|error| of_backup(&error))?;
        let fits = checked != KitChecked::FitsNot;
        let object = format!("home:{}", self.ctx.id());
        let entry = Entry::new(self.ctx.now(), actor, "backup.kit_check", object);
        let entry = match checked {
            KitChecked::FitsNot => entry.ended(Outcome::Refused, "code_does_not_fit"),
            KitChecked::Fits => entry,
            KitChecked::FitsAnew => entry.with("learned", true),
        };
        self.ctx.commit(Change::record(entry)).await?;
        let mut answer = api::KitChecked {
            fits,
            learned: checked == KitChecked::FitsAnew,
            backups: Vec::new(),
            unreadable: None,
        };
        let Some(plan) = self.plan()? else {
            return Ok(answer);
        };
        let (found, unreadable) = self.found_at(&plan).await;
        answer.unreadable = unreadable;
        let names: Vec<String> = found.into_iter().take(TRIED_MAX).map(|f| f.name).collect();
        let identity = kit_identity(&code);
        let tried = aside(&self.ctx, move |_, _| Ok(opens(&plan.to, names, &identity)));
        answer.backups = tried.await.map_err(|error| of_backup(&error))?;
        Ok(answer)
    }
}

/// Which backups a key opens, by their headers.
fn opens(place: &Place, names: Vec<String>, identity: &Identity) -> Vec<api::KitOpens> {
    let Ok(directory) = Directory::open(place) else {
        return Vec::new();
    };
    let each = names.into_iter().map(|name| {
        let file = directory.read(&name).ok();
        let opens = file.is_some_and(|file| header_opens(file, identity).unwrap_or_default());
        api::KitOpens { name, opens }
    });
    each.collect()
}
