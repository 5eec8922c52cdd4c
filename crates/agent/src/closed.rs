//! Why a connection ended, or never began.

use std::fmt;

use rumqttc::mqttbytes::Error as MqttError;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError};
use rustls::{AlertDescription, CertificateError};
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
        /// Name of the alert in RFC 8446, as in `certificate_expired`; its number, if it has none.
        alert: String,
    },
    /// This side did not believe the gateway's certificate.
    NotTrusted {
        /// Which check failed.
        why: String,
    },
    /// The gateway refused the MQTT connection in its CONNACK.
    Refused {
        /// The reason code in the specification's words, as in `not authorized`.
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

/// What a connection needs before it can come about again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Time: the network or the gateway is away, and comes back.
    Time,
    /// A new claim: this certificate is never taken again.
    Claim,
    /// A valid date: the gateway says that the certificate's life is over, or has not begun.
    Date,
    /// An operator who resumes the device.
    Resumption,
    /// Another certificate, or another gateway: this one does not go with that one.
    Setup,
}

impl ClosedReason {
    /// What has to happen before trying again can help.
    pub(crate) fn need(&self) -> Need {
        match self {
            Self::Revoked => Need::Claim,
            Self::TlsRefused { alert } => match alert.as_str() {
                "certificate_unknown" => Need::Claim,
                "certificate_expired" => Need::Date,
                "access_denied" => Need::Resumption,
                "bad_certificate"
                | "certificate_required"
                | "unknown_ca"
                | "unsupported_certificate" => Need::Setup,
                _ => Need::Time,
            },
            Self::Refused { code } => match code.as_str() {
                BAD_CLIENT_ID | BAD_LOGIN | BANNED | NOT_AUTHORIZED => Need::Setup,
                _ => Need::Time,
            },
            _ => Need::Time,
        }
    }

    /// Whether the gateway's certificate is not believed for its dates: it, or this machine's clock, is wrong.
    pub(crate) fn is_about_dates(&self) -> bool {
        matches!(self, Self::NotTrusted { why } if why == EXPIRED || why == NOT_YET_VALID)
    }

    /// Whether the gateway may be somewhere else: nobody answers where it was, or somebody else does.
    pub(crate) fn is_about_place(&self) -> bool {
        match self {
            Self::Lost { .. } => true,
            Self::NotTrusted { .. } => !self.is_about_dates(),
            _ => false,
        }
    }

    /// Whether the gateway turned this identity away, as opposed to trouble on the way to it or within it.
    pub(crate) fn is_about_identity(&self) -> bool {
        self.need() != Need::Time
    }

    /// The reason of an I/O error on a TLS connection.
    pub fn from_io(error: &std::io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        tls.and_then(Self::from_tls).unwrap_or_else(|| Self::Lost {
            why: io_words(error),
        })
    }

    /// Reads the reason out of what the TLS line and the MQTT client saw; what TLS saw says more.
    pub(crate) fn from_errors(tls: Option<&rustls::Error>, mqtt: &ConnectionError) -> Self {
        if let Some(reason) = tls.and_then(Self::from_tls) {
            return reason;
        }
        match mqtt {
            ConnectionError::RequestsDone => Self::Requested,
            ConnectionError::ConnectionRefused(code) => Self::Refused {
                code: connack(*code),
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
            ConnectionError::Timeout(_) | ConnectionError::MqttState(StateError::AwaitPingResp) => {
                Self::Lost {
                    why: "the gateway did not answer in time".to_owned(),
                }
            }
            other => Self::Lost {
                why: lost_words(other),
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
                alert: alert_name(*alert),
            }),
            rustls::Error::InvalidCertificate(why) => Some(Self::NotTrusted { why: distrust(why) }),
            rustls::Error::NoCertificatesPresented => Some(Self::NotTrusted {
                why: "it presented no certificate".to_owned(),
            }),
            rustls::Error::PeerMisbehaved(_) | rustls::Error::PeerIncompatible(_) => {
                Some(Self::NotTrusted {
                    why: "it does not speak TLS 1.2 or 1.3 as a gateway does".to_owned(),
                })
            }
            _ => None,
        }
    }
}

const EXPIRED: &str = "it has expired";
const NOT_YET_VALID: &str = "it is not valid yet";
const BAD_CLIENT_ID: &str = "client identifier not valid";
const BAD_LOGIN: &str = "bad user name or password";
const BANNED: &str = "banned";
const NOT_AUTHORIZED: &str = "not authorized";

/// A CONNACK's reason code in the specification's words.
fn connack(code: ConnectReturnCode) -> String {
    use ConnectReturnCode as Code;
    let words = match code {
        Code::BadClientId | Code::ClientIdentifierNotValid => BAD_CLIENT_ID,
        Code::BadUserNamePassword => BAD_LOGIN,
        Code::Banned => BANNED,
        Code::NotAuthorized => NOT_AUTHORIZED,
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            "unsupported protocol version"
        }
        Code::ServiceUnavailable | Code::ServerUnavailable => "server unavailable",
        Code::ServerBusy => "server busy",
        Code::QuotaExceeded => "quota exceeded",
        Code::PacketTooLarge => "packet too large",
        Code::ConnectionRateExceeded => "connection rate exceeded",
        _ => "another reason code",
    };
    words.to_owned()
}

