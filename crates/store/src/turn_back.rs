//! Home time goes back: what had ended by the time before stays ended, and what was made by it does not outlive it.

use hearthkey_core::person::{INVITATION_LIFETIME, SESSION_IDLE, SESSION_LIFETIME};
use hearthkey_core::time::{Span, Timestamp};
use rusqlite::{Transaction, params_from_iter};

use crate::apply::ApplyError;

/// What was made so long after the time to which home time goes back was made by a wrong clock.
pub const MADE_AHEAD: Span = Span::hours(1);

/// Home time goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnBack {
    /// From what.
    pub from: Timestamp,
    /// To what.
    pub to: Timestamp,
}

impl TurnBack {
    /// Whether what was made and ends by time at these moments has ended, or was made by the wrong clock.
    pub fn ends(&self, made: Timestamp, end: Timestamp) -> bool {
        end <= self.from || made > self.to.after(MADE_AHEAD)
    }
}

/// Claims are closed, tokens revoked, sessions and invitations ended, leases due. What goes on, goes on for no longer than it would
/// have if it had been made at the time to which home time goes back.
pub(crate) fn apply(tx: &Transaction<'_>, turn: TurnBack) -> Result<(), ApplyError> {
    let (from, to) = (turn.from.as_ms(), turn.to.as_ms());
    let ahead = turn.to.after(MADE_AHEAD).as_ms();
    let idle = turn.from.before(SESSION_IDLE).as_ms();
    let begun = turn.from.before(SESSION_LIFETIME).as_ms();
    let invited = turn.to.after(INVITATION_LIFETIME).as_ms();
    let run = |sql: &str, moments: &[i64]| -> Result<(), ApplyError> {
        tx.prepare_cached(sql)?.execute(params_from_iter(moments))?;
        Ok(())
    };
    run(
        "UPDATE claim SET state = 'closed' WHERE state = 'open' AND (expires_at <= ?1 OR opened_at > ?2)",
        &[from, ahead],
    )?;
    run(
        "UPDATE token SET revoked_at = ?3
         WHERE revoked_at IS NULL AND (expires_at <= ?1 OR created_at > ?2 OR authorized_at > ?2)",
        &[from, ahead, to],
    )?;
    run(
        "UPDATE token SET expires_at = min(expires_at, ?1 + ttl) WHERE revoked_at IS NULL",
        &[to],
    )?;
    run(
        "UPDATE lease SET expires_at = min(expires_at, ?3)
         WHERE ended_at IS NULL AND (expires_at <= ?1 OR issued_at > ?2)",
        &[from, ahead, to],
    )?;
    run(
        "UPDATE person SET invitation = NULL, invitation_expires = NULL
         WHERE invitation_expires <= ?1 OR invitation_expires > ?2",
        &[from, invited.saturating_add(MADE_AHEAD.as_ms())],
    )?;
    run(
        "DELETE FROM web_session WHERE created_at > ?1 OR created_at <= ?2 OR last_used_at <= ?3",
        &[ahead, begun, idle],
    )?;
    run(
        "UPDATE web_session SET last_used_at = min(last_used_at, ?1), fresh_until = min(fresh_until, ?1)",
        &[to],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn what_had_ended_or_was_made_by_the_wrong_clock_has_ended() {
        let turn = TurnBack {
            from: Timestamp::from_s(119 * DAY),
            to: Timestamp::from_s(DAY),
        };
        let ends = |made_s, end_s| turn.ends(Timestamp::from_s(made_s), Timestamp::from_s(end_s));
        assert!(ends(0, 118 * DAY), "it had ended");
        assert!(ends(118 * DAY, 130 * DAY), "it was made by the wrong clock");
        assert!(!ends(0, 200 * DAY));
        assert!(!ends(DAY + 3_600, 200 * DAY), "an hour is no difference");
    }
}
