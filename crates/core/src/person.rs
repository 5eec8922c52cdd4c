//! People: who they are, by what they log in, and how long that holds.

use crate::id::{Fingerprint, PersonName, hex};
use crate::role::Mandate;
use crate::time::{Span, Timestamp};

/// People in a home at most, those whose access has ended among them.
pub const PEOPLE_MAX: usize = 200;
/// Passkeys of one person at most.
pub const PASSKEYS_MAX: usize = 16;
/// Recovery codes that are given at a time.
pub const RECOVERY_CODES: usize = 10;
/// Live sessions of one person at most; the one that was used longest ago ends for another.
pub const SESSIONS_MAX: usize = 20;
/// How long an invitation may be taken up.
pub const INVITATION_LIFETIME: Span = Span::hours(72);
/// How long a session lives without being used.
pub const SESSION_IDLE: Span = Span::hours(12);
/// How long a session lives at most.
pub const SESSION_LIFETIME: Span = Span::days(7);
/// How long a second factor is fresh.
pub const SECOND_FACTOR_FRESH: Span = Span::minutes(5);
/// The shortest password, in characters (NIST SP 800-63B-4 §3.1.1.2: eight beside another factor).
pub const PASSWORD_MIN_CHARS: usize = 10;
/// The longest password, in bytes.
pub const PASSWORD_MAX_BYTES: usize = 1024;
/// The longest label of a passkey, in characters.
pub const LABEL_MAX_CHARS: usize = 60;

/// A person, as the registry has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// 16 random bytes in hexadecimal digits: what a passkey names its owner by.
    pub id: String,
    /// What people and the log call them.
    pub name: PersonName,
    /// What they may do, and where.
    pub mandate: Mandate,
    /// When they were invited.
    pub created_at: Timestamp,
    /// When their access ended.
    pub ended_at: Option<Timestamp>,
    /// When they were last here.
    pub last_seen_at: Option<Timestamp>,
    /// The invitation that is open for them.
    pub invitation: Option<Invitation>,
    /// Whether they have a way in.
    pub joined: bool,
}

/// Who has handed something out, where that was nobody in particular, on the gateway's own machine: the id of no person and of
/// no token.
pub const HERE: &str = "here";

/// A one-time permission to make a way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// SHA-256 of its token.
    pub hash: Fingerprint,
    /// Until when.
    pub expires_at: Timestamp,
    /// The id of the person who made it: it is good no longer than they may invite people. [`HERE`] if nobody in particular
    /// did. None of one that was made before this was written down: it is good until anybody's access ends.
    pub made_by: Option<String>,
}

/// The state of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// May log in.
    Active,
    /// Has not made a way in yet.
    Invited,
    /// Was sent away.
    Ended,
}

impl Standing {
    /// The word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Invited => "invited",
            Self::Ended => "ended",
        }
    }
}

impl Person {
    /// Where they stand.
    pub fn standing(&self) -> Standing {
        match (self.ended_at, self.joined) {
            (Some(_), _) => Standing::Ended,
            (None, true) => Standing::Active,
            (None, false) => Standing::Invited,
        }
    }

    /// Whether an invitation with this hash may be taken up now.
    pub fn is_invited_by(&self, hash: &Fingerprint, now: Timestamp) -> bool {
        let open =
            |invitation: &Invitation| invitation.hash == *hash && now < invitation.expires_at;
        self.ended_at.is_none() && self.invitation.as_ref().is_some_and(open)
    }
}

/// A browser's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSession {
    /// Its public id: `s-` and 16 hexadecimal digits.
    pub id: String,
    /// SHA-256 of the secret in the cookie.
    pub hash: Fingerprint,
    /// The person's id.
    pub person: String,
    /// When they logged in.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Timestamp,
    /// Until when the second factor is fresh.
    pub fresh_until: Timestamp,
    /// Where it came from at first.
    pub address: String,
    /// What the browser says it is.
    pub agent: String,
}

impl WebSession {
    /// The id for 8 random bytes.
    pub fn id_from_random(random: [u8; 8]) -> String {
        format!("s-{}", hex(&random))
    }

