//! Why a TLS handshake failed, in the words of the log (RFC 8446 §6).

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// The longest reason, in characters.
const CHARACTERS_MAX: usize = 100;

/// Why a handshake failed.
pub(crate) fn why(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    let why = match (tls, error.kind()) {
        (Some(tls), _) => of_tls(tls),
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            "the client disconnected during the handshake".to_owned()
        }
        (None, _) => error.to_string(),
    };
    why.chars().take(CHARACTERS_MAX).collect()
}

fn of_tls(error: &Error) -> String {
    let words = match error {
        Error::NoCertificatesPresented => "the client has sent no certificate",
        Error::InvalidCertificate(why) => return of_certificate(why),
        Error::AlertReceived(alert) => return of_alert(*alert),
        Error::PeerIncompatible(_) => "the client has no TLS version or cipher in common",
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => "the client has sent what is not TLS",
        Error::PeerMisbehaved(_) => "the client has broken a rule of TLS",
        Error::DecryptError => "a record of the client cannot be decrypted",
        other => return other.to_string(),
    };
    words.to_owned()
}

fn of_certificate(why: &CertificateError) -> String {
    let words = match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the client's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the client's certificate is not valid yet"
        }
        CertificateError::UnknownIssuer => "the client's certificate is of another authority",
        CertificateError::Revoked => "the client's certificate is revoked",
        CertificateError::BadSignature => "the client does not hold the key of its certificate",
        CertificateError::BadEncoding => "the client's certificate cannot be read",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the client's certificate is not for clients"
        }
        other => return format!("the client's certificate is refused: {other}"),
    };
    words.to_owned()
}

/// What the client found wrong with the gateway (RFC 8446 §6.2).
fn of_alert(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::UnknownCA => "the client does not trust the home's root certificate",
        AlertDescription::CertificateExpired => {
            "for the client, the gateway's certificate has expired: compare the clocks"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "the client does not accept the gateway's certificate"
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "the client has no TLS version or cipher in common"
        }
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => {
            "the client ended the handshake"
        }
        other => return format!("the client ended the handshake with the alert {other:?}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_handshake_is_told_in_plain_words_and_not_in_those_of_a_library() {
        let of = |error: Error| why(&io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, words) in [
            (Error::NoCertificatesPresented, "no certificate"),
            (
                Error::InvalidCertificate(CertificateError::Expired),
                "has expired",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "another authority",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "does not trust the home's root",
            ),
            (
                Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "not TLS",
            ),
        ] {
            let told = of(error);
            assert!(told.contains(words), "{told}");
            assert!(!told.contains("Invalid"), "{told}");
        }
        let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(why(&gone).contains("disconnected"));
    }
}
