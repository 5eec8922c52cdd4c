//! What is known of people beside the registry.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hearthkey_core::id::Fingerprint;
use hearthkey_core::person::Person;
use hearthkey_core::time::Timestamp;
use tokio::sync::Semaphore;

use crate::auth::ceremonies::Ceremonies;
use crate::auth::gone::Gone;
use crate::auth::passkeys::Passkeys;
use crate::auth::refusals::Attempts;
use crate::auth::setup_file;
use crate::auth::throttle::Throttle;
use crate::state::locked;

/// Passwords that are stretched at a time: each takes 19 MiB for a twentieth of a second. One more has a place where all
/// but those who are known have to wait.
const STRETCHED_MAX: usize = 2;

/// What is known of people beside the registry.
pub(crate) struct PersonBook {
    pub(crate) passkeys: Passkeys,
    /// Whose access has ended in memory.
    pub(crate) gone: Arc<Gone>,
    /// Sessions that were used lately, and when; not written down yet.
    pub(crate) uses: Mutex<HashMap<Fingerprint, Timestamp>>,
    pub(crate) ceremonies: Mutex<Ceremonies>,
    pub(crate) throttle: Mutex<Throttle>,
    /// Refusals that are written down.
    pub(crate) refusals: Mutex<Attempts>,
    pub(crate) stretching: Semaphore,
    pub(crate) stretching_known: Semaphore,
    /// Who has shown a code at the desktop window.
    pub(crate) at_window: Mutex<Option<AtWindow>>,
    /// The link by which a home without an owner gets one.
    pub(crate) setup: Mutex<Option<OpenSetup>>,
    /// Where that link may lie.
    pub(crate) setup_file: PathBuf,
}

/// The one-time link of a new home, as it is known again.
pub(crate) struct OpenSetup {
    pub(crate) hash: Fingerprint,
    pub(crate) expires_at: Timestamp,
}

impl PersonBook {
    /// Nobody is known yet; passkeys are made for these names of the gateway.
    pub(crate) fn new(hosts: &[String], port: Option<u16>, data_dir: &Path) -> Self {
        Self {
            passkeys: Passkeys::new(hosts, port),
            gone: Arc::default(),
            uses: Mutex::default(),
            ceremonies: Mutex::default(),
            throttle: Mutex::default(),
            refusals: Mutex::default(),
            stretching: Semaphore::new(STRETCHED_MAX),
            stretching_known: Semaphore::new(1),
            at_window: Mutex::new(None),
            setup: Mutex::new(None),
            setup_file: setup_file::file_in(data_dir),
        }
    }
}

impl PersonBook {
    /// A person as they stand, whether or not the registry has it yet; none if their access has ended.
    pub(crate) fn left_of(&self, person: Person) -> Option<Person> {
        self.gone.left_of(person)
    }

    /// Forgets the setup link, wherever it is.
    pub(crate) fn forget_setup_link(&self) {
        *locked(&self.setup) = None;
        setup_file::forget(&self.setup_file);
    }
}

/// Who has shown a code at the desktop window, and until when it is good there.
#[derive(Debug, Clone)]
pub(crate) struct AtWindow {
    pub(crate) person: String,
    pub(crate) until: Timestamp,
}
