//! A value is replaced: begun by a person or by time, driven step by step, undone if it fails, and its users notified.

pub(super) mod begin;
mod confirm;
pub(crate) mod drive;
pub(crate) mod due;
pub(crate) mod notify;
pub(super) mod steps;
pub(super) mod undo;
pub(super) mod untaken;
pub(super) mod value;
