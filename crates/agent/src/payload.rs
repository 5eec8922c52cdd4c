//! The JSON that device and gateway exchange, as `docs/MQTT.md` fixes it.

use serde::{Deserialize, Serialize};

use crate::explain::printable;
use crate::fingerprint::Fingerprint;
use crate::moment::Moment;

/// What a device says about itself when it enrolls. Absent facts stay out of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceFacts {
    /// Maker's model name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Maker's serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Firmware version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// SHA-256 of the firmware image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware_sha256: Option<Fingerprint>,
}

/// A request for a certificate: enrollment with facts, renewal without.
#[derive(Serialize)]
pub(crate) struct CertificateRequest<'a> {
    pub(crate) csr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<&'a DeviceFacts>,
}

impl CertificateRequest<'_> {
    /// The request's JSON. Strings and options alone cannot fail to serialize.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The gateway's answer that carries a certificate. Serial and end of life are read from the certificate itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) certificate: String,
    pub(crate) renew_after: Option<Moment>,
    pub(crate) trust_bundle: Option<String>,
}

/// The gateway's answer that refuses, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RawRejection")]
pub struct Rejection {
    /// Stable code, such as `renewal_too_early`.
    pub code: String,
    /// Why, for a person.
    pub message: String,
    /// What to do, for a person.
    pub remedy: String,
    /// After how many seconds the same request may be made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl Rejection {
    /// A gateway that does not trust its clock lets a certificate in that has ended by this machine's: what follows if this one
    /// is right is said beside its answer.
    pub(crate) fn beside_this_clock(mut self, ended: Moment, now: Moment) -> Self {
        if self.code == "clock_untrusted" && now > ended {
            self.remedy = format!(
                "{}. By this machine's clock the certificate ended on {ended}: if that is right, and more time has passed than its \
                 profile allows to renew in, the device needs a new claim once the gateway has the time",
                self.remedy.trim_end_matches('.')
            );
        }
        self
    }
}

#[derive(Deserialize)]
struct RawRejection {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    remedy: String,
    retry_after_s: Option<u64>,
}

impl From<RawRejection> for Rejection {
    fn from(raw: RawRejection) -> Self {
        Self {
            code: printable(&raw.code),
            message: sentence(&raw.message, "The gateway gave no reason"),
            remedy: sentence(&raw.remedy, "Ask the person who runs the gateway"),
            retry_after_s: raw.retry_after_s,
        }
    }
}

/// A sentence of the gateway without its full stop, or another one if it sent none.
fn sentence(given: &str, otherwise: &str) -> String {
    let text = printable(given);
    match text.trim().trim_end_matches('.') {
        "" => otherwise.to_owned(),
        said => said.to_owned(),
    }
}

/// The retained notice: when to renew, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    #[serde(flatten)]
    pub(crate) window: Window,
    #[serde(default)]
    pub(crate) trust_bundle_sha256: Option<Fingerprint>,
}

/// A renewal window as the gateway chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Start: earlier requests are refused as too early.
    pub renew_after: Moment,
    /// End: later is late, though not refused.
    pub renew_before: Moment,
    /// Who wants the renewal.
    pub reason: NoticeReason,
}

/// Who wants a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeReason {
    /// The gateway's calendar.
    Scheduled,
    /// A person who asked for it now.
    Operator,
    /// A reason that this version does not know; treated like the calendar.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_leaves_out_what_is_not_known() {
        let facts = DeviceFacts {
            model: Some("L1".to_owned()),
            ..DeviceFacts::default()
        };
        let json = CertificateRequest {
            csr: "PEM",
            device: Some(&facts),
        }
        .to_json();
        assert_eq!(json, br#"{"csr":"PEM","device":{"model":"L1"}}"#);
        let json = CertificateRequest {
            csr: "PEM",
            device: None,
        }
        .to_json();
        assert_eq!(json, br#"{"csr":"PEM"}"#);
    }

    #[test]
    fn a_notice_of_the_gateway_is_read() {
        let text = format!(
            r#"{{"renew_after":"2026-03-01T00:00:00Z","renew_before":"2026-03-02T00:00:00Z","trust_bundle_sha256":"{}","reason":"operator"}}"#,
            "0f".repeat(32)
        );
        let notice: Notice = serde_json::from_str(&text).unwrap();
        assert_eq!(notice.window.reason, NoticeReason::Operator);
        assert_eq!(
            notice.window.renew_after.to_string(),
            "2026-03-01T00:00:00Z"
        );
        assert_eq!(
            notice.trust_bundle_sha256.unwrap().to_string(),
            "0f".repeat(32)
        );
    }

    #[test]
    fn a_reason_of_a_later_version_is_taken_like_the_calendar() {
        let text = r#"{"renew_after":"2026-03-01T00:00:00Z","renew_before":"2026-03-02T00:00:00Z","reason":"incident"}"#;
        let notice: Notice = serde_json::from_str(text).unwrap();
        assert_eq!(notice.window.reason, NoticeReason::Other);
    }

    #[test]
    fn a_rejection_without_words_still_says_what_to_do() {
        let bare: Rejection = serde_json::from_str(r#"{"code":"x","message":"No more."}"#).unwrap();
        assert_eq!(bare.message, "No more");
        assert_eq!(bare.remedy, "Ask the person who runs the gateway");
    }

    #[test]
    fn a_rejection_cannot_steer_the_terminal() {
        let text = r#"{"code":"rate_limited","message":"too\u001b[31m many","remedy":"wait","retry_after_s":5}"#;
        let rejection: Rejection = serde_json::from_str(text).unwrap();
        assert_eq!(rejection.message, "too [31m many");
        assert_eq!(rejection.retry_after_s, Some(5));
    }
}
