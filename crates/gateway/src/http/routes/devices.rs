//! The routes about devices and their claims.

use std::sync::Arc;

use crate::http::policy::{Thing, act};
use crate::http::route::{Route, route};
use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use hearthkey_api as api;
use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::device::Change as StateChange;
use hearthkey_core::id::{DeviceId, EnvironmentName};
use hearthkey_core::role::{Act, Scope};
use hearthkey_store::devices::{DeviceFilter, DeviceSlice, SortBy};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::home::Home;
use crate::http::gateway::Gateway;
use crate::http::middleware::run_to_end::Arrived;
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(
            routes!(open_claim),
            act(Act::DeviceClaim).anywhere().creates(),
        ),
        route(routes!(list_devices), act(Act::DeviceRead).anywhere()),
        route(routes!(summary), act(Act::DeviceRead).anywhere()),
        route(routes!(show_device), act(Act::DeviceRead).of(Thing::Device)),
        route(
            routes!(suspend),
            act(Act::DeviceChange).of(Thing::Device).ends_access(),
        ),
        route(routes!(resume), act(Act::DeviceChange).of(Thing::Device)),
        route(
            routes!(retire),
            act(Act::DeviceChange).of(Thing::Device).ends_access(),
        ),
        route(routes!(rotate), act(Act::DeviceChange).of(Thing::Device)),
        route(
            routes!(revoke),
            act(Act::DeviceChange).of(Thing::Device).ends_access(),
        ),
        route(routes!(approve), act(Act::DeviceApprove).of(Thing::Device)),
        route(routes!(waiting), act(Act::DeviceRead).anywhere()),
        route(
            routes!(readmit),
            act(Act::DeviceReadmit).judged_by_use_case(),
        ),
        route(routes!(rights), act(Act::DeviceRead).of(Thing::Device)),
        route(
            routes!(narrow),
            act(Act::DeviceChange).of(Thing::Device).ends_access(),
        ),
        route(routes!(widen), act(Act::DeviceApprove).of(Thing::Device)),
    ]
}

fn device(id: &str) -> Result<DeviceId, Failure> {
    id.parse().map_err(|error| Failure::invalid(&error))
}

/// What became of a device by a change that is on the disk, and dropped no session.
fn durably(device: &DeviceId, state: &str) -> api::DeviceChanged {
    api::DeviceChanged {
        device: device.to_string(),
        state: state.to_owned(),
        sessions_dropped: 0,
        durable: true,
    }
}

/// Opens a claim. The secret is in the answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/claims", request_body = api::ClaimRequest, responses((status = 200, body = api::ClaimOpened)))]
async fn open_claim(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::ClaimRequest>,
) -> Answer<api::ClaimOpened> {
    let home = gateway.home()?;
    // So that an unknown one is reported as not found to every caller.
    home.vault.environment(&request.environment)?;
    Ok(Json(home.devices.open_claim(&caller, &request).await?))
}

#[derive(Deserialize, IntoParams)]
struct DevicesQuery {
    /// The cursor: the last device of the page before. Only in the order of ids, and not with `offset`.
    #[serde(default)]
    after: String,
    /// Devices that are left out at the beginning.
    #[serde(default)]
    offset: u32,
    /// Devices on the page at most.
    #[serde(default = "page")]
    limit: u32,
    /// With this text in their ids, owners or purposes.
    q: Option<String>,
    /// In one of these states, separated by commas; `connected` are those with a live session.
    state: Option<String>,
    /// Of this environment.
    environment: Option<String>,
    /// Of this profile.
    profile: Option<String>,
    /// Of this owner.
    owner: Option<String>,
    /// `id`, `not_after`, `last_seen_at` or `created_at`.
    sort: Option<String>,
    /// `asc` or `desc`.
    order: Option<String>,
}

fn page() -> u32 {
    100
}

/// The longest text that is searched for, in bytes.
const TEXT_MAX_BYTES: usize = 200;

