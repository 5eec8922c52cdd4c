//! A child value that is no lease's.

use hearthkey_bridges::Held;
use hearthkey_core::lease::Lease;

/// A child that could not be kept, and what was left to do once it was to be ended; none as long as it was not tried.
pub(crate) struct ChildLeft {
    pub(super) lease: Lease,
    pub(super) held: Held,
    pub(super) left: Option<Option<String>>,
}
