//! A connection without a certificate: a claim, in a room of its own.
//!
//! The room is an engine that serves this connection alone. A hundred connections of one claim have a hundred rooms, so none
//! takes another over, and no topic of the home exists in any.

use std::net::SocketAddr;
use std::sync::Arc;

use hearthkey_core::access::Admission;
use hearthkey_core::door::{ClaimLoginRefusal, claim_login};
use hearthkey_core::id::ClaimId;
use hearthkey_core::profile::Rights;
use tokio::sync::oneshot;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::edge::arrived::{Arrived, Denied};
use crate::edge::connection::{Connection, Turn};
use crate::edge::requests::Requests;
use crate::edge::shared::Shared;
use crate::engine::session::{Key, Owner, SessionBounds};
use crate::engine::{Arrival, Attached, Departure, Identity};
use crate::event::{ClaimAnswer, Event, Refusal, Who, clipped};
use crate::gate::Mark;
use crate::protocol::{Connect, ReasonCode};

/// The longest packet of a claim: a request with its wrapping is a quarter of that.
const PACKET_MAX_BYTES: usize = 64 * 1024;
/// A claim has one topic to subscribe to.
const SUBSCRIPTIONS_MAX: usize = 16;

/// Connections of one claim at a time: half of those that all claims have.
const CONNECTIONS_MAX: usize = 128;
/// Of those, how many keep their place where others want in. A device that lost one comes back before it is known to be lost.
const KEPT_MAX: usize = 4;

/// Serves the connection until its short life ends, or refuses it.
pub(crate) async fn serve(shared: Arc<Shared>, mut arrived: Box<Arrived>, mark: Mark) {
    let Ok(place) = Arc::clone(&shared.claims).try_acquire_owned() else {
        return arrived.refuse(&shared, too_many()).await;
    };
    let address = arrived.address;
    match Box::pin(admit(&shared, &mut arrived.connect, address)).await {
        Ok(claim) => {
            let Some(own) = OfClaim::enter(&shared, &claim) else {
                drop(place);
                return Box::pin(arrived.refuse(&shared, too_many())).await;
            };
            if mark.known_as(&format!("claim:{claim}"), KEPT_MAX) {
                run(shared, arrived, claim).await;
            }
            drop(own);
        }
        Err(denied) => {
            // Its place is free before it has taken its leave.
            drop(place);
            Box::pin(arrived.refuse(&shared, denied)).await;
        }
    }
}

fn too_many() -> Denied {
    Denied {
        code: ReasonCode::ServerBusy,
        who: None,
        why: Refusal::TooManyConnections,
    }
}

/// A connection of a claim, of which each has few at a time.
struct OfClaim {
    shared: Arc<Shared>,
    claim: ClaimId,
}

impl OfClaim {
    fn enter(shared: &Arc<Shared>, claim: &ClaimId) -> Option<Self> {
        let mut held = shared.of_claims();
        let own = held.entry(claim.clone()).or_default();
        if *own >= CONNECTIONS_MAX {
            return None;
        }
        *own += 1;
        Some(Self {
            shared: Arc::clone(shared),
            claim: claim.clone(),
        })
    }
}

impl Drop for OfClaim {
    fn drop(&mut self) {
        let mut held = self.shared.of_claims();
        if let Some(own) = held.get_mut(&self.claim) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.claim);
            }
        }
    }
}

async fn admit(
    shared: &Shared,
    connect: &mut Connect,
    address: SocketAddr,
) -> Result<ClaimId, Denied> {
    let stranger = |code, why| Denied {
        code,
        who: None,
        why,
    };
    if !shared.expects_a_guest() {
        return Err(stranger(ReasonCode::NotAuthorized, Refusal::NoBell));
    }
    if connect.authentication_method.is_some() {
        let why = "an authentication method is asked for, and there is none".to_owned();
        let code = ReasonCode::BadAuthenticationMethod;
        return Err(stranger(code, Refusal::Connect(why)));
    }
    let secret = connect
        .password
        .take()
        .map(|password| password.into_bytes());
    let user_name = connect.user_name.as_ref().map(|name| name.as_str());
    let claim = claim_login(connect.client_id.as_str(), user_name, secret.is_some()).map_err(
        |refusal| {
            let code = match refusal {
                ClaimLoginRefusal::ClientId => ReasonCode::ClientIdentifierNotValid,
                _ => ReasonCode::BadUserNameOrPassword,
            };
            stranger(code, refusal.into())
        },
    )?;
    let denied = |code, why| Denied {
        code,
        who: Some(Who::Claim(claim.clone())),
        why,
    };
    if let Some(will) = &connect.will {
        let why = Refusal::Will(clipped(will.message.topic.as_str()));
        return Err(denied(ReasonCode::NotAuthorized, why));
    }
    match ask(shared, address, &claim, secret.unwrap_or_default()).await {
        ClaimAnswer::Admitted => Ok(claim),
        ClaimAnswer::Refused => Err(denied(
            ReasonCode::BadUserNameOrPassword,
            Refusal::ClaimSecret,
        )),
        ClaimAnswer::Unavailable => {
            Err(denied(ReasonCode::ServerUnavailable, Refusal::Unavailable))
        }
    }
}

