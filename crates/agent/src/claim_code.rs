//! Claim codes: `hearthkey://claim?host=H&port=P&claim=C&secret=S&device=D&root=HEX64`.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::explain::{Explain, Explanation};
use crate::fingerprint::Fingerprint;

/// A one-time permission to enroll one named device at one gateway. `Debug` never shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimUri {
    /// DNS name or IP address of the gateway; an IPv6 address has no brackets here.
    pub host: String,
    /// Port of the gateway's MQTT listener.
    pub port: u16,
    /// Claim id: MQTT client id and user name during enrollment.
    pub claim: String,
    /// Device id that the claim was opened for: one lowercase DNS label.
    pub device: String,
    /// SHA-256 of the root's public key (its SubjectPublicKeyInfo), not of the root certificate.
    pub root: Fingerprint,
    secret: Zeroizing<String>,
}

/// The longest claim code that is read, in bytes.
const LONGEST: usize = 1024;

impl ClaimUri {
    /// The secret, to be sent to a gateway that has proven the pinned root and to nobody else.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for ClaimUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimUri")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("claim", &self.claim)
            .field("secret", &"[redacted]")
            .field("device", &self.device)
            .field("root", &self.root)
            .finish()
    }
}

/// Why a text is not a claim code. No variant repeats any part of a value: it may be the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimUriError {
    /// Longer than any claim code.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// Another scheme or path.
    #[error("it does not begin with hearthkey://claim?")]
    NotAClaim,
    /// A field that every claim code has is not there.
    #[error("the field {0:?} is missing")]
    Missing(&'static str),
    /// A field that a claim code has once is there twice.
    #[error("the field {0:?} is given twice")]
    Repeated(&'static str),
    /// A field that no claim code has.
    #[error("it has a field that claim codes do not have")]
    UnknownField,
    /// A field has a value that it cannot have.
    #[error("the field {field:?} must be {expected}")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// What its values look like.
        expected: &'static str,
    },
}

impl Explain for ClaimUriError {
    fn explain(&self) -> Explanation {
        Explanation::new(
            "The claim code cannot be read",
            self.to_string(),
            "Copy the whole code again from the gateway, in quotes, or open a new claim",
        )
    }
}

/// Field names in the order of the fixed form; `Fields` holds their values in the same order.
const NAMES: [&str; 6] = ["host", "port", "claim", "secret", "device", "root"];

impl FromStr for ClaimUri {
    type Err = ClaimUriError;

    fn from_str(text: &str) -> Result<Self, ClaimUriError> {
        let [host, port, claim, secret, device, root] = fields(text)?;
        Ok(Self {
            host: checked(host, "host", "a DNS name or an IP address", is_host)?
                .trim_matches(['[', ']'])
                .to_owned(),
            port: port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(ClaimUriError::Invalid {
                    field: "port",
                    expected: "a number from 1 to 65535",
                })?,
            claim: checked(claim, "claim", "1 to 64 letters, digits, - or _", |text| {
                is_token(text, 64)
            })?,
            device: checked(
                device,
                "device",
                "1 to 63 of a-z, 0-9 and inner -",
                is_device,
            )?,
            root: root.parse().map_err(|_| ClaimUriError::Invalid {
                field: "root",
                expected: "64 hexadecimal digits",
            })?,
            secret: Zeroizing::new(checked(
                secret,
                "secret",
                "16 to 128 letters, digits, - or _",
                |text| text.len() >= 16 && is_token(text, 128),
            )?),
        })
    }
}

fn fields(text: &str) -> Result<[&str; 6], ClaimUriError> {
    let text = text.trim();
    if text.len() > LONGEST {
        return Err(ClaimUriError::TooLong);
    }
    let query = text
        .strip_prefix("hearthkey://claim?")
        .ok_or(ClaimUriError::NotAClaim)?;
    let mut found: [Option<&str>; 6] = [None; 6];
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').ok_or(ClaimUriError::UnknownField)?;
        let at = NAMES
            .iter()
            .position(|known| *known == name)
            .ok_or(ClaimUriError::UnknownField)?;
        if found[at].replace(value).is_some() {
            return Err(ClaimUriError::Repeated(NAMES[at]));
        }
    }
    let mut values = [""; 6];
    for (at, value) in found.into_iter().enumerate() {
        values[at] = value.ok_or(ClaimUriError::Missing(NAMES[at]))?;
    }
    Ok(values)
}

fn checked(
    value: &str,
    field: &'static str,
    expected: &'static str,
    rule: impl Fn(&str) -> bool,
) -> Result<String, ClaimUriError> {
    if rule(value) {
        Ok(value.to_owned())
    } else {
        Err(ClaimUriError::Invalid { field, expected })
    }
}

