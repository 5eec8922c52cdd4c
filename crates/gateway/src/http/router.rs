//! The local API: one router, its handlers, and who is calling.

use crate::http::files::{bytes, crl_file};
use crate::http::middleware::etag::expected_by;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::HeaderMap;
use axum::middleware;
use axum::response::Response;
use axum::{Json, Router};
use hearthkey_api as api;
use hearthkey_core::id::EnvironmentName;
use hearthkey_pki::CaRole;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::http::middleware::etag::versioned;
use crate::http::middleware::idempotency::once;
use crate::http::middleware::run_to_end;
use crate::http::openapi::finished;
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

#[derive(OpenApi)]
#[openapi(info(
    title = "Hearthkey",
    description = "The home's private certificate authority, MQTT front door and credential vault."
))]
struct Contract;

fn open_router() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::with_openapi(Contract::openapi())
        .routes(routes!(status))
        .routes(routes!(seal))
        .routes(routes!(unseal))
        .routes(routes!(confirm_clock))
        .routes(routes!(list_profiles, put_profile))
        .routes(routes!(show_profile))
        .routes(routes!(list_environments, add_environment))
        .routes(routes!(trust_bundle))
        .routes(routes!(trust_crl))
        .routes(routes!(accept_incident))
        .merge(crate::http::routes::devices::routes())
        .merge(crate::http::routes::bulk::routes())
        .merge(crate::http::routes::provenance::routes())
        .merge(crate::http::routes::log::routes())
        .merge(crate::http::routes::events::routes())
        .merge(crate::http::routes::overview::routes())
        .merge(crate::http::routes::credentials::routes())
        .merge(crate::http::routes::tokens::routes())
        .merge(crate::http::routes::people::routes())
        .merge(crate::http::routes::well_known::routes())
}

/// The contract as OpenAPI 3.1, from the handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    finished(open_router().into_openapi())
}

/// The router that every listener serves.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let (router, contract) = open_router().split_for_parts();
    let contract = Arc::new(finished(contract));
    let openapi = move || {
        let contract = Arc::clone(&contract);
        async move { Json(contract.as_ref().clone()) }
    };
    router
        .route("/api/v1/openapi.json", axum::routing::get(openapi))
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

/// How the gateway is; also while it is sealed.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = api::Status)))]
async fn status(State(gateway): Gate) -> Answer<api::Status> {
    Ok(Json(gateway.keeper()?.status()))
}

/// Drops every key from memory, and every session.
#[utoipa::path(post, path = "/api/v1/seal", responses((status = 200, body = api::Sealing)))]
async fn seal(State(gateway): Gate, Extension(caller): Extension<Caller>) -> Answer<api::Sealing> {
    match &caller {
        Caller::Desktop | Caller::Local { .. } => gateway.keeper()?.seal(caller.actor()).await?,
        // The listener that this answer goes out by closes with the home, and waits for it.
        Caller::Person(_) | Caller::Service(_) => {
            let keeper = gateway.keeper()?;
            keeper.is_settled().await?;
            tokio::spawn(async move { keeper.seal(caller.actor()).await });
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
    home.confirm_clock(caller.actor()).await?;
    Ok(Json(home.clock_view()))
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
    let put = home
        .devices
        .put_profile(caller.actor(), profile.toml, |thing| {
            expected_by(&home, thing, &headers)
        });
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

/// The roots to trust, in PEM.
#[utoipa::path(get, path = "/api/v1/trust/bundle", responses((status = 200, body = String, content_type = "application/pem-certificate-chain")))]
async fn trust_bundle(State(gateway): Gate) -> Result<Response, Failure> {
    Ok(bytes(
        "application/pem-certificate-chain",
        gateway.home()?.trust.trust_bundle().into_bytes(),
    ))
}

/// The CRL of an environment's issuing CA, in DER.
#[utoipa::path(get, path = "/api/v1/trust/crl/{environment}", params(("environment" = String, Path)), responses((status = 200, body = Vec<u8>, content_type = "application/pkix-crl")))]
async fn trust_crl(
    State(gateway): Gate,
    Path(environment): Path<String>,
) -> Result<Response, Failure> {
    let home = gateway.home()?;
    let name: EnvironmentName = environment
        .parse()
        .map_err(|error| Failure::invalid(&error))?;
    crl_file(&home, &CaRole::Issuing(name.clone()), "environment", &name)
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
        .accept_incident(caller.actor(), &request.reason)
        .await?;
    Ok(Json(gateway.keeper()?.status()))
}
