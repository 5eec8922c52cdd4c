//! The gateway itself: how it is, sealing it, its clock, its incidents.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use hearthkey_api as api;
use hearthkey_core::role::{Act, Scope};
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::policy::{act, here};
use crate::http::route::{Route, route};
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(routes!(status), act(Act::HomeRead).anywhere()),
        route(routes!(seal), act(Act::HomeSeal).anywhere().ends_access()),
        route(routes!(unseal), here().anywhere()),
        route(routes!(confirm_clock), act(Act::ClockConfirm).anywhere()),
        route(routes!(accept_incident), act(Act::LogAccept).anywhere()),
    ]
}

/// How the gateway is; also while it is sealed.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = api::Status)))]
async fn status(State(gateway): Gate, Extension(caller): Extension<Caller>) -> Answer<api::Status> {
    let mut status = gateway.keeper()?.status();
    // Callers limited to some environments learn nothing of how much there is in others.
    if let (Some(Scope::These(these)), Ok(home)) = (caller.scope(Act::HomeRead), gateway.home()) {
        let these: Vec<_> = these.iter().cloned().collect();
        let theirs = home.devices.device_summary(Some(&these));
        (status.devices, status.sessions) = (theirs.total, theirs.connected as usize);
    }
    Ok(Json(status))
}

/// Drops every key from memory, and every session.
#[utoipa::path(post, path = "/api/v1/seal", responses((status = 200, body = api::Sealing)))]
async fn seal(State(gateway): Gate, Extension(caller): Extension<Caller>) -> Answer<api::Sealing> {
    let permit = caller.permitted(Act::HomeSeal)?;
    match &caller {
        Caller::Desktop | Caller::Local { .. } => gateway.keeper()?.seal(permit).await?,
        // The listener that this answer goes out by closes with the home, and waits for it.
        Caller::Person(_) | Caller::Service(_) => {
            let keeper = gateway.keeper()?;
            keeper.is_settled().await?;
            tokio::spawn(async move {
                if let Err(failure) = keeper.seal(permit).await {
                    tracing::error!(why = failure.0.detail, "the home is not sealed");
                }
            });
        }
    }
    Ok(Json(api::Sealing { sealed: true }))
}

/// Opens the home with a passphrase or the recovery code.
#[utoipa::path(post, path = "/api/v1/unseal", request_body = api::UnsealRequest, responses((status = 200, body = api::Sealing)))]
async fn unseal(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::UnsealRequest>,
) -> Answer<api::Sealing> {
    let words = request.words.into();
    gateway.keeper()?.unseal(caller, words).await?;
    Ok(Json(api::Sealing { sealed: false }))
}

/// Believes the machine's clock from here on.
#[utoipa::path(post, path = "/api/v1/clock/confirm", responses((status = 200, body = api::ClockView)))]
async fn confirm_clock(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::ClockView> {
    let home = gateway.home()?;
    home.confirm_clock(&caller.permitted(Act::ClockConfirm)?)
        .await?;
    Ok(Json(home.clock_view()))
}

/// Goes on after an incident that a person has looked at.
#[utoipa::path(post, path = "/api/v1/log/accept", request_body = api::AcceptRequest, responses((status = 200, body = api::Status)))]
async fn accept_incident(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::AcceptRequest>,
) -> Answer<api::Status> {
    gateway
        .home()?
        .accept_incident(&caller.permitted(Act::LogAccept)?, &request.reason)
        .await?;
    Ok(Json(gateway.keeper()?.status()))
}
