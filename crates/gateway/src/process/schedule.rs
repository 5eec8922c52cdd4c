//! What time brings: sightings and checkpoints every second, the rest every minute.
//!
//! What ends by time, what is written into the database and what is written into the anchor file have a task each: none of
//! them waits for a disk that holds up another.

use crate::trust::authority::TrustError;
use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::tokens::TokenWrite;
use hearthkey_store::vault_change::VaultWrite;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::home::Home;
use crate::home::clock::kept_time;

/// Ended claims are forgotten after this long; the log keeps what they did.
const CLAIMS_KEPT: Span = Span::days(30);
/// What has ended in the vault (leases, rotations, findings) is forgotten after this long, as long as the log keeps records.
const ENDED_KEPT: Span = Span::days(730);
/// The use of rights is written down this often.
const RIGHTS_NOTED_EVERY_S: u64 = 10;
/// Revoked tokens are forgotten after this long.
const TOKENS_KEPT: Span = Span::days(30);

/// Ticks until the home closes.
struct Ticks {
    every: Interval,
    stopping: watch::Receiver<bool>,
}

impl Ticks {
    fn of(home: &Home, every: Duration) -> Self {
        let mut every = interval(every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            every,
            stopping: home.ctx.stopping().subscribe(),
        }
    }

    /// Waits for the next one. There is none once the home closes.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.every.tick() => true,
            _ = self.stopping.wait_for(|stop| *stop) => false,
        }
    }
}

/// Ends what is over by time, until the home closes.
pub(crate) async fn keep_ending(home: Arc<Home>) {
    let mut minutes = Ticks::of(&home, Duration::from_secs(60));
    while minutes.next().await {
        let now = home.ctx.now();
        home.ctx.access_mut().sweep(now);
        home.devices.sweep_waiting();
        home.devices.end_second_slots(now).await;
    }
}

/// Writes the anchor file after what is new in the log, until the home closes.
pub(crate) async fn keep_anchoring(home: Arc<Home>) {
    let mut seconds = Ticks::of(&home, Duration::from_secs(1));
    let mut anchored = 0;
    while seconds.next().await {
        home.anchor_what_is_new(&mut anchored).await;
    }
}

/// Keeps time until the home closes.
pub(crate) async fn keep(home: Arc<Home>) {
    let mut seconds = Ticks::of(&home, Duration::from_secs(1));
    // The home has opened with what its clock was then.
    let mut clock_doubted = !home.ctx.clock().now_and_trust().1;
    let mut ticks = 0_u64;
    while seconds.next().await {
        home.keep_clock(&mut clock_doubted).await;
        home.every_second().await;
        if ticks.is_multiple_of(RIGHTS_NOTED_EVERY_S) {
            home.devices.note_rights_used().await;
        }
        if ticks.is_multiple_of(60) {
            home.every_minute().await;
        }
        if ticks.is_multiple_of(3600) {
            home.note_time().await;
        }
        ticks += 1;
    }
}

impl Home {
    async fn every_second(&self) {
        self.devices.note_sightings().await;
        self.auth.note_token_uses().await;
        self.auth.note_session_uses().await;
    }

    async fn anchor_what_is_new(&self, anchored: &mut u64) {
        let newest = self.ctx.store().checkpoints().borrow().clone();
        if let Some(checkpoint) = newest.filter(|newest| newest.size != *anchored) {
            match tokio::task::block_in_place(|| self.ctx.store().write_anchor()) {
                Ok(()) => *anchored = checkpoint.size,
                Err(error) => tracing::error!(%error, "the anchor file could not be written"),
            }
            self.trust.publish_checkpoint(checkpoint.note.clone()).await;
        }
    }

    async fn every_minute(&self) {
        let now = self.ctx.now();
        self.vault.settle_all_out_of_use().await;
        self.ctx.outbox().notify_one();
        let mut change = Change::default().write(self.auth.ended_sessions(now));
        // Nothing is forgotten or destroyed by a clock that is not believed, or was set by far lately.
        if self.ctx.clock().is_settled() {
            self.vault.shred_what_is_due(now).await;
            change = change
                .write(Write::ForgetClaims(now.before(CLAIMS_KEPT)))
                .write(Write::Token(TokenWrite::Forget(now.before(TOKENS_KEPT))));
            if now.as_s() / 60 % 60 == 0 {
                change = change.vault(VaultWrite::ForgetEnded(now.before(ENDED_KEPT)));
            }
            self.auth.tokens.forget(now.before(TOKENS_KEPT));
        }
        for ca in self.trust.stale_crls(now) {
            change.writes.extend(self.trust.publish_crl(&ca).await);
        }
        change.writes.extend(self.authorities_follow(now).await);
        if let Err(error) = self.ctx.commit(change).await {
            tracing::warn!(%error, "the housekeeping of this minute could not be stored");
        }
        if let Err(error) = self.renew_tls_when_due(now).await {
            tracing::error!(%error, "the server certificate could not be renewed");
        }
    }

    /// CAs follow one another in time, and those that nobody needs any more are forgotten. Nothing by a clock that is not believed.
    async fn authorities_follow(&self, now: Timestamp) -> Vec<Write> {
        if !self.ctx.clock().now_and_trust().1 {
            return Vec::new();
        }
        if now.as_s() / 60 % (24 * 60) == 0
            && self.ctx.clock().is_settled()
            && let Err(error) = self.trust.forget_former_authorities().await
        {
            tracing::error!(%error, "a CA that is needed no more could not be forgotten");
        }
        self.trust.carry_on().await.unwrap_or_else(|error| {
            tracing::error!(%error, "a CA could not be followed by a new one");
            Vec::new()
        })
    }

    async fn renew_tls_when_due(&self, now: Timestamp) -> Result<(), TrustError> {
        // Nothing is renewed in bulk, and no certificate is made, by a clock that is not believed.
        let (_, trusted) = self.ctx.clock().now_and_trust();
        if trusted && now.as_s() / 60 % 60 == 0 {
            self.trust.renew_tls().await?;
        }
        Ok(())
    }

    /// Notes home time, so that it does not run backwards across a restart.
    pub(crate) async fn note_time(&self) {
        let mut change = Change::default();
        change.writes.extend(kept_time(&self.ctx));
        if let Err(error) = self.ctx.commit(change).await {
            tracing::warn!(%error, "the time could not be stored");
        }
    }
}
