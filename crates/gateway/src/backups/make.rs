//! A backup is made: written under another name, verified as it lies there, and given its last name then.

use std::io;

use hearthkey_api as api;
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::backup::{self, Place, Plan};
use hearthkey_core::role::Act;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::Store;
use hearthkey_store::backup::{BackupError, Recipient};
use hearthkey_store::change::Change;

use super::Backups;
use super::attempt::aside;
use super::place::Directory;
use super::refusal::no_place;
use super::trial::{TrialError, on_trial};
use crate::auth::caller::Caller;
use crate::auth::local_code::Needed;
use crate::state::failure::{Failure, sentence};
use crate::state::locked;

/// A failure that repeats is recorded once a day.
const SAID_AGAIN_AFTER: Span = Span::days(1);

/// Why there is no new backup.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    /// It was not made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// It was made, and did not pass.
    #[error("{0}. The new file was removed")]
    Trial(#[from] TrialError),
    /// The place.
    #[error("the place for backups cannot be used: {0}")]
    Place(io::Error),
    /// It is not known what the recovery code opens.
    #[error(
        "this home's recovery code is from before there were backups, so that nothing can be encrypted for it yet. Type it once with `hearthkey backup kit-check`"
    )]
    NoKit,
    /// The log is not trusted.
    #[error("the home is read-only: {0}. Accept that first with `hearthkey log accept`")]
    ReadOnly(String),
}

impl From<MakeError> for Failure {
    fn from(error: MakeError) -> Self {
        let text = error.to_string();
        let (detail, remedy) = match text.rsplit_once(". ") {
            Some((detail, remedy)) => (detail.to_owned(), sentence(&remedy)),
            None => (
                text,
                "Check the place: that it is there, mounted, writable by the gateway, and not full.".to_owned(),
            ),
        };
        Self::backup(&detail, &remedy)
    }
}

/// A backup that has its last name.
struct Made {
    bytes: u64,
    verified: api::BackupVerified,
    given_up: Vec<String>,
}

/// What is to be done, without anything of the home's state.
struct Order {
    to: Place,
    recipients: Vec<Recipient>,
    made_at: Timestamp,
    /// How many are kept, if older ones are given up.
    keep: Option<u32>,
}

impl Backups {
    /// Makes a backup for a person.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        request: api::BackupRequest,
    ) -> Result<api::BackupMade, Failure> {
        let permit = caller.permitted(Act::BackupChange)?;
        let actor = permit.actor_at_home(Act::BackupChange)?.clone();
        let plan = self.plan()?;
        let to = match (&request.to, &plan) {
            (Some(to), _) => to.parse().map_err(|error| Failure::invalid(&error))?,
            (None, Some(plan)) => plan.to.clone(),
            (None, None) => return Err(no_place()),
        };
        let needed = Needed {
            act: Act::BackupChange,
            environment: None,
            why: "a backup holds everything that the home has",
        };
        let shown = self
            .auth
            .shown_here(caller, needed, request.second_factor)
            .await?;
        let entry = self.entry(actor, "");
        let entry = self.auth.used_up(shown, entry).await?;
        self.attempt(entry, to, plan.as_ref()).await
    }

    /// The record of an attempt, about a backup of no name yet.
    pub(super) fn entry(&self, actor: Actor, name: &str) -> Entry {
        Entry::new(
            self.ctx.now(),
            actor,
            "backup.create",
            format!("backup:{name}"),
        )
    }

    /// Makes a backup, and records what became of that.
    pub(super) async fn attempt(
        &self,
        entry: Entry,
        to: Place,
        plan: Option<&Plan>,
    ) -> Result<api::BackupMade, Failure> {
        let _turn = self.turn.lock().await;
        locked(&self.attempts).since = Some(self.ctx.now());
        let made = self.make(to.clone(), plan).await;
        locked(&self.attempts).since = None;
        let mut entry = entry.with("to", to.as_str());
        entry.time = self.ctx.now();
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                self.failed(entry, &error).await;
                return Err(error.into());
            }
        };
        entry.object = format!("backup:{}", made.verified.name);
        let entry = entry
            .with("bytes", made.bytes)
            .with("log_size", made.verified.log_size)
            .with("given_up", made.given_up.len());
        let verified = Entry::new(
            entry.time,
            Actor::gateway(),
            "backup.verify",
            entry.object.clone(),
        );
        let mut change = Change::record(entry);
        change
            .entries
            .push(verified.with("opened", made.verified.opened.len()));
        self.ctx.commit(change).await?;
        locked(&self.attempts).recorded = None;
        Ok(api::BackupMade {
            path: format!("{to}/{}", made.verified.name),
            bytes: made.bytes,
            verified: made.verified,
            given_up: made.given_up,
        })
    }

    async fn make(&self, to: Place, plan: Option<&Plan>) -> Result<Made, MakeError> {
        if let Some(incident) = self.ctx.store().incident() {
            return Err(MakeError::ReadOnly(incident.to_string()));
        }
        let recipients = recipients_of(self.ctx.store(), plan)?;
        let covered = self.note_covered().await.map_err(|error| {
            MakeError::Backup(BackupError::Home(io::Error::other(error.to_string())))
        })?;
        let order = Order {
            keep: plan.filter(|plan| plan.to == to).map(|plan| plan.keep),
            to,
            recipients,
            made_at: self.now(),
        };
        let (place, is_planned) = (order.to.clone(), order.keep.is_some());
        let made = aside(&self.ctx, move |store, goes_on| {
            Ok(write(store, &order, goes_on))
        })
        .await?;
        if let (Ok(_), Some(covered), true) = (&made, covered, is_planned) {
            self.drop_what_is_backed_up(covered, &place).await;
        }
        made
    }

    /// Records a failure, unless the same was recorded lately.
    async fn failed(&self, entry: Entry, error: &MakeError) {
        let why = error.to_string();
        tracing::error!(why, "the backup failed");
        let now = entry.time;
        let is_known = {
            let attempts = locked(&self.attempts);
            let known = attempts.recorded.as_ref();
            known.is_some_and(|(text, at)| *text == why && now < at.after(SAID_AGAIN_AFTER))
        };
        if is_known || matches!(error, MakeError::Backup(BackupError::Stopped)) {
            return;
        }
        self.ctx
            .record(entry.ended(Outcome::Alert, why.as_str()))
            .await;
        locked(&self.attempts).recorded = Some((why, now));
    }
}

