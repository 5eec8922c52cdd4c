//! Effects that must happen once a change is durable, also if the gateway stopped in between.

use std::collections::HashSet;
use std::sync::Arc;

use hearthkey_store::change::{Change, Effect, Write};

use crate::home::Home;

/// Effects that are taken at a time.
const BATCH: u32 = 256;

/// Does what waits in the outbox, at start and whenever something is added, until the home closes.
pub(crate) async fn deliver(home: Arc<Home>) {
    let mut stopping = home.stopping.subscribe();
    loop {
        while home.deliver_batch().await {}
        tokio::select! {
            () = home.outbox.notified() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

impl Home {
    /// Does the oldest effects; whether there may be more.
    async fn deliver_batch(&self) -> bool {
        let effects = match self.store.read(|registry| registry.effects(BATCH)) {
            Ok(effects) => effects,
            Err(error) => {
                tracing::error!(%error, "the outbox could not be read");
                return false;
            }
        };
        if effects.is_empty() {
            return false;
        }
        let mut change = Change::default();
        let mut done = HashSet::new();
        for (id, effect) in effects {
            let again = !done.insert(format!("{effect:?}"));
            let write = match effect {
                _ if again => None,
                Effect::Notice(device) => {
                    self.publish_notice(&device).await;
                    None
                }
                Effect::Crl(environment) => self.publish_crl(&environment).await,
            };
            change.writes.extend(write);
            change.writes.push(Write::EffectDone(id));
        }
        // If this fails they happen once more, which changes nothing.
        self.commit(change).await.is_ok()
    }
}