async fn ask(
    shared: &Shared,
    address: SocketAddr,
    claim: &ClaimId,
    secret: Zeroizing<Vec<u8>>,
) -> ClaimAnswer {
    let (answer, answered) = oneshot::channel();
    let presented = Event::ClaimPresented {
        claim: claim.clone(),
        secret,
        address,
        answer,
    };
    if shared.events.send(presented).await.is_err() {
        return ClaimAnswer::Unavailable;
    }
    match timeout(shared.limits.claim_answer_timeout(), answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => ClaimAnswer::Unavailable,
    }
}

async fn run(shared: Arc<Shared>, arrived: Box<Arrived>, claim: ClaimId) {
    let (address, ja4, cut) = (arrived.address, arrived.ja4, Arc::clone(&arrived.cut));
    let (mut connect, parts) = arrived.open(PACKET_MAX_BYTES, &shared.limits);
    (connect.clean_start, connect.session_expiry_s) = (true, 0);
    let room = shared.room();
    let number = shared.sessions.number();
    let attached = room.with(|engine, now_ms| {
        let arrival = Arrival {
            key: Key {
                owner: Owner::Claim(claim.clone()),
                client_id: claim.as_str().into(),
            },
            identity: Identity {
                certificate: None,
                admission: Admission::Full,
                rights: Arc::new(Rights::claim(&claim)),
                // The room is there for this connection alone: what it may do never changes.
                epoch: engine.epoch_now(),
            },
            bounds: SessionBounds {
                packet_max_bytes: PACKET_MAX_BYTES,
                subscriptions_max: SUBSCRIPTIONS_MAX,
                ..engine.bounds().session
            },
            connection: number,
            address,
            ja4,
            connect,
            is_assigned: false,
        };
        let mut arrival = Box::new(arrival);
        loop {
            match engine.attach(arrival, now_ms) {
                // Somebody's rights have changed in this very moment. A claim has none that could.
                Attached::Stale(again) => {
                    arrival = again;
                    arrival.identity.epoch = engine.epoch_now();
                }
                attached => return attached,
            }
        }
    });
    let Attached::Done { handle } = attached else {
        return;
    };
    let mut requests = Requests::of_claim(&shared, &room, handle, &claim, address);
    let mut connection = Connection::new(&shared, Arc::clone(&room), handle, (parts, None));
    let life = shared.limits.claim_life();
    let end = timeout(life, visit(&mut connection, &mut requests)).await;
    let words = match &end {
        Ok(Some(departure)) => {
            room.with(|engine, now_ms| engine.depart(handle, *departure, now_ms))
        }
        Ok(None) => Default::default(),
        Err(_) => {
            tracing::debug!(%address, "a claim's connection has had its time");
            room.with(|engine, now_ms| {
                let reason = ReasonCode::MaximumConnectTime;
                engine.end(handle, reason, "its time is over", now_ms);
                engine.depart(handle, Departure::Lost, now_ms)
            })
        }
    };
    room.with(|engine, now_ms| engine.hang_up(handle, now_ms));
    match end {
        Ok(Some(Departure::Left(_) | Departure::Lost)) => Box::pin(connection.hang_up()).await,
        _ => Box::pin(connection.farewell(&words)).await,
    }
    cut.now();
}

/// Serves a claim until its connection ends. `None`: it has been reported already.
async fn visit(connection: &mut Connection, requests: &mut Requests) -> Option<Departure> {
    loop {
        match connection.next().await {
            Turn::Asked(asked) => requests.hand_over(asked),
            Turn::Stale => {
                let at = connection.at;
                connection.hall.with(|engine, _| engine.keep_identity(at));
            }
            Turn::Over(departure) => return Some(departure),
            Turn::Last(_) | Turn::Cut => return None,
            Turn::Crowded => return Some(Departure::Lost),
        }
    }
}
