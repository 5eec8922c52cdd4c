//! What happens while the agent runs: one line for a person, or one JSON value for a program.

use std::fmt;

use serde::Serialize;

use crate::checkpoint::Setback;
use crate::closed::ClosedReason;
use crate::fingerprint::Fingerprint;
use crate::moment::Moment;
use crate::payload::{NoticeReason, Rejection};

/// Something that happened while the agent ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A session began.
    Connected {
        /// Device id.
        device: String,
        /// Serial number of the certificate in use.
        serial: String,
        /// End of its life.
        not_after: Moment,
    },
    /// A session ended, or could not begin; the agent tries again.
    Disconnected {
        /// Why.
        reason: ClosedReason,
        /// What a person has to do first; nothing if time is enough.
        #[serde(skip_serializing_if = "Option::is_none")]
        remedy: Option<String>,
        /// Pause before the next attempt.
        retry_in_ms: u64,
    },
    /// The gateway was found at another place, and has proved that it is this home's.
    Moved {
        /// Its host from now on.
        host: String,
        /// Its MQTT port.
        port: u16,
    },
    /// The gateway said when to renew.
    Notice {
        /// Start of the window.
        renew_after: Moment,
        /// End of the window.
        renew_before: Moment,
        /// Who wants it.
        reason: NoticeReason,
        /// When this device will; nothing if it already has.
        renewal_at: Option<Moment>,
    },
    /// A new certificate is on disk; the next connection uses it.
    Renewed {
        /// Its serial number.
        serial: String,
        /// End of its life.
        not_after: Moment,
    },
    /// The gateway refused a renewal, for now.
    RenewalRefused {
        /// Its answer.
        #[serde(flatten)]
        rejection: Rejection,
        /// When the device asks again.
        retry_at: Moment,
    },
    /// A renewal failed on the way.
    RenewalFailed {
        /// Why.
        why: String,
        /// When the device asks again.
        retry_at: Moment,
    },
    /// A new set of roots is trusted, and acknowledged.
    TrustUpdated {
        /// SHA-256 of the bundle.
        trust_bundle_sha256: Fingerprint,
    },
    /// A set of roots was not taken over.
    TrustRefused {
        /// Why.
        why: String,
    },
    /// The gateway's audit log is not a continuation of what this device saw before.
    CheckpointWentBackwards {
        /// How.
        setback: Setback,
        /// Size that was seen, and is remembered.
        seen_size: u64,
        /// Size that the gateway claims now.
        new_size: u64,
    },
    /// The gateway does not let the device read a topic.
    SubscriptionDenied {
        /// The topic.
        topic: String,
    },
    /// A message could not be understood.
    Unreadable {
        /// Its topic.
        topic: String,
        /// Why.
        why: String,
    },
    /// The hook has run.
    HookFinished {
        /// Its exit status; nothing if a signal ended it.
        exit_status: Option<i32>,
    },
    /// The hook could not be run, or did not end in time.
    HookFailed {
        /// Why.
        why: String,
    },
    /// The disk did not take what the agent has to remember; it is tried again every minute.
    NotSaved {
        /// Why.
        why: String,
    },
    /// The agent was asked to stop, and did.
    Stopped,
}

impl Event {
    /// Whether a person should look into it.
    pub fn is_error(&self) -> bool {
        match self {
            Self::Disconnected { reason, .. } => reason.is_about_identity(),
            Self::HookFinished { exit_status } => *exit_status != Some(0),
            Self::RenewalFailed { .. }
            | Self::TrustRefused { .. }
            | Self::CheckpointWentBackwards { .. }
            | Self::SubscriptionDenied { .. }
            | Self::Unreadable { .. }
            | Self::HookFailed { .. }
            | Self::NotSaved { .. } => true,
            Self::Connected { .. }
            | Self::Moved { .. }
            | Self::Notice { .. }
            | Self::Renewed { .. }
            | Self::RenewalRefused { .. }
            | Self::TrustUpdated { .. }
            | Self::Stopped => false,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Connected {
                device,
                serial,
                not_after,
            } => format!("connected as {device}; certificate {serial} is valid until {not_after}"),
            Self::Disconnected {
                reason,
                remedy,
                retry_in_ms,
            } => not_connected(reason, remedy.as_deref(), *retry_in_ms),
            Self::Moved { host, port } => {
                format!("the gateway was found at {host}, port {port}, by multicast DNS")
            }
            Self::Notice {
                reason, renewal_at, ..
            } => notice(*reason, *renewal_at),
            Self::Renewed { serial, not_after } => {
                format!("renewed: certificate {serial} is valid until {not_after}")
            }
            Self::RenewalRefused {
                rejection,
                retry_at,
            } => refusal(rejection, *retry_at),
            Self::RenewalFailed { why, retry_at } => {
                format!("not renewed: {why}; retrying at {retry_at}")
            }
            Self::TrustUpdated {
                trust_bundle_sha256,
            } => format!("new trust bundle {trust_bundle_sha256} installed"),
            Self::TrustRefused { why } => format!("trust bundle not installed: {why}"),
            Self::CheckpointWentBackwards {
                setback,
                seen_size,
                new_size,
            } => went_backwards(*setback, *seen_size, *new_size),
            Self::SubscriptionDenied { topic } => {
                format!("this device may not subscribe to {topic}")
            }
            Self::Unreadable { topic, why } => format!("cannot read a message on {topic}: {why}"),
            Self::HookFinished { exit_status } => exit_status.map_or_else(
                || "the hook was ended by a signal".to_owned(),
                |status| format!("the hook ended with status {status}"),
            ),
            Self::HookFailed { why } => format!("the hook did not run: {why}"),
            Self::NotSaved { why } => {
                format!(
                    "not saved: {why}. Check the disk. Saving is retried every minute, and the session continues"
                )
            }
            Self::Stopped => "stopped".to_owned(),
        };
        f.write_str(&text)
    }
}

