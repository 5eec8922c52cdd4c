//! Findings, and what of them people accept; the check of a manifest.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use hearthkey_api::{self as api};
use hearthkey_core::role::Act;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::policy::{act, services};
use crate::http::route::{Route, route};
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(
            routes!(findings),
            act(Act::FindingRead).anywhere().for_services(),
        ),
        route(routes!(report), services().anywhere()),
        route(
            routes!(resolve),
            act(Act::FindingAccept).judged_by_use_case(),
        ),
        route(routes!(posture), act(Act::FindingRead).anywhere()),
        route(
            routes!(accept),
            act(Act::FindingAccept).judged_by_use_case(),
        ),
        route(
            routes!(reopen),
            act(Act::FindingAccept).judged_by_use_case(),
        ),
        route(
            routes!(check_manifest),
            act(Act::CredentialRead).anywhere().for_services(),
        ),
    ]
}

/// What is wrong with the inventory, the worst first.
#[utoipa::path(get, path = "/api/v1/findings", responses((status = 200, body = api::FindingList)))]
async fn findings(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::FindingList> {
    Ok(Json(gateway.home()?.vault.findings(&caller)?))
}

/// Notes what a scan or an import saw.
#[utoipa::path(post, path = "/api/v1/findings", request_body = api::FindingReport, responses((status = 200, body = api::FindingView)))]
async fn report(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::FindingReport>,
) -> Answer<api::FindingView> {
    Ok(Json(
        gateway
            .home()?
            .vault
            .report_finding(&caller, request)
            .await?,
    ))
}

/// Says that a finding was seen to.
#[utoipa::path(post, path = "/api/v1/findings/{id}/resolve", params(("id" = String, Path)), request_body = api::AcceptRequest, responses((status = 200, body = api::FindingList)))]
async fn resolve(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(request): Json<api::AcceptRequest>,
) -> Answer<api::FindingList> {
    let home = gateway.home()?;
    home.vault
        .resolve_finding(&caller.permitted(Act::FindingAccept)?, &id, &request.reason)
        .await?;
    Ok(Json(home.vault.findings(&caller)?))
}

/// What is not as it should be in the whole home, and what of it was accepted.
#[utoipa::path(get, path = "/api/v1/posture", responses((status = 200, body = api::Posture)))]
async fn posture(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::Posture> {
    Ok(Json(gateway.home()?.posture.posture(&caller)?))
}

/// Accepts a finding: a person is responsible for it.
#[utoipa::path(post, path = "/api/v1/findings/{id}/accept", params(("id" = String, Path)), request_body = api::AcceptanceRequest, responses((status = 200, body = api::Posture)))]
async fn accept(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(request): Json<api::AcceptanceRequest>,
) -> Answer<api::Posture> {
    let home = gateway.home()?;
    Ok(Json(
        home.posture.accept_finding(&caller, &id, &request).await?,
    ))
}

/// Takes the acceptance of a finding back.
#[utoipa::path(post, path = "/api/v1/findings/{id}/reopen", params(("id" = String, Path)), responses((status = 200, body = api::Posture)))]
async fn reopen(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<api::Posture> {
    let home = gateway.home()?;
    Ok(Json(home.posture.reopen_finding(&caller, &id).await?))
}

/// Checks the credentials that a repository's features use.
#[utoipa::path(post, path = "/api/v1/manifest/check", request_body = api::Manifest, responses((status = 200, body = api::ManifestChecked)))]
async fn check_manifest(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(manifest): Json<api::Manifest>,
) -> Answer<api::ManifestChecked> {
    Ok(Json(
        gateway.home()?.vault.check_manifest(&caller, &manifest)?,
    ))
}
