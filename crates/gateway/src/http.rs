//! The local API: one router, its handlers, and who is calling.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use hearthkey_api as api;
use hearthkey_core::device::Change as StateChange;
use hearthkey_core::id::DeviceId;
use hearthkey_core::role::Act;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::around;
use crate::caller::Caller;
use crate::home::{Home, locked};
use crate::problem::Failure;
use crate::run::Gateway;

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
        .routes(routes!(open_claim))
        .routes(routes!(list_devices))
        .routes(routes!(show_device))
        .routes(routes!(suspend))
        .routes(routes!(resume))
        .routes(routes!(retire))
        .routes(routes!(rotate))
        .routes(routes!(revoke))
        .routes(routes!(approve))
        .routes(routes!(list_profiles, put_profile))
        .routes(routes!(show_profile))
        .routes(routes!(list_environments, add_environment))
        .routes(routes!(trust_bundle))
        .routes(routes!(trust_crl))
        .routes(routes!(records))
        .routes(routes!(checkpoint))
        .routes(routes!(log_key))
        .routes(routes!(proof))
        .routes(routes!(accept_incident))
        .merge(crate::vault::http::routes())
        .merge(crate::token_http::routes())
        .merge(crate::people::http::routes())
        .merge(crate::well_known::routes())
}

/// The contract as OpenAPI 3.1, from the handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    open_router().into_openapi()
}

/// The router that every listener serves.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let (router, contract) = open_router().split_for_parts();
    let contract = Arc::new(contract);
    let openapi = move || {
        let contract = Arc::clone(&contract);
        async move { Json(contract.as_ref().clone()) }
    };
    router
        .route("/api/v1/openapi.json", axum::routing::get(openapi))
        .fallback(crate::pages::serve)
        .layer(middleware::from_fn(around::as_problems))
        .layer(middleware::from_fn(around::to_the_end))
        .layer(DefaultBodyLimit::max(api::BODY_MAX_BYTES))
        .with_state(gateway)
}

fn device(id: &str) -> Result<DeviceId, Failure> {
    id.parse().map_err(|error| Failure::invalid(&error))
}

/// How the gateway is; also while it is sealed.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = api::Status)))]
async fn status(State(gateway): Gate) -> Json<api::Status> {
    Json(gateway.status())
}

/// Drops every key from memory, and every session.
#[utoipa::path(post, path = "/api/v1/seal", responses((status = 200, body = api::Sealing)))]
async fn seal(State(gateway): Gate, Extension(caller): Extension<Caller>) -> Answer<api::Sealing> {
    gateway.seal(caller.actor()).await?;
    Ok(Json(api::Sealing { sealed: true }))
}

