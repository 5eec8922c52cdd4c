//! Bridges: connected, tested, disconnected.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use hearthkey_api::{self as api, code};
use hearthkey_core::role::Act;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::auth::caller::{Caller, Visit};
use crate::http::gateway::Gateway;
use crate::http::policy::act;
use crate::http::route::{Route, route};
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(routes!(bridges), act(Act::BridgeRead).anywhere()),
        route(
            routes!(connect_bridge),
            act(Act::BridgeChange).anywhere().creates(),
        ),
        route(
            routes!(test_bridge),
            act(Act::BridgeChange).in_environment(),
        ),
        route(
            routes!(disconnect_bridge),
            act(Act::BridgeChange).in_environment().ends_at_bridge(),
        ),
    ]
}

/// For a person who would have the gateway run a program of their choice.
fn programs_are_local(visit: &Visit) -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::FORBIDDEN,
        "This is not open to people in a browser.",
        format!(
            "A command bridge runs a program on the gateway's machine, and {} may be on another.",
            visit.person.name
        ),
        "Connect it on that machine. On the command line: `hearthkey bridge connect command …`.",
    )
}

#[derive(Deserialize, IntoParams)]
struct DisconnectQuery {
    /// Whether its credentials are retired with it.
    #[serde(default)]
    retire: bool,
}

/// Lists the bridges and what each can do.
#[utoipa::path(get, path = "/api/v1/bridges", responses((status = 200, body = api::BridgeList)))]
async fn bridges(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::BridgeList> {
    let mut list = gateway.home()?.vault.bridges()?;
    list.bridges.retain(|bridge| {
        let environment = bridge.environment.parse();
        environment.is_ok_and(|name| caller.permit(Act::BridgeRead, &name).is_ok())
    });
    Ok(Json(list))
}

/// Connects a bridge, or changes how it is reached.
#[utoipa::path(post, path = "/api/v1/bridges", request_body = api::BridgeRequest, responses((status = 200, body = api::BridgeView)))]
async fn connect_bridge(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::BridgeRequest>,
) -> Answer<api::BridgeView> {
    if let Ok(visit) = caller.person()
        && request.kind == hearthkey_bridges::BridgeKind::Command.as_str()
    {
        return Err(programs_are_local(visit));
    }
    Ok(Json(
        gateway
            .home()?
            .vault
            .connect_bridge(&caller, request)
            .await?,
    ))
}

/// Asks a bridge about each of its credentials.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/bridges/{name}/test", params(("environment" = String, Path), ("name" = String, Path)), responses((status = 200, body = api::BridgeTested)))]
async fn test_bridge(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path((environment, name)): Path<(String, String)>,
) -> Answer<api::BridgeTested> {
    Ok(Json(
        gateway
            .home()?
            .vault
            .test_bridge(&caller.permitted(Act::BridgeChange)?, &environment, &name)
            .await?,
    ))
}

/// Disconnects a bridge.
#[utoipa::path(post, path = "/api/v1/environments/{environment}/bridges/{name}/disconnect", params(("environment" = String, Path), ("name" = String, Path), DisconnectQuery), responses((status = 200, body = api::Disconnected)))]
async fn disconnect_bridge(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path((environment, name)): Path<(String, String)>,
    Query(query): Query<DisconnectQuery>,
) -> Answer<api::Disconnected> {
    Ok(Json(
        gateway
            .home()?
            .vault
            .disconnect_bridge(
                &caller.permitted(Act::BridgeChange)?,
                &environment,
                &name,
                query.retire,
            )
            .await?,
    ))
}
