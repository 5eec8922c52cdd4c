//! What a subscription takes of a bound.

use hearthkey_core::room::SUBSCRIPTION_BYTES;

use crate::engine::topics::is_wild;
use crate::protocol::Filter;

/// What each level of a filter with wildcards takes besides: a place in the tree.
pub(crate) const LEVEL_BYTES: usize = 320;

/// What a subscription counts for.
pub(super) fn weight(filter: &Filter) -> usize {
    let inner = filter.inner().as_bytes();
    let levels = match is_wild(inner) {
        true => 1 + inner.iter().filter(|byte| **byte == b'/').count(),
        false => 0,
    };
    filter.text().len() + SUBSCRIPTION_BYTES + levels * LEVEL_BYTES
}
