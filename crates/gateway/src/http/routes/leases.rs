//! What is lent.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use hearthkey_api::{self as api};
use hearthkey_core::credential::Action;
use hearthkey_core::role::Act;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::policy::{Thing, act};
use crate::http::route::{Route, route};
use crate::http::routes::credentials::id;
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;
/// Environment, bridge and key.
type Named = Path<(String, String, String)>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(
            routes!(lease),
            act(Act::CredentialLease)
                .of(Thing::Credential)
                .granted(Action::Lease),
        ),
        route(
            routes!(leases),
            act(Act::CredentialRead).anywhere().for_services(),
        ),
        route(
            routes!(end_lease),
            act(Act::CredentialRead)
                .judged_by_use_case()
                .for_services()
                .ends_at_bridge(),
        ),
    ]
}

/// Lends a credential for a time: a child of it where the bridge can mint one.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/lease", params(("environment" = String, Path), ("bridge" = String, Path), ("key" = String, Path)), request_body = api::LeaseRequest, responses((status = 200, body = api::Leased)))]
async fn lease(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(path): Named,
    Json(request): Json<api::LeaseRequest>,
) -> Answer<api::Leased> {
    let home = gateway.home()?;
    let id = id(path)?;
    Ok(Json(home.vault.lend(&caller, &id, request).await?))
}

/// Lists the leases that have not ended: an operator's all, a service's own.
#[utoipa::path(get, path = "/api/v1/leases", responses((status = 200, body = api::LeaseList)))]
async fn leases(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::LeaseList> {
    Ok(Json(gateway.home()?.vault.leases(&caller)?))
}

/// Ends a lease now.
#[utoipa::path(post, path = "/api/v1/leases/{lease}/end", params(("lease" = String, Path)), responses((status = 200, body = api::LeaseView)))]
async fn end_lease(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(lease): Path<String>,
) -> Answer<api::LeaseView> {
    Ok(Json(
        gateway.home()?.vault.end_lease(&caller, &lease).await?,
    ))
}