impl DevicesQuery {
    /// What is asked for, as far as the caller reaches.
    fn read(self, home: &Home, caller: &Caller) -> Result<(DeviceFilter, DeviceSlice), Failure> {
        let sort = match self.sort.as_deref() {
            None | Some("id") => SortBy::Id,
            Some("not_after") => SortBy::NotAfter,
            Some("last_seen_at") => SortBy::LastSeen,
            Some("created_at") => SortBy::Created,
            Some(_) => {
                let why = "devices are sorted by id, not_after, last_seen_at or created_at";
                return Err(Failure::invalid(&why));
            }
        };
        let descending = match self.order.as_deref() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(Failure::invalid(&"an order is asc or desc")),
        };
        let texts = [&self.q, &self.state, &self.profile, &self.owner];
        if texts
            .into_iter()
            .flatten()
            .any(|text| text.len() > TEXT_MAX_BYTES)
        {
            let why = format!("a filter has at most {TEXT_MAX_BYTES} bytes");
            return Err(Failure::invalid(&why));
        }
        let named = self.environment.as_deref().filter(|name| !name.is_empty());
        let named = named.map(|name| home.vault.environment(name)).transpose()?;
        let mut states: Vec<String> = self
            .state
            .iter()
            .flat_map(|states| states.split(','))
            .filter(|state| !state.is_empty())
            .map(str::to_owned)
            .collect();
        let connected = states.iter().any(|state| state == "connected");
        states.retain(|state| state != "connected");
        let filter = DeviceFilter {
            text: self.q.filter(|text| !text.is_empty()),
            states,
            environments: environments_of(caller, named),
            profile: self.profile.filter(|name| !name.is_empty()),
            owner: self.owner.filter(|name| !name.is_empty()),
            among: connected.then(|| home.devices.connected_devices()),
        };
        let slice = DeviceSlice {
            sort,
            descending,
            after: self.after,
            offset: self.offset,
            limit: self.limit.clamp(1, api::PAGE_MAX),
        };
        Ok((filter, slice))
    }
}

/// The environments in which a caller may see devices, or the one of them that is asked for; none if all.
fn environments_of(
    caller: &Caller,
    asked: Option<EnvironmentName>,
) -> Option<Vec<EnvironmentName>> {
    match (caller.scope(Act::DeviceRead), asked) {
        (Some(Scope::All), asked) => asked.map(|name| vec![name]),
        (Some(Scope::These(these)), None) => Some(these.iter().cloned().collect()),
        (Some(scope), Some(asked)) if scope.has(&asked) => Some(vec![asked]),
        _ => Some(Vec::new()),
    }
}

/// Lists devices. `total` counts all that fit.
#[utoipa::path(get, path = "/api/v1/devices", params(DevicesQuery), responses((status = 200, body = api::DevicePage)))]
async fn list_devices(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Query(query): Query<DevicesQuery>,
) -> Answer<api::DevicePage> {
    let home = gateway.home()?;
    let (filter, slice) = query.read(&home, &caller)?;
    Ok(Json(home.devices.device_page(&filter, &slice)?))
}

