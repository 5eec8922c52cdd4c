//! Why a connection ended, or never began.

use std::fmt;

use rumqttc::{ConnectionError, StateError};
use rustls::AlertDescription;
use serde::Serialize;

use crate::explain::printable;

/// Why a connection ended, or never began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClosedReason {
    /// This side ended it.
    Requested,
    /// The gateway answered the handshake with the TLS alert `certificate_revoked`.
    Revoked,
    /// The gateway answered the handshake with another TLS alert.
    TlsRefused {
        /// Name of the alert, as in `CertificateExpired`.
        alert: String,
    },
    /// This side did not believe the gateway's certificate.
    NotTrusted {
        /// Which check failed.
        why: String,
    },
    /// The gateway refused the MQTT connection in its CONNACK.
    Refused {
        /// Name of the reason code, as in `NotAuthorized`.
        code: String,
    },
    /// The gateway ended the session with an MQTT DISCONNECT.
    Disconnected {
        /// MQTT 5 reason code.
        code: u8,
        /// The gateway's reason string, if it sent one.
        reason: Option<String>,
    },
    /// Messages came faster than this side took them.
    Overflowed,
    /// The network, or the peer, went away.
    Lost {
        /// What the machine says about it.
        why: String,
    },
}

impl ClosedReason {
    /// Whether the gateway turned this identity away, as opposed to trouble on the way to it or within it.
    pub(crate) fn is_about_identity(&self) -> bool {
        match self {
            Self::Revoked => true,
            Self::TlsRefused { alert } => matches!(
                alert.as_str(),
                "AccessDenied"
                    | "BadCertificate"
                    | "CertificateExpired"
                    | "CertificateRequired"
                    | "CertificateUnknown"
                    | "UnknownCA"
                    | "UnsupportedCertificate"
            ),
            Self::Refused { code } => matches!(
                code.as_str(),
                "BadClientId"
                    | "BadUserNamePassword"
                    | "Banned"
                    | "ClientIdentifierNotValid"
                    | "NotAuthorized"
            ),
            _ => false,
        }
    }

    /// Reads the reason out of what the TLS line and the MQTT client saw; what TLS saw says more.
    pub(crate) fn from_errors(tls: Option<&rustls::Error>, mqtt: &ConnectionError) -> Self {
        if let Some(reason) = tls.and_then(Self::from_tls) {
            return reason;
        }
        match mqtt {
            ConnectionError::RequestsDone => Self::Requested,
            ConnectionError::ConnectionRefused(code) => Self::Refused {
                code: format!("{code:?}"),
            },
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code,
                reason_string,
            }) => Self::Disconnected {
                code: *reason_code as u8,
                reason: reason_string.as_deref().map(printable),
            },
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::Lost {
                why: "the gateway closed the connection".to_owned(),
            },
            ConnectionError::Timeout(_) => Self::Lost {
                why: "the gateway did not answer in time".to_owned(),
            },
            ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => {
                Self::Lost {
                    why: printable(&error.to_string()),
                }
            }
            other => Self::Lost {
                why: printable(&other.to_string()),
            },
        }
    }

    fn from_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::AlertReceived(AlertDescription::CertificateRevoked) => {
                Some(Self::Revoked)
            }
            // A peer that says goodbye is a peer that went away.
            rustls::Error::AlertReceived(AlertDescription::CloseNotify) => None,
            rustls::Error::AlertReceived(alert) => Some(Self::TlsRefused {
                alert: format!("{alert:?}"),
            }),
            rustls::Error::InvalidCertificate(rustls::CertificateError::Other(inner)) => {
                Some(Self::NotTrusted {
                    why: printable(&inner.0.to_string()),
                })
            }
            rustls::Error::InvalidCertificate(why) => Some(Self::NotTrusted {
                why: printable(&why.to_string()),
            }),
            rustls::Error::PeerMisbehaved(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::PeerIncompatible(_) => Some(Self::NotTrusted {
                why: printable(&error.to_string()),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for ClosedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("this device ended the connection"),
            Self::Revoked => f.write_str("the gateway says that this certificate is revoked"),
            Self::TlsRefused { alert } => {
                write!(f, "the gateway refused the TLS handshake ({alert})")
            }
            Self::NotTrusted { why } => {
                write!(f, "the gateway's certificate is not trusted: {why}")
            }
            Self::Refused { code } => {
                write!(f, "the gateway refused the MQTT connection ({code})")
            }
            Self::Disconnected { code, reason: None } => {
                write!(f, "the gateway ended the session (code {code:#04x})")
            }
            Self::Disconnected {
                code,
                reason: Some(reason),
            } => write!(
                f,
                "the gateway ended the session (code {code:#04x}): {reason}"
            ),
            Self::Overflowed => f.write_str("messages came faster than they were taken"),
            Self::Lost { why } => write!(f, "the connection was lost: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(tls: &rustls::Error) -> ClosedReason {
        ClosedReason::from_errors(Some(tls), &ConnectionError::RequestsDone)
    }

    #[test]
    fn the_alert_certificate_revoked_means_revoked() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRevoked);
        assert_eq!(reason(&alert), ClosedReason::Revoked);
    }

    #[test]
    fn another_alert_is_named() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let expected = "CertificateRequired".to_owned();
        assert_eq!(reason(&alert), ClosedReason::TlsRefused { alert: expected });
    }

    #[test]
    fn a_busy_gateway_says_nothing_about_the_identity() {
        let refused = |code: &str| ClosedReason::Refused {
            code: code.to_owned(),
        };
        assert!(refused("NotAuthorized").is_about_identity());
        assert!(!refused("ServerBusy").is_about_identity());
        let alert = "InternalError".to_owned();
        assert!(!ClosedReason::TlsRefused { alert }.is_about_identity());
    }

    #[test]
    fn a_failed_pin_says_which_check_failed() {
        let error = rustls::Error::from(crate::pin::PinError::Mismatch);
        let text = reason(&error).to_string();
        assert!(text.contains("root fingerprint mismatch"), "{text}");
    }
}
