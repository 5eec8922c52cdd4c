//! What a CONNECT packet must say to be let in.

use crate::access::Admitted;
use crate::id::ClaimId;

/// The longest suffix of a client id, after the device id and a dot.
const SUFFIX_MAX: usize = 32;

/// The username as it counts: cut at the first `?`, where AWS IoT SDKs append telemetry.
pub fn username(raw: &str) -> &str {
    raw.split('?').next().unwrap_or_default()
}

/// A client id that is not the caller's to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the client id must be {right}")]
pub struct WrongClientId {
    right: String,
}

/// Whether a device may use this client id: its own id, or with a suffix where the profile
/// allows several sessions.
pub fn check_client_id(asked: &str, admitted: &Admitted) -> Result<(), WrongClientId> {
    let own = admitted.device.as_str();
    let several = admitted.sessions_max > 1;
    let fits = asked == own
        || several
            && asked
                .strip_prefix(own)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|suffix| (1..=SUFFIX_MAX).contains(&suffix.len()) && is_plain(suffix));
    if fits {
        return Ok(());
    }
    let right = if several {
        format!("{own:?}, or {own:?} with a dot and a suffix of a-z, A-Z, 0-9, - or _")
    } else {
        format!("{own:?}")
    };
    Err(WrongClientId { right })
}

fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Why a connection without a certificate cannot be a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimLoginRefusal {
    /// No username or no password.
    #[error(
        "without a certificate, connect with a claim: its id as username, its secret as password"
    )]
    NoCredentials,
    /// The client id and the username differ.
    #[error("the client id and the username must both be the claim id")]
    ClientId,
    /// The username has not the shape of a claim id.
    #[error("the claim or its secret is wrong")]
    NotAClaim,
}

/// The claim that a connection without a certificate says it holds. Whether it does is for its
/// secret to show.
pub fn claim_login(
    client_id: &str,
    raw_username: Option<&str>,
    has_password: bool,
) -> Result<ClaimId, ClaimLoginRefusal> {
    let raw = raw_username
        .filter(|_| has_password)
        .ok_or(ClaimLoginRefusal::NoCredentials)?;
    let name = username(raw);
    if client_id != name {
        return Err(ClaimLoginRefusal::ClientId);
    }
    name.parse().map_err(|_| ClaimLoginRefusal::NotAClaim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Admission;

    fn admitted(sessions_max: u16) -> Admitted {
        Admitted {
            device: "lamp".parse().unwrap(),
            environment: "home".parse().unwrap(),
            admission: Admission::Full,
            rights: Default::default(),
            sessions_max,
            room: Default::default(),
        }
    }

    #[test]
    fn a_device_can_use_no_client_id_but_its_own() {
        assert!(check_client_id("lamp", &admitted(1)).is_ok());
        for other in ["", "lamp2", "Lamp", "lamp.a", "other", "lamp."] {
            let refusal = check_client_id(other, &admitted(1)).unwrap_err();
            assert_eq!(refusal.to_string(), "the client id must be \"lamp\"");
        }
    }

    #[test]
    fn a_suffix_is_allowed_where_the_profile_allows_several_sessions() {
        assert!(check_client_id("lamp.kitchen-1", &admitted(4)).is_ok());
        for bad in [
            "lamp.",
            "lamp.a/b",
            "lamp.+",
            "lampx.a",
            &format!("lamp.{}", "x".repeat(33)),
        ] {
            assert!(check_client_id(bad, &admitted(4)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_username_is_cut_at_the_first_question_mark() {
        assert_eq!(username("c-1?SDK=Python&Version=1"), "c-1");
        assert_eq!(username("?SDK=Python"), "");
        assert_eq!(
            claim_login("c-1", Some("c-1?SDK=x"), true),
            Ok("c-1".parse().unwrap())
        );
        assert_eq!(
            claim_login("x", Some("c-1"), true),
            Err(ClaimLoginRefusal::ClientId)
        );
        assert_eq!(
            claim_login("c-1", Some("c-1"), false),
            Err(ClaimLoginRefusal::NoCredentials)
        );
    }
}
