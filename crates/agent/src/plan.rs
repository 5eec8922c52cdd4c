//! The plan for the next renewal: one moment, and the notice it answers. No clock, no chance in here.

use crate::directory::State;
use crate::moment::Moment;
use crate::payload::{NoticeReason, Window};
use crate::schedule::renewal_at;

/// When the device renews next, and because of which notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RenewalPlan {
    at: Moment,
    window: Option<Window>,
}

/// Retained notices come right after the subscription; a renewal from memory waits for them.
const NOTICES_FIRST_S: u64 = 2;

impl RenewalPlan {
    /// The plan while the gateway has not said anything on this connection: between the renewal date that came with
    /// the certificate and the middle of what is left of its life then.
    pub(crate) fn from_memory(state: &State, now: Moment, chance: u64) -> Self {
        let left_s = state.renew_after.seconds_until(state.not_after);
        let window = Window {
            renew_after: state.renew_after,
            renew_before: state.renew_after.plus_s(left_s / 2),
            reason: NoticeReason::Scheduled,
        };
        Self {
            at: renewal_at(&window, now, chance).max(now.plus_s(NOTICES_FIRST_S)),
            window: None,
        }
    }

    /// When to renew.
    pub(crate) fn at(&self) -> Moment {
        self.at
    }

    /// The notice that a renewal now would answer.
    pub(crate) fn window(&self) -> Option<Window> {
        self.window
    }

    /// Takes a notice into the plan. Returns when the renewal will be, or nothing if this notice was answered before.
    pub(crate) fn heed(
        &mut self,
        window: Window,
        answered: Option<Window>,
        now: Moment,
        chance: u64,
    ) -> Option<Moment> {
        if answered == Some(window) {
            return None;
        }
        // The same notice comes again with every connection: it must not move a renewal that was put off.
        if self.window != Some(window) {
            self.at = renewal_at(&window, now, chance);
            self.window = Some(window);
        }
        Some(self.at)
    }

    /// Puts the renewal off by `wait_s` and up to a tenth more. Returns when it will be.
    pub(crate) fn postpone(&mut self, now: Moment, wait_s: u64, chance: u64) -> Moment {
        self.at = now.plus_s(wait_s).plus_s(chance % (wait_s / 10 + 1));
        self.at
    }
}

/// From when on a look that is not repeated soon renews: the start of the window, so that none is missed between two looks.
pub(crate) fn due_from(state: &State, notice: Option<Window>, now: Moment) -> Moment {
    match notice.filter(|notice| state.answered != Some(*notice)) {
        Some(window) => renewal_at(&window, now, 0),
        None => state.renew_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;

    const NOW: i64 = 1_000_000;

    fn now() -> Moment {
        Moment::from_unix_s(NOW)
    }

    fn state(renew_after_s: i64, not_after_s: i64) -> State {
        State {
            device: "lamp-1".to_owned(),
            host: "hub.local".to_owned(),
            port: 8883,
            claim: "c1".to_owned(),
            serial: "01".to_owned(),
            not_after: Moment::from_unix_s(NOW + not_after_s),
            renew_after: Moment::from_unix_s(NOW + renew_after_s),
            trust_bundle_sha256: Fingerprint::of(b""),
            checkpoint: None,
            answered: None,
            handed_over: None,
            hook_owed: false,
        }
    }

    fn window(after_s: i64, reason: NoticeReason) -> Window {
        Window {
            renew_after: Moment::from_unix_s(NOW + after_s),
            renew_before: Moment::from_unix_s(NOW + after_s + 600),
            reason,
        }
    }

    #[test]
    fn without_a_notice_the_device_renews_well_before_its_certificate_ends() {
        for chance in [0, 17, u64::MAX] {
            let at = RenewalPlan::from_memory(&state(1000, 2000), now(), chance).at();
            assert!(at >= now().plus_s(1000) && at < now().plus_s(1500));
        }
    }

    #[test]
    fn an_overdue_device_renews_once_the_notices_have_come() {
        let plan = RenewalPlan::from_memory(&state(-1000, -500), now(), 5);
        assert_eq!(plan.at(), now().plus_s(NOTICES_FIRST_S));
    }

    #[test]
    fn an_operator_is_heeded_at_once() {
        let mut plan = RenewalPlan::from_memory(&state(1000, 2000), now(), 0);
        let at = plan.heed(window(0, NoticeReason::Operator), None, now(), 9);
        assert_eq!(at, Some(now()));
    }

    #[test]
    fn a_notice_that_was_answered_asks_for_nothing() {
        let mut plan = RenewalPlan::from_memory(&state(1000, 2000), now(), 0);
        let before = plan.clone();
        let old = window(-50, NoticeReason::Operator);
        assert_eq!(plan.heed(old, Some(old), now(), 9), None);
        assert_eq!(plan, before);
    }

    #[test]
    fn the_same_notice_again_does_not_undo_a_wait() {
        let mut plan = RenewalPlan::from_memory(&state(1000, 2000), now(), 0);
        let notice = window(-50, NoticeReason::Scheduled);
        plan.heed(notice, None, now(), 0);
        let later = plan.postpone(now(), 300, 0);
        assert_eq!(plan.heed(notice, None, now(), 0), Some(later));
    }

    #[test]
    fn a_single_look_renews_from_the_start_of_the_window_or_when_an_operator_asks() {
        let mut state = state(1000, 2000);
        assert_eq!(due_from(&state, None, now()), now().plus_s(1000));
        let scheduled = window(400, NoticeReason::Scheduled);
        assert_eq!(due_from(&state, Some(scheduled), now()), now().plus_s(400));
        let open = window(-50, NoticeReason::Scheduled);
        assert_eq!(due_from(&state, Some(open), now()), now());
        let asked = window(400, NoticeReason::Operator);
        assert_eq!(due_from(&state, Some(asked), now()), now());
        state.answered = Some(asked);
        assert_eq!(due_from(&state, Some(asked), now()), now().plus_s(1000));
    }

    #[test]
    fn a_wait_is_never_shorter_than_told_and_spread_by_a_tenth() {
        let mut plan = RenewalPlan::from_memory(&state(1000, 2000), now(), 0);
        for chance in [0, 1, 29, 30, 31, u64::MAX] {
            let at = plan.postpone(now(), 300, chance);
            assert!(at >= now().plus_s(300) && at <= now().plus_s(330));
        }
    }
}
