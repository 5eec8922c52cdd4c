//! People: how they join, log in, and are sent away.
//!
//! | what | where |
//! | --- | --- |
//! | ceremonies that wait for a browser's answer | `ceremonies.rs` |
//! | passkeys, by the names under which the gateway is reached | `passkeys.rs` |
//! | passwords, codes, recovery codes | `passwords.rs` |
//! | the setup link, invitations, joining | `invitations.rs` |
//! | logging in, and a fresh second factor | `login.rs`, `step_up.rs` |
//! | sessions: the cookie, who is asking, ending one | `sessions.rs` |
//! | who there is, in which role | `roster.rs` |
//! | a person's own ways in | `ways.rs` |
//! | how far a limited role reaches | `reach.rs` |

use std::collections::HashMap;
use std::sync::Mutex;

use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::Timestamp;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::attempts::Attempts;

mod ceremonies;
pub(crate) mod http;
mod invitations;
mod leaving;
mod login;
mod passkeys;
mod passwords;
mod reach;
mod roster;
mod sessions;
mod step_up;
mod throttle;
mod ways;

use ceremonies::Ceremonies;
use passkeys::Passkeys;
pub(crate) use sessions::{Visitor, csrf_fits, forget_cookie, not_logged_in};
use throttle::Throttle;

/// Passwords that are stretched at a time: each takes 19 MiB for a twentieth of a second.
const STRETCHED_MAX: usize = 2;

/// What is known of people beside the registry.
pub(crate) struct People {
    passkeys: Passkeys,
    /// Whose access has ended in memory.
    gone: leaving::Gone,
    /// Sessions that were used lately, and when; not written down yet.
    uses: Mutex<HashMap<Fingerprint, Timestamp>>,
    ceremonies: Mutex<Ceremonies>,
    throttle: Mutex<Throttle>,
    /// Refusals that are written down.
    refusals: Mutex<Attempts>,
    stretching: Semaphore,
    /// The link by which a home without an owner gets one.
    setup: Mutex<Option<SetupLink>>,
}

/// The one-time link of a new home.
struct SetupLink {
    hash: Fingerprint,
    expires_at: Timestamp,
}

impl People {
    /// Nobody is known yet; passkeys are made for these names of the gateway.
    pub(crate) fn new(hosts: &[String], port: Option<u16>) -> Self {
        Self {
            passkeys: Passkeys::new(hosts, port),
            gone: leaving::Gone::default(),
            uses: Mutex::default(),
            ceremonies: Mutex::default(),
            throttle: Mutex::default(),
            refusals: Mutex::default(),
            stretching: Semaphore::new(STRETCHED_MAX),
            setup: Mutex::new(None),
        }
    }
}

/// 32 random bytes as base64url: what a cookie or an invitation holds.
fn new_secret() -> Zeroizing<String> {
    use base64::Engine;
    let bytes = hearthkey_store::keys::random::<32>();
    Zeroizing::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// What is kept of such a secret: 256 random bits need no slow hash.
fn hash_of(secret: &str) -> Fingerprint {
    Fingerprint::of(secret.as_bytes())
}
