//! Service tokens: made, renewed, shown.

use std::sync::Arc;

use crate::auth::Auth;
use crate::state::Ctx;
use crate::trust::Trust;
use crate::vault::Vault;

pub(crate) mod grant;
#[cfg(test)]
mod tests;

/// The service tokens of a home.
pub(crate) struct Tokens {
    ctx: Arc<Ctx>,
    trust: Arc<Trust>,
    auth: Arc<Auth>,
    vault: Arc<Vault>,
}

impl Tokens {
    pub(crate) fn new(
        ctx: Arc<Ctx>,
        trust: Arc<Trust>,
        auth: Arc<Auth>,
        vault: Arc<Vault>,
    ) -> Self {
        Self {
            ctx,
            trust,
            auth,
            vault,
        }
    }
}
