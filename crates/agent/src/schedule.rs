//! When to act: renewal windows, waits after a refusal, pauses between connections. No clock, no chance in here.

use std::time::Duration;

use crate::closed::Need;
use crate::moment::Moment;
use crate::payload::{NoticeReason, Rejection, Window};

/// When to renew, within a window. `chance` spreads devices over the window evenly.
pub(crate) fn renewal_at(window: &Window, now: Moment, chance: u64) -> Moment {
    if window.reason == NoticeReason::Operator || window.renew_after <= now {
        return now;
    }
    let span_s = window.renew_after.seconds_until(window.renew_before);
    match span_s {
        0 => window.renew_after,
        _ => window.renew_after.plus_s(chance % span_s),
    }
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterRefusal {
    /// Ask again after this many seconds.
    Wait(u64),
    /// Asking again cannot help.
    Stop,
}

/// Seconds in a day: no refusal makes a device wait longer.
const DAY_S: u64 = 86_400;

/// Decides whether a refused request is made again, and when.
pub(crate) fn after_refusal(rejection: &Rejection) -> AfterRefusal {
    let usual_s = match rejection.code.as_str() {
        "rate_limited" | "storage_unavailable" => 30,
        "gateway_sealed" | "clock_untrusted" | "issuer_ended" | "approval_required" => 60,
        "device_suspended" => 900,
        "renewal_too_early" => 3600,
        "device_revoked"
        | "csr_malformed"
        | "csr_signature_invalid"
        | "csr_key_unsupported"
        | "csr_too_large"
        | "claim_unknown"
        | "claim_expired"
        | "claim_used"
        | "claim_locked" => {
            return AfterRefusal::Stop;
        }
        // A code of a later version: it says itself whether it passes.
        _ if rejection.retry_after_s.is_some() => 0,
        _ => return AfterRefusal::Stop,
    };
    AfterRefusal::Wait(rejection.retry_after_s.unwrap_or(usual_s).clamp(1, DAY_S))
}

/// The shortest wait for what only a person can change.
const FOR_A_PERSON_MS: u64 = 600_000;

/// The wait before a renewal that needs a person is asked for again: no shorter than the gateway says.
pub(crate) fn wait_for_person(wait_s: u64) -> u64 {
    wait_s.max(FOR_A_PERSON_MS / 1000)
}

/// The wait after so many failures in a row (0 first) that came without a time from the gateway: it doubles up to an hour.
pub(crate) fn longer(wait_s: u64, failures: u32) -> u64 {
    const LONGEST_S: u64 = 3600;
    let doubled = wait_s.saturating_mul(1 << failures.min(16));
    doubled.min(LONGEST_S.max(wait_s))
}

/// The pause before connection attempt `attempt` (0 first). While only time is needed, it doubles from one second to
/// five minutes, of which `chance` takes up to half away. Where a person has to do something, it is ten minutes to
/// twenty, and later up to an hour.
pub(crate) fn pause_before(need: Need, attempt: u32, chance: u64) -> Duration {
    const LONGEST_MS: u64 = 300_000;
    const LONGEST_FOR_A_PERSON_MS: u64 = 3_600_000;
    if need != Need::Time {
        let whole_ms = FOR_A_PERSON_MS
            .checked_shl(attempt.min(20).saturating_add(1))
            .unwrap_or(LONGEST_FOR_A_PERSON_MS)
            .min(LONGEST_FOR_A_PERSON_MS);
        return Duration::from_millis(FOR_A_PERSON_MS + chance % (whole_ms - FOR_A_PERSON_MS + 1));
    }
    let whole_ms = 1000_u64
        .checked_shl(attempt.min(20))
        .unwrap_or(LONGEST_MS)
        .min(LONGEST_MS);
    Duration::from_millis(whole_ms - chance % (whole_ms / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn window(after_s: i64, before_s: i64, reason: NoticeReason) -> Window {
        Window {
            renew_after: Moment::from_unix_s(NOW + after_s),
            renew_before: Moment::from_unix_s(NOW + before_s),
            reason,
        }
    }

    fn refusal(code: &str, retry_after_s: Option<u64>) -> Rejection {
        Rejection {
            code: code.to_owned(),
            message: String::new(),
            remedy: String::new(),
            retry_after_s,
        }
    }

    #[test]
    fn every_chance_falls_inside_the_window() {
        let window = window(100, 160, NoticeReason::Scheduled);
        for chance in [0, 1, 59, 60, 61, u64::MAX] {
            let at = renewal_at(&window, Moment::from_unix_s(NOW), chance);
            assert!(
                at >= window.renew_after && at < window.renew_before,
                "{chance}: {at}"
            );
        }
        let spread: std::collections::BTreeSet<_> = (0..60)
            .map(|chance| renewal_at(&window, Moment::from_unix_s(NOW), chance))
            .collect();
        assert_eq!(spread.len(), 60);
    }

    #[test]
    fn an_open_window_or_an_operator_means_now() {
        let now = Moment::from_unix_s(NOW);
        assert_eq!(
            renewal_at(&window(0, 600, NoticeReason::Scheduled), now, 7),
            now
        );
        assert_eq!(
            renewal_at(&window(-900, -600, NoticeReason::Scheduled), now, 7),
            now
        );
        assert_eq!(
            renewal_at(&window(300, 600, NoticeReason::Operator), now, 7),
            now
        );
    }

    #[test]
    fn a_window_that_ends_before_it_starts_is_its_start() {
        let window = window(100, 50, NoticeReason::Scheduled);
        assert_eq!(
            renewal_at(&window, Moment::from_unix_s(NOW), 7),
            window.renew_after
        );
    }

    #[test]
    fn passing_refusals_are_waited_out_as_told() {
        assert_eq!(
            after_refusal(&refusal("rate_limited", Some(7))),
            AfterRefusal::Wait(7)
        );
        assert_eq!(
            after_refusal(&refusal("rate_limited", Some(0))),
            AfterRefusal::Wait(1)
        );
        assert_eq!(
            after_refusal(&refusal("gateway_sealed", None)),
            AfterRefusal::Wait(60)
        );
        assert_eq!(
            after_refusal(&refusal("renewal_too_early", Some(u64::MAX))),
            AfterRefusal::Wait(DAY_S)
        );
    }

    #[test]
    fn final_refusals_stop_even_when_they_name_a_time() {
        for code in ["device_revoked", "claim_used", "csr_malformed"] {
            assert_eq!(after_refusal(&refusal(code, Some(5))), AfterRefusal::Stop);
        }
    }

    #[test]
    fn an_unknown_refusal_is_repeated_only_if_it_says_when() {
        assert_eq!(
            after_refusal(&refusal("moon_phase", Some(5))),
            AfterRefusal::Wait(5)
        );
        assert_eq!(
            after_refusal(&refusal("moon_phase", None)),
            AfterRefusal::Stop
        );
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for attempt in [0, 1, 5, 20, 63, u32::MAX] {
            let longest = pause_before(Need::Time, attempt, 0);
            assert!(longest <= Duration::from_secs(300));
            for chance in [1, 12_345, u64::MAX] {
                let pause = pause_before(Need::Time, attempt, chance);
                assert!(
                    pause <= longest && pause * 2 >= longest,
                    "{attempt} {chance}"
                );
            }
        }
        assert_eq!(pause_before(Need::Time, 0, 0), Duration::from_secs(1));
        assert_eq!(pause_before(Need::Time, 3, 0), Duration::from_secs(8));
    }

    #[test]
    fn a_row_of_failures_is_waited_for_longer_each_time_and_an_hour_at_most() {
        let waits = [0, 1, 2, 5, 6, 40, u32::MAX].map(|failures| longer(60, failures));
        assert_eq!(waits, [60, 120, 240, 1920, 3600, 3600, 3600]);
        assert_eq!(longer(DAY_S, 3), DAY_S);
    }

    #[test]
    fn what_needs_a_person_is_tried_after_ten_minutes_to_an_hour() {
        let (shortest, hour) = (Duration::from_secs(600), Duration::from_secs(3600));
        for need in [Need::Claim, Need::Date, Need::Resumption, Need::Setup] {
            for attempt in [0, 1, 5, 20, 63, u32::MAX] {
                for chance in [0, 1, 12_345_678, u64::MAX] {
                    let pause = pause_before(need, attempt, chance);
                    assert!(pause >= shortest && pause <= hour, "{attempt} {chance}");
                }
            }
            assert!(pause_before(need, 0, u64::MAX) <= shortest * 2);
        }
        assert_eq!(wait_for_person(3), 600);
        assert_eq!(wait_for_person(900), 900);
    }
}