pub(crate) fn is_host(text: &str) -> bool {
    let bare = text.trim_matches(['[', ']']);
    let is_wildcard = bare
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.to_canonical().is_unspecified());
    !bare.is_empty()
        && !is_wildcard
        && bare.len() <= 253
        && rustls_pki_types::ServerName::try_from(bare).is_ok()
}

fn is_token(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether a text is a device id: a DNS label in lower case.
pub(crate) fn is_device(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn code() -> String {
        format!(
            "hearthkey://claim?host=hub.local&port=8883&claim=c1&secret={SECRET}&device=lamp-1&root={}",
            "ab".repeat(32)
        )
    }

    #[test]
    fn a_claim_code_gives_all_its_fields() {
        let claim: ClaimUri = code().parse().unwrap();
        assert_eq!((claim.host.as_str(), claim.port), ("hub.local", 8883));
        assert_eq!(
            (claim.claim.as_str(), claim.device.as_str()),
            ("c1", "lamp-1")
        );
        assert_eq!(claim.secret(), SECRET);
        assert_eq!(claim.root.to_string(), "ab".repeat(32));
    }

    #[test]
    fn the_secret_of_a_claim_is_never_in_its_debug_text() {
        let claim: ClaimUri = code().parse().unwrap();
        let text = format!("{claim:?}");
        assert!(
            !text.contains(SECRET) && text.contains("[redacted]"),
            "{text}"
        );
    }

    #[test]
    fn an_ip_version_6_address_may_stand_in_brackets() {
        let claim: ClaimUri = code().replace("hub.local", "[fd00::1]").parse().unwrap();
        assert_eq!(claim.host, "fd00::1");
    }

    #[test]
    fn another_scheme_is_not_a_claim() {
        let error = code().replace("hearthkey:", "https:").parse::<ClaimUri>();
        assert_eq!(error, Err(ClaimUriError::NotAClaim));
    }

    #[test]
    fn each_missing_field_is_named() {
        for name in NAMES {
            let (head, query) = code()
                .split_once('?')
                .map(|(h, q)| (h.to_owned(), q.to_owned()))
                .unwrap();
            let rest: Vec<_> = query
                .split('&')
                .filter(|pair| !pair.starts_with(&format!("{name}=")))
                .collect();
            let error = format!("{head}?{}", rest.join("&")).parse::<ClaimUri>();
            assert_eq!(error, Err(ClaimUriError::Missing(name)));
        }
    }

    #[test]
    fn a_field_given_twice_or_unknown_is_refused() {
        let twice = format!("{}&port=1", code()).parse::<ClaimUri>();
        assert_eq!(twice, Err(ClaimUriError::Repeated("port")));
        let unknown = format!("{}&color=red", code()).parse::<ClaimUri>();
        assert_eq!(unknown, Err(ClaimUriError::UnknownField));
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_field() {
        let cases = [
            ("8883", "0", "port"),
            ("8883", "65536", "port"),
            ("lamp-1", "Lamp", "device"),
            ("lamp-1", "-lamp", "device"),
            ("claim=c1", "claim=c/1", "claim"),
            (SECRET, "tooshort", "secret"),
            ("hub.local", "", "host"),
            ("hub.local", "hub local", "host"),
            ("hub.local", "0.0.0.0", "host"),
            ("hub.local", "[::]", "host"),
            ("abababab", "xyxyxyxy", "root"),
        ];
        for (from, to, expected) in cases {
            match code().replacen(from, to, 1).parse::<ClaimUri>() {
                Err(ClaimUriError::Invalid { field, .. }) => assert_eq!(field, expected),
                other => panic!("{to:?} for {expected}: {other:?}"),
            }
        }
        let long = code()
            .replace("lamp-1", &"a".repeat(64))
            .parse::<ClaimUri>();
        assert!(matches!(
            long,
            Err(ClaimUriError::Invalid {
                field: "device",
                ..
            })
        ));
        let longest = format!("{}{}", code(), "a".repeat(LONGEST)).parse::<ClaimUri>();
        assert_eq!(longest, Err(ClaimUriError::TooLong));
    }

    #[test]
    fn an_unreadable_claim_says_what_to_do() {
        let told = ClaimUriError::Missing("root").explain();
        assert_eq!(told.what, "The claim code cannot be read");
        assert_eq!(told.why, "the field \"root\" is missing");
        assert!(told.remedy.starts_with("Copy the whole code again"));
    }
}
