//! Stories of the bridges.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
