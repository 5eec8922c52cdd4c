//! What others trust the home by: roots, CRLs, notices, and the certificates of its own listeners.
//!
//! | what | where |
//! | --- | --- |
//! | the bundle of roots, CRLs, checkpoints, each device's notice | [`published`] |
//! | the TLS configurations of both listeners | [`server_tls`] |
//! | CAs that follow one another | [`succession`] |

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use hearthkey_core::id::{DeviceId, EnvironmentName};
use hearthkey_pki::CaRole;
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::state::keyed_locks::Turns;
use crate::state::{Ctx, locked};
use crl::PublishedCrl;

pub(crate) mod authority;
mod crl;
pub(crate) mod formers;
pub(crate) mod published;
pub(crate) mod server_tls;
pub(crate) mod succession;
#[cfg(test)]
mod tests;

/// What others trust the home by.
pub(crate) struct Trust {
    ctx: Arc<Ctx>,
    crls: Mutex<HashMap<CaRole, PublishedCrl>>,
    /// Those of the CAs that signed for an environment before, in DER.
    former_crls: Mutex<HashMap<EnvironmentName, Vec<Vec<u8>>>>,
    tls: watch::Sender<Arc<ServerConfig>>,
    https_tls: watch::Sender<Arc<ServerConfig>>,
    /// Held while the server certificates are made anew.
    tls_turn: tokio::sync::Mutex<()>,
    /// Devices whose notice is to be published, and whose turn it is.
    owed_notices: Mutex<HashSet<DeviceId>>,
    notice_turns: Turns<DeviceId>,
}

impl Trust {
    pub(crate) fn new(
        ctx: Arc<Ctx>,
        tls: watch::Sender<Arc<ServerConfig>>,
        https_tls: watch::Sender<Arc<ServerConfig>>,
    ) -> Self {
        Self {
            ctx,
            crls: Mutex::default(),
            former_crls: Mutex::default(),
            tls,
            https_tls,
            tls_turn: tokio::sync::Mutex::default(),
            owed_notices: Mutex::default(),
            notice_turns: Turns::new(),
        }
    }

    /// Devices whose notice is to be published, which nobody else takes then.
    pub(crate) fn take_owed_notices(&self) -> HashSet<DeviceId> {
        std::mem::take(&mut *locked(&self.owed_notices))
    }

    /// The TLS configuration of the HTTPS listener, as it changes.
    pub(crate) fn https_tls(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.https_tls.subscribe()
    }
}
