//! The home's clock, as a person sees and confirms it.

use hearthkey_api::ClockView;
use hearthkey_core::audit::Entry;
use hearthkey_core::role::Act;
use hearthkey_store::change::Change;

use crate::auth::permit::Permit;
use crate::home::Home;
use crate::state::failure::Failure;

impl Home {
    pub(crate) fn clock_view(&self) -> ClockView {
        let (now, trusted) = self.ctx.clock().now_and_trust();
        ClockView {
            trusted,
            now: now.to_string(),
        }
    }

    pub(crate) async fn confirm_clock(&self, permit: &Permit) -> Result<(), Failure> {
        let actor = permit.actor_at_home(Act::ClockConfirm)?.clone();
        let before = self.ctx.now();
        let after = self.ctx.clock().confirm();
        let entry = Entry::new(
            after,
            actor,
            "clock.confirm",
            format!("home:{}", self.ctx.id()),
        )
        .with("home_time_before", before.to_string());
        self.ctx.commit(Change::record(entry)).await?;
        Ok(())
    }
}