/// Whom backups, and the journal beside them, are encrypted for.
pub(super) fn recipients_of(
    store: &Store,
    plan: Option<&Plan>,
) -> Result<Vec<Recipient>, MakeError> {
    let mut recipients = store.kit_recipients()?;
    if recipients.is_empty() {
        return Err(MakeError::NoKit);
    }
    recipients.push(store.backup_identity().recipient());
    let others = plan
        .map(|plan| plan.recipients.as_slice())
        .unwrap_or_default();
    // They were read when the plan was made.
    recipients.extend(others.iter().filter_map(|one| one.parse().ok()));
    Ok(recipients)
}

/// Writes, verifies and names a backup. Waits for the disk.
fn write(
    store: &Store,
    order: &Order,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Made, MakeError> {
    let home = store.vault().home();
    let directory = Directory::open(&order.to).map_err(MakeError::Place)?;
    directory.sweep(home).map_err(MakeError::Place)?;
    let made_at = directory.free_second(home, order.made_at);
    let name = backup::file_name(home, made_at);
    let mut file = directory.begin(name.clone()).map_err(MakeError::Place)?;
    {
        let snapshot = store.snapshot(made_at, goes_on)?;
        snapshot.write(
            &order.recipients,
            env!("CARGO_PKG_VERSION"),
            &mut file,
            goes_on,
        )?;
    }
    let (written, bytes) = file.written().map_err(MakeError::Place)?;
    let verified = on_trial(store, &name, written)??;
    file.finish().map_err(MakeError::Place)?;
    let given_up = match order.keep {
        Some(keep) => give_up(&directory, store, keep),
        None => Vec::new(),
    };
    Ok(Made {
        bytes,
        verified,
        given_up,
    })
}

/// Removes the oldest beyond those that are kept. One that stays is no reason to call the new one failed.
fn give_up(directory: &Directory, store: &Store, keep: u32) -> Vec<String> {
    let home = store.vault().home();
    let found = directory.backups(home).unwrap_or_default();
    let names: Vec<String> = found.into_iter().map(|found| found.name).collect();
    let mut given_up = Vec::new();
    for name in backup::given_up(home, &names, keep) {
        match directory.remove(name) {
            Ok(()) => given_up.push(name.to_owned()),
            Err(error) => tracing::warn!(%error, name, "an old backup could not be removed"),
        }
    }
    given_up
}
