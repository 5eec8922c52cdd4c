//! Sealing and unsealing a gateway that runs.
//!
//! Guesses at the words that open the home have a budget, as those at logins have: a user of this machine one of their own, and
//! callers over a network one of that network and one that all of them share, so that they hold up nobody here.

use axum::http::StatusCode;
use hearthkey_api::code;
use hearthkey_core::audit::Entry;
use hearthkey_core::role::Act;
use hearthkey_store::slots::{SlotKind, UnsealError, Way};
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::auth::permit::Permit;
use crate::auth::throttle::By;
use crate::process::run::{Process, RunError, RunEvent};
use crate::state::clock::machine_time;
use crate::state::failure::{Failure, sentence};
use crate::state::locked;

impl Process {
    /// Opens the home, if the words are right. They count as wrong from before they are tried: trying them is work.
    pub(super) async fn unseal_with(
        &self,
        caller: Caller,
        words: Zeroizing<String>,
    ) -> Result<(), Failure> {
        let actor = caller.actor();
        let by = match &caller {
            Caller::Local { uid, .. } if is_other(*uid) => By::Here(OTHERS),
            Caller::Desktop | Caller::Local { .. } => By::Here(&actor.name),
            Caller::Service(service) => By::Stranger(service.address.ip(), HOME),
            Caller::Person(visit) => By::Stranger(visit.address.ip(), HOME),
        };
        if self.gateway.home().is_ok() {
            return Ok(());
        }
        let guess = locked(&self.guesses).attempt(by, machine_time());
        let guess = guess.ok_or_else(guessed_too_often)?;
        let _turn = self.turn.lock().await;
        if self.gateway.home().is_ok() {
            locked(&self.guesses).give_back(guess);
            return Ok(());
        }
        let opened = self.open(&Way::Words(words)).await;
        if !matches!(opened, Err(RunError::Unseal(UnsealError::NoFit))) {
            locked(&self.guesses).give_back(guess);
        }
        opened.map_err(|error| match error {
            RunError::Unseal(error) => {
                tracing::warn!(actor = actor.name, "an attempt to unseal failed");
                self.not_opened(&error)
            }
            error @ RunError::Moved(_) => Failure::refused(
                &error,
                "Stop the gateway, and start it with its own directory.",
            ),
            RunError::Home(error) => {
                tracing::error!(%error, "the home could not be unsealed");
                Failure::refused(&error, "Fix that, then unseal it again.")
            }
            error => Failure::internal(&error),
        })?;
        let home = self.gateway.home()?;
        let entry = Entry::new(
            home.ctx.now(),
            actor,
            "home.unseal",
            format!("home:{}", home.ctx.id()),
        );
        home.ctx.record(entry).await;
        Ok(())
    }

    pub(super) async fn seal_for(&self, permit: Permit) -> Result<(), Failure> {
        let actor = permit.actor_at_home(Act::HomeSeal)?.clone();
        let _turn = self.turn.lock().await;
        self.settle().await?;
        self.close(Some(actor)).await;
        (self.on_event)(RunEvent::Sealed);
        Ok(())
    }

    /// Whether the home may be sealed: what has ended in memory alone would be let in again when it is unsealed.
    pub(super) async fn settle(&self) -> Result<(), Failure> {
        let home = self.gateway.home()?;
        match home.ctx.endings().all_last().await {
            true => Ok(()),
            false => Err(ends_left(home.ctx.endings().fleeting())),
        }
    }
}

/// What users of this machine are counted under who are neither root nor the gateway's own user: one who has the user ids of a
/// range has no budget for each.
const OTHERS: &str = "other users";

fn is_other(uid: u32) -> bool {
    uid != 0 && uid != rustix::process::geteuid().as_raw()
}

/// What strangers who guess at what opens the home are counted under together.
const HOME: &str = "home";

fn guessed_too_often() -> Failure {
    Failure::new(
        StatusCode::TOO_MANY_REQUESTS,
        code::RATE_LIMITED,
        "Too many attempts.",
        "Words that open nothing were tried too often by this user, or from this network.",
        "Wait five minutes. Other users of this machine are not held up by it.",
    )
}

impl Process {
    /// Why words did not open the home, and what does.
    fn not_opened(&self, error: &UnsealError) -> Failure {
        let asks = locked(&self.slots).kinds().contains(&SlotKind::Passphrase);
        let text = error.to_string();
        let (why, other) = text.split_once(". ").unwrap_or((&text, ""));
        let remedy = match (error, asks) {
            (UnsealError::NoFit, true) => "Try another passphrase, or the recovery code.".to_owned(),
            (UnsealError::NoFit, false) => {
                "This home has no passphrase. Enter its recovery code, or restart the gateway: its key file opens it.".to_owned()
            }
            _ => sentence(&other),
        };
        Failure::refused(&why, &remedy).titled("The gateway stays sealed.")
    }
}

/// Why a home is not sealed now.
fn ends_left(count: usize) -> Failure {
    let ends = match count {
        1 => "1 end of access is".to_owned(),
        count => format!("{count} ends of access are"),
    };
    Failure::refused(
        &format!("{ends} not saved to disk yet, and would be undone when the home is unsealed"),
        "Free space or repair the disk, then seal it. If it must be closed at once, stop the gateway: access that was ended but not saved is then restored.",
    )
}
