//! What a CONNECT packet must say to be let in.

use crate::id::ClaimId;

/// The username as it counts: cut at the first `?`, where AWS IoT SDKs append telemetry.
pub fn username(raw: &str) -> &str {
    raw.split('?').next().unwrap_or_default()
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
