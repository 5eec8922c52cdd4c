//! What is known of the log.

use std::sync::Arc;

use hearthkey_core::time::Timestamp;
use hearthkey_store::log::SignedCheckpoint;
use hearthkey_store::log_check::Faults;
use hearthkey_store::log_start::Extent;

/// What is known of the log.
#[derive(Default)]
pub(crate) struct LogState {
    /// The newest checkpoint that verified.
    pub(super) verified: Option<Arc<SignedCheckpoint>>,
    pub(super) verified_at: Option<Timestamp>,
    pub(super) full_at: Option<Timestamp>,
    pub(super) faults: Faults,
    pub(super) problem: Option<String>,
    /// How large it is, as it was last looked at.
    pub(super) extent: Extent,
    /// Why the newest check did not get to its end.
    pub(super) unread: Option<String>,
}

impl LogState {
    /// What is wrong with the log; that nobody could look is wrong, too.
    pub(super) fn told(&self) -> Option<String> {
        let unread = self.unread.as_ref();
        let unread = unread.map(|why| format!("it could not be read to its end ({why})"));
        self.problem.clone().or(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_could_not_be_read_is_not_said_to_be_whole() {
        let mut state = LogState::default();
        assert_eq!(state.told(), None);
        state.unread = Some("disk I/O error".into());
        let told = state.told().unwrap();
        assert!(told.contains("could not be read to its end"), "{told}");
        state.problem = Some("it was rewritten".into());
        assert_eq!(state.told().unwrap(), "it was rewritten");
    }
}
