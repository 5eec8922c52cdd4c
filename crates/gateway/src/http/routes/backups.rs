//! Backups: where they go, which there are, whether they and the recovery code work.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use hearthkey_api as api;
use hearthkey_core::role::Act;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::policy::act;
use crate::http::route::{Route, route};
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(routes!(list_backups), act(Act::BackupRead).anywhere()),
        route(
            routes!(create_backup),
            act(Act::BackupChange).anywhere().creates(),
        ),
        route(routes!(plan_backups), act(Act::BackupChange).anywhere()),
        route(routes!(verify_backup), act(Act::BackupRead).anywhere()),
        route(routes!(check_kit), act(Act::BackupChange).anywhere()),
    ]
}

/// Lists the backups of this home at the place that is set.
#[utoipa::path(get, path = "/api/v1/backups", responses((status = 200, body = api::BackupList)))]
async fn list_backups(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::BackupList> {
    let permit = caller.permitted(Act::BackupRead)?;
    Ok(Json(gateway.home()?.backups.list(&permit).await?))
}

/// Makes a backup and verifies it. Answers when that is done.
#[utoipa::path(post, path = "/api/v1/backups", request_body = api::BackupRequest, responses((status = 200, body = api::BackupMade)))]
async fn create_backup(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::BackupRequest>,
) -> Answer<api::BackupMade> {
    let home = gateway.home()?;
    Ok(Json(home.backups.create(&caller, request).await?))
}

/// Says where backups go, how many are kept, and how often one is made by itself.
#[utoipa::path(post, path = "/api/v1/backups/plan", request_body = api::BackupPlanRequest, responses((status = 200, body = api::BackupPlanned)))]
async fn plan_backups(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::BackupPlanRequest>,
) -> Answer<api::BackupPlanned> {
    let home = gateway.home()?;
    Ok(Json(home.backups.set(&caller, request).await?))
}

/// Restores the newest backup on trial and says what of it was opened. Answers when that is done.
#[utoipa::path(post, path = "/api/v1/backups/verify-latest", responses((status = 200, body = api::BackupVerified)))]
async fn verify_backup(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::BackupVerified> {
    let permit = caller.permitted(Act::BackupRead)?;
    Ok(Json(gateway.home()?.backups.verify_latest(&permit).await?))
}

/// Says whether a code is the recovery code, and which backups it opens. Backups are encrypted for it from then on.
#[utoipa::path(post, path = "/api/v1/backups/kit-check", request_body = api::KitCheckRequest, responses((status = 200, body = api::KitChecked)))]
async fn check_kit(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::KitCheckRequest>,
) -> Answer<api::KitChecked> {
    let permit = caller.permitted(Act::BackupChange)?;
    let home = gateway.home()?;
    let code = request.code.into();
    Ok(Json(home.backups.kit_check(&permit, code).await?))
}
