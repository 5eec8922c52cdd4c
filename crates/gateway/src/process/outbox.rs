//! Effects that must happen once a change is durable, also if the gateway stopped in between.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::id::EnvironmentName;
use hearthkey_pki::CaRole;
use hearthkey_store::change::{Change, Effect, Write};

use crate::home::Home;

/// Effects that are taken at a time.
const BATCH: u32 = 256;
/// How long effects are gathered before they are done.
const GATHERING: Duration = Duration::from_millis(20);

/// Publishes the notices that are owed and does what waits in the outbox, at start and whenever
/// something is added, until the home closes.
pub(crate) async fn deliver(home: Arc<Home>) {
    let mut stopping = home.ctx.stopping().subscribe();
    loop {
        for device in home.trust.take_owed_notices() {
            let home = Arc::clone(&home);
            // One that is slow to take its notice keeps nobody else waiting.
            tokio::spawn(async move { home.trust.publish_notice(&device).await });
        }
        while home.deliver_batch().await {}
        tokio::select! {
            () = home.ctx.outbox().notified() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        // What comes together is done together.
        tokio::time::sleep(GATHERING).await;
    }
}

impl Home {
    /// Does the oldest effects; whether there may be more.
    async fn deliver_batch(&self) -> bool {
        let effects = match self.ctx.store().read(|registry| registry.effects(BATCH)) {
            Ok(effects) => effects,
            Err(error) => {
                tracing::error!(%error, "the outbox could not be read");
                return false;
            }
        };
        let Some((last, _)) = effects.last() else {
            return false;
        };
        let mut change = Change::default().write(Write::EffectsDone(*last));
        let crls: HashSet<EnvironmentName> = effects
            .into_iter()
            .map(|(_, Effect::Crl(environment))| environment)
            .collect();
        for environment in crls {
            let ca = CaRole::Issuing(environment);
            change.writes.extend(self.trust.publish_crl(&ca).await);
        }
        // If this fails they happen once more, which changes nothing.
        self.ctx.commit(change).await.is_ok()
    }
}
