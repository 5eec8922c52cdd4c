//! Answers that were given lately, by caller: what an `Idempotency-Key` is answered from.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::Timestamp;
use zeroize::Zeroizing;

/// The answers that were given lately, by caller.
pub(crate) type Repeats = Mutex<HashMap<String, VecDeque<Asked>>>;

/// A request that was made, and what came of it.
pub(crate) struct Asked {
    pub(super) key: String,
    /// Of method, path and body.
    pub(super) request: Fingerprint,
    pub(super) at: Timestamp,
    /// None while it is worked on.
    pub(super) answer: Option<Arc<Answer>>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}
