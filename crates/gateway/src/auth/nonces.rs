//! What shows that a proof of possession is new: nonces that were given out lately, and the memory
//! of proofs that were used.

use std::collections::{HashMap, HashSet};

use hearthkey_core::id::{Fingerprint, hex};
use hearthkey_core::proof::{AGE_MAX, AHEAD_MAX, KeyId};
use hearthkey_core::time::{Span, Timestamp};
use subtle::ConstantTimeEq;

/// How long a nonce is given out. It is taken for as long again.
const NONCE_LIFE: Span = Span::s(60);
/// How long a period of memory is: nothing that was used in the last whole period is forgotten, so
/// it is as long as a proof can be good, by its clock or by its nonce.
const PERIOD: Span = Span::s(2 * 60 + 5);
/// Proofs of one key that are remembered in a period. One more is refused until the next.
const PER_KEY_MAX: usize = 4096;
/// Proofs of all keys that are remembered in a period. One more is refused until the next, but to a key that has used less
/// than [`ALWAYS`]: how many keys there are is bounded by how many tokens are.
const IN_ALL_MAX: usize = 65_536;
/// Proofs of each key for which there is room however many others have used.
const ALWAYS: usize = 64;

// A proof is good from `AHEAD_MAX` before its time to `AGE_MAX` after it, or as long as its nonce.
const _: () = assert!(PERIOD.as_ms() >= AGE_MAX.as_ms() + AHEAD_MAX.as_ms());
const _: () = assert!(PERIOD.as_ms() > 2 * NONCE_LIFE.as_ms());

/// The nonces that are taken now.
#[derive(Default)]
pub(crate) struct Nonces {
    current: Option<(String, Timestamp)>,
    previous: Option<String>,
}

impl Nonces {
    fn turn(&mut self, now: Timestamp) {
        let Some((nonce, since)) = self.current.take() else {
            return;
        };
        let age = now.ms_from(since);
        // A clock that goes back makes no nonce last longer.
        if (0..NONCE_LIFE.as_ms()).contains(&age) {
            self.current = Some((nonce, since));
        } else {
            let fresh = (0..2 * NONCE_LIFE.as_ms()).contains(&age);
            self.previous = Some(nonce).filter(|_| fresh);
        }
    }

    /// The nonce to put into a proof now.
    pub(crate) fn give(&mut self, now: Timestamp) -> String {
        self.turn(now);
        let make = || (hex(hearthkey_store::keys::random::<16>().as_slice()), now);
        self.current.get_or_insert_with(make).0.clone()
    }

    /// Whether a nonce was given out lately.
    pub(crate) fn knows(&mut self, nonce: &str, now: Timestamp) -> bool {
        self.turn(now);
        let current = self.current.as_ref().map(|(nonce, _)| nonce);
        let mut taken = current.into_iter().chain(&self.previous);
        taken.any(|ours| bool::from(ours.as_bytes().ct_eq(nonce.as_bytes())))
    }
}

/// What is remembered of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// It is new, and used from now on.
    New,
    /// It has been used.
    Used,
    /// There is no room to remember it, so that it cannot be taken.
    NoRoom,
}

type Used = HashMap<KeyId, HashSet<[u8; 16]>>;

/// The proofs that were used in this period and in the one before.
#[derive(Default)]
pub(crate) struct Replays {
    begun: Timestamp,
    now: Used,
    before: Used,
}

