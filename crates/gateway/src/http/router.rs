//! The router that every listener serves, and the contract: both from what is declared beside the handlers.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::middleware;
use axum::{Json, Router};
use hearthkey_api as api;
use hearthkey_core::role::Act;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::http::gateway::Gateway;
use crate::http::middleware::etag::versioned;
use crate::http::middleware::idempotency::once;
use crate::http::middleware::run_to_end;
use crate::http::openapi::finished;
use crate::http::policy::{Table, act};
use crate::http::route::Route;
use crate::http::routes;

/// The contract, which no handler describes.
const CONTRACT: &str = "/api/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(info(
    title = "Hearthkey",
    description = "The home's private certificate authority, MQTT server and credential vault."
))]
struct Contract;

/// Every route.
fn declared() -> Vec<Route> {
    let rooms = [
        routes::system::routes(),
        routes::backups::routes(),
        routes::profiles::routes(),
        routes::devices::routes(),
        routes::bulk::routes(),
        routes::provenance::routes(),
        routes::log::routes(),
        routes::events::routes(),
        routes::overview::routes(),
        routes::credentials::routes(),
        routes::leases::routes(),
        routes::bridges::routes(),
        routes::findings::routes(),
        routes::tokens::routes(),
        routes::people::routes(),
        routes::trust::routes(),
        routes::unlock::routes(),
    ];
    rooms.into_iter().flatten().collect()
}

/// What is declared of every route.
pub(crate) fn table() -> Table {
    let mut table = Table::default();
    for route in declared() {
        for (method, path) in route.methods() {
            table.add(method, path, route.policy);
        }
    }
    let contract = act(Act::HomeRead).anywhere();
    table.add(Method::GET, CONTRACT.to_owned(), contract);
    table
}

fn open_router() -> OpenApiRouter<Arc<Gateway>> {
    let empty = OpenApiRouter::with_openapi(Contract::openapi());
    let all = declared().into_iter();
    all.fold(empty, |router, route| router.routes(route.handler))
}

/// The contract as OpenAPI 3.1, from the handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    finished(open_router().into_openapi(), &table())
}

/// The router that every listener serves.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let (router, contract) = open_router().split_for_parts();
    let contract = Arc::new(finished(contract, gateway.table()));
    let openapi = move || {
        let contract = Arc::clone(&contract);
        async move { Json(contract.as_ref().clone()) }
    };
    router
        .route(CONTRACT, axum::routing::get(openapi))
        .fallback(crate::http::pages::serve)
        .layer(middleware::from_fn(run_to_end::as_problems))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&gateway),
            versioned,
        ))
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), once))
        .layer(middleware::from_fn(run_to_end::to_the_end))
        .layer(DefaultBodyLimit::max(api::BODY_MAX_BYTES))
        .with_state(gateway)
}
