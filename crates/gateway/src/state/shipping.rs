//! How far the place for backups knows the journal, as findings and `status` say it.

use std::sync::Mutex;

use hearthkey_core::backup::shipped::Shipped;
use hearthkey_core::time::Timestamp;
use hearthkey_store::journal::Head;

use crate::state::lock::locked;

/// Kept by what ships the journal.
#[derive(Default)]
pub(crate) struct Shipping(Mutex<(Shipped, u64)>);

impl Shipping {
    /// How far it is now, with the newest line of the journal: one that is not there yet is behind since it was written.
    pub(crate) fn now(&self, newest: Head) -> Shipped {
        let (mut shipped, known) = locked(&self.0).clone();
        if shipped.is_planned && newest.seq > known {
            shipped.behind_since.get_or_insert(newest.at);
        }
        shipped
    }

    /// Whether a place is set. One that is set now knows nothing yet.
    pub(crate) fn planned(&self, is_planned: bool) {
        let (shipped, known) = &mut *locked(&self.0);
        if shipped.is_planned != is_planned {
            *known = 0;
            *shipped = Shipped {
                is_planned,
                ..Shipped::default()
            };
        }
    }

    /// Something has happened that the place does not have.
    pub(crate) fn is_behind(&self, now: Timestamp) {
        locked(&self.0).0.behind_since.get_or_insert(now);
    }

    /// It could not be put there.
    pub(crate) fn failed(&self, why: String) {
        locked(&self.0).0.failed = Some(why);
    }

    /// The place has all that had happened at a moment, to this line of the journal.
    pub(crate) fn knows(&self, at: Timestamp, seq: u64) {
        let (shipped, known) = &mut *locked(&self.0);
        *known = seq;
        (shipped.known_at, shipped.behind_since, shipped.failed) = (Some(at), None, None);
    }
}
