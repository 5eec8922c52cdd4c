//! Effects that must happen once a change is durable, also if the gateway stopped in between.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::id::EnvironmentName;
use hearthkey_store::change::{Change, Effect, Write};

use crate::home::Home;
use crate::trust::notice_facts;

/// Effects that are taken at a time.
const BATCH: u32 = 256;
/// How long effects are gathered before they are done.
const GATHERING: Duration = Duration::from_millis(20);

/// Does what waits in the outbox, at start and whenever something is added, until the home closes.
pub(crate) async fn deliver(home: Arc<Home>) {
    let mut stopping = home.stopping.subscribe();
    loop {
        while home.deliver_batch().await {}
        tokio::select! {
            () = home.outbox.notified() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        // What comes together is done together.
        tokio::time::sleep(GATHERING).await;
    }
}

impl Home {
    /// Does the oldest effects; whether there may be more.
    async fn deliver_batch(&self) -> bool {
        let facts = self.store.read(|registry| {
            let effects = registry.effects(BATCH)?;
            let mut notices = HashMap::new();
            for (_, effect) in &effects {
                if let Effect::Notice(device) = effect
                    && !notices.contains_key(device)
                {
                    notices.insert(device.clone(), notice_facts(registry, device)?);
                }
            }
            Ok((effects, notices))
        });
        let (effects, notices) = match facts {
            Ok(facts) => facts,
            Err(error) => {
                tracing::error!(%error, "the outbox could not be read");
                return false;
            }
        };
        let Some((last, _)) = effects.last() else {
            return false;
        };
        let mut change = Change::default().write(Write::EffectsDone(*last));
        for (device, facts) in notices {
            self.publish_notice(&device, facts).await;
        }
        let crls: HashSet<EnvironmentName> = effects
            .into_iter()
            .filter_map(|(_, effect)| match effect {
                Effect::Crl(environment) => Some(environment),
                Effect::Notice(_) => None,
            })
            .collect();
        for environment in crls {
            change.writes.extend(self.publish_crl(&environment).await);
        }
        // If this fails they happen once more, which changes nothing.
        self.commit(change).await.is_ok()
    }
}
