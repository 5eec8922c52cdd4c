//! What stands before and behind every handler.

pub(crate) mod body;
pub(crate) mod drain_body;
pub(crate) mod etag;
pub(crate) mod guard;
pub(crate) mod host;
pub(crate) mod idempotency;
pub(crate) mod run_to_end;
pub(crate) mod urgent;
pub(crate) mod visitors;
