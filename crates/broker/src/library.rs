//! The `mqtt5` library, put together without any listener of its own.

use std::future::Future;
use std::iter;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearthkey_core::id::DeviceId;
use mqtt5::QoS;
use mqtt5::broker::auth::AuthProvider;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::events::BrokerEventHandler;
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::{
    DynamicStorage, MemoryBackend, QueueLimits, StorageBackend, StoredSubscription,
};
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::broker::{BrokerConfig, StorageConfig};
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::broadcast;

use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::stream::ClientStream;

/// Rates are averaged over this long, so that a burst after a reconnect passes.
const RATE_WINDOW_S: u32 = 10;

/// The home's router with all that its sessions need, and what a claim's room needs.
pub(crate) struct Engine {
    pub(crate) router: Arc<MessageRouter>,
    pub(crate) storage: Arc<DynamicStorage>,
    stats: Arc<BrokerStats>,
    monitor: Arc<ResourceMonitor>,
    config: BrokerConfig,
    room_monitor: Arc<ResourceMonitor>,
    shutdown: broadcast::Sender<()>,
}

/// Serves one connection until it ends. On the heap, so that it is the only large thing that a
/// session keeps: what came before it is gone.
pub(crate) type Service = Pin<Box<dyn Future<Output = mqtt5::Result<()>> + Send>>;

/// What the library calls back for one connection.
pub(crate) struct Callbacks {
    pub(crate) policy: Arc<dyn AuthProvider>,
    pub(crate) hook: Arc<dyn BrokerEventHandler>,
}

impl Engine {
    pub(crate) fn new(limits: &Limits, ledger: &Arc<Ledger>) -> Self {
        let queues = QueueLimits {
            max_messages: limits.queue_messages_max,
            max_bytes: limits.queue_max_bytes,
        };
        let storage = Arc::new(DynamicStorage::Memory(MemoryBackend::with_queue_limits(
            queues,
        )));
        let handler = Arc::clone(ledger) as Arc<dyn BrokerEventHandler>;
        let router = Arc::new(
            MessageRouter::with_storage(Arc::clone(&storage))
                .with_event_handler(handler)
                .with_retained_limits(
                    limits.retained_messages_max,
                    limits.retained_message_max_bytes,
                ),
        );
        ledger.watch(&router);
        let window = u64::from(RATE_WINDOW_S);
        let monitor = ResourceMonitor::new(ResourceLimits {
            max_connections: limits.connections_max,
            max_connections_per_ip: limits.connections_per_address_max,
            max_message_rate_per_client: limits.publishes_per_s_max.saturating_mul(RATE_WINDOW_S),
            max_bandwidth_per_client: limits.publish_bytes_per_s_max.saturating_mul(window),
            max_connection_rate: u32::MAX,
            rate_limit_window: Duration::from_secs(window),
        });
        let room_monitor = ResourceMonitor::new(ResourceLimits {
            max_message_rate_per_client: 0,
            max_bandwidth_per_client: 0,
            ..ResourceLimits::default()
        });
        Self {
            router,
            storage,
            stats: Arc::new(BrokerStats::new()),
            monitor: Arc::new(monitor),
            config: library_config(limits),
            room_monitor: Arc::new(room_monitor),
            shutdown: broadcast::Sender::new(1),
        }
    }

    /// What serves a device's connection in the home's router.
    pub(crate) fn session(
        &self,
        stream: ClientStream,
        address: SocketAddr,
        callbacks: Callbacks,
    ) -> Service {
        let storage = Some(Arc::clone(&self.storage));
        let router = Arc::clone(&self.router);
        self.handler(stream, address, callbacks, router, storage, &self.monitor)
    }

    /// What serves a claim's connection in a room of its own.
    pub(crate) fn room(
        &self,
        stream: ClientStream,
        address: SocketAddr,
        callbacks: Callbacks,
        room: Arc<MessageRouter>,
    ) -> Service {
        self.handler(stream, address, callbacks, room, None, &self.room_monitor)
    }

    fn handler(
        &self,
        stream: ClientStream,
        address: SocketAddr,
        callbacks: Callbacks,
        router: Arc<MessageRouter>,
        storage: Option<Arc<DynamicStorage>>,
        monitor: &Arc<ResourceMonitor>,
    ) -> Service {
        let config = BrokerConfig {
            event_handler: Some(callbacks.hook),
            ..self.config.clone()
        };
        let handler = ClientHandler::new(
            BrokerTransport::WebSocket(Box::new(stream)),
            address,
            Arc::new(config),
            router,
            callbacks.policy,
            storage,
            Arc::clone(&self.stats),
            Arc::clone(monitor),
            self.shutdown.subscribe(),
        );
        Box::pin(handler.run())
    }

    /// Tells every handler to say goodbye and end.
    pub(crate) fn shut_down(&self) {
        // An error means that nobody is connected.
        let _ = self.shutdown.send(());
    }

