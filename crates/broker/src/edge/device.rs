//! A connection with a certificate: a device's session.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::access::{Admission, Admitted, DoorRefusal};
use hearthkey_core::id::Fingerprint;
use hearthkey_core::ja4::Ja4;
use hearthkey_core::topic::hearthkey;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::edge::arrived::{Arrived, Denied};
use crate::edge::connection::{Connection, Turn};
use crate::edge::hall::Hall;
use crate::edge::requests::Requests;
use crate::edge::sessions::{Full, Seat, SessionInfo};
use crate::edge::shared::Shared;
use crate::engine::session::{Handle, Key, Owner};
use crate::engine::{Arrival, Attached, Departure, Identity};
use crate::event::{Bound, Event, Refusal, SessionEnd, Who, clipped};
use crate::protocol::{Connect, ReasonCode, Will};

/// How long a new session waits until its device's notice is current. Connecting does not hang on a disk.
const NOTICE_PATIENCE: Duration = Duration::from_secs(1);
/// The longest client id, in bytes.
const CLIENT_ID_MAX_BYTES: usize = 1_024;

/// Serves the connection until it ends, or refuses it.
pub(crate) async fn serve(shared: Arc<Shared>, arrived: Box<Arrived>, certificate: Fingerprint) {
    match admit(&shared, &arrived, certificate) {
        Ok(welcome) => Box::pin(run(shared, arrived, welcome)).await,
        Err(denied) => Box::pin(arrived.refuse(&shared, denied)).await,
    }
}

/// A device that may come in.
struct Welcome {
    seat: Seat,
    admitted: Admitted,
    identity: Identity,
    is_assigned: bool,
}

fn unknown(certificate: Fingerprint) -> impl Fn(DoorRefusal) -> Denied {
    move |refusal| Denied {
        code: ReasonCode::NotAuthorized,
        who: Some(Who::Certificate(certificate)),
        why: Refusal::Certificate(refusal),
    }
}

/// Judges the connection and registers its session. The certificate is judged again after the session has been registered:
/// a revocation from then on finds the session in the table.
fn admit(
    shared: &Arc<Shared>,
    arrived: &Arrived,
    certificate: Fingerprint,
) -> Result<Welcome, Denied> {
    let admitted = shared
        .admit(&certificate, arrived.connect.client_id.as_str())
        .map_err(unknown(certificate))?;
    let who = Some(Who::Device(admitted.device.clone()));
    let denied = |code, why| Denied {
        code,
        who: who.clone(),
        why,
    };
    let connect = &arrived.connect;
    may_connect(connect, &admitted).map_err(|(code, why)| denied(code, why))?;
    let connection = shared.sessions.number();
    let is_assigned = connect.client_id.is_empty();
    let client_id = match is_assigned {
        true => format!("auto-{:x}-{connection:x}", (shared.now)().as_ms()),
        false => connect.client_id.to_string(),
    };
    let info = SessionInfo {
        connection,
        device: admitted.device.clone(),
        certificate,
        admission: admitted.admission,
        client_id,
        address: arrived.address,
        since: (shared.now)(),
    };
    let seat = shared
        .sessions
        .register(info, Arc::clone(&arrived.cut), admitted.sessions_max)
        .map_err(|Full(most)| {
            refused_beside(shared, arrived, &admitted);
            let why = match admitted.admission {
                Admission::Full => Refusal::TooManySessions(most),
                Admission::RenewalOnly => {
                    Refusal::Connect("it renews on too many connections at a time".into())
                }
            };
            denied(ReasonCode::QuotaExceeded, why)
        })?;
    let (again, identity) = shared
        .judge(&certificate, connect.client_id.as_str())
        .map_err(unknown(certificate))?;
    if again.admission != admitted.admission || shared.is_stopping() {
        return Err(denied(ReasonCode::ServerUnavailable, Refusal::Unavailable));
    }
    Ok(Welcome {
        seat,
        admitted: again,
        identity,
        is_assigned,
    })
}

