//! A published CRL.

use hearthkey_core::time::{Span, Timestamp};

/// A CRL as it was published, when it was made and when its successor is due (RFC 5280 §5.1.2.5).
pub(crate) struct PublishedCrl {
    pub(super) der: Vec<u8>,
    pub(super) at: Timestamp,
    pub(super) next: Timestamp,
}

impl PublishedCrl {
    /// Whether half its life is over, or has not begun.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        let half = Span::ms(self.next.since(self.at).as_ms() / 2);
        now < self.at || now > self.at.after(half)
    }
}