    /// When it ends if it is not used again.
    pub fn expires_at(&self) -> Timestamp {
        let idle = self.last_used_at.after(SESSION_IDLE);
        idle.min(self.created_at.after(SESSION_LIFETIME))
    }

    /// Whether it lives.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at()
    }

    /// Whether a second factor was shown in the last minutes.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until
    }
}

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitPassword {
    /// Too short.
    #[error("a password has at least {PASSWORD_MIN_CHARS} characters")]
    Short,
    /// Too long.
    #[error("a password has at most {PASSWORD_MAX_BYTES} bytes")]
    Long,
    /// The name, or one character again and again.
    #[error("a password must not be the name, or one repeated character")]
    Plain,
}

/// Whether a password may be chosen.
pub fn fit_password(name: &PersonName, password: &str) -> Result<(), UnfitPassword> {
    let mut characters = password.chars();
    let first = characters.next();
    if password.chars().count() < PASSWORD_MIN_CHARS {
        Err(UnfitPassword::Short)
    } else if password.len() > PASSWORD_MAX_BYTES {
        Err(UnfitPassword::Long)
    } else if password.to_lowercase() == name.as_str() || characters.all(|c| Some(c) == first) {
        Err(UnfitPassword::Plain)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(created_s: i64, used_s: i64) -> WebSession {
        WebSession {
            id: WebSession::id_from_random([1; 8]),
            hash: Fingerprint([0; 32]),
            person: "p".into(),
            created_at: Timestamp::from_s(created_s),
            last_used_at: Timestamp::from_s(used_s),
            fresh_until: Timestamp::from_s(created_s).after(SECOND_FACTOR_FRESH),
            address: "192.0.2.1".into(),
            agent: "a browser".into(),
        }
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_and_after_a_week_in_any_case() {
        let hour = 3600;
        let idle = session(0, 0);
        assert!(idle.is_live(Timestamp::from_s(12 * hour - 1)));
        assert!(!idle.is_live(Timestamp::from_s(12 * hour)));
        let busy = session(0, 7 * 24 * hour - 60);
        assert!(busy.is_live(Timestamp::from_s(7 * 24 * hour - 1)));
        assert!(!busy.is_live(Timestamp::from_s(7 * 24 * hour)));
    }

    #[test]
    fn a_second_factor_is_fresh_for_five_minutes() {
        let session = session(0, 0);
        assert!(session.is_fresh(Timestamp::from_s(299)));
        assert!(!session.is_fresh(Timestamp::from_s(300)));
    }

    #[test]
    fn a_password_is_long_enough_and_not_the_name() {
        let anna: PersonName = "anna-of-the-house".parse().unwrap();
        for (password, fit) in [
            ("correct horse", Ok(())),
            ("äöüäöüäöüä", Ok(())),
            ("short", Err(UnfitPassword::Short)),
            ("aaaaaaaaaaaa", Err(UnfitPassword::Plain)),
            ("Anna-Of-The-House", Err(UnfitPassword::Plain)),
        ] {
            assert_eq!(fit_password(&anna, password), fit, "{password}");
        }
        let long = "ab".repeat(600);
        assert_eq!(fit_password(&anna, &long), Err(UnfitPassword::Long));
    }

    #[test]
    fn an_invitation_is_taken_up_once_in_time_by_whoever_has_it() {
        let hash = Fingerprint([7; 32]);
        let expires_at = Timestamp::from_s(100);
        let mut person = Person {
            id: "00".into(),
            name: "anna".parse().unwrap(),
            mandate: Mandate::owner(),
            created_at: Timestamp::from_s(0),
            ended_at: None,
            last_seen_at: None,
            invitation: Some(Invitation {
                hash,
                expires_at,
                made_by: None,
            }),
            joined: false,
        };
        assert_eq!(person.standing(), Standing::Invited);
        assert!(person.is_invited_by(&hash, Timestamp::from_s(99)));
        assert!(!person.is_invited_by(&hash, Timestamp::from_s(100)));
        assert!(!person.is_invited_by(&Fingerprint([8; 32]), Timestamp::from_s(0)));
        person.ended_at = Some(Timestamp::from_s(1));
        assert!(!person.is_invited_by(&hash, Timestamp::from_s(2)));
    }
}