impl Replays {
    /// Remembers a proof by its key and its `jti`.
    pub(crate) fn remember(&mut self, key: KeyId, id: &str, now: Timestamp) -> Remembered {
        let age = now.ms_from(self.begun);
        // What was used before the clock went back is remembered for one more period.
        if !(0..PERIOD.as_ms()).contains(&age) {
            let last = std::mem::take(&mut self.now);
            let fresh = age < 2 * PERIOD.as_ms();
            self.before = if fresh { last } else { Used::new() };
            self.begun = now;
        }
        let mut short = [0; 16];
        short.copy_from_slice(&Fingerprint::of(id.as_bytes()).0[..16]);
        let used = |used: &Used| used.get(&key).is_some_and(|ids| ids.contains(&short));
        if used(&self.now) || used(&self.before) {
            return Remembered::Used;
        }
        let in_all: usize = self.now.values().map(HashSet::len).sum();
        let ids = self.now.entry(key).or_default();
        if ids.len() >= PER_KEY_MAX || (in_all >= IN_ALL_MAX && ids.len() >= ALWAYS) {
            return Remembered::NoRoom;
        }
        ids.insert(short);
        Remembered::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId(Fingerprint([1; 32]));

    fn at(s: i64) -> Timestamp {
        Timestamp::from_s(1_000_000 + s)
    }

    #[test]
    fn a_proof_is_remembered_for_longer_than_it_is_good() {
        let mut replays = Replays::default();
        assert_eq!(replays.remember(KEY, "a", at(0)), Remembered::New);
        let other = KeyId(Fingerprint([2; 32]));
        assert_eq!(replays.remember(other, "a", at(0)), Remembered::New);
        assert_eq!(replays.remember(KEY, "b", at(124)), Remembered::New);
        assert_eq!(replays.remember(KEY, "c", at(125)), Remembered::New);
        assert_eq!(replays.remember(KEY, "a", at(249)), Remembered::Used);
        assert_eq!(replays.remember(KEY, "b", at(249)), Remembered::Used);
        assert_eq!(replays.remember(KEY, "a", at(250)), Remembered::New);
        assert_eq!(replays.remember(KEY, "c", at(250)), Remembered::Used);
        assert_eq!(replays.remember(KEY, "c", at(9_000)), Remembered::New);
    }

    #[test]
    fn what_cannot_be_remembered_is_refused_for_that_key_and_others_go_on() {
        let mut replays = Replays::default();
        for n in 0..PER_KEY_MAX {
            let new = replays.remember(KEY, &n.to_string(), at(0));
            assert_eq!(new, Remembered::New);
        }
        assert_eq!(replays.remember(KEY, "x", at(1)), Remembered::NoRoom);
        assert_eq!(replays.remember(KEY, "0", at(1)), Remembered::Used);
        let other = KeyId(Fingerprint([2; 32]));
        assert_eq!(replays.remember(other, "x", at(1)), Remembered::New);
        assert_eq!(replays.remember(KEY, "x", at(130)), Remembered::New);
    }

    #[test]
    fn however_many_keys_fill_the_memory_another_has_room_in_it() {
        let mut replays = Replays::default();
        let keys = u8::try_from(IN_ALL_MAX / PER_KEY_MAX).unwrap();
        for (key, n) in (0..keys).flat_map(|key| (0..PER_KEY_MAX).map(move |n| (key, n))) {
            let key = KeyId(Fingerprint([key; 32]));
            let new = replays.remember(key, &n.to_string(), at(0));
            assert_eq!(new, Remembered::New);
        }
        let other = KeyId(Fingerprint([99; 32]));
        for n in 0..ALWAYS {
            let new = replays.remember(other, &n.to_string(), at(1));
            assert_eq!(new, Remembered::New);
        }
        assert_eq!(replays.remember(other, "x", at(1)), Remembered::NoRoom);
    }

    #[test]
    fn a_nonce_is_taken_for_as_long_again_as_it_is_given_out() {
        let mut nonces = Nonces::default();
        assert!(!nonces.knows("", at(0)));
        let first = nonces.give(at(0));
        assert_eq!(nonces.give(at(59)), first);
        assert!(nonces.knows(&first, at(59)));
        let second = nonces.give(at(60));
        assert_ne!(first, second);
        assert!(nonces.knows(&first, at(119)) && nonces.knows(&second, at(119)));
        nonces.give(at(120));
        assert!(!nonces.knows(&first, at(120)) && nonces.knows(&second, at(120)));
        assert!(!nonces.knows(&second, at(1_000)));
        assert!(!nonces.knows("guess", at(1_000)));
    }
}
