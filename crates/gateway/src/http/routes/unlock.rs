//! The routes about how the home is unlocked.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use hearthkey_api as api;
use hearthkey_core::role::Act;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::policy::act;
use crate::http::route::{Route, route};
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;
type Who = Extension<Caller>;

/// The routes of this file. None is repeated by a key: an answer with a recovery code is not kept for that.
pub(crate) fn routes() -> Vec<Route> {
    let change = || act(Act::UnlockChange).anywhere();
    vec![
        route(routes!(unlock_methods), act(Act::UnlockRead).anywhere()),
        route(routes!(add_unlock_passphrase), change()),
        route(routes!(add_unlock_key_file), change()),
        route(routes!(issue_recovery_code), change()),
        route(routes!(confirm_recovery_code), change()),
        route(
            routes!(remove_unlock_method),
            act(Act::UnlockChange).judged_by_use_case(),
        ),
    ]
}

/// How the home can be unlocked.
#[utoipa::path(get, path = "/api/v1/unlock-methods", responses((status = 200, body = api::UnlockMethodList)))]
async fn unlock_methods(State(gateway): Gate) -> Answer<api::UnlockMethodList> {
    Ok(Json(gateway.home()?.unlock.methods()?))
}

/// Adds a passphrase, or replaces the one of this name.
#[utoipa::path(post, path = "/api/v1/unlock-methods/passphrases", request_body = api::PassphraseMethodRequest, responses((status = 200, body = api::UnlockMethodList)))]
async fn add_unlock_passphrase(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(request): Json<api::PassphraseMethodRequest>,
) -> Answer<api::UnlockMethodList> {
    let home = gateway.home()?;
    Ok(Json(home.unlock.add_passphrase(&caller, request).await?))
}

/// Makes a key file: the home opens by itself when the gateway starts.
#[utoipa::path(post, path = "/api/v1/unlock-methods/key-file", request_body = api::UnlockMethodRequest, responses((status = 200, body = api::UnlockMethodList)))]
async fn add_unlock_key_file(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(request): Json<api::UnlockMethodRequest>,
) -> Answer<api::UnlockMethodList> {
    let home = gateway.home()?;
    let added = home.unlock.add_key_file(&caller, request.second_factor);
    Ok(Json(added.await?))
}

/// Issues a new recovery code. The one before opens the home until this one is confirmed.
#[utoipa::path(post, path = "/api/v1/unlock-methods/recovery-code", request_body = api::UnlockMethodRequest, responses((status = 200, body = api::RecoveryCodeIssued)))]
async fn issue_recovery_code(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(request): Json<api::UnlockMethodRequest>,
) -> Answer<api::RecoveryCodeIssued> {
    let home = gateway.home()?;
    let issued = home
        .unlock
        .issue_recovery_code(&caller, request.second_factor);
    Ok(Json(api::RecoveryCodeIssued {
        recovery_code: issued.await?.to_string(),
    }))
}

/// Confirms the recovery code that was issued last: the one before opens nothing any more.
#[utoipa::path(post, path = "/api/v1/unlock-methods/recovery-code/confirm", request_body = api::RecoveryCodeConfirmation, responses((status = 200, body = api::UnlockMethodList)))]
async fn confirm_recovery_code(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(request): Json<api::RecoveryCodeConfirmation>,
) -> Answer<api::UnlockMethodList> {
    let home = gateway.home()?;
    let code = Zeroizing::new(request.recovery_code);
    Ok(Json(
        home.unlock.confirm_recovery_code(&caller, code).await?,
    ))
}

/// Removes an unlock method.
#[utoipa::path(post, path = "/api/v1/unlock-methods/{name}/remove", params(("name" = String, Path,)), request_body = api::UnlockMethodRemoval, responses((status = 200, body = api::UnlockMethodList)))]
async fn remove_unlock_method(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(name): Path<String>,
    Json(request): Json<api::UnlockMethodRemoval>,
) -> Answer<api::UnlockMethodList> {
    let home = gateway.home()?;
    Ok(Json(home.unlock.remove(&caller, &name, request).await?))
}
