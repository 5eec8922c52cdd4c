//! Whether the home is as it should be: facts are gathered, `core` judges, people accept.

use std::sync::Arc;

use hearthkey_core::posture::witness::JournalOpened;
use hearthkey_core::time::Timestamp;

use crate::audit::Audit;
use crate::auth::Auth;
use crate::devices::Devices;
use crate::state::Ctx;
use crate::vault::Vault;
use book::Judged;

mod acceptance;
mod book;
mod facts;
pub(crate) mod judged;
#[cfg(test)]
mod tests;
mod weakness;

/// Whether the home is as it should be.
pub(crate) struct Posture {
    ctx: Arc<Ctx>,
    auth: Arc<Auth>,
    audit: Arc<Audit>,
    devices: Arc<Devices>,
    vault: Arc<Vault>,
    /// What was found about the home as a whole.
    pub(crate) judged: Judged,
    opened: Opened,
}

/// How the home stood when it opened.
pub(crate) struct Opened {
    /// What the revocation journal lacked.
    pub(crate) journal: JournalOpened,
    /// When the home last opened without its anchor file, if it ever did.
    pub(crate) unanchored_at: Option<Timestamp>,
}

impl Posture {
    pub(crate) fn new(
        ctx: Arc<Ctx>,
        auth: Arc<Auth>,
        audit: Arc<Audit>,
        (devices, vault): (Arc<Devices>, Arc<Vault>),
        opened: Opened,
    ) -> Self {
        Self {
            ctx,
            auth,
            audit,
            devices,
            vault,
            judged: Judged::default(),
            opened,
        }
    }
}
