//! The routes about service tokens, and the one that says that the gateway is there.

use std::sync::Arc;

use crate::http::policy::{Thing, act, everybody, own_token};
use crate::http::route::{Route, route};
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use hearthkey_api as api;
use hearthkey_core::bearer::Errand;
use hearthkey_core::role::Act;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::handed::Handed;
use crate::state::failure::Failure;
use crate::tokens::grant::self_view;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;
type Who = Extension<Caller>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(routes!(health), everybody()),
        route(routes!(list), act(Act::TokenRead).anywhere()),
        route(routes!(create), act(Act::TokenCreate).anywhere().creates()),
        route(routes!(this_one), own_token(Errand::Use)),
        route(routes!(renew_this_one), own_token(Errand::Renew)),
        route(routes!(show), act(Act::TokenRead).of(Thing::Token)),
        route(routes!(renew), act(Act::TokenCreate).of(Thing::Token)),
        route(routes!(reauthorize), act(Act::TokenCreate).of(Thing::Token)),
        route(
            routes!(revoke),
            act(Act::TokenEnd).of(Thing::Token).ends_access(),
        ),
    ]
}

/// Says that the gateway answers, and nothing else.
#[utoipa::path(get, path = "/api/v1/health", responses((status = 200, body = api::Health)))]
async fn health() -> Json<api::Health> {
    Json(api::Health {
        status: "ok".into(),
    })
}

/// Lists the service tokens.
#[utoipa::path(get, path = "/api/v1/tokens", responses((status = 200, body = api::TokenList)))]
async fn list(State(gateway): Gate, Extension(caller): Who) -> Answer<api::TokenList> {
    let tokens = gateway
        .home()?
        .auth
        .token_views(caller.scope(Act::TokenRead));
    Ok(Json(api::TokenList { tokens }))
}

/// Makes a service token. The token is in the answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/tokens", request_body = api::TokenRequest, responses((status = 200, body = api::TokenCreated)))]
async fn create(
    State(gateway): Gate,
    Extension(caller): Who,
    Json(request): Json<api::TokenRequest>,
) -> Result<Response, Failure> {
    let home = gateway.home()?;
    let made = home.tokens.create_token(&caller, request).await?;
    let id = made.details.id.clone();
    let lost = move || home.vault.cut_untaken(&id);
    Ok(Json(made)
        .into_response()
        .map(|body| Body::new(Handed::new(body, lost))))
}

/// Shows a service token.
#[utoipa::path(get, path = "/api/v1/tokens/{name}", params(("name" = String, Path)), responses((status = 200, body = api::TokenView)))]
async fn show(State(gateway): Gate, Path(name): Path<String>) -> Answer<api::TokenView> {
    Ok(Json(gateway.home()?.tokens.show_token(&name)?))
}

/// Renews a service token, within its ceiling.
#[utoipa::path(post, path = "/api/v1/tokens/{name}/renew", params(("name" = String, Path)), responses((status = 200, body = api::TokenView)))]
async fn renew(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Answer<api::TokenView> {
    let home = gateway.home()?;
    Ok(Json(home.tokens.renew_token(&caller, &name).await?))
}

/// Lets a service token be renewed for another ceiling, from now on.
#[utoipa::path(post, path = "/api/v1/tokens/{name}/reauthorize", params(("name" = String, Path)), responses((status = 200, body = api::TokenView)))]
async fn reauthorize(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Answer<api::TokenView> {
    let home = gateway.home()?;
    Ok(Json(home.tokens.reauthorize_token(&caller, &name).await?))
}

/// Takes a service token back for good.
#[utoipa::path(post, path = "/api/v1/tokens/{name}/revoke", params(("name" = String, Path)), responses((status = 200, body = api::TokenRevoked)))]
async fn revoke(
    State(gateway): Gate,
    Extension(caller): Who,
    Path(name): Path<String>,
) -> Answer<api::TokenRevoked> {
    let home = gateway.home()?;
    Ok(Json(
        home.vault
            .revoke_token(&caller.permitted(Act::TokenEnd)?, &name)
            .await?,
    ))
}

/// Shows the token that asks.
#[utoipa::path(get, path = "/api/v1/tokens/self", responses((status = 200, body = api::TokenSelf)))]
async fn this_one(Extension(caller): Who) -> Answer<api::TokenSelf> {
    Ok(Json(self_view(&caller.service()?.token)))
}

/// Renews the token that asks, within its ceiling.
#[utoipa::path(post, path = "/api/v1/tokens/self/renew", responses((status = 200, body = api::TokenSelf)))]
async fn renew_this_one(State(gateway): Gate, Extension(caller): Who) -> Answer<api::TokenSelf> {
    let home = gateway.home()?;
    Ok(Json(home.tokens.renew_self(caller.service()?).await?))
}
