//! Requests on their way to the gateway: so many a minute for each connection, and answered "busy" if it takes no more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hearthkey_core::id::ClaimId;
use tokio::time::Instant;

use crate::edge::hall::Hall;
use crate::edge::reply::Reply;
use crate::edge::sessions::SessionInfo;
use crate::edge::shared::Shared;
use crate::engine::session::Handle;
use crate::engine::{Asked, RequestKind};
use crate::event::{Bound, Event, Request};
use crate::protocol::Message;

/// How many more requests a connection may make in the present minute.
#[derive(Default)]
struct Allowance(Option<(Instant, u32)>);

impl Allowance {
    fn take(&mut self, per_minute: u32) -> bool {
        let now = Instant::now();
        match self.0.as_mut() {
            Some((start, used)) if now.duration_since(*start) < Duration::from_secs(60) => {
                *used += 1;
                *used <= per_minute
            }
            _ => {
                self.0 = Some((now, 1));
                per_minute > 0
            }
        }
    }
}

#[derive(Clone)]
enum Requester {
    Device(SessionInfo),
    Claim(ClaimId),
}

/// The requests of one connection.
pub(crate) struct Requests {
    shared: Arc<Shared>,
    hall: Arc<Hall>,
    at: Handle,
    requester: Requester,
    address: SocketAddr,
    allowance: Allowance,
    /// A notice is asked for, and the gateway has not been notified yet.
    is_notice_asked: Arc<AtomicBool>,
}

impl Requests {
    /// Those of a device.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        hall: &Arc<Hall>,
        at: Handle,
        info: &SessionInfo,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            hall: Arc::clone(hall),
            at,
            requester: Requester::Device(info.clone()),
            address: info.address,
            allowance: Allowance::default(),
            is_notice_asked: Arc::default(),
        }
    }

    /// Those of a claim.
    pub(crate) fn of_claim(
        shared: &Arc<Shared>,
        hall: &Arc<Hall>,
        at: Handle,
        claim: &ClaimId,
        address: SocketAddr,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            hall: Arc::clone(hall),
            at,
            requester: Requester::Claim(claim.clone()),
            address,
            allowance: Allowance::default(),
            is_notice_asked: Arc::default(),
        }
    }

    /// Hands over what was asked for. Each waits for the gateway by itself: the connection goes on.
    pub(crate) fn hand_over(&mut self, asked: Vec<Asked>) {
        for asked in asked {
            match asked {
                Asked::Notice => self.want_notice(),
                Asked::Request { kind, message } => self.request(kind, &message),
            }
        }
    }

    /// The connection listens to its device's notice.
    pub(crate) fn want_notice(&self) {
        let Requester::Device(info) = &self.requester else {
            return;
        };
        if self.is_notice_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, device) = (Arc::clone(&self.shared), info.device.clone());
        let is_asked = Arc::clone(&self.is_notice_asked);
        tokio::spawn(async move {
            let wanted = Event::NoticeWanted { device };
            if shared.events.send(wanted).await.is_err() {
                tracing::debug!("the gateway was too busy to publish a notice");
            }
            // The one that is on its way is sent after all that have asked by now.
            is_asked.store(false, Ordering::Release);
        });
    }

    fn request(&mut self, kind: RequestKind, message: &Message) {
        let own = match &self.requester {
            Requester::Device(info) => format!("hearthkey/v1/devices/{}/", info.device),
            Requester::Claim(claim) => format!("hearthkey/v1/claims/{claim}/"),
        };
        let reply = Reply::to(&self.hall, self.at, message, &own);
        let answer = reply.clone();
        let oversized = message.payload.len() > self.shared.limits.request_max_bytes;
        let request = Request {
            connection: self.at.connection,
            address: self.address,
            payload: match oversized {
                true => Bytes::new(),
                false => message.payload.clone(),
            },
            oversized,
            reply,
        };
        let is_allowed = self
            .allowance
            .take(self.shared.limits.requests_per_minute_max);
        let Some(event) = self.event(kind, request) else {
            return;
        };
        if !is_allowed {
            let place = self.at.session;
            self.hall
                .with(|engine, now_ms| engine.tell_bound(place, Bound::Requests, now_ms));
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            if !is_allowed || shared.events.send(event).await.is_err() {
                answer.rejected(shared.busy.clone()).await;
            }
        });
    }

    /// What the gateway is asked. Nothing for a device that has been shut out since.
    fn event(&self, kind: RequestKind, request: Request) -> Option<Event> {
        match (self.requester.clone(), kind) {
            (Requester::Claim(claim), RequestKind::Enroll) => {
                Some(Event::EnrollmentRequested { claim, request })
            }
            (Requester::Device(info), kind) => {
                let SessionInfo {
                    device,
                    certificate,
                    client_id,
                    ..
                } = info;
                let admission = self.shared.admit(&certificate, &client_id).ok()?.admission;
                match kind {
                    RequestKind::Renew => Some(Event::RenewalRequested {
                        device,
                        certificate,
                        admission,
                        request,
                    }),
                    RequestKind::TrustAck => Some(Event::TrustAcknowledged {
                        device,
                        certificate,
                        request,
                    }),
                    RequestKind::Clock => Some(Event::ClockSaid {
                        device,
                        admission,
                        request,
                    }),
                    RequestKind::Enroll => None,
                }
            }
            (Requester::Claim(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_by_the_minute() {
        let mut allowance = Allowance::default();
        assert!(allowance.take(2) && allowance.take(2) && !allowance.take(2));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(allowance.take(2));
        assert!(!Allowance::default().take(0));
    }
}
