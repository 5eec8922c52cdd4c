//! One act on many devices.

use std::sync::Arc;

use crate::auth::Auth;
use crate::devices::Devices;
use crate::state::Ctx;
use crate::vault::Vault;

pub(crate) mod acts;

/// One act on many devices, and on the tokens that are bound to them.
pub(crate) struct Bulk {
    ctx: Arc<Ctx>,
    auth: Arc<Auth>,
    devices: Arc<Devices>,
    vault: Arc<Vault>,
}

impl Bulk {
    pub(crate) fn new(
        ctx: Arc<Ctx>,
        auth: Arc<Auth>,
        devices: Arc<Devices>,
        vault: Arc<Vault>,
    ) -> Self {
        Self {
            ctx,
            auth,
            devices,
            vault,
        }
    }
}
