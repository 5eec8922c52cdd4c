//! The home's clock: how a person sees and confirms it, how devices agree with it, and what follows when home time is set.

use axum::http::StatusCode;
use hearthkey_api::{ClockDoubt, ClockView, code};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::device::DeviceState;
use hearthkey_core::role::Act;
use hearthkey_core::time::Timestamp;
use hearthkey_core::trusted_time::{BEHIND_MAX, Doubt, EARLIEST, Step};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::turn_back::TurnBack;

use crate::auth::permit::Permit;
use crate::home::Home;
use crate::state::Ctx;
use crate::state::clock::{GAINED, LAST_TIME};
use crate::state::failure::Failure;
use crate::trust::authority::TrustError;

/// For a clock that nobody can confirm.
fn before_program() -> Failure {
    Failure::new(
        StatusCode::CONFLICT,
        code::CONFLICT,
        "The system clock was not confirmed.",
        "It shows a time before 2026, when this program did not exist.",
        "Set the system clock, for example with NTP, then confirm it. On the command line: `timedatectl`, then `hearthkey clock confirm`.",
    )
}

/// What is kept of the time over a restart.
pub(crate) fn kept_time(ctx: &Ctx) -> [Write; 2] {
    let (now, gained) = ctx.clock().kept();
    let gained = serde_json::to_vec(&gained).unwrap_or_default();
    [
        Write::Setting(LAST_TIME, now.to_string().into_bytes()),
        Write::Setting(GAINED, gained),
    ]
}

impl Home {
    pub(crate) fn clock_view(&self) -> ClockView {
        let both = self.ctx.clock().both();
        ClockView {
            trusted: both.doubted.is_none(),
            now: both.home.to_string(),
            machine: Some(both.machine.to_string()),
            synchronized: both.synchronized,
            doubt: both.doubted.map(|clock| ClockDoubt {
                since: clock.doubted.since.to_string(),
                code: clock.doubted.why.as_str().into(),
                says: format!("The system clock {}.", clock.doubted.why.says()),
            }),
        }
    }

    /// A person says that the machine's clock is right.
    pub(crate) async fn confirm_clock(&self, permit: &Permit) -> Result<(), Failure> {
        let actor = permit.actor_at_home(Act::ClockConfirm)?.clone();
        if self.ctx.clock().both().machine < EARLIEST {
            return Err(before_program());
        }
        self.set_by(actor, "clock.confirm", Vec::new()).await
    }

    /// Sets home time to the machine's clock. What would come back to life by going back has durably ended before.
    async fn set_by(
        &self,
        actor: Actor,
        action: &'static str,
        witnesses: Vec<String>,
    ) -> Result<(), Failure> {
        let both = self.ctx.clock().both();
        if both.home.ms_from(both.machine) > BEHIND_MAX.as_ms() {
            self.turn_back(both.home, both.machine).await?;
        }
        let step = self.ctx.clock().confirm().ok_or_else(before_program)?;
        let mut entry = self.entry(step, actor, action);
        if !witnesses.is_empty() {
            entry = entry.with("witnesses", witnesses);
        }
        let mut change = Change::record(entry);
        change.writes.extend(kept_time(&self.ctx));
        self.ctx.commit(change).await?;
        self.follow_step(step).await;
        Ok(())
    }

    fn entry(&self, step: Step, actor: Actor, action: &'static str) -> Entry {
        let object = format!("clock:{}", self.ctx.id());
        let entry = Entry::new(step.to, actor, action, object)
            .with("from", step.from.to_string())
            .with("to", step.to.to_string())
            .with("back", step.is_back());
        match step.synchronized {
            Some(synchronized) => entry.with("synchronized", synchronized),
            None => entry,
        }
    }

    /// Ends durably, and in memory, what had ended by a time that home time leaves, and what was made by it and would outlive it.
    async fn turn_back(&self, from: Timestamp, to: Timestamp) -> Result<(), Failure> {
        let turn = TurnBack { from, to };
        self.ctx
            .access_mut()
            .close_claims(|claim, _| turn.ends(claim.opened_at, claim.expires_at));
        let change = Change::default().write(Write::TurnBack(turn));
        self.ctx.commit(change).await?;
        self.auth.turn_back(turn).await?;
        self.vault.forget_waits();
        self.devices.recall_certificates(to)?;
        Ok(())
    }

