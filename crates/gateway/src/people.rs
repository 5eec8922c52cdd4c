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
//! | a code on the gateway's own machine | `here.rs` |
//! | who there is, in which role | `roster.rs` |
//! | a person's own ways in | `ways.rs` |
//! | the setup link on its way to a person | `setup.rs` |
//! | how far a limited role reaches | `reach.rs` |

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hearthkey_core::id::Fingerprint;
use hearthkey_core::person::Person;
use hearthkey_core::time::Timestamp;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::attempts::Attempts;

mod ceremonies;
pub(crate) mod here;
pub(crate) mod http;
mod invitations;
mod leaving;
mod login;
mod passkeys;
mod passwords;
mod reach;
mod roster;
mod sessions;
pub(crate) mod setup;
mod step_up;
pub(crate) mod throttle;
mod ways;

use ceremonies::Ceremonies;
use passkeys::Passkeys;
pub(crate) use sessions::{Visitor, csrf_fits, forget_cookie, not_logged_in};
use throttle::Throttle;

/// Passwords that are stretched at a time: each takes 19 MiB for a twentieth of a second. One more has a place where all
/// but those who are known have to wait.
const STRETCHED_MAX: usize = 2;

/// What is known of people beside the registry.
pub(crate) struct People {
    passkeys: Passkeys,
    /// Whose access has ended in memory.
    gone: leaving::Gone,
    /// Sessions that were used lately, and when; not written down yet.
    uses: Mutex<HashMap<Fingerprint, Timestamp>>,
    ceremonies: Mutex<Ceremonies>,
    pub(crate) throttle: Mutex<Throttle>,
    /// Refusals that are written down.
    refusals: Mutex<Attempts>,
    stretching: Semaphore,
    stretching_known: Semaphore,
    /// Who has shown a code at the desktop window.
    at_window: Mutex<Option<here::AtWindow>>,
    /// The link by which a home without an owner gets one.
    setup: Mutex<Option<OpenSetup>>,
    /// Where that link may lie.
    setup_file: PathBuf,
}

/// The one-time link of a new home, as it is known again.
struct OpenSetup {
    hash: Fingerprint,
    expires_at: Timestamp,
}

impl People {
    /// Nobody is known yet; passkeys are made for these names of the gateway.
    pub(crate) fn new(hosts: &[String], port: Option<u16>, data_dir: &Path) -> Self {
        Self {
            passkeys: Passkeys::new(hosts, port),
            gone: leaving::Gone::default(),
            uses: Mutex::default(),
            ceremonies: Mutex::default(),
            throttle: Mutex::default(),
            refusals: Mutex::default(),
            stretching: Semaphore::new(STRETCHED_MAX),
            stretching_known: Semaphore::new(1),
            at_window: Mutex::new(None),
            setup: Mutex::new(None),
            setup_file: setup::file_in(data_dir),
        }
    }
}

impl People {
    /// A person as they stand, whether or not the registry has it yet; none if their access has ended.
    pub(crate) fn left_of(&self, person: Person) -> Option<Person> {
        self.gone.left_of(person)
    }

    /// Forgets the setup link, wherever it is.
    pub(crate) fn forget_setup_link(&self) {
        *crate::home::locked(&self.setup) = None;
        setup::forget(&self.setup_file);
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
