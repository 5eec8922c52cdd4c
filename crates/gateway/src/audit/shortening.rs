//! Archived records are dropped, and the room that they took is given back to the disk: a part at a time, with rests between,
//! so that nobody waits for it. After a restart it goes on.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_store::change::{Change, Write};
use hearthkey_store::log_start::LogWrite;
use hearthkey_store::registry::ReadError;
use tokio::time::sleep;

use crate::audit::Audit;
use crate::state::clock::Stopwatch;

/// Records that are dropped at a time.
const DROPPED_AT_ONCE: u32 = 250;
/// Pages that are given back at a time: 1 MiB.
const PAGES_AT_ONCE: u32 = 256;
/// After a part, nothing is done for so many times as long as it took.
const REST: u32 = 3;
/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(60);

/// Drops what is archived, until the home closes.
pub(crate) async fn keep_shortening(audit: Arc<Audit>) {
    let mut stopping = audit.ctx.stopping().subscribe();
    loop {
        let done = tokio::select! {
            done = audit.drop_what_is_archived() => done,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let again = async {
            match done {
                true => audit.shortened.notified().await,
                false => sleep(RETRY).await,
            }
        };
        tokio::select! {
            () = again => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

impl Audit {
    /// Whether all of it is done.
    async fn drop_what_is_archived(&self) -> bool {
        let store = self.ctx.store();
        let drops = || store.read(|registry| registry.has_records_to_drop());
        let drop = || LogWrite::Drop {
            at_most: DROPPED_AT_ONCE,
        };
        let room = || store.read(|registry| registry.has_room_to_give_back());
        let give_back = || LogWrite::GiveBack {
            pages: PAGES_AT_ONCE,
        };
        let done = self.in_parts(drops, drop).await && self.in_parts(room, give_back).await;
        self.look_at_extent();
        done
    }

    async fn in_parts(
        &self,
        has_more: impl Fn() -> Result<bool, ReadError>,
        part: impl Fn() -> LogWrite,
    ) -> bool {
        loop {
            match has_more() {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => {
                    tracing::warn!(%error, "archived records could not be looked at");
                    return false;
                }
            }
            // Nothing is added to a log that is an incident, and nothing dropped from it.
            if self.ctx.store().incident().is_some() {
                return false;
            }
            let took = Stopwatch::start();
            let change = Change::default().write(Write::Log(part()));
            if let Err(error) = self.ctx.commit(change).await {
                tracing::warn!(%error, "archived records could not be dropped");
                return false;
            }
            let rest = Duration::from_micros(took.elapsed_us()) * REST;
            sleep(rest.max(Duration::from_millis(1))).await;
        }
    }
}
