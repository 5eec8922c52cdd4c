//! An unsealed home: its areas together. They are assembled in `process`, and asked by `http` and `mqtt`.

use crate::devices::Recalled;
use crate::posture::Opened;
use hearthkey_core::habit::Habits;
use std::sync::Arc;

use crate::audit::Audit;
use crate::auth::Auth;
use crate::backups::Backups;
use crate::bulk::Bulk;
use crate::devices::Devices;
use crate::people::People;
use crate::posture::Posture;
use crate::state::Ctx;
use crate::tokens::Tokens;
use crate::trust::Trust;
use crate::unlock::Unlock;
use crate::vault::Vault;

pub(crate) mod clock;
mod incident;
#[cfg(test)]
mod tests;

/// An unsealed home.
pub(crate) struct Home {
    pub(crate) ctx: Arc<Ctx>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) backups: Arc<Backups>,
    pub(crate) devices: Arc<Devices>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) bulk: Arc<Bulk>,
    pub(crate) people: Arc<People>,
    pub(crate) posture: Arc<Posture>,
    pub(crate) unlock: Unlock,
    /// What the person who runs it should know, since it opened.
    pub(crate) warnings: Vec<String>,
}

impl Home {
    /// Puts the areas together: each is given those below it.
    pub(crate) fn assemble(
        (ctx, trust, auth, audit): (Arc<Ctx>, Arc<Trust>, Arc<Auth>, Arc<Audit>),
        recalled: Recalled,
        habits: Habits,
        opened: Opened,
        warnings: Vec<String>,
    ) -> Self {
        let backups = Arc::new(Backups::new(Arc::clone(&ctx), Arc::clone(&auth)));
        let unlock = Unlock::new(Arc::clone(&ctx), Arc::clone(&auth));
        let devices = Arc::new(Devices::new(
            Arc::clone(&ctx),
            Arc::clone(&trust),
            Arc::clone(&auth),
            recalled,
        ));
        let vault = Arc::new(Vault::new(
            Arc::clone(&ctx),
            Arc::clone(&auth),
            Arc::clone(&devices),
            habits,
        ));
        let tokens = Arc::new(Tokens::new(
            Arc::clone(&ctx),
            Arc::clone(&trust),
            Arc::clone(&auth),
            Arc::clone(&vault),
        ));
        let bulk = Arc::new(Bulk::new(
            Arc::clone(&ctx),
            Arc::clone(&auth),
            Arc::clone(&devices),
            Arc::clone(&vault),
        ));
        let people = Arc::new(People::new(
            Arc::clone(&ctx),
            Arc::clone(&auth),
            Arc::clone(&vault),
        ));
        let posture = Arc::new(Posture::new(
            Arc::clone(&ctx),
            Arc::clone(&auth),
            Arc::clone(&audit),
            (Arc::clone(&devices), Arc::clone(&vault)),
            opened,
        ));
        Self {
            ctx,
            trust,
            auth,
            audit,
            backups,
            devices,
            vault,
            tokens,
            bulk,
            people,
            posture,
            unlock,
            warnings,
        }
    }
}