    /// Publishes as the gateway itself, in the home and in these rooms. The limits for retained
    /// messages are for devices.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        retain: bool,
        rooms: &[Arc<MessageRouter>],
    ) {
        let mut publish = PublishPacket::new(topic, payload, QoS::AtLeastOnce);
        publish.retain = retain;
        for router in iter::once(&self.router).chain(rooms) {
            router.route_sys_message(&publish).await;
        }
    }

    /// Removes what has expired.
    pub(crate) async fn sweep(&self) {
        if let Err(error) = self.storage.cleanup_expired().await {
            tracing::warn!(%error, "expired messages could not be removed");
        }
        self.router.sweep_sessions().await;
        self.monitor.cleanup_expired_windows().await;
    }

    /// The client ids with a stored session.
    pub(crate) async fn stored_sessions(&self) -> Vec<String> {
        self.storage.session_client_ids().await.unwrap_or_default()
    }

    /// The client ids of a device that have a stored session.
    pub(crate) async fn stored_sessions_of(&self, device: &DeviceId) -> Vec<String> {
        let mut ids = self.stored_sessions().await;
        ids.retain(|id| is_of(id, device));
        ids
    }

    /// A stored session's subscriptions.
    pub(crate) async fn subscriptions(&self, client_id: &str) -> Vec<(String, StoredSubscription)> {
        match self.storage.get_session(client_id).await {
            Ok(Some(session)) => session.subscriptions.into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Takes subscriptions away from a session, live or stored.
    pub(crate) async fn unsubscribe(&self, client_id: &str, filters: &[String]) {
        let slot = self.router.lock_session(client_id).await;
        for filter in filters {
            self.router.unsubscribe(client_id, filter, None).await;
        }
        if let Ok(Some(mut session)) = self.storage.get_session(client_id).await {
            let token = session.connection_token;
            session
                .subscriptions
                .retain(|filter, _| !filters.contains(filter));
            let kept = session.subscriptions;
            let stored = self
                .storage
                .update_session(client_id, token, |s| s.subscriptions = kept);
            if let Err(error) = stored.await {
                tracing::warn!(%error, "a subscription could not be taken away");
            }
        }
        drop(slot);
    }

    /// Removes a stored session with its queue, its unacknowledged messages and its will.
    pub(crate) async fn purge(&self, client_id: &str) {
        let slot = self.router.lock_session(client_id).await;
        self.router.cancel_pending_will(client_id);
        self.router.unregister_client(client_id).await;
        self.storage.queue_handle(client_id).clear(None);
        let purged = async {
            self.storage.remove_session(client_id).await?;
            self.storage.remove_all_inflight_messages(client_id).await
        };
        if let Err(error) = purged.await {
            tracing::warn!(%error, "a session could not be purged");
        }
        drop(slot);
    }

    /// Purges the session of this device that has been away longest, if there is one.
    pub(crate) async fn purge_oldest_away(&self, ids: &[String]) -> Option<String> {
        let mut oldest: Option<(u64, &String)> = None;
        for id in ids {
            if let Ok(Some(session)) = self.storage.get_session(id).await
                && !session.connected
            {
                let since = session.disconnected_at.unwrap_or(0);
                if oldest.is_none_or(|(best, _)| since < best) {
                    oldest = Some((since, id));
                }
            }
        }
        let id = oldest?.1.clone();
        self.purge(&id).await;
        Some(id)
    }
}

/// Whether a client id is a device's: its id, or its id, a dot and a suffix.
pub(crate) fn is_of(client_id: &str, device: &DeviceId) -> bool {
    client_id
        .strip_prefix(device.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn library_config(limits: &Limits) -> BrokerConfig {
    BrokerConfig {
        bind_addresses: Vec::new(),
        max_clients: limits.connections_max,
        session_expiry_interval: Duration::from_secs(limits.session_expiry_max_s.into()),
        max_packet_size: limits.packet_max_bytes,
        topic_alias_maximum: limits.topic_alias_max,
        max_subscriptions_per_client: limits.subscriptions_max,
        max_retained_messages: limits.retained_messages_max,
        max_retained_message_size: limits.retained_message_max_bytes,
        client_channel_capacity: limits.lane_messages_max.max(1),
        max_outbound_inflight: limits.outbound_inflight_max.max(1),
        server_receive_maximum: Some(limits.receive_max.max(1)),
        storage_config: StorageConfig::default().with_persistence(false),
        sys_topics_enabled: false,
        ..BrokerConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_belongs_to_the_device_whose_whole_name_it_begins_with() {
        let lamp: DeviceId = "lamp".parse().unwrap();
        assert!(is_of("lamp", &lamp) && is_of("lamp.a", &lamp));
        assert!(!is_of("lamp2", &lamp) && !is_of("lam", &lamp) && !is_of("lamp-2.a", &lamp));
    }
}
