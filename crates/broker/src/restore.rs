//! Taking up where the last run ended: the gateway's rows become sessions, queues and retained
//! messages again, through the library's own recovery.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mqtt5::broker::storage::{
    ClientSession, InflightMessage, QueuedMessage, RetainedMessage, StorageBackend,
};

use crate::broker::is_gateways;
use crate::ledger::Ledger;
use crate::library::Engine;
use crate::queue_rows::identity;
use crate::snapshot::{Known, inflight_identity};
use crate::state::{StateKind, StateRow, decode};

/// Restores every row that can be read. Those that cannot, or that have no session any more, are
/// counted in the log and stay in what the gateway is known to have: the first snapshot deletes
/// them.
pub(crate) async fn restore(
    engine: &Engine,
    ledger: &Ledger,
    rows: Vec<StateRow>,
    session_expiry_max_s: u32,
) -> mqtt5::Result<Known> {
    let mut known = Known::default();
    let mut queues: HashMap<String, BTreeMap<u64, Vec<u8>>> = HashMap::new();
    let mut unreadable = 0_usize;
    for row in rows {
        let read = match row.kind {
            StateKind::Retained => retained(engine, ledger, &mut known, row).await,
            StateKind::Session => session(engine, ledger, &mut known, row).await,
            StateKind::Inflight => inflight(engine, &mut known, row).await,
            StateKind::Queue => sort_in(&mut queues, &mut known, row),
            // Written by the engine; the library keeps wills with their sessions.
            StateKind::Will => {
                known.strays.push((row.kind, row.key));
                Some(())
            }
        };
        unreadable += usize::from(read.is_none());
    }
    for (client_id, messages) in queues {
        unreadable += queue(engine, &mut known, &client_id, messages);
    }
    if unreadable > 0 {
        tracing::warn!(
            unreadable,
            "rows of an earlier run could not be read and were dropped"
        );
    }
    engine.router.initialize().await?;
    engine.router.recover_sessions(session_expiry_max_s).await?;
    Ok(known)
}

async fn retained(
    engine: &Engine,
    ledger: &Ledger,
    known: &mut Known,
    row: StateRow,
) -> Option<()> {
    if is_gateways(&row.key) {
        // Kept by an earlier version; the gateway says it anew.
        known.strays.push((row.kind, row.key));
        return Some(());
    }
    let topic: Arc<str> = row.key.as_str().into();
    known.retained.insert(Arc::clone(&topic));
    // Whatever becomes of it, the first snapshot looks at it again.
    ledger.note_retained(&topic, 0);
    let (mut message, payload) = decode::<RetainedMessage>(&row.value)?;
    message.payload = payload;
    message.recompute_expiry();
    if !message.is_expired() && *message.topic == *topic {
        ledger.note_retained(&topic, message.payload.len());
        engine
            .storage
            .store_retained_message(&topic, message)
            .await
            .ok()?;
    }
    Some(())
}

async fn session(engine: &Engine, ledger: &Ledger, known: &mut Known, row: StateRow) -> Option<()> {
    known.sessions.entry(row.key.clone()).or_default().lasting = true;
    ledger.session_changed(&row.key);
    let (session, _) = decode::<ClientSession>(&row.value)?;
    if session.client_id != row.key {
        return None;
    }
    engine.storage.store_session(session).await.ok()
}

async fn inflight(engine: &Engine, known: &mut Known, row: StateRow) -> Option<()> {
    let Some((client_id, _)) = row.key.split_once('/') else {
        known.strays.push((row.kind, row.key));
        return None;
    };
    let entry = known.sessions.entry(client_id.to_owned()).or_default();
    entry.inflight.insert(row.key.clone(), 0);
    let (mut message, payload) = decode::<InflightMessage>(&row.value)?;
    message.payload = payload;
    if message.client_id != client_id {
        return None;
    }
    entry
        .inflight
        .insert(row.key.clone(), inflight_identity(&message));
    engine.storage.store_inflight_message(message).await.ok()
}

fn sort_in(
    queues: &mut HashMap<String, BTreeMap<u64, Vec<u8>>>,
    known: &mut Known,
    row: StateRow,
) -> Option<()> {
    let place = row
        .key
        .split_once('/')
        .and_then(|(id, number)| Some((id, number.parse().ok()?)));
    let Some((client_id, number)) = place else {
        known.strays.push((row.kind, row.key));
        return None;
    };
    queues
        .entry(client_id.to_owned())
        .or_default()
        .insert(number, row.value);
    Some(())
}

fn queue(
    engine: &Engine,
    known: &mut Known,
    client_id: &str,
    messages: BTreeMap<u64, Vec<u8>>,
) -> usize {
    let rows = &mut known
        .sessions
        .entry(client_id.to_owned())
        .or_default()
        .queue;
    let queue = engine.storage.queue_handle(client_id);
    let mut unreadable = 0;
    for (number, value) in messages {
        let Some((mut message, payload)) = decode::<QueuedMessage>(&value) else {
            rows.restored(number, 0);
            unreadable += 1;
            continue;
        };
        message.payload = payload;
        message.recompute_expiry();
        rows.restored(number, identity(&message));
        queue.push(message);
    }
    unreadable
}