/// Whether a device may connect as it asks to.
fn may_connect(connect: &Connect, admitted: &Admitted) -> Result<(), (ReasonCode, Refusal)> {
    if connect.authentication_method.is_some() {
        let why = "an authentication method is asked for, and there is none".to_owned();
        let code = ReasonCode::BadAuthenticationMethod;
        return Err((code, Refusal::Connect(why)));
    }
    if connect.client_id.len() > CLIENT_ID_MAX_BYTES {
        let why = "the client id has more than 1,024 bytes".to_owned();
        let code = ReasonCode::ClientIdentifierNotValid;
        return Err((code, Refusal::Connect(why)));
    }
    match &connect.will {
        Some(will) if admitted.admission == Admission::Full && !may_will(admitted, will) => {
            let why = Refusal::Will(clipped(will.message.topic.as_str()));
            Err((ReasonCode::NotAuthorized, why))
        }
        _ => Ok(()),
    }
}

/// A device with one session at a time, which is connected, asks for another from another address.
fn refused_beside(shared: &Shared, arrived: &Arrived, admitted: &Admitted) {
    if admitted.sessions_max > 1 || admitted.admission != Admission::Full {
        return;
    }
    let key = Key {
        owner: Owner::Device(admitted.device.clone()),
        client_id: clipped(arrived.connect.client_id.as_str()).into(),
    };
    let later = arrived.machine();
    shared
        .hall
        .with(|engine, now_ms| engine.meet_all(&key, later, now_ms));
}

/// A will is a message like any other, but never a request: nobody would be there for the answer. It is judged for a connection
/// with all rights: one that only renews has none, whatever its client asks for, and could not go on if it were refused for it.
fn may_will(admitted: &Admitted, will: &Will) -> bool {
    let (device, topic) = (&admitted.device, will.message.topic.as_str());
    admitted.rights.publish_place(topic).is_some()
        && topic.len() <= hearthkey_core::topic::TOPIC_MAX_BYTES
        && topic != hearthkey::renew(device)
        && topic != hearthkey::trust_ack(device)
        && topic != hearthkey::clock(device)
}

/// The home; or, for a connection that may only renew, a room of its own. The session that its device has or left behind
/// stays as it is: taking it up with fewer rights would strip its subscriptions for good.
fn lodge(shared: &Arc<Shared>, info: &SessionInfo) -> Arc<Hall> {
    if info.admission == Admission::Full {
        return Arc::clone(&shared.hall);
    }
    let room = shared.room();
    // Known first, so that no notice falls between.
    shared.sessions.lodge(info.connection, &room);
    let notice = hearthkey::notice(&info.device);
    if let Some(payload) = shared.hall.with(|engine, _| engine.retained_on(&notice)) {
        room.with(|engine, now_ms| engine.publish_own(&notice, payload, true, now_ms));
    }
    room
}

async fn run(shared: Arc<Shared>, arrived: Box<Arrived>, welcome: Welcome) {
    let hall = lodge(&shared, &welcome.seat.info);
    let Welcome {
        seat,
        admitted,
        identity,
        is_assigned,
    } = welcome;
    let (info, incoming) = (seat.info.clone(), Arc::clone(&seat.incoming));
    let (address, ja4, cut) = (arrived.address, arrived.ja4, Arc::clone(&arrived.cut));
    let bounds = hall.with(|engine, _| engine.bounds().of(admitted.room, admitted.sessions_max));
    let (mut connect, parts) = arrived.open(bounds.packet_max_bytes, &shared.limits);
    if info.admission == Admission::RenewalOnly {
        // Its own session is not touched, and nothing is said for it when it ends.
        (connect.clean_start, connect.session_expiry_s, connect.will) = (true, 0, None);
    }
    let arrival = Box::new(Arrival {
        key: Key {
            owner: Owner::Device(info.device.clone()),
            client_id: info.client_id.as_str().into(),
        },
        identity,
        bounds,
        connection: info.connection,
        address,
        ja4,
        connect,
        is_assigned,
    });
    let Some(at) = attach(&shared, &hall, arrival, &info) else {
        return drop(seat);
    };
    end_other_renewals(&shared, &info);
    let mut connection = Connection::new(&shared, hall, at, (parts, Some(incoming)));
    let mut visit = Visit {
        requests: Requests::new(&shared, &connection.hall, at, &info),
        shared,
        info,
        ja4,
        was_announced: false,
    };
    let end = visit.serve(&mut connection).await;
    Box::pin(visit.close(connection, seat, end, &cut)).await;
}