/// Opens the home with a passphrase or the recovery code.
#[utoipa::path(post, path = "/api/v1/unseal", request_body = api::UnsealRequest, responses((status = 200, body = api::Sealing)))]
async fn unseal(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::UnsealRequest>,
) -> Answer<api::Sealing> {
    gateway.unseal(caller.actor(), request.words.into()).await?;
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

/// Opens a claim. The secret is in the answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/claims", request_body = api::ClaimRequest, responses((status = 200, body = api::ClaimOpened)))]
async fn open_claim(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::ClaimRequest>,
) -> Answer<api::ClaimOpened> {
    let home = gateway.home()?;
    let environment = home.environment(&request.environment)?;
    caller.permit(Act::DeviceClaim, &environment)?;
    Ok(Json(home.open_claim(caller.actor(), &request).await?))
}

#[derive(Deserialize, IntoParams)]
struct DevicesQuery {
    /// The cursor: the last device of the page before.
    #[serde(default)]
    after: String,
    /// Devices on the page at most.
    #[serde(default = "page")]
    limit: u32,
}

fn page() -> u32 {
    100
}

/// Lists devices in the order of their ids.
#[utoipa::path(get, path = "/api/v1/devices", params(DevicesQuery), responses((status = 200, body = api::DevicePage)))]
async fn list_devices(
    State(gateway): Gate,
    Query(query): Query<DevicesQuery>,
) -> Answer<api::DevicePage> {
    Ok(Json(
        gateway.home()?.device_page(&query.after, query.limit)?,
    ))
}

/// Shows a device with its certificates and claims.
#[utoipa::path(get, path = "/api/v1/devices/{id}", params(("id" = String, Path)), responses((status = 200, body = api::DeviceView)))]
async fn show_device(State(gateway): Gate, Path(id): Path<String>) -> Answer<api::DeviceView> {
    Ok(Json(gateway.home()?.device_in_full(&device(&id)?)?))
}

async fn change_state(
    gateway: &Gateway,
    caller: &Caller,
    id: &str,
    change: StateChange,
) -> Answer<api::DeviceChanged> {
    let device = device(id)?;
    let (state, sessions_dropped) = gateway
        .home()?
        .change_state(caller.actor(), &device, change)
        .await?;
    let state = state.as_str().to_owned();
    Ok(Json(api::DeviceChanged {
        device: device.to_string(),
        state,
        sessions_dropped,
    }))
}

/// Cuts a device off for now.
#[utoipa::path(post, path = "/api/v1/devices/{id}/suspend", params(("id" = String, Path)), responses((status = 200, body = api::DeviceChanged)))]
async fn suspend(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<api::DeviceChanged> {
    change_state(&gateway, &caller, &id, StateChange::Suspend).await
}

/// Lets a suspended device in again.
#[utoipa::path(post, path = "/api/v1/devices/{id}/resume", params(("id" = String, Path)), responses((status = 200, body = api::DeviceChanged)))]
async fn resume(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<api::DeviceChanged> {
    change_state(&gateway, &caller, &id, StateChange::Resume).await
}

/// Takes a device out of service: certificates revoked, claims closed.
#[utoipa::path(post, path = "/api/v1/devices/{id}/retire", params(("id" = String, Path)), responses((status = 200, body = api::DeviceChanged)))]
async fn retire(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<api::DeviceChanged> {
    let reason = hearthkey_core::certificate::RevocationReason::CessationOfOperation;
    let device = device(&id)?;
    let retired = gateway
        .home()?
        .revoke(caller.actor(), &device, reason, StateChange::Retire)
        .await?;
    gateway
        .home()?
        .end_access_of(&caller.actor(), &device)
        .await?;
    Ok(Json(api::DeviceChanged {
        device: retired.device,
        state: "retired".into(),
        sessions_dropped: retired.sessions_dropped,
    }))
}

/// Asks a device to renew now.
#[utoipa::path(post, path = "/api/v1/devices/{id}/rotate", params(("id" = String, Path)), responses((status = 200, body = api::DeviceChanged)))]
async fn rotate(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<api::DeviceChanged> {
    let device = device(&id)?;
    let state = gateway
        .home()?
        .rotate(caller.actor(), &device)
        .await?
        .as_str()
        .to_owned();
    Ok(Json(api::DeviceChanged {
        device: device.to_string(),
        state,
        sessions_dropped: 0,
    }))
}

/// Takes a device back: its sessions are cut before this is answered.
#[utoipa::path(post, path = "/api/v1/devices/{id}/revoke", params(("id" = String, Path)), request_body = api::RevokeRequest, responses((status = 200, body = api::Revoked)))]
async fn revoke(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(request): Json<api::RevokeRequest>,
) -> Answer<api::Revoked> {
    let reason = request
        .reason
        .parse()
        .map_err(|error| Failure::invalid(&error))?;
    let device = device(&id)?;
    let home = gateway.home()?;
    let actor = caller.actor();
    let revoked = home
        .revoke(actor.clone(), &device, reason, StateChange::Revoke)
        .await?;
    // The device is out; a token that was bound to it opens nothing, and is said to be revoked too.
    if let Err(failure) = home.end_access_of(&actor, &device).await {
        tracing::warn!(%device, why = failure.0.detail, "a token of a revoked device could not be revoked yet");
    }
    Ok(Json(revoked))
}

/// Approves the key that a device has presented.
#[utoipa::path(post, path = "/api/v1/devices/{id}/approve", params(("id" = String, Path)), request_body = api::ApproveRequest, responses((status = 200, body = api::DeviceChanged)))]
async fn approve(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(request): Json<api::ApproveRequest>,
) -> Answer<api::DeviceChanged> {
    let key = request
        .key_sha256
        .parse()
        .map_err(|error| Failure::invalid(&error))?;
    let device = device(&id)?;
    let home = gateway.home()?;
    home.approve(caller.actor(), &device, key).await?;
    let state = home.known(&device)?.device.state.as_str().to_owned();
    Ok(Json(api::DeviceChanged {
        device: device.to_string(),
        state,
        sessions_dropped: 0,
    }))
}

/// Lists the profiles.
#[utoipa::path(get, path = "/api/v1/profiles", responses((status = 200, body = api::Named)))]
async fn list_profiles(State(gateway): Gate) -> Answer<api::Named> {
    Ok(Json(api::Named {
        names: gateway.home()?.profile_names(),
    }))
}

/// Adds or replaces a person's own profile.
#[utoipa::path(post, path = "/api/v1/profiles", request_body = api::ProfileText, responses((status = 200, body = api::ProfileText)))]
async fn put_profile(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(profile): Json<api::ProfileText>,
) -> Answer<api::ProfileText> {
    Ok(Json(
        gateway
            .home()?
            .put_profile(caller.actor(), profile.toml)
            .await?,
    ))
}

/// Shows a profile.
#[utoipa::path(get, path = "/api/v1/profiles/{name}", params(("name" = String, Path)), responses((status = 200, body = api::ProfileText)))]
async fn show_profile(State(gateway): Gate, Path(name): Path<String>) -> Answer<api::ProfileText> {
    Ok(Json(gateway.home()?.profile_text(&name)?))
}

/// Lists the environments.
#[utoipa::path(get, path = "/api/v1/environments", responses((status = 200, body = api::Named)))]
async fn list_environments(State(gateway): Gate) -> Answer<api::Named> {
    Ok(Json(api::Named {
        names: gateway.home()?.environments(),
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
    home.add_environment(caller.actor(), &request.name).await?;
    Ok(Json(api::Named {
        names: home.environments(),
    }))
}

fn bytes(kind: &'static str, body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// The roots to trust, in PEM.
#[utoipa::path(get, path = "/api/v1/trust/bundle", responses((status = 200, body = String, content_type = "application/pem-certificate-chain")))]
async fn trust_bundle(State(gateway): Gate) -> Result<Response, Failure> {
    Ok(bytes(
        "application/pem-certificate-chain",
        gateway.home()?.trust_bundle().into_bytes(),
    ))
}

/// The CRL of an environment's issuing CA, in DER.
#[utoipa::path(get, path = "/api/v1/trust/crl/{environment}", params(("environment" = String, Path)), responses((status = 200, body = Vec<u8>, content_type = "application/pkix-crl")))]
async fn trust_crl(
    State(gateway): Gate,
    Path(environment): Path<String>,
) -> Result<Response, Failure> {
    let home = gateway.home()?;
    let name = environment
        .parse()
        .map_err(|error| Failure::invalid(&error))?;
    let der = locked(&home.crls).get(&name).map(|crl| crl.der.clone());
    let der = der.ok_or_else(|| Failure::not_found("environment", &name))?;
    Ok(bytes("application/pkix-crl", der))
}

#[derive(Deserialize, IntoParams)]
struct RecordsQuery {
    /// The first record.
    #[serde(default)]
    from: u64,
    /// Records on the page at most.
    #[serde(default = "page")]
    limit: u32,
}

/// Audit records, each exactly the leaf's bytes.
#[utoipa::path(get, path = "/api/v1/log/records", params(RecordsQuery), responses((status = 200, body = api::RecordPage)))]
async fn records(
    State(gateway): Gate,
    Query(query): Query<RecordsQuery>,
) -> Answer<api::RecordPage> {
    let home = gateway.home()?;
    let limit = query.limit.clamp(1, api::PAGE_MAX);
    let records = home
        .store
        .read(|registry| registry.records(query.from, limit))?;
    let next = query.from + records.len() as u64;
    let records = records
        .into_iter()
        .map(|r| String::from_utf8_lossy(&r).into_owned())
        .collect();
    Ok(Json(api::RecordPage {
        records,
        next,
        size: home.log_size(),
    }))
}

/// The newest signed checkpoint.
#[utoipa::path(get, path = "/api/v1/log/checkpoint", responses((status = 200, body = String, content_type = "text/plain")))]
async fn checkpoint(State(gateway): Gate) -> Result<Response, Failure> {
    let home = gateway.home()?;
    let newest = home.store.checkpoints().borrow().clone();
    let newest = newest.ok_or_else(|| Failure::not_found("log", &"checkpoint"))?;
    Ok(bytes("text/plain", newest.note.clone()))
}

/// The log's public key.
#[utoipa::path(get, path = "/api/v1/log/key", responses((status = 200, body = api::LogKeyView)))]
async fn log_key(State(gateway): Gate) -> Answer<api::LogKeyView> {
    Ok(Json(api::LogKeyView {
        vkey: gateway.home()?.store.vkey().to_owned(),
    }))
}

/// A proof that a record is in the log.
#[utoipa::path(get, path = "/api/v1/log/proof/{seq}", params(("seq" = u64, Path)), responses((status = 200, body = String, content_type = "text/plain")))]
async fn proof(State(gateway): Gate, Path(seq): Path<u64>) -> Result<Response, Failure> {
    let proof = gateway.home()?.store.prove(seq)?;
    Ok(bytes(
        "text/plain",
        proof.ok_or_else(|| Failure::not_found("log", &format!("record {seq}")))?,
    ))
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
    Ok(Json(gateway.status()))
}

impl Home {
    pub(crate) fn log_size(&self) -> u64 {
        self.store
            .checkpoints()
            .borrow()
            .as_ref()
            .map_or(0, |newest| newest.size)
    }
}

/// For a listener whose caller could not be told.
pub(crate) fn forbidden() -> Response {
    Failure::new(
        StatusCode::FORBIDDEN,
        api::code::FORBIDDEN,
        "You may not speak to this gateway.",
        "Its own user, root and the members of the group hearthkey may.",
        "Ask for membership of the group, or use sudo.",
    )
    .into_response()
}
