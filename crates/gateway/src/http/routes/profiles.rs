//! Profiles and environments.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use hearthkey_api as api;
use hearthkey_core::role::Act;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::middleware::etag::expected_by;
use crate::http::policy::{Thing, act};
use crate::http::route::{Route, route};
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(routes!(list_profiles), act(Act::HomeRead).anywhere()),
        route(
            routes!(put_profile),
            act(Act::ProfileChange).anywhere().creates().names_in_body(),
        ),
        route(routes!(show_profile), act(Act::HomeRead).of(Thing::Profile)),
        route(routes!(list_environments), act(Act::HomeRead).anywhere()),
        route(
            routes!(add_environment),
            act(Act::EnvironmentAdd).anywhere().creates(),
        ),
    ]
}

/// Lists the profiles.
#[utoipa::path(get, path = "/api/v1/profiles", responses((status = 200, body = api::Named)))]
async fn list_profiles(State(gateway): Gate) -> Answer<api::Named> {
    Ok(Json(api::Named {
        names: gateway.home()?.devices.profile_names(),
    }))
}

/// Adds or replaces a person's own profile.
#[utoipa::path(post, path = "/api/v1/profiles", request_body = api::ProfileText, responses((status = 200, body = api::ProfileText)))]
async fn put_profile(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(profile): Json<api::ProfileText>,
) -> Answer<api::ProfileText> {
    let home = gateway.home()?;
    let permit = caller.permitted(Act::ProfileChange)?;
    let expects = |thing: &str| expected_by(&home, thing, &headers);
    let put = home.devices.put_profile(&permit, profile.toml, expects);
    Ok(Json(put.await?))
}

/// Shows a profile.
#[utoipa::path(get, path = "/api/v1/profiles/{name}", params(("name" = String, Path)), responses((status = 200, body = api::ProfileText)))]
async fn show_profile(State(gateway): Gate, Path(name): Path<String>) -> Answer<api::ProfileText> {
    Ok(Json(gateway.home()?.devices.profile_text(&name)?))
}

/// Lists the environments.
#[utoipa::path(get, path = "/api/v1/environments", responses((status = 200, body = api::Named)))]
async fn list_environments(State(gateway): Gate) -> Answer<api::Named> {
    Ok(Json(api::Named {
        names: gateway.home()?.devices.environments(),
    }))
}

/// Adds an environment with an issuing CA of its own.
#[utoipa::path(post, path = "/api/v1/environments", request_body = api::EnvironmentRequest, responses((status = 200, body = api::Named)))]
async fn add_environment(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::EnvironmentRequest>,
) -> Answer<api::Named> {
    let home = gateway.home()?;
    home.devices.add_environment(&caller, request).await?;
    Ok(Json(api::Named {
        names: home.devices.environments(),
    }))
}
