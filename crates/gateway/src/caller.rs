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
    #[allow(clippy::unnecessary_wraps)] // Services are refused here, once there are any.
    pub(crate) fn may(&self, _action: Action, _credential: &CredentialId) -> Result<(), Failure> {
        match self {
            Self::Local { .. } => Ok(()),
        }
    }

    /// Whether the caller may see that the credential exists.
    pub(crate) fn may_list(&self, credential: &CredentialId) -> bool {
        self.may(Action::List, credential).is_ok()
    }

    /// Whether the caller looks after the whole home.
    pub(crate) fn is_operator(&self) -> bool {
        match self {
            Self::Local { .. } => true,
        }
    }
}
