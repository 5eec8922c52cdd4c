//! Ceremonies that have begun and wait for a browser's answer: in memory, few, and not for long.

use std::collections::HashMap;

use hearthkey_core::id::{Fingerprint, PersonName, hex};
use hearthkey_core::time::{Span, Timestamp};
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyAuthentication, PasskeyRegistration,
};
use zeroize::Zeroizing;

/// How long an answer may take.
const LIFETIME: Span = Span::minutes(5);
/// Ceremonies at a time. Another one takes the place of the oldest.
const CEREMONIES_MAX: usize = 512;

/// Who joins, as far as it is known before they have.
#[derive(Debug, Clone)]
pub(crate) struct Joining {
    /// SHA-256 of the invitation's token.
    pub(crate) invitation: Fingerprint,
    /// Their id.
    pub(crate) person: String,
    /// The name they go by.
    pub(crate) name: PersonName,
}

/// A password with its second factor, before that has been shown once.
pub(crate) struct NewPassword {
    /// The password, stretched.
    pub(crate) phc: String,
    /// The secret that the authenticator holds.
    pub(crate) totp: Zeroizing<Vec<u8>>,
}

/// What waits for an answer.
pub(crate) enum Ceremony {
    /// Somebody logs in.
    Login(Box<DiscoverableAuthentication>, String),
    /// Somebody shows a passkey again, in this session.
    StepUp(Box<PasskeyAuthentication>, Fingerprint),
    /// Somebody joins with a passkey.
    Join(Joining, Box<PasskeyRegistration>, String),
    /// Somebody joins with a password.
    JoinByPassword(Joining, NewPassword),
    /// A person adds a passkey, in this session.
    AddPasskey(Box<PasskeyRegistration>, Fingerprint, String),
    /// A person sets a password, in this session.
    SetPassword(NewPassword, Fingerprint),
}

/// The ceremonies under way, by their ids.
#[derive(Default)]
pub(crate) struct Ceremonies {
    waiting: HashMap<String, (Timestamp, Ceremony)>,
}

impl Ceremonies {
    /// Remembers a ceremony and gives its id.
    pub(crate) fn begin(&mut self, ceremony: Ceremony, now: Timestamp) -> String {
        self.waiting.retain(|_, (until, _)| now < *until);
        if self.waiting.len() >= CEREMONIES_MAX {
            let oldest = self.waiting.iter().min_by_key(|(_, (until, _))| *until);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.waiting.remove(&oldest);
            }
        }
        let id = hex(hearthkey_store::keys::random::<16>().as_slice());
        self.waiting
            .insert(id.clone(), (now.after(LIFETIME), ceremony));
        id
    }

    /// Takes a ceremony out: it has one answer.
    pub(crate) fn take(&mut self, id: &str, now: Timestamp) -> Option<Ceremony> {
        let (until, ceremony) = self.waiting.remove(id)?;
        (now < until).then_some(ceremony)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceremony() -> Ceremony {
        let password = NewPassword {
            phc: String::new(),
            totp: Zeroizing::new(vec![0; 20]),
        };
        Ceremony::SetPassword(password, Fingerprint([0; 32]))
    }

    #[test]
    fn a_ceremony_has_one_answer_within_five_minutes() {
        let mut ceremonies = Ceremonies::default();
        let now = Timestamp::from_s(0);
        let id = ceremonies.begin(ceremony(), now);
        assert!(ceremonies.take(&id, Timestamp::from_s(299)).is_some());
        assert!(ceremonies.take(&id, Timestamp::from_s(299)).is_none());
        let id = ceremonies.begin(ceremony(), now);
        assert!(ceremonies.take(&id, Timestamp::from_s(300)).is_none());
    }

    #[test]
    fn the_oldest_of_too_many_gives_way() {
        let mut ceremonies = Ceremonies::default();
        let first = ceremonies.begin(ceremony(), Timestamp::from_s(0));
        for _ in 0..CEREMONIES_MAX {
            ceremonies.begin(ceremony(), Timestamp::from_s(1));
        }
        assert_eq!(ceremonies.waiting.len(), CEREMONIES_MAX);
        assert!(ceremonies.take(&first, Timestamp::from_s(1)).is_none());
    }
}
