//! Stories about other people's files, told to the crate from outside.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on ends here")]

mod configurations;