/// Gives the client its session, judged by the access as it is at that moment.
fn attach(
    shared: &Arc<Shared>,
    hall: &Arc<Hall>,
    mut arrival: Box<Arrival>,
    info: &SessionInfo,
) -> Option<Handle> {
    let notice = hearthkey::notice(&info.device);
    loop {
        let attached = hall.with(|engine, now_ms| {
            let attached = engine.attach(arrival, now_ms);
            if let Attached::Done { handle } = &attached {
                // From before this connection. It is sent again, once it is known to be current.
                engine.drop_left(*handle, &notice);
            }
            attached
        });
        match attached {
            Attached::Done { handle } => {
                shared.sessions.serve(info.connection);
                return Some(handle);
            }
            Attached::Mute => return None,
            Attached::Stale(stale) => match shared.judge(&info.certificate, &info.client_id) {
                Ok((_, identity)) if identity.admission == info.admission => {
                    arrival = stale;
                    arrival.identity = identity;
                }
                _ => {
                    let (who, why) = (Who::Device(info.device.clone()), Refusal::Unavailable);
                    shared.events.refused(info.address, Some(who), why);
                    return None;
                }
            },
        }
    }
}

/// A device renews on one connection at a time: those before this one end.
fn end_other_renewals(shared: &Shared, info: &SessionInfo) {
    if info.admission == Admission::Full {
        return;
    }
    for room in shared.sessions.rooms_before(info) {
        let owner = Owner::Device(info.device.clone());
        room.with(|engine, now_ms| engine.displace(&owner, now_ms));
    }
}

/// A device's connection, from its CONNACK to its end.
struct Visit {
    shared: Arc<Shared>,
    info: SessionInfo,
    ja4: Option<Ja4>,
    requests: Requests,
    was_announced: bool,
}

/// How a visit ended.
enum End {
    Client(Departure),
    Engine(ReasonCode),
    Cut,
}

impl Visit {
    async fn serve(&mut self, connection: &mut Connection) -> End {
        let mut turn = connection.greet().await;
        // A device that got its CONNACK is announced, also if rights change meanwhile.
        while let Some(Turn::Stale) = turn {
            if !self.judge_again(connection) {
                return End::Cut;
            }
            turn = connection.greet().await;
        }
        if turn.is_none() && !Box::pin(self.announce(connection)).await {
            return End::Cut;
        }
        loop {
            let now = match turn.take() {
                Some(turn) => turn,
                None => connection.next().await,
            };
            match now {
                Turn::Asked(asked) => self.requests.hand_over(asked),
                Turn::Stale => {
                    if !self.judge_again(connection) {
                        return End::Cut;
                    }
                }
                Turn::Over(departure) => return End::Client(departure),
                Turn::Last(reason) => return End::Engine(reason),
                Turn::Cut => return End::Cut,
                Turn::Crowded => {
                    self.crowded();
                    return End::Client(Departure::Violated(CROWDED));
                }
            }
        }
    }

    fn crowded(&self) {
        let who = Some(Who::Device(self.info.device.clone()));
        let why = Refusal::Bound(Bound::Incoming);
        self.shared.events.refused(self.info.address, who, why);
    }

    /// Judges the identity by the access as it is now. False if the connection may not go on as it was let in.
    fn judge_again(&self, connection: &Connection) -> bool {
        match self
            .shared
            .judge(&self.info.certificate, &self.info.client_id)
        {
            Ok((_, identity)) if identity.admission == self.info.admission => {
                let at = connection.at;
                connection
                    .hall
                    .with(|engine, now_ms| engine.rejudge(at, identity, now_ms));
                true
            }
            _ => {
                let connection = self.info.connection;
                self.shared.sessions.cut_one(connection);
                false
            }
        }
    }

