//! What the library tells of one connection while it is served.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hearthkey_core::id::ClaimId;
use hearthkey_core::topic::hearthkey;
use mqtt5::broker::events::{
    BrokerEventHandler, ClientConnectEvent, ClientDisconnectEvent, ClientPublishEvent,
    ClientSubscribeEvent, ClientUnsubscribeEvent, PublishAction,
};
use mqtt5::validation::topic_matches_filter;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::broker::Shared;
use crate::event::{Event, Request};
use crate::reply::{Reply, Way};
use crate::sessions::SessionInfo;
use crate::stream::Cut;

/// How long a new session waits until its device's notice is current. Connecting does not hang on a disk.
const NOTICE_PATIENCE: Duration = Duration::from_secs(1);

type Done<'a, T = ()> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How many more requests a connection may make in the present minute.
#[derive(Default)]
struct Allowance(Mutex<Option<(Instant, u32)>>);

impl Allowance {
    fn take(&self, per_minute: u32) -> bool {
        let now = Instant::now();
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match window.as_mut() {
            Some((start, used)) if now.duration_since(*start) < Duration::from_secs(60) => {
                *used += 1;
                *used <= per_minute
            }
            _ => {
                *window = Some((now, 1));
                per_minute > 0
            }
        }
    }
}

/// Hands a request to the gateway, or answers that it is busy.
async fn hand_over<F>(
    shared: &Shared,
    allowance: &Allowance,
    connection: u64,
    address: SocketAddr,
    (published, reply): (ClientPublishEvent, Reply),
    event: F,
) where
    F: FnOnce(Request) -> Option<Event>,
{
    let oversized = published.payload.len() > shared.limits.request_max_bytes;
    let payload = if oversized {
        bytes::Bytes::new()
    } else {
        published.payload
    };
    let answer = reply.clone();
    let taken = allowance.take(shared.limits.requests_per_minute_max)
        && match event(Request {
            connection,
            address,
            payload,
            oversized,
            reply,
        }) {
            Some(event) => shared.events.send(event).await.is_ok(),
            None => return,
        };
    if !taken {
        answer.rejected(shared.busy.clone()).await;
    }
}

/// The hook of a device's session.
pub(crate) struct DeviceHook {
    shared: Arc<Shared>,
    info: SessionInfo,
    cut: Arc<Cut>,
    way: Way,
    own: String,
    renew: String,
    trust_ack: String,
    allowance: Allowance,
    announced: AtomicBool,
    left: AtomicBool,
}

impl DeviceHook {
    pub(crate) fn new(shared: Arc<Shared>, info: SessionInfo, cut: Arc<Cut>, way: Way) -> Self {
        Self {
            own: format!("hearthkey/v1/devices/{}/", info.device),
            renew: hearthkey::renew(&info.device),
            trust_ack: hearthkey::trust_ack(&info.device),
            allowance: Allowance::default(),
            announced: AtomicBool::new(false),
            left: AtomicBool::new(false),
            shared,
            info,
            cut,
            way,
        }
    }

    /// Whether the gateway was told that the session is open.
    pub(crate) fn was_announced(&self) -> bool {
        self.announced.load(Ordering::Acquire)
    }

    /// Whether the client said goodbye.
    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Whether a topic takes requests and not messages.
    pub(crate) fn takes_requests(&self, topic: &str) -> bool {
        topic == self.renew || topic == self.trust_ack
    }

    async fn announce(&self) {
        let SessionInfo {
            device,
            certificate,
            admission,
            client_id,
            address,
            ..
        } = self.info.clone();
        let connection = self.info.connection;
        // A notice from before this connection may be that of another certificate.
        let notice = hearthkey::notice(&device);
        let (settled, current) = match self.shared.ledger.is_retained(&notice) {
            true => {
                let (settled, current) = oneshot::channel();
                (Some(settled), Some(current))
            }
            false => (None, None),
        };
        let opened = Event::SessionOpened {
            device,
            certificate,
            admission,
            client_id,
            address,
            connection,
            settled,
        };
        match self.shared.events.send(opened).await {
            Ok(()) => self.announced.store(true, Ordering::Release),
            // The gateway must know of every session; this one may come again.
            Err(_) => return self.cut.now(),
        }
        if let Some(current) = current
            && timeout(NOTICE_PATIENCE, current).await.is_err()
        {
            tracing::debug!("a session did not wait longer for its notice");
        }
        // A session that is taken up again has its subscriptions already.
        let kept = self.shared.engine.subscriptions(&self.info.client_id).await;
        self.want_notice(kept.iter().map(|(filter, _)| filter.as_str()))
            .await;
    }