fn not_connected(reason: &ClosedReason, remedy: Option<&str>, retry_in_ms: u64) -> String {
    let retry_in_s = retry_in_ms.div_ceil(1000);
    match remedy {
        None => format!("not connected: {reason}; next try in {retry_in_s} s"),
        Some(remedy) if retry_in_s < 120 => {
            format!("not connected: {reason}. {remedy}. The next try is in {retry_in_s} s")
        }
        Some(remedy) => format!(
            "not connected: {reason}. {remedy}. The next try is in {} min",
            retry_in_s.div_ceil(60)
        ),
    }
}

fn notice(reason: NoticeReason, renewal_at: Option<Moment>) -> String {
    match (renewal_at, reason) {
        (None, _) => "the gateway's notice was answered before".to_owned(),
        (Some(at), NoticeReason::Operator) => {
            format!("an operator asks for a new certificate; renewing at {at}")
        }
        (Some(at), _) => format!("renewal planned for {at}"),
    }
}

fn refusal(rejection: &Rejection, retry_at: Moment) -> String {
    let Rejection {
        code,
        message,
        remedy,
        ..
    } = rejection;
    format!("not renewed yet: {message} ({code}). {remedy}. Retrying at {retry_at}")
}

fn went_backwards(setback: Setback, seen_size: u64, new_size: u64) -> String {
    let how = match setback {
        Setback::Smaller => "it is shorter than it was",
        Setback::Rewritten => "its records have changed",
        Setback::OtherLog => "it is another log",
    };
    format!(
        "THE GATEWAY'S AUDIT LOG WENT BACKWARDS: {how}; {seen_size} records were signed before, {new_size} are now. \
         Verify the log, and treat it as an incident"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_went_backwards_is_an_error_with_both_sizes() {
        let event = Event::CheckpointWentBackwards {
            setback: Setback::Smaller,
            seen_size: 9,
            new_size: 4,
        };
        assert!(event.is_error());
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"checkpoint_went_backwards","setback":"smaller","seen_size":9,"new_size":4}"#
        );
    }

    #[test]
    fn a_refusal_that_needs_a_person_says_what_to_do_and_the_next_try_in_minutes() {
        let event = Event::Disconnected {
            reason: ClosedReason::TlsRefused {
                alert: "certificate_expired".to_owned(),
            },
            remedy: Some("It needs a new claim".to_owned()),
            retry_in_ms: 601_000,
        };
        assert!(event.is_error());
        assert_eq!(
            event.to_string(),
            "not connected: the gateway refused the TLS handshake (certificate_expired). It needs a new claim. \
             The next try is in 11 min"
        );
    }

    #[test]
    fn a_refused_renewal_carries_the_gateways_words_and_the_next_time() {
        let event = Event::RenewalRefused {
            rejection: Rejection {
                code: "gateway_sealed".to_owned(),
                message: "The gateway is sealed".to_owned(),
                remedy: "Unseal it".to_owned(),
                retry_after_s: Some(60),
            },
            retry_at: Moment::from_unix_s(60),
        };
        assert_eq!(
            event.to_string(),
            "not renewed yet: The gateway is sealed (gateway_sealed). Unseal it. Retrying at 1970-01-01T00:01:00Z"
        );
    }
}
