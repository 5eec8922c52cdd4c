//! What a device gets when its request is refused: a code, a message, and what to do.

use serde::Serialize;

use crate::key::CsrRefusal;
use crate::time::Span;

/// The codes of the device protocol. The words are part of it: add, never rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // Each is described by its message and remedy below.
pub enum Code {
    ClaimUnknown,
    ClaimExpired,
    ClaimUsed,
    ClaimLocked,
    CsrMalformed,
    CsrSignatureInvalid,
    CsrKeyUnsupported,
    CsrTooLarge,
    DeviceRevoked,
    DeviceSuspended,
    ApprovalRequired,
    RenewalTooEarly,
    RateLimited,
    GatewaySealed,
    StorageUnavailable,
    ClockUntrusted,
    IssuerEnded,
}

impl Code {
    /// The code as it is written in answers and audit records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClaimUnknown => "claim_unknown",
            Self::ClaimExpired => "claim_expired",
            Self::ClaimUsed => "claim_used",
            Self::ClaimLocked => "claim_locked",
            Self::CsrMalformed => "csr_malformed",
            Self::CsrSignatureInvalid => "csr_signature_invalid",
            Self::CsrKeyUnsupported => "csr_key_unsupported",
            Self::CsrTooLarge => "csr_too_large",
            Self::DeviceRevoked => "device_revoked",
            Self::DeviceSuspended => "device_suspended",
            Self::ApprovalRequired => "approval_required",
            Self::RenewalTooEarly => "renewal_too_early",
            Self::RateLimited => "rate_limited",
            Self::GatewaySealed => "gateway_sealed",
            Self::StorageUnavailable => "storage_unavailable",
            Self::ClockUntrusted => "clock_untrusted",
            Self::IssuerEnded => "issuer_ended",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::ClaimUnknown => "This claim does not exist.",
            Self::ClaimExpired => "This claim has expired.",
            Self::ClaimUsed => "This claim has already been used with another key.",
            Self::ClaimLocked => "This claim was locked after five wrong secrets.",
            Self::CsrMalformed => "The request is not a certificate signing request in PEM.",
            Self::CsrSignatureInvalid => "The signing request is not signed by the key it carries.",
            Self::CsrKeyUnsupported => "This device may not use a key of this kind.",
            Self::CsrTooLarge => "The request is larger than 16 KiB.",
            Self::DeviceRevoked => {
                "This device, or the certificate it used, has been revoked or replaced."
            }
            Self::DeviceSuspended => "This device is suspended.",
            Self::ApprovalRequired => "A person has to approve this device first.",
            Self::RenewalTooEarly => "It is too early to renew this certificate.",
            Self::RateLimited => "Too many requests are waiting.",
            Self::GatewaySealed => "The gateway is sealed.",
            Self::StorageUnavailable => {
                "The gateway cannot write to its storage, so it issues nothing."
            }
            Self::ClockUntrusted => "The gateway's clock cannot be trusted, so it issues nothing.",
            Self::IssuerEnded => "The home's CA has ended, so it issues nothing.",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::ClaimUnknown | Self::ClaimExpired | Self::ClaimLocked => {
                "Ask the operator for a new claim."
            }
            Self::ClaimUsed => {
                "Send the request again with the key used first, or ask the operator for a new claim. If nobody else should have this claim, tell the operator."
            }
            Self::CsrMalformed => {
                "Create it with: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout NAME.key -subj /CN=NAME"
            }
            Self::CsrSignatureInvalid => {
                "Sign the request with the private key that belongs to it."
            }
            Self::CsrKeyUnsupported => {
                "Make a new P-256 key; a renewal needs a key that has not been used before, \
                 unless the profile allows reuse."
            }
            Self::CsrTooLarge => {
                "Send only the signing request: a P-256 request has about 400 bytes."
            }
            Self::DeviceRevoked => "Ask the operator for a new claim and enroll again.",
            Self::DeviceSuspended => "Ask the operator to resume the device.",
            Self::ApprovalRequired => {
                "Tell the operator the SHA-256 of the device's key, so that it can be compared and approved, then send the same request again."
            }
            Self::RenewalTooEarly => {
                "Wait for the window in the notice, or ask the operator to rotate the device."
            }
            Self::RateLimited => "Wait, then send the same request again.",
            Self::GatewaySealed => {
                "Ask the operator to unseal the gateway, then send the same request again."
            }
            Self::StorageUnavailable => {
                "Send the same request again later; the operator has to free space or repair the disk."
            }
            Self::ClockUntrusted => {
                "Send the same request again later; the operator has to set or confirm the clock."
            }
            Self::IssuerEnded => {
                "Tell the operator: the gateway's findings say which CA has ended, and what to do."
            }
        }
    }

    /// How long to wait before trying again, where waiting helps and the time is not known better.
    fn retry_after(self) -> Option<Span> {
        match self {
            Self::ApprovalRequired => Some(Span::s(3)),
            Self::RateLimited => Some(Span::s(15)),
            Self::GatewaySealed | Self::StorageUnavailable | Self::ClockUntrusted => {
                Some(Span::s(60))
            }
            Self::IssuerEnded => Some(Span::hours(1)),
            _ => None,
        }
    }
}

impl From<CsrRefusal> for Code {
    fn from(refusal: CsrRefusal) -> Self {
        match refusal {
            CsrRefusal::TooLarge => Self::CsrTooLarge,
            CsrRefusal::Malformed => Self::CsrMalformed,
            CsrRefusal::SignatureInvalid => Self::CsrSignatureInvalid,
            CsrRefusal::KeyUnsupported => Self::CsrKeyUnsupported,
        }
    }
}

/// A refusal as it is sent to the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The code, for the device.
    pub code: Code,
    /// What happened, for a person.
    pub message: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// How many seconds to wait before trying again, where that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<i64>,
}

impl From<Code> for Rejection {
    fn from(code: Code) -> Self {
        Self {
            code,
            message: code.message(),
            remedy: code.remedy(),
            retry_after_s: code.retry_after().map(Span::as_s),
        }
    }
}

impl Rejection {
    /// A refusal that can be tried again after a known span.
    pub fn retry_after(code: Code, wait: Span) -> Self {
        Self {
            retry_after_s: Some(wait.as_s().max(1)),
            ..Self::from(code)
        }
    }

    /// The payload of the answer: JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_sent_with_its_code_message_and_remedy() {
        let json: serde_json::Value =
            serde_json::from_slice(&Rejection::from(Code::StorageUnavailable).to_json()).unwrap();
        assert_eq!(json["code"], Code::StorageUnavailable.as_str());
        assert_eq!(json["retry_after_s"], 60);
        assert!(
            json["remedy"]
                .as_str()
                .is_some_and(|remedy| remedy.ends_with('.'))
        );
        let never = serde_json::to_value(Rejection::from(Code::ClaimUsed)).unwrap();
        assert!(never.get("retry_after_s").is_none());
    }
}
