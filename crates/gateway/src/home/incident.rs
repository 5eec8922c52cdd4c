//! A person has looked at an incident: the log goes on.

use hearthkey_core::audit::Entry;
use hearthkey_core::role::Act;
use hearthkey_store::change::Change;

use crate::auth::permit::Permit;
use crate::home::Home;
use crate::state::failure::Failure;

impl Home {
    /// A person has looked at the incident: the log goes on, and says so in its next record.
    pub(crate) async fn accept_incident(
        &self,
        permit: &Permit,
        reason: &str,
    ) -> Result<(), Failure> {
        let actor = permit.actor_at_home(Act::LogAccept)?.clone();
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > 500 {
            return Err(Failure::invalid(
                &"a reason of 1 to 500 characters is required",
            ));
        }
        let Some(incident) = self.ctx.store().incident() else {
            return Err(Failure::refused(
                &"there is no incident to accept",
                "Nothing needs to be done.",
            ));
        };
        let entry = Entry::new(
            self.ctx.now(),
            actor,
            "log.accept",
            format!("home:{}", self.ctx.id()),
        )
        .because(reason)
        .with("incident", incident.to_string());
        let change = Change::record(entry).write(self.audit.faults_accepted(&incident)?);
        self.ctx.store().accept_incident(change).await?;
        self.audit.verify_now();
        self.devices.replay_revocations().await;
        Ok(())
    }
}
