//! The gateway verifies its own log: from the first record at start and once a day, and what is new as it comes.
//!
//! What it finds is an incident: the home goes on reading and issues nothing until a person has looked. What was
//! accepted once stays a finding, and is no incident again.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_api as api;
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::time::Timestamp;
use hearthkey_store::anchor::Incident;
use hearthkey_store::change::Write;
use hearthkey_store::log::SignedCheckpoint;
use hearthkey_store::log_check::{ACCEPTED, LogCheck, Part};
use hearthkey_store::registry::ReadError;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::audit::Audit;
use crate::state::clock::Stopwatch;
use crate::state::locked;

/// Records that are checked at a time.
const PART: u32 = 500;
/// After a part, nothing is checked for so many times as long as it took: a fifth of a core at most.
const REST: u32 = 4;
/// New records are checked this often at most.
const NEW_EVERY: Duration = Duration::from_secs(1);
/// The whole log is checked this often.
const FULL_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What a check is begun for.
enum Next {
    /// New records.
    More,
    /// All of them.
    Full,
    Stop,
}

/// Verifies the log until the home closes.
pub(crate) async fn keep_verifying(home: Arc<Audit>) {
    let mut stopping = home.ctx.stopping().subscribe();
    let mut checkpoints = home.ctx.store().checkpoints();
    let mut days = interval(FULL_EVERY);
    days.set_missed_tick_behavior(MissedTickBehavior::Delay);
    days.tick().await;
    let (mut check, mut full) = (LogCheck::default(), true);
    loop {
        checkpoints.mark_unchanged();
        home.look_at_extent();
        match home.verify(&mut check, &mut stopping).await {
            Ok(Some(part)) => home.note_verified(&check, part, full).await,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the log could not be verified");
                locked(&home.log_state).unread = Some(error.to_string());
            }
        }
        match home
            .what_to_verify_next(&mut checkpoints, &mut days, &mut stopping)
            .await
        {
            Next::More => full = false,
            Next::Full => (check, full) = (LogCheck::default(), true),
            Next::Stop => return,
        }
    }
}

/// Waits, unless the home closes meanwhile.
async fn waited(time: Duration, stopping: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = sleep(time) => true,
        _ = stopping.wait_for(|stop| *stop) => false,
    }
}

impl Audit {
    /// Checks what there is, with rests between; nothing if the home closes meanwhile.
    async fn verify(
        &self,
        check: &mut LogCheck,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<Option<Part>, ReadError> {
        loop {
            let took = Stopwatch::start();
            let part = tokio::task::block_in_place(|| self.ctx.store().check_log(check, PART))?;
            if part != Part::More {
                return Ok(Some(part));
            }
            let rest = Duration::from_micros(took.elapsed_us()) * REST;
            if !waited(rest.max(Duration::from_millis(1)), stopping).await {
                return Ok(None);
            }
        }
    }

    async fn what_to_verify_next(
        &self,
        checkpoints: &mut watch::Receiver<Option<Arc<SignedCheckpoint>>>,
        days: &mut tokio::time::Interval,
        stopping: &mut watch::Receiver<bool>,
    ) -> Next {
        let broken = locked(&self.log_state).problem.is_some();
        let next = tokio::select! {
            _ = days.tick() => Next::Full,
            () = self.verify_again.notified() => Next::Full,
            changed = checkpoints.changed(), if !broken => changed.map_or(Next::Stop, |()| Next::More),
            _ = stopping.wait_for(|stop| *stop) => Next::Stop,
        };
        match next {
            Next::More if !waited(NEW_EVERY, stopping).await => Next::Stop,
            next => next,
        }
    }

    async fn note_verified(&self, check: &LogCheck, part: Part, full: bool) {
        let (now, faults) = (self.ctx.now(), check.faults().clone());
        let broken = match part {
            Part::Broken(incident) => Some(incident),
            Part::Whole(signed) => {
                let mut state = locked(&self.log_state);
                state.verified = Some(Arc::new(signed));
                state.verified_at = Some(now);
                if full {
                    state.full_at = Some(now);
                }
                None
            }
            Part::More => return,
        };
        let told = faults
            .text()
            .or_else(|| broken.as_ref().map(ToString::to_string));
        {
            let mut state = locked(&self.log_state);
            state.faults = faults.clone();
            state.problem = told;
            state.unread = None;
        }
        let accepted = self.ctx.store().accepted_faults().unwrap_or_default();
        // What the faults do not hold, like a log that has become shorter, is never accepted beforehand.
        let known = broken.filter(|broken| !matches!(broken, Incident::Rewritten(_)));
        if let Some(incident) = faults.beyond(&accepted).or(known) {
            self.log_is_faulty(incident, now).await;
        }
    }

    /// Records what was found, while that is still possible, and makes it an incident.
    async fn log_is_faulty(&self, incident: Incident, now: Timestamp) {
        if self.ctx.store().incident().is_some() {
            return;
        }
        tracing::error!(%incident, "the log does not verify; the home is read-only");
        let entry = Entry::new(
            now,
            Actor::gateway(),
            "log.verify",
            format!("home:{}", self.ctx.id()),
        )
        .ended(Outcome::Alert, incident.to_string());
        self.ctx.record(entry).await;
        self.ctx.store().make_read_only(incident);
    }

    /// What is wrong with the log: what its verifying found, or what keeps the home from going on.
    pub(crate) fn log_problem(&self) -> Option<String> {
        let found = locked(&self.log_state).told();
        found.or_else(|| {
            self.ctx
                .store()
                .incident()
                .map(|incident| incident.to_string())
        })
    }

    /// When the log last verified.
    pub(crate) fn log_verified_at(&self) -> Option<Timestamp> {
        let at = locked(&self.log_state).verified_at;
        at.filter(|_| self.log_problem().is_none())
    }

    /// The state of the verifying of the log.
    pub(crate) fn log_verified(&self) -> api::LogVerified {
        let problem = self.log_problem();
        let state = locked(&self.log_state);
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        api::LogVerified {
            ok: problem.is_none() && state.verified.is_some(),
            problem,
            size: state.verified.as_ref().map_or(0, |verified| verified.size),
            root: state
                .verified
                .as_ref()
                .map(|verified| STANDARD.encode(verified.root)),
            verified_at: text(state.verified_at),
            full_at: text(state.full_at),
        }
    }

    /// What is to be written down when a person accepts an incident, so that it is none again.
    pub(crate) fn faults_accepted(&self, incident: &Incident) -> Result<Write, ReadError> {
        let found = locked(&self.log_state).faults.clone();
        let all = self.ctx.store().accepted_faults()?.with(&found);
        let all = all.with(&self.ctx.store().faults_of(incident)?);
        Ok(Write::Setting(ACCEPTED, all.to_json()))
    }
}
