//! A connection with a certificate: a device's session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hearthkey_core::access::{Admission, Admitted};
use hearthkey_core::door::check_client_id;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::topic::hearthkey;
use mqtt5::broker::events::BrokerEventHandler;
use mqtt5::broker::router::MessageRouter;

use crate::accept::{Arrival, Denied};
use crate::broker::Shared;
use crate::connack::Code;
use crate::event::{Event, Refusal, SessionEnd, Who, clipped};
use crate::hook::DeviceHook;
use crate::library::Callbacks;
use crate::policy::DevicePolicy;
use crate::reply::Way;
use crate::sessions::{Seat, SessionInfo};
use crate::stream::ClientStream;

/// Serves the connection until it ends, or refuses it.
pub(crate) async fn serve(shared: Arc<Shared>, arrival: Box<Arrival>, certificate: Fingerprint) {
    match Box::pin(admit(&shared, &arrival, certificate)).await {
        Ok(seat) => run(shared, arrival, seat).await,
        Err(denied) => Box::pin(arrival.refuse(&shared, denied)).await,
    }
}

/// Judges the connection and registers its session. The certificate is judged again after the
/// session has been registered: whoever revokes it from then on finds the session in the table.
async fn admit(
    shared: &Arc<Shared>,
    arrival: &Arrival,
    certificate: Fingerprint,
) -> Result<Seat, Denied> {
    let unknown = |refusal| Denied {
        code: Code::NotAuthorized,
        who: Some(Who::Certificate(certificate)),
        why: Refusal::Certificate(refusal),
    };
    let admitted = shared.admit(&certificate).map_err(unknown)?;
    let who = Some(Who::Device(admitted.device.clone()));
    let denied = |code, why| Denied {
        code,
        who: who.clone(),
        why,
    };

    let connect = &arrival.connect;
    check_client_id(&connect.client_id, &admitted)
        .map_err(|wrong| denied(Code::ClientIdNotValid, wrong.into()))?;
    if let Some(topic) = connect
        .will_topic
        .as_deref()
        .filter(|topic| !may_will(&admitted, topic))
    {
        return Err(denied(Code::NotAuthorized, Refusal::Will(clipped(topic))));
    }
    if admitted.admission == Admission::Full && admitted.sessions_max > 1 {
        make_room(shared, &admitted, &connect.client_id).await;
    }
    let info = SessionInfo {
        connection: shared.sessions.number(),
        device: admitted.device.clone(),
        certificate,
        admission: admitted.admission,
        client_id: connect.client_id.clone(),
        address: arrival.address,
        since: (shared.now)(),
    };
    let seat = shared
        .sessions
        .register(info, Arc::clone(&arrival.cut), admitted.sessions_max)
        .map_err(|_| {
            denied(
                Code::QuotaExceeded,
                Refusal::TooManySessions(admitted.sessions_max),
            )
        })?;
    match shared.admit(&certificate) {
        Ok(again) if again.admission == admitted.admission => {}
        Ok(_) => return Err(denied(Code::Unavailable, Refusal::Unavailable)),
        Err(refusal) => return Err(unknown(refusal)),
    }
    if shared.is_stopping() {
        return Err(denied(Code::Unavailable, Refusal::Unavailable));
    }
    Ok(seat)
}

/// A will is a message like any other, but never a request: nobody would be there for the answer.
fn may_will(admitted: &Admitted, topic: &str) -> bool {
    let device = &admitted.device;
    admitted.rights.may_publish(topic)
        && topic != hearthkey::renew(device)
        && topic != hearthkey::trust_ack(device)
}

/// A device may leave behind as many sessions as it may have at a time: the one that has been
/// away longest makes room for a new client id.
async fn make_room(shared: &Shared, admitted: &Admitted, client_id: &str) {
    let stored = shared.engine.stored_sessions_of(&admitted.device).await;
    let full = stored.len() >= usize::from(admitted.sessions_max);
    if full
        && !stored.iter().any(|id| id == client_id)
        && let Some(purged) = shared.engine.purge_oldest_away(&stored).await
    {
        tracing::info!(client_id = %purged, "a session made room for another of its device");
        shared.ledger.session_changed(&purged);
    }
}