/// How many devices there are, by state, environment and profile.
#[utoipa::path(get, path = "/api/v1/devices/summary", responses((status = 200, body = api::DeviceSummary)))]
async fn summary(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::DeviceSummary> {
    let environments = environments_of(&caller, None);
    Ok(Json(
        gateway
            .home()?
            .devices
            .device_summary(environments.as_deref()),
    ))
}

/// Shows a device with its certificates and claims.
#[utoipa::path(get, path = "/api/v1/devices/{id}", params(("id" = String, Path)), responses((status = 200, body = api::DeviceView)))]
async fn show_device(State(gateway): Gate, Path(id): Path<String>) -> Answer<api::DeviceView> {
    Ok(Json(gateway.home()?.devices.device_in_full(&device(&id)?)?))
}

/// Cuts a device off for now.
#[utoipa::path(post, path = "/api/v1/devices/{id}/suspend", params(("id" = String, Path)), responses((status = 200, body = api::DeviceChanged)))]
async fn suspend(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Extension(Arrived(arrived)): Extension<Arrived>,
    Path(id): Path<String>,
) -> Answer<api::DeviceChanged> {
    let device = device(&id)?;
    let out =
        gateway
            .home()?
            .devices
            .suspend(&caller.permitted(Act::DeviceChange)?, &device, arrived)?;
    Ok(Json(api::DeviceChanged {
        device: device.to_string(),
        state: out.state.as_str().to_owned(),
        sessions_dropped: out.sessions_dropped,
        durable: out.ending.durable_in_time().await,
    }))
}

/// Lets a suspended device in again.
#[utoipa::path(post, path = "/api/v1/devices/{id}/resume", params(("id" = String, Path)), responses((status = 200, body = api::DeviceChanged)))]
async fn resume(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<api::DeviceChanged> {
    let device = device(&id)?;
    let state = gateway
        .home()?
        .devices
        .resume(&caller.permitted(Act::DeviceChange)?, &device)
        .await?;
    Ok(Json(durably(&device, state.as_str())))
}

/// Takes a device out of service: certificates revoked, claims closed.
#[utoipa::path(post, path = "/api/v1/devices/{id}/retire", params(("id" = String, Path)), responses((status = 200, body = api::DeviceChanged)))]
async fn retire(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Extension(Arrived(arrived)): Extension<Arrived>,
    Path(id): Path<String>,
) -> Answer<api::DeviceChanged> {
    let (device, home) = (device(&id)?, gateway.home()?);
    let how = (RevocationReason::CessationOfOperation, StateChange::Retire);
    let retired = home
        .bulk
        .put_out(&caller.permitted(Act::DeviceChange)?, &device, how, arrived)
        .await?;
    Ok(Json(api::DeviceChanged {
        device: retired.device,
        state: "retired".into(),
        sessions_dropped: retired.sessions_dropped,
        durable: retired.durable,
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
        .devices
        .rotate(&caller.permitted(Act::DeviceChange)?, &device)
        .await?;
    Ok(Json(durably(&device, state.as_str())))
}

/// Takes a device back: its sessions are cut before this is answered.
#[utoipa::path(post, path = "/api/v1/devices/{id}/revoke", params(("id" = String, Path)), request_body = api::RevokeRequest, responses((status = 200, body = api::Revoked)))]
async fn revoke(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Extension(Arrived(arrived)): Extension<Arrived>,
    Path(id): Path<String>,
    Json(request): Json<api::RevokeRequest>,
) -> Answer<api::Revoked> {
    let reason = request
        .reason
        .parse()
        .map_err(|error| Failure::invalid(&error))?;
    let device = device(&id)?;
    let home = gateway.home()?;
    let revoked = home
        .bulk
        .put_out(
            &caller.permitted(Act::DeviceChange)?,
            &device,
            (reason, StateChange::Revoke),
            arrived,
        )
        .await?;
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
    home.devices
        .approve(&caller.permitted(Act::DeviceApprove)?, &device, key)
        .await?;
    let state = home.devices.standing(&device)?;
    Ok(Json(durably(&device, state.as_str())))
}

/// Lists the devices that a restored home does not know and that wait until a person confirms them.
#[utoipa::path(get, path = "/api/v1/devices/waiting", responses((status = 200, body = api::WaitingList)))]
async fn waiting(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
) -> Answer<api::WaitingList> {
    Ok(Json(gateway.home()?.devices.waiting_devices(&caller)?))
}

/// Lets one device in again that a restored home does not know: to renew with a new key, and nothing else until then.
#[utoipa::path(post, path = "/api/v1/devices/{id}/readmit", params(("id" = String, Path)), request_body = api::ReadmitRequest, responses((status = 200, body = api::DeviceChanged)))]
async fn readmit(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(request): Json<api::ReadmitRequest>,
) -> Answer<api::DeviceChanged> {
    let device = device(&id)?;
    let home = gateway.home()?;
    let state = home.devices.readmit(&caller, &device, request).await?;
    Ok(Json(durably(&device, state.as_str())))
}

/// What a device may do, and what of it it has done.
#[utoipa::path(get, path = "/api/v1/devices/{id}/rights", params(("id" = String, Path)), responses((status = 200, body = api::RightsView)))]
async fn rights(State(gateway): Gate, Path(id): Path<String>) -> Answer<api::RightsView> {
    Ok(Json(
        gateway.home()?.devices.rights_view(&device(&id)?).await?,
    ))
}

/// Leaves a device some of its rights. Its sessions are dropped once.
#[utoipa::path(post, path = "/api/v1/devices/{id}/narrow", params(("id" = String, Path)), request_body = api::NarrowRequest, responses((status = 200, body = api::Narrowed)))]
async fn narrow(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(request): Json<api::NarrowRequest>,
) -> Answer<api::Narrowed> {
    let home = gateway.home()?;
    Ok(Json(
        home.devices
            .narrow(
                &caller.permitted(Act::DeviceChange)?,
                &device(&id)?,
                &request,
            )
            .await?,
    ))
}

/// Gives a device all that its profile grants. Its sessions are dropped once.
#[utoipa::path(post, path = "/api/v1/devices/{id}/widen", params(("id" = String, Path)), responses((status = 200, body = api::RightsView)))]
async fn widen(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<api::RightsView> {
    let home = gateway.home()?;
    Ok(Json(
        home.devices
            .widen(&caller.permitted(Act::DeviceApprove)?, &device(&id)?)
            .await?,
    ))
}