    /// Tells the gateway if one of these filters hears the device's notice.
    async fn want_notice(&self, filters: impl Iterator<Item = &str>) {
        let notice = hearthkey::notice(&self.info.device);
        let mut hears = filters.map(|filter| topic_matches_filter(&notice, filter));
        if hears.any(|hears| hears) {
            let device = self.info.device.clone();
            if self
                .shared
                .events
                .send(Event::NoticeWanted { device })
                .await
                .is_err()
            {
                tracing::debug!("the gateway was too busy to publish a notice");
            }
        }
    }

    async fn request(&self, published: ClientPublishEvent) {
        let reply = Reply::to(self.way.clone(), &published, &self.own);
        let renews = *published.topic == *self.renew;
        let (device, certificate) = (self.info.device.clone(), self.info.certificate);
        let admission = self
            .shared
            .admit(&certificate)
            .map(|admitted| admitted.admission);
        let event = |request| match (renews, admission) {
            (_, Err(_)) => None,
            (true, Ok(admission)) => Some(Event::RenewalRequested {
                device,
                certificate,
                admission,
                request,
            }),
            (false, Ok(_)) => Some(Event::TrustAcknowledged {
                device,
                certificate,
                request,
            }),
        };
        let SessionInfo {
            connection,
            address,
            ..
        } = self.info;
        let (shared, request) = (&self.shared, (published, reply));
        hand_over(shared, &self.allowance, connection, address, request, event).await;
    }

    fn changed<'a>(&self) -> Done<'a> {
        self.shared.ledger.session_changed(&self.info.client_id);
        Box::pin(std::future::ready(()))
    }
}

impl BrokerEventHandler for DeviceHook {
    fn on_client_connect<'a>(&'a self, _: ClientConnectEvent) -> Done<'a> {
        self.shared.ledger.session_changed(&self.info.client_id);
        Box::pin(self.announce())
    }

    fn on_client_subscribe<'a>(&'a self, event: ClientSubscribeEvent) -> Done<'a> {
        self.shared.ledger.session_changed(&self.info.client_id);
        Box::pin(async move {
            let filters = event.subscriptions.iter();
            self.want_notice(filters.map(|subscription| &*subscription.topic_filter))
                .await;
        })
    }

    fn on_client_unsubscribe<'a>(&'a self, _: ClientUnsubscribeEvent) -> Done<'a> {
        self.changed()
    }

    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> Done<'a, PublishAction> {
        if !self.takes_requests(&event.topic) {
            return Box::pin(std::future::ready(PublishAction::Continue));
        }
        Box::pin(async {
            self.request(event).await;
            PublishAction::Handled
        })
    }

    fn on_client_disconnect<'a>(&'a self, event: ClientDisconnectEvent) -> Done<'a> {
        self.left.store(!event.unexpected, Ordering::Release);
        self.changed()
    }
}

/// The hook of a claim's connection.
pub(crate) struct ClaimHook {
    pub(crate) shared: Arc<Shared>,
    pub(crate) claim: ClaimId,
    pub(crate) connection: u64,
    pub(crate) address: SocketAddr,
    pub(crate) way: Way,
    allowance: Allowance,
}

impl ClaimHook {
    pub(crate) fn new(
        shared: Arc<Shared>,
        claim: ClaimId,
        connection: u64,
        address: SocketAddr,
        way: Way,
    ) -> Self {
        Self {
            shared,
            claim,
            connection,
            address,
            way,
            allowance: Allowance::default(),
        }
    }
}

impl BrokerEventHandler for ClaimHook {
    fn on_client_publish<'a>(&'a self, published: ClientPublishEvent) -> Done<'a, PublishAction> {
        Box::pin(async {
            // The policy lets nothing but the claim's own request through.
            let own = format!("hearthkey/v1/claims/{}/", self.claim);
            let reply = Reply::to(self.way.clone(), &published, &own);
            let claim = self.claim.clone();
            let event = |request| Some(Event::EnrollmentRequested { claim, request });
            let (shared, request) = (&self.shared, (published, reply));
            let Self {
                connection,
                address,
                ..
            } = *self;
            hand_over(shared, &self.allowance, connection, address, request, event).await;
            PublishAction::Handled
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_by_the_minute() {
        let allowance = Allowance::default();
        assert!(allowance.take(2) && allowance.take(2) && !allowance.take(2));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(allowance.take(2));
        assert!(!Allowance::default().take(0));
    }
}
