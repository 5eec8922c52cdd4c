//! Certificates that this home's CAs have signed, and that a restored home does not know: issued after the backup, and not
//! in its journal. They wait until a person confirms their device.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::{DeviceId, Fingerprint};
use crate::time::Timestamp;

/// Certificates that wait at most. More are refused as unknown.
pub const STRANGERS_MAX: usize = 1024;

/// A span of time of whose certificates a home may lack some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blind {
    /// From when.
    pub from: Timestamp,
    /// To when: it was restored then, and knows all that it has issued since.
    pub to: Timestamp,
}

/// A client that has shown to hold such a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
    /// From where, the last time.
    pub address: SocketAddr,
}

/// A certificate that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// The device that it names.
    pub device: DeviceId,
    /// All of it, in DER.
    pub der: Vec<u8>,
    /// Who came with it; none if it was shown, and its key was not.
    pub came: Option<Came>,
}

/// The certificates that wait, shared with the listener. In memory alone: a device that waits comes again.
#[derive(Debug, Clone, Default)]
pub struct Strangers(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    blind: Option<Blind>,
    all: BTreeMap<Fingerprint, Stranger>,
}

impl Strangers {
    fn held(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Expects certificates that were issued in a span of time.
    pub fn expect(&self, blind: Blind) {
        self.held().blind = Some(blind);
    }

    /// Whether certificates that were issued at a moment may be lacking. Certificates say it to the second.
    pub fn expects(&self, issued_at: Timestamp) -> bool {
        let blind = self.held().blind;
        blind.is_some_and(|blind| blind.from.whole_second() <= issued_at && issued_at <= blind.to)
    }

    /// Lets a certificate wait. Returns false if there is no room.
    pub fn show(&self, certificate: Fingerprint, device: DeviceId, der: &[u8]) -> bool {
        let mut held = self.held();
        if held.all.contains_key(&certificate) {
            return true;
        }
        if held.all.len() >= STRANGERS_MAX {
            return false;
        }
        let stranger = Stranger {
            device,
            der: der.to_vec(),
            came: None,
        };
        held.all.insert(certificate, stranger);
        true
    }

    /// Whether a certificate waits.
    pub fn waits(&self, certificate: &Fingerprint) -> bool {
        self.held().all.contains_key(certificate)
    }

    /// A client has shown to hold the key of one that waits.
    pub fn came(&self, certificate: &Fingerprint, now: Timestamp, address: SocketAddr) {
        if let Some(stranger) = self.held().all.get_mut(certificate) {
            let first = stranger.came.map_or(now, |came| came.first);
            stranger.came = Some(Came {
                first,
                last: now,
                address,
            });
        }
    }

    /// Those whose keys were shown, in the order of their devices.
    pub fn here(&self) -> Vec<(Fingerprint, Stranger)> {
        let held = self.held();
        let here = held.all.iter().filter(|(_, one)| one.came.is_some());
        let mut here: Vec<_> = here.map(|(its, one)| (*its, one.clone())).collect();
        here.sort_by(|(_, one), (_, other)| one.device.cmp(&other.device));
        here
    }

    /// A certificate waits no more.
    pub fn forget(&self, certificate: &Fingerprint) {
        self.held().all.remove(certificate);
    }

    /// No certificate of a device waits any more.
    pub fn forget_all_of(&self, device: &DeviceId) {
        self.held().all.retain(|_, one| one.device != *device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_s(s)
    }

    #[test]
    fn only_certificates_of_the_time_that_is_unknown_are_expected() {
        let strangers = Strangers::default();
        assert!(!strangers.expects(at(5)));
        strangers.expect(Blind {
            from: Timestamp::from_ms(5_900),
            to: at(9),
        });
        let expected = [4, 5, 9, 10].map(|s| strangers.expects(at(s)));
        assert_eq!(expected, [false, true, true, false]);
    }

    #[test]
    fn who_has_shown_a_certificate_alone_is_not_listed_and_who_has_shown_its_key_is() {
        let strangers = Strangers::default();
        let (one, lamp) = (Fingerprint([1; 32]), "lamp".parse::<DeviceId>().unwrap());
        assert!(strangers.show(one, lamp.clone(), b"der") && strangers.waits(&one));
        assert!(strangers.here().is_empty());
        let address = "192.0.2.7:1".parse().unwrap();
        strangers.came(&one, at(1), address);
        strangers.came(&one, at(3), address);
        let here = strangers.here();
        let came = here[0].1.came.unwrap();
        assert_eq!((here.len(), came.first, came.last), (1, at(1), at(3)));
        strangers.forget_all_of(&lamp);
        assert!(!strangers.waits(&one));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let strangers = Strangers::default();
        let lamp: DeviceId = "lamp".parse().unwrap();
        for n in 0..STRANGERS_MAX {
            let mut one = Fingerprint([0; 32]);
            one.0[..8].copy_from_slice(&(n as u64).to_be_bytes());
            assert!(strangers.show(one, lamp.clone(), b""));
        }
        assert!(!strangers.show(Fingerprint([9; 32]), lamp.clone(), b""));
        assert!(strangers.show(Fingerprint([0; 32]), lamp, b""));
    }
}
