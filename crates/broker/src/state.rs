//! What must survive a restart, as rows for the gateway's encrypted database.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateKind {
    /// A retained message. Key: its topic.
    Retained,
    /// A session with its subscriptions and will. Key: its client id.
    Session,
    /// A message queued for a session. Key: client id, `/`, 20 digits that give the order.
    Queue,
    /// A message between its send and its acknowledgement. Key: client id, `/`, direction, number.
    Inflight,
    /// The will of a session that has not been published. Key: that of the session.
    Will,
}

/// One row: opaque to everybody but the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// What it holds.
    pub kind: StateKind,
    /// Unique within its kind.
    pub key: String,
    /// The value: may hold payloads and wills, so it belongs in an encrypted place.
    pub value: Vec<u8>,
}

/// A change of one row. Apply changes in their order; the last one of a key wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateChange {
    /// Insert the row, or replace the one with its key.
    Put(StateRow),
    /// Delete the row if there is one.
    Delete {
        /// What it holds.
        kind: StateKind,
        /// Its key.
        key: String,
    },
}

/// The receiving end of state changes, in batches that belong in one transaction.
#[derive(Debug)]
pub struct StateChanges(pub(crate) mpsc::Receiver<Vec<StateChange>>);

impl StateChanges {
    /// The next batch; `None` when the broker has stopped and everything has been handed over.
    pub async fn recv(&mut self) -> Option<Vec<StateChange>> {
        self.0.recv().await
    }
}

/// A row's value: a JSON head (four bytes of length before it), then the raw payload, because
/// JSON would write each byte of it as a number.
pub(crate) fn encode<T: Serialize>(head: &T, payload: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(head)?;
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut value = Vec::with_capacity(4 + json.len() + payload.len());
    value.extend_from_slice(&length.to_be_bytes());
    value.extend_from_slice(&json);
    value.extend_from_slice(payload);
    Ok(value)
}

/// The head and the payload of a row's value, or nothing if it is not one.
pub(crate) fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<(T, Vec<u8>)> {
    let (length, rest) = value.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (json, payload) = rest.split_at_checked(length)?;
    Some((serde_json::from_slice(json).ok()?, payload.to_vec()))
}
