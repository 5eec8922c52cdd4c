//! What every handler is given: the open home, or none, and the process that opens and closes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use hearthkey_api::Status;
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::auth::permit::Permit;
use crate::home::Home;
use crate::http::answered::Repeats;
use crate::http::policy::Table;
use crate::http::waiters::Waiters;
use crate::state::failure::Failure;

/// An answer that the process gives later.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// What the API asks of the process that it runs in.
pub(crate) trait Keeper: Send + Sync {
    /// Opens the home with a passphrase or the recovery code.
    fn unseal(&self, caller: Caller, words: Zeroizing<String>) -> Later<'_, ()>;

    /// Whether the home may be sealed now.
    fn is_settled(&self) -> Later<'_, ()>;

    /// Closes the home; the process goes on.
    fn seal(&self, permit: Permit) -> Later<'_, ()>;

    /// How the gateway is.
    fn status(&self) -> Status;
}

/// An open home, and what is kept of its requests as long as it is open.
pub(crate) struct Served {
    pub(crate) home: Arc<Home>,
    /// What was made lately, and how that was answered.
    pub(crate) repeats: Repeats,
    /// Places for those who wait for what happens.
    pub(crate) waiters: Waiters,
}

/// The state of every handler.
pub(crate) struct Gateway {
    table: Table,
    served: RwLock<Option<Arc<Served>>>,
    keeper: OnceLock<Weak<dyn Keeper>>,
}

impl Gateway {
    /// No home is open yet.
    pub(crate) fn new(table: Table) -> Self {
        Self {
            table,
            served: RwLock::new(None),
            keeper: OnceLock::new(),
        }
    }

    /// What is declared of every route.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Says which process it runs in.
    pub(crate) fn kept_by(&self, keeper: Weak<dyn Keeper>) {
        // There is one process.
        let _ = self.keeper.set(keeper);
    }

    /// From here on requests are answered out of this home.
    pub(crate) fn serve(&self, home: Arc<Home>) {
        let served = Served {
            home,
            repeats: Repeats::default(),
            waiters: Waiters::new(),
        };
        let mut slot = self.served.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Arc::new(served));
    }

    /// From here on there is no home.
    pub(crate) fn withdraw(&self) -> Option<Arc<Home>> {
        let mut slot = self.served.write().unwrap_or_else(PoisonError::into_inner);
        slot.take().map(|served| Arc::clone(&served.home))
    }

    /// The open home, and what is kept of its requests.
    pub(crate) fn served(&self) -> Result<Arc<Served>, Failure> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.clone().ok_or_else(Failure::sealed)
    }

    /// The open home.
    pub(crate) fn home(&self) -> Result<Arc<Home>, Failure> {
        Ok(Arc::clone(&self.served()?.home))
    }

    /// The process.
    pub(crate) fn keeper(&self) -> Result<Arc<dyn Keeper>, Failure> {
        let keeper = self.keeper.get().and_then(Weak::upgrade);
        keeper.ok_or_else(|| Failure::internal(&"the gateway is being closed"))
    }
}
