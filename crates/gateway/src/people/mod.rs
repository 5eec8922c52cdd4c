//! People: how they are invited, in which role, and what they log in with.
//!
//! | what | where |
//! | --- | --- |
//! | the setup link, invitations, joining | [`invitations`] |
//! | a passkey, or a password with its codes, is made | [`new_way`] |
//! | people and their roles | [`roster`] |
//! | a person's own passkeys, password and codes | [`ways`] |

use std::sync::Arc;

use crate::auth::Auth;
use crate::state::Ctx;
use crate::vault::Vault;

pub(crate) mod invitations;
mod new_way;
mod roster;
#[cfg(test)]
mod tests;
mod ways;

/// The people of a home.
pub(crate) struct People {
    ctx: Arc<Ctx>,
    auth: Arc<Auth>,
    vault: Arc<Vault>,
}

impl People {
    pub(crate) fn new(ctx: Arc<Ctx>, auth: Arc<Auth>, vault: Arc<Vault>) -> Self {
        Self { ctx, auth, vault }
    }
}
