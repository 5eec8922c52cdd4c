//! Who calls, and what they may do. Each listener says so; no header can.

use hearthkey_core::audit::Actor;
use hearthkey_core::credential::{Action, CredentialId};

use crate::problem::Failure;

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// A process on this machine, over the Unix socket.
    Local {
        /// Its user id, from the kernel.
        uid: u32,
        /// Its process id, from the kernel.
        pid: Option<i32>,
    },
}

impl Caller {
    /// The caller as the audit log names it.
    pub(crate) fn actor(&self) -> Actor {
        let Self::Local { uid, pid } = self;
        Actor {
            name: format!("uid:{uid}"),
            role: "operator".into(),
            session: pid.map(|pid| format!("pid:{pid}")),
            address: None,
        }
    }

    /// Whether the caller may do this with that credential. Whoever is on the socket is an operator.
    #[allow(dead_code, clippy::unnecessary_wraps)] // The vault asks, and services are refused, from the next commits on.
    pub(crate) fn may(&self, _action: Action, _credential: &CredentialId) -> Result<(), Failure> {
        match self {
            Self::Local { .. } => Ok(()),
        }
    }
}
