//! Leases: hand-outs that end by themselves.

use crate::credential::CredentialId;
use crate::id::hex;
use crate::time::{Span, Timestamp};

/// How long a lease lives when nobody says otherwise.
pub const LIFETIME_DEFAULT: Span = Span::minutes(15);
/// The longest a lease may live.
pub const LIFETIME_MAX: Span = Span::hours(24);
/// The shortest a lease may live.
pub const LIFETIME_MIN: Span = Span::s(1);

/// Why a lease is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lease lasts 1 second to 24 hours")]
pub struct InvalidLifetime;

/// The lifetime that was asked for, within its bounds.
pub fn lifetime(asked: Option<Span>) -> Result<Span, InvalidLifetime> {
    let span = asked.unwrap_or(LIFETIME_DEFAULT);
    if (LIFETIME_MIN..=LIFETIME_MAX).contains(&span) {
        Ok(span)
    } else {
        Err(InvalidLifetime)
    }
}

/// The id for 8 random bytes: `l-` and 16 hexadecimal digits.
pub fn id_from_random(random: [u8; 8]) -> String {
    format!("l-{}", hex(&random))
}

/// A hand-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// The credential that was leased.
    pub credential: CredentialId,
    /// The version that was given, or of which a child was minted.
    pub version: u32,
    /// Who holds it.
    pub holder: String,
    /// From where it was asked for.
    pub address: Option<String>,
    /// When it was given.
    pub issued_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Whether the bridge minted a child for it, which ends with it. Otherwise the value itself
    /// was given, and works on when the lease has ended.
    pub child: bool,
    /// What the bridge calls the child.
    pub remote_id: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// By whom it was ended.
    pub ended_by: Option<String>,
    /// What is left to do.
    pub note: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lives_a_second_at_least_and_a_day_at_most() {
        assert_eq!(lifetime(None), Ok(LIFETIME_DEFAULT));
        assert_eq!(lifetime(Some(Span::hours(24))), Ok(LIFETIME_MAX));
        assert!(lifetime(Some(Span::ms(0))).is_err());
        assert!(lifetime(Some(Span::hours(25))).is_err());
    }
}