    /// Tells the gateway that the session is open. False if the gateway does not take it: it must know of every session.
    async fn announce(&mut self, connection: &Connection) -> bool {
        let shared = Arc::clone(&self.shared);
        // A notice from before this connection may be that of another certificate.
        let notice = hearthkey::notice(&self.info.device);
        let is_retained = shared
            .hall
            .with(|engine, _| engine.retained_on(&notice).is_some());
        // A session that is taken up again has its subscriptions already.
        let at = connection.at;
        let hears = connection.hall.with(|engine, _| engine.hears(at, &notice));
        let must_settle = is_retained || hears || shared.is_new(&self.info.certificate);
        let (settled, current) = match must_settle {
            true => {
                let (settled, current) = oneshot::channel();
                (Some(settled), Some(current))
            }
            false => (None, None),
        };
        let info = self.info.clone();
        let opened = Event::SessionOpened {
            device: info.device,
            certificate: info.certificate,
            admission: info.admission,
            client_id: info.client_id,
            address: info.address,
            ja4: self.ja4,
            connection: info.connection,
            settled,
        };
        if shared.events.send(opened).await.is_err() {
            let connection = self.info.connection;
            shared.sessions.cut_one(connection);
            return false;
        }
        self.was_announced = true;
        if let Some(current) = current
            && timeout(NOTICE_PATIENCE, current).await.is_err()
        {
            tracing::debug!("a session did not wait longer for its notice");
        }
        if hears {
            connection
                .hall
                .with(|engine, now_ms| engine.say_again(at, &notice, now_ms));
        }
        true
    }

    async fn close(self, connection: Connection, seat: Seat, end: End, cut: &super::socket::Cut) {
        let (hall, at) = (Arc::clone(&connection.hall), connection.at);
        let (how, words) = match end {
            _ if cut.is_done() => {
                let key = (self.info.device.clone(), self.info.connection);
                hall.with(|engine, now_ms| engine.cut_one(at, now_ms));
                tracing::debug!(device = %key.0, connection = key.1, "a session was cut");
                (SessionEnd::Dropped, None)
            }
            End::Cut => {
                hall.with(|engine, now_ms| engine.cut_one(at, now_ms));
                (SessionEnd::Dropped, None)
            }
            End::Engine(reason) => {
                // Nothing, unless it was writing something else when it ended.
                let words = hall.with(|engine, now_ms| engine.depart(at, Departure::Lost, now_ms));
                (crate::engine::end_of(reason), Some(words))
            }
            End::Client(departure) => {
                let words = hall.with(|engine, now_ms| engine.depart(at, departure, now_ms));
                match departure {
                    Departure::Left(_) => (SessionEnd::Left, None),
                    Departure::Lost => (SessionEnd::Lost, None),
                    Departure::Violated(_) => (SessionEnd::Lost, Some(words)),
                }
            }
        };
        let how = match how {
            SessionEnd::Lost | SessionEnd::Dropped if self.shared.is_stopping() => {
                SessionEnd::Stopped
            }
            how => how,
        };
        let device = &self.info.device;
        tracing::debug!(%device, client_id = ?self.info.client_id, ?how, "a session ended");
        drop(seat);
        let closing = Box::pin(self.tell_closed(how));
        match words {
            Some(words) => {
                tokio::join!(closing, Box::pin(connection.farewell(&words)));
            }
            None => {
                tokio::join!(closing, Box::pin(connection.hang_up()));
            }
        }
    }

    async fn tell_closed(&self, end: SessionEnd) {
        if !self.was_announced {
            return;
        }
        let info = self.info.clone();
        let closed = Event::SessionClosed {
            device: info.device,
            certificate: info.certificate,
            client_id: info.client_id,
            address: info.address,
            connection: info.connection,
            end,
        };
        if self.shared.events.send(closed).await.is_err() {
            tracing::debug!("the gateway was too busy to be notified of the end of a session");
        }
    }
}

const CROWDED: crate::protocol::Violation = crate::protocol::Violation {
    reason: ReasonCode::QuotaExceeded,
    section: "§4.13",
    what: "too many long packets arrive at the same time",
};