/// An alert's name in RFC 8446; its number, if docs/MQTT.md does not name it.
fn alert_name(alert: AlertDescription) -> String {
    let name = match alert {
        AlertDescription::HandshakeFailure => "handshake_failure",
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::AccessDenied => "access_denied",
        AlertDescription::ProtocolVersion => "protocol_version",
        AlertDescription::InternalError => "internal_error",
        AlertDescription::CertificateRequired => "certificate_required",
        AlertDescription::NoApplicationProtocol => "no_application_protocol",
        other => return format!("alert {}", u8::from(other)),
    };
    name.to_owned()
}

/// Why this side does not accept the gateway's certificate.
fn distrust(why: &CertificateError) -> String {
    match why {
        CertificateError::Other(inner) => printable(&inner.0.to_string()),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => EXPIRED.to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            NOT_YET_VALID.to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host name or address".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "it was not issued under a root that is trusted here".to_owned()
        }
        CertificateError::BadSignature => "its signature does not verify".to_owned(),
        _ => "it is not of the form of a gateway's certificate".to_owned(),
    }
}

/// Why a connection was lost: the operating system's words if an I/O error is anywhere behind it, otherwise none of the
/// library's, which are for programmers.
fn lost_words(error: &ConnectionError) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io_words(io);
        }
        if let Some(StateError::Deserialization(MqttError::Io(io))) = error.downcast_ref() {
            return io_words(io);
        }
        cause = error.source();
    }
    "the MQTT exchange failed".to_owned()
}

/// What an I/O error says, without the words that a library has for its programmers.
fn io_words(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return "the gateway closed the connection".to_owned();
    }
    let text = error.to_string();
    let words = crate::explain::without_number(&text);
    match words.strip_prefix("failed to lookup address information: ") {
        Some(why) => printable(&format!("the name cannot be looked up: {why}")),
        None => printable(words),
    }
}

impl fmt::Display for ClosedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("this device ended the connection"),
            Self::Revoked => f.write_str("the certificate was revoked, or replaced by a newer one"),
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
            Self::Overflowed => f.write_str("messages arrived faster than they were read"),
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
        let expected = "certificate_required".to_owned();
        assert_eq!(reason(&alert), ClosedReason::TlsRefused { alert: expected });
    }

    #[test]
    fn a_busy_gateway_says_nothing_about_the_identity() {
        let refused = |code: &str| ClosedReason::Refused {
            code: code.to_owned(),
        };
        assert!(refused(&connack(ConnectReturnCode::NotAuthorized)).is_about_identity());
        assert!(!refused(&connack(ConnectReturnCode::ServerBusy)).is_about_identity());
        let alert = alert_name(AlertDescription::InternalError);
        assert!(!ClosedReason::TlsRefused { alert }.is_about_identity());
    }

    #[test]
    fn each_alert_says_what_the_device_needs() {
        let need = |alert| reason(&rustls::Error::AlertReceived(alert)).need();
        assert_eq!(need(AlertDescription::CertificateRevoked), Need::Claim);
        assert_eq!(need(AlertDescription::CertificateUnknown), Need::Claim);
        assert_eq!(need(AlertDescription::CertificateExpired), Need::Date);
        assert_eq!(need(AlertDescription::AccessDenied), Need::Resumption);
        assert_eq!(need(AlertDescription::UnknownCA), Need::Setup);
        assert_eq!(need(AlertDescription::InternalError), Need::Time);
    }

    #[test]
    fn an_alert_without_a_name_is_a_number_and_no_rust_text() {
        let told = reason(&rustls::Error::AlertReceived(AlertDescription::Unknown(
            200,
        )));
        assert_eq!(
            told.to_string(),
            "the gateway refused the TLS handshake (alert 200)"
        );
    }

    #[test]
    fn a_connection_that_ends_early_names_no_page_for_programmers() {
        let eof = std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "peer closed connection: https://docs.rs/rustls",
        );
        let told = ClosedReason::from_errors(None, &ConnectionError::Io(eof)).to_string();
        assert_eq!(
            told,
            "the connection was lost: the gateway closed the connection"
        );
        let eof = std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "peer closed connection: https://docs.rs/rustls",
        );
        let amid = ConnectionError::MqttState(StateError::Deserialization(MqttError::Io(eof)));
        assert_eq!(ClosedReason::from_errors(None, &amid).to_string(), told);
        let garbled =
            ConnectionError::MqttState(StateError::Deserialization(MqttError::MalformedPacket));
        assert_eq!(
            ClosedReason::from_errors(None, &garbled).to_string(),
            "the connection was lost: the MQTT exchange failed"
        );
        let refused = std::io::Error::from_raw_os_error(111);
        let told = ClosedReason::from_errors(None, &ConnectionError::Io(refused)).to_string();
        assert_eq!(told, "the connection was lost: Connection refused");
    }

    #[test]
    fn what_a_certificate_lacks_is_said_in_plain_words() {
        let stranger = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(
            reason(&stranger).to_string(),
            "the gateway's certificate is not trusted: it was not issued under a root that is trusted here"
        );
    }

    #[test]
    fn a_failed_pin_says_which_check_failed() {
        let error = rustls::Error::from(crate::pin::PinError::Mismatch);
        let text = reason(&error).to_string();
        assert!(text.contains("root key mismatch"), "{text}");
    }
}
