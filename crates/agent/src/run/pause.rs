//! Between two attempts to connect: waiting, and looking whether the gateway is somewhere else.

use super::{Runner, Stop};
use crate::clock;
use crate::closed::ClosedReason;
use crate::event::Event;
use crate::schedule::pause_before;

/// After so many failed attempts in a row the gateway is looked for elsewhere.
const SEARCH_FROM: u32 = 2;

impl Runner<'_> {
    /// Waits before the next attempt. False if the agent is asked to stop meanwhile.
    pub(super) async fn pause(
        &mut self,
        reason: ClosedReason,
        attempt: u32,
        stop: Stop<'_>,
    ) -> bool {
        let pause = pause_before(reason.need(), attempt, clock::chance());
        (self.emit)(Event::Disconnected {
            remedy: self.device.what_to_do(&reason, clock::now()),
            reason: reason.clone(),
            retry_in_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        });
        let may_be_elsewhere = attempt >= SEARCH_FROM && reason.is_about_place();
        let searched = async {
            let found = match may_be_elsewhere && self.device.searches {
                true => self.device.search().await,
                false => None,
            };
            match found {
                Some(place) => (self.emit)(Event::Moved {
                    host: place.host,
                    port: place.port,
                }),
                None => tokio::time::sleep(pause).await,
            }
        };
        tokio::select! {
            () = stop => false,
            () = searched => true,
        }
    }
}
