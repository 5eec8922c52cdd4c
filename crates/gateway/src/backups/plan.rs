//! Where backups go, how many are kept, how often one is made.

use hearthkey_api as api;
use hearthkey_core::audit::Entry;
use hearthkey_core::backup::{Every, KEEP_USUAL, Place, Plan};
use hearthkey_core::role::Act;
use hearthkey_store::backup::Recipient;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::{ReadError, Registry};

use super::Backups;
use super::attempt::aside;
use super::place::Directory;
use super::refusal::{no_place, of_backup};
use crate::auth::caller::Caller;
use crate::auth::local_code::Needed;
use crate::state::failure::Failure;
use crate::state::{BACKUP_PLAN, locked};

/// The plan, if there is one.
pub(super) fn plan_of(registry: &Registry<'_>) -> Result<Option<Plan>, ReadError> {
    let text = registry.setting(BACKUP_PLAN)?;
    let plan = text.map(|text| serde_json::from_slice(&text)).transpose();
    Ok(plan.unwrap_or_else(|error| {
        // A newer program may know other places. It is set anew, or the newer program is used.
        tracing::error!(%error, "the place for backups is not understood");
        None
    }))
}

impl Backups {
    /// The plan, if there is one.
    pub(crate) fn plan(&self) -> Result<Option<Plan>, ReadError> {
        self.ctx.store().read(plan_of)
    }

    /// Sets the plan; what is left out stays.
    pub(crate) async fn set(
        &self,
        caller: &Caller,
        request: api::BackupPlanRequest,
    ) -> Result<api::BackupPlanned, Failure> {
        let permit = caller.permitted(Act::BackupChange)?;
        let actor = permit.actor_at_home(Act::BackupChange)?.clone();
        let plan = changed(self.plan()?, &request)?;
        let mut warnings = self.warnings(&plan.to).await?;
        let needed = Needed {
            act: Act::BackupChange,
            environment: None,
            why: "a backup holds everything that the home has",
        };
        let shown = self
            .auth
            .shown_here(caller, needed, request.second_factor)
            .await?;
        let object = format!("home:{}", self.ctx.id());
        let entry = Entry::new(self.ctx.now(), actor, "backup.set", object)
            .with("to", plan.to.as_str())
            .with("keep", plan.keep)
            .with("every", plan.every.as_str())
            .with("recipients", plan.recipients.join(" "));
        let text = serde_json::to_vec(&plan).map_err(|error| Failure::internal(&error))?;
        let change = Change::record(entry).write(Write::Setting(BACKUP_PLAN, text));
        self.auth.commit_shown(change, shown).await?;
        locked(&self.attempts).failed_at = None;
        self.planned.notify_one();
        self.moved.notify_one();
        if self
            .ctx
            .store()
            .kit_recipients()
            .is_ok_and(|kit| kit.is_empty())
        {
            warnings.push(
                "The recovery code is from before there were backups: type it once, so that backups can be encrypted for it. On the command line: `hearthkey backup kit-check`.".into(),
            );
        }
        Ok(api::BackupPlanned {
            plan: view(&plan),
            warnings,
        })
    }

    /// What a person should know about a place. One that cannot be opened is refused.
    async fn warnings(&self, to: &Place) -> Result<Vec<String>, Failure> {
        let data_dir = self.ctx.store().data_dir().to_owned();
        if to.path().starts_with(&data_dir) {
            return Err(Failure::refused(
                &"the place lies in the data directory, and would be lost with it",
                "Name a directory on another disk or a mounted share.",
            ));
        }
        let place = to.clone();
        let looked = aside(&self.ctx, move |_, _| {
            Ok(Directory::open(&place).map(|place| place.shares_disk_with(&data_dir)))
        });
        let looked = looked.await.map_err(|error| of_backup(&error))?;
        let same_disk = looked.map_err(|error| {
            let why = format!("the place for backups cannot be used: {error}");
            Failure::refused(
                &why,
                "Make the directory, mount its disk, and let the gateway's user write there; then try again.",
            )
        })?;
        let warning =
            "The place is on the same disk as the home: if that disk fails, both are lost.";
        Ok(same_disk.then(|| warning.to_owned()).into_iter().collect())
    }
}

fn changed(before: Option<Plan>, request: &api::BackupPlanRequest) -> Result<Plan, Failure> {
    let invalid = |error: &dyn std::fmt::Display| Failure::invalid(error);
    let to: Option<Place> = match &request.to {
        Some(to) => Some(to.parse().map_err(|error| invalid(&error))?),
        None => None,
    };
    let mut plan = match (before, &to) {
        (Some(before), _) => before,
        (None, Some(to)) => Plan {
            to: to.clone(),
            keep: KEEP_USUAL,
            every: Every::Daily,
            recipients: Vec::new(),
        },
        (None, None) => return Err(no_place()),
    };
    if let Some(to) = to {
        plan.to = to;
    }
    if let Some(keep) = request.keep {
        plan.keep = keep;
    }
    if let Some(every) = &request.every {
        plan.every = every.parse().map_err(|error| invalid(&error))?;
    }
    if let Some(recipients) = &request.recipients {
        let read = recipients.iter().map(|text| text.parse::<Recipient>());
        let read: Result<Vec<Recipient>, _> = read.collect();
        let read = read.map_err(|error| invalid(&error))?;
        plan.recipients = read.iter().map(ToString::to_string).collect();
    }
    plan.check().map_err(|error| invalid(&error))?;
    Ok(plan)
}

/// The plan as callers see it.
pub(super) fn view(plan: &Plan) -> api::BackupPlanView {
    api::BackupPlanView {
        to: plan.to.to_string(),
        keep: plan.keep,
        every: plan.every.to_string(),
        recipients: plan.recipients.clone(),
    }
}