/// Where a session lives: in the home's router, or in a room of its own.
struct Lodging {
    room: Option<Arc<MessageRouter>>,
    open: Arc<AtomicBool>,
    way: Way,
}

async fn lodge(shared: &Shared, info: &SessionInfo) -> Lodging {
    let open = Arc::new(AtomicBool::new(true));
    let client_id = info.client_id.clone();
    match info.admission {
        Admission::Full => {
            let (engine, sessions) = (Arc::clone(&shared.engine), Arc::clone(&shared.sessions));
            let connection = info.connection;
            let way = Way::Session {
                engine,
                sessions,
                connection,
                client_id,
            };
            Lodging {
                room: None,
                open,
                way,
            }
        }
        Admission::RenewalOnly => {
            let router = renewal_room(shared, info).await;
            let room = Some(Arc::clone(&router));
            let way = Way::Room {
                router,
                client_id,
                open: Arc::clone(&open),
            };
            Lodging { room, open, way }
        }
    }
}

async fn run(shared: Arc<Shared>, arrival: Box<Arrival>, seat: Seat) {
    let Lodging { room, open, way } = Box::pin(lodge(&shared, &seat.info)).await;
    let Arrival {
        tls,
        cut,
        address,
        connect,
    } = *arrival;
    let policy = Arc::new(DevicePolicy {
        shared: Arc::clone(&shared),
        device: seat.info.device.clone(),
        certificate: seat.info.certificate,
        address,
        cut: Arc::clone(&cut),
    });
    let hook = DeviceHook::new(
        Arc::clone(&shared),
        seat.info.clone(),
        Arc::clone(&cut),
        way,
    );
    let hook = Arc::new(hook);
    let callbacks = Callbacks {
        policy,
        hook: Arc::clone(&hook) as Arc<dyn BrokerEventHandler>,
    };
    let stream = ClientStream::new(
        tls,
        Arc::clone(&cut),
        address,
        connect.version,
        connect.replay,
    );
    let service = match room {
        Some(room) => shared.engine.room(stream, address, callbacks, room),
        None => shared.engine.session(stream, address, callbacks),
    };
    if shared.is_stopping() {
        // The handler may have missed the word.
        cut.now();
    }
    if let Err(error) = service.await {
        tracing::debug!(%address, %error, "a session ended with an error");
    }
    open.store(false, Ordering::Release);
    Box::pin(close(&shared, seat, &hook, cut.is_done())).await;
}

/// An expired certificate renews in a room of its own. The session that its device left behind
/// stays as it is: taking it up with fewer rights would strip its subscriptions for good.
async fn renewal_room(shared: &Shared, info: &SessionInfo) -> Arc<MessageRouter> {
    let room = Arc::new(MessageRouter::new());
    // Known first, so that no notice falls between.
    shared.sessions.lodge(info.connection, &room);
    let notice = hearthkey::notice(&info.device);
    for message in shared.engine.router.get_retained_messages(&notice).await {
        room.route_sys_message(&message).await;
    }
    room
}

async fn close(shared: &Shared, seat: Seat, hook: &DeviceHook, dropped: bool) {
    let info = seat.info.clone();
    let end = if hook.has_left() {
        SessionEnd::Left
    } else if shared.is_stopping() {
        SessionEnd::Stopped
    } else if dropped {
        SessionEnd::Dropped
    } else if shared.sessions.has_successor(&info) {
        SessionEnd::TakenOver
    } else {
        SessionEnd::Lost
    };
    drop(seat);
    if !hook.was_announced() {
        return;
    }
    let SessionInfo {
        device,
        certificate,
        client_id,
        address,
        connection,
        ..
    } = info;
    let closed = Event::SessionClosed {
        device,
        certificate,
        client_id,
        address,
        connection,
        end,
    };
    if shared.events.send(closed).await.is_err() {
        tracing::debug!("the gateway was too busy to hear of the end of a session");
    }
}
