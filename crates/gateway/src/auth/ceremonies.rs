//! Ceremonies that have begun and wait for a browser's answer: in memory, few, and not for long.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use hearthkey_broker::origin;
use hearthkey_core::id::{Fingerprint, PersonName, hex};
use hearthkey_core::time::{Span, Timestamp};
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyAuthentication, PasskeyRegistration,
};
use zeroize::Zeroizing;

/// How long an answer may take.
const LIFETIME: Span = Span::minutes(5);
/// Ceremonies of strangers at a time, and as many of people who have a session or an invitation. Another one takes the
/// place of the oldest one of the caller that began the most.
const CEREMONIES_MAX: usize = 512;
/// Those of one IPv4 address or IPv6 /64. Another one takes the place of the oldest of whichever address there has begun the
/// most: who floods a network from one address keeps nobody in it from logging in by a passkey.
const PER_ORIGIN_MAX: usize = 64;

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
    /// Somebody at an address logs in.
    Login(Box<DiscoverableAuthentication>, String, IpAddr),
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

/// Whose a ceremony is. Strangers take no places of people who are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    /// Of somebody at an address.
    Stranger(IpAddr),
    /// Of a session, or of an invitation.
    Known(Fingerprint),
}

impl Holder {
    fn is_stranger(self) -> bool {
        matches!(self, Self::Stranger(_))
    }
}

impl Ceremony {
    fn holder(&self) -> Holder {
        match self {
            Self::Login(_, _, address) => Holder::Stranger(origin(*address)),
            Self::Join(joining, ..) | Self::JoinByPassword(joining, _) => {
                Holder::Known(joining.invitation)
            }
            Self::StepUp(_, session)
            | Self::AddPasskey(_, session, _)
            | Self::SetPassword(_, session) => Holder::Known(*session),
        }
    }
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
        if let Ceremony::Login(_, _, address) = &ceremony {
            self.make_room_in(origin(*address));
        }
        self.make_room(ceremony.holder().is_stranger());
        let id = hex(hearthkey_store::keys::random::<16>().as_slice());
        self.waiting
            .insert(id.clone(), (now.after(LIFETIME), ceremony));
        id
    }

    /// Leaves room for one more ceremony of a network.
    fn make_room_in(&mut self, network: IpAddr) {
        let holder = |ceremony: &Ceremony| match ceremony {
            Ceremony::Login(_, _, address) if origin(*address) == network => Some(*address),
            _ => None,
        };
        self.one_gives_way(PER_ORIGIN_MAX, holder);
    }

    /// Leaves room for one more ceremony of strangers, or of people who are known.
    fn make_room(&mut self, of_strangers: bool) {
        let holder = |ceremony: &Ceremony| {
            let holder = ceremony.holder();
            (holder.is_stranger() == of_strangers).then_some(holder)
        };
        self.one_gives_way(CEREMONIES_MAX, holder);
    }

    /// If so many of those that have a holder wait, the oldest of the holder with the most gives way.
    fn one_gives_way<H: std::hash::Hash + Eq>(
        &mut self,
        max: usize,
        holder: impl Fn(&Ceremony) -> Option<H>,
    ) {
        let mut counts: HashMap<H, usize> = HashMap::new();
        for holder in self.waiting.values().filter_map(|(_, other)| holder(other)) {
            *counts.entry(holder).or_default() += 1;
        }
        if counts.values().sum::<usize>() < max {
            return;
        }
        let gives_way = self
            .waiting
            .iter()
            .filter_map(|(id, (until, other))| Some((counts.get(&holder(other)?)?, until, id)))
            .max_by_key(|(count, until, _)| (*count, Reverse(*until)))
            .map(|(_, _, id)| id.clone());
        if let Some(id) = gives_way {
            self.waiting.remove(&id);
        }
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
    use crate::auth::passkeys::{Passkeys, begin_login};

    fn ceremony() -> Ceremony {
        of_session(0)
    }

    fn of_session(n: u8) -> Ceremony {
        let password = NewPassword {
            phc: String::new(),
            totp: Zeroizing::new(vec![0; 20]),
        };
        Ceremony::SetPassword(password, Fingerprint([n; 32]))
    }

    fn of_stranger(n: u32) -> Ceremony {
        login_from(n.to_be_bytes().into())
    }

    fn from(address: &str) -> Ceremony {
        login_from(address.parse().unwrap())
    }

    fn login_from(address: IpAddr) -> Ceremony {
        let passkeys = Passkeys::new(&["gateway.home.arpa".into()], Some(8443));
        let party = passkeys.under("gateway.home.arpa").unwrap();
        let (_, state) = begin_login(party).unwrap();
        Ceremony::Login(Box::new(state), String::new(), address)
    }

    #[test]
    fn strangers_take_no_places_of_people_who_are_known_nor_of_other_strangers() {
        let mut ceremonies = Ceremonies::default();
        let (first, then) = (Timestamp::from_s(0), Timestamp::from_s(1));
        let known = ceremonies.begin(of_session(1), first);
        let stranger = ceremonies.begin(of_stranger(0), first);
        for n in 0..CEREMONIES_MAX + 60 {
            ceremonies.begin(of_stranger(1 + n as u32 / 60), then);
        }
        assert_eq!(ceremonies.waiting.len(), CEREMONIES_MAX + 1);
        for _ in 0..CEREMONIES_MAX {
            ceremonies.begin(of_session(2), then);
        }
        assert_eq!(ceremonies.waiting.len(), 2 * CEREMONIES_MAX);
        assert!(ceremonies.take(&known, then).is_some());
        assert!(ceremonies.take(&stranger, then).is_some());
    }

    #[test]
    fn a_flood_in_a_network_takes_no_place_of_another_address_there() {
        let mut ceremonies = Ceremonies::default();
        let (first, then) = (Timestamp::from_s(0), Timestamp::from_s(1));
        let lives_here = ceremonies.begin(from("2001:db8::1"), first);
        for _ in 0..10 * PER_ORIGIN_MAX {
            ceremonies.begin(from("2001:db8::bad"), then);
        }
        assert_eq!(ceremonies.waiting.len(), PER_ORIGIN_MAX);
        ceremonies.begin(from("2001:db8:0:1::1"), then);
        assert_eq!(ceremonies.waiting.len(), PER_ORIGIN_MAX + 1);
        assert!(ceremonies.take(&lives_here, then).is_some());
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