    /// What the home makes anew when home time was set.
    async fn follow_step(&self, step: Step) {
        if step.is_back() {
            let taken = self.trust.take_back(step.from).await;
            self.keep_numbers(taken).await;
        }
        // What is due by the new time is made now: a successor in the first round, and it signs from the second on.
        for _ in 0..2 {
            let followed = self.trust.carry_on().await;
            self.keep_numbers(followed).await;
        }
        let mut numbers = Vec::new();
        for ca in self.trust.stale_crls(self.ctx.now()) {
            numbers.extend(self.trust.publish_crl(&ca).await);
        }
        self.keep_numbers(Ok(numbers)).await;
        if let Err(error) = self.trust.renew_tls().await {
            tracing::error!(%error, "the server certificate could not be renewed");
        }
    }

    /// Writes the numbers of CRLs down that were published because of a step.
    async fn keep_numbers(&self, replaced: Result<Vec<Write>, TrustError>) {
        let writes = match replaced {
            Ok(writes) => writes,
            Err(error) => {
                tracing::error!(%error, "a CA is not replaced yet");
                return;
            }
        };
        let change = Change {
            writes,
            ..Change::default()
        };
        if !change.writes.is_empty()
            && let Err(error) = self.ctx.commit(change).await
        {
            tracing::warn!(%error, "the CRL numbers could not be kept");
        }
    }

    /// Looks at the clock, writes down what home time did by itself, and asks the devices if it is in doubt. Once a second.
    pub(crate) async fn keep_clock(&self, doubted: &mut bool) {
        let both = self.ctx.clock().both();
        for step in self.ctx.clock().take_steps() {
            self.has_stepped(step).await;
        }
        let is_doubted = both.doubted.is_some();
        if std::mem::replace(doubted, is_doubted) != is_doubted {
            if is_doubted {
                tracing::warn!(home = %both.home, machine = %both.machine, "the system clock is not trusted");
            }
            // The listener shows a certificate that is good by both clocks while one of them is in doubt.
            if let Err(error) = self.trust.renew_tls().await {
                tracing::error!(%error, "the server certificate could not be renewed");
            }
        }
        let can_be_agreed = both
            .doubted
            .is_some_and(|clock| clock.doubted.why != Doubt::BeforeProgram);
        if can_be_agreed {
            self.ask_witnesses().await;
        }
    }

    /// Home time has followed a synchronized clock, or one that is not, by more than five minutes.
    async fn has_stepped(&self, step: Step) {
        if step.is_back()
            && let Err(failure) = self.turn_back(step.from, step.to).await
        {
            tracing::error!(
                why = failure.0.detail,
                "what had ended by the time before may last longer"
            );
        }
        let mut change = Change::record(self.entry(step, Actor::gateway(), "clock.step"));
        change.writes.extend(kept_time(&self.ctx));
        if let Err(error) = self.ctx.commit(change).await {
            tracing::error!(%error, from = %step.from, to = %step.to, "a step of the clock could not be recorded");
        }
        self.follow_step(step).await;
    }

    /// Sets home time to the machine's clock if enough devices of this home agree with it.
    async fn ask_witnesses(&self) {
        let agreement = {
            let access = self.ctx.access();
            self.ctx.clock().agreement(|device| {
                access
                    .device(device)
                    .is_some_and(|known| known.state == DeviceState::Active)
            })
        };
        let active = {
            let access = self.ctx.access();
            access
                .devices()
                .filter(|(_, known)| known.state == DeviceState::Active)
                .count()
        };
        if !agreement.is_enough(active as u64) {
            return;
        }
        let witnesses = agreement.agree.iter().take(WITNESSES_NAMED);
        let witnesses = witnesses.map(|device| format!("device:{device}")).collect();
        if let Err(failure) = self
            .set_by(Actor::gateway(), "clock.agree", witnesses)
            .await
        {
            tracing::error!(
                why = failure.0.detail,
                "devices agree with the system clock, and home time could not be set"
            );
        }
    }
}

/// Devices that a record names as witnesses, at most.
const WITNESSES_NAMED: usize = 10;
