//! A connection without a certificate: a claim, in a room of its own.
//!
//! The room is a router that serves this connection alone. A hundred connections of one claim
//! have a hundred rooms, so none takes another over, and no topic of the home exists in any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hearthkey_core::door::{ClaimLoginRefusal, claim_login};
use hearthkey_core::id::ClaimId;
use hearthkey_core::profile::Rights;
use mqtt5::broker::router::MessageRouter;
use tokio::sync::oneshot;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::accept::{Arrival, Denied};
use crate::broker::Shared;
use crate::connack::Code;
use crate::event::{ClaimAnswer, Event, Refusal, Who, clipped};
use crate::gate::Mark;
use crate::hook::ClaimHook;
use crate::library::Callbacks;
use crate::policy::ClaimPolicy;
use crate::reply::Way;
use crate::stream::ClientStream;

/// Serves the connection until its short life ends, or refuses it.
pub(crate) async fn serve(shared: Arc<Shared>, mut arrival: Box<Arrival>, mark: Mark) {
    let Ok(_place) = Arc::clone(&shared.claims).try_acquire_owned() else {
        let denied = Denied {
            code: Code::Busy,
            who: None,
            why: Refusal::TooManyConnections,
        };
        return arrival.refuse(&shared, denied).await;
    };
    match Box::pin(admit(&shared, &mut arrival)).await {
        Ok(claim) => {
            if mark.known() {
                run(shared, arrival, claim).await;
            }
        }
        Err(denied) => Box::pin(arrival.refuse(&shared, denied)).await,
    }
}

async fn admit(shared: &Shared, arrival: &mut Arrival) -> Result<ClaimId, Denied> {
    let stranger = |code, why| Denied {
        code,
        who: None,
        why,
    };
    if !shared.expects_a_guest() {
        return Err(stranger(Code::NotAuthorized, Refusal::NoBell));
    }
    let connect = &mut arrival.connect;
    let secret = connect.password.take();
    let claim = claim_login(
        &connect.client_id,
        connect.username.as_deref(),
        secret.is_some(),
    )
    .map_err(|refusal| {
        let code = match refusal {
            ClaimLoginRefusal::ClientId => Code::ClientIdNotValid,
            _ => Code::BadCredentials,
        };
        stranger(code, refusal.into())
    })?;
    let denied = |code, why| Denied {
        code,
        who: Some(Who::Claim(claim.clone())),
        why,
    };
    if let Some(topic) = &connect.will_topic {
        return Err(denied(Code::NotAuthorized, Refusal::Will(clipped(topic))));
    }
    match ask(shared, arrival.address, &claim, secret.unwrap_or_default()).await {
        ClaimAnswer::Admitted => Ok(claim),
        ClaimAnswer::Refused => Err(denied(Code::BadCredentials, Refusal::ClaimSecret)),
        ClaimAnswer::Unavailable => Err(denied(Code::Unavailable, Refusal::Unavailable)),
    }
}

async fn ask(
    shared: &Shared,
    address: std::net::SocketAddr,
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

async fn run(shared: Arc<Shared>, arrival: Box<Arrival>, claim: ClaimId) {
    let Arrival {
        tls,
        cut,
        address,
        connect,
    } = *arrival;
    let room = Arc::new(MessageRouter::new());
    let open = Arc::new(AtomicBool::new(true));
    let way = Way::Room {
        router: Arc::clone(&room),
        client_id: connect.client_id.clone(),
        open: Arc::clone(&open),
    };
    let policy = Arc::new(ClaimPolicy {
        shared: Arc::clone(&shared),
        rights: Rights::claim(&claim),
        claim: claim.clone(),
        address,
        version: connect.version,
        cut: Arc::clone(&cut),
    });
    let number = shared.sessions.number();
    let hook = Arc::new(ClaimHook::new(
        Arc::clone(&shared),
        claim,
        number,
        address,
        way,
    ));
    let stream = ClientStream::new(
        tls,
        Arc::clone(&cut),
        address,
        connect.version,
        connect.replay,
    );
    let service = shared
        .engine
        .room(stream, address, Callbacks { policy, hook }, room);
    match timeout(shared.limits.claim_life(), service).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%address, %error, "a claim's connection ended"),
        Err(_) => tracing::debug!(%address, "a claim's connection has had its time"),
    }
    open.store(false, Ordering::Release);
    cut.now();
}
