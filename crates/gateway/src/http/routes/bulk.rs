//! The routes of one act on many devices.

use std::sync::Arc;

use crate::http::policy::act;
use crate::http::route::{Route, route};
use axum::Json;
use axum::extract::{Extension, State};
use hearthkey_api as api;
use hearthkey_core::bulk::BulkAct;
use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::device::Change as StateChange;
use hearthkey_core::role::{Act, Scope};
use tokio::time::timeout;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::bulk::acts::{self, Unread};
use crate::home::Home;
use crate::http::gateway::Gateway;
use crate::http::middleware::run_to_end::Arrived;
use crate::state::endings::PATIENCE;
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(
            routes!(preview),
            act(Act::DeviceChange).anywhere().before_an_end(),
        ),
        route(
            routes!(act_on_many),
            act(Act::DeviceChange).anywhere().ends_access(),
        ),
    ]
}

fn parsed(action: &str) -> Result<BulkAct, Failure> {
    action.parse().map_err(|error| Failure::invalid(&error))
}

/// Why a device is revoked. Nothing else that is done to one has a reason to choose.
fn reason_of(act: BulkAct, reason: Option<&str>) -> Result<RevocationReason, Failure> {
    match (act, reason.filter(|reason| !reason.is_empty())) {
        (BulkAct::Retire, None) => Ok(RevocationReason::CessationOfOperation),
        (_, None) => Ok(RevocationReason::Unspecified),
        (BulkAct::Revoke, Some(reason)) => reason.parse().map_err(|error| Failure::invalid(&error)),
        (_, Some(_)) => Err(Failure::invalid(&"only a revocation has a reason")),
    }
}

/// The devices that are named, as far as the caller may change them; and the first refusal that is to be recorded.
fn named(
    home: &Home,
    caller: &Caller,
    devices: &[String],
    unread: Unread,
) -> Result<(acts::Named, Option<Failure>), Failure> {
    let scope = caller.scope(Act::DeviceChange);
    let scope = scope.ok_or_else(crate::auth::forbidden::not_for_services)?;
    let named = home.bulk.named_devices(devices, scope, unread)?;
    let beyond = match (scope, named.missing.first()) {
        (Scope::These(_), Some((_, Failure(problem)))) => Some(Failure(problem.clone())),
        _ => None,
    };
    Ok((named, beyond))
}

/// Writes down what was beyond the caller's reach. Nothing that ends access waits for that longer than an answer does.
async fn record(home: &Home, caller: &Caller, path: &str, beyond: Option<Failure>) {
    if let Some(failure) = beyond {
        let recorded = home.record_beyond(caller, ("POST", path), &failure);
        // It is on its way to the disk, also if nobody waits for it any more.
        let _ = timeout(PATIENCE, recorded).await;
    }
}

/// Says what would happen to each device, and does nothing.
#[utoipa::path(post, path = "/api/v1/devices/preview", request_body = api::BulkPreviewRequest, responses((status = 200, body = api::BulkPreview)))]
async fn preview(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::BulkPreviewRequest>,
) -> Answer<api::BulkPreview> {
    let act = parsed(&request.action)?;
    let home = gateway.home()?;
    let path = "/api/v1/devices/preview";
    let (named, beyond) = named(&home, &caller, &request.devices, Unread::Refuse)?;
    record(&home, &caller, path, beyond).await;
    Ok(Json(acts::preview(act, named)))
}

/// Does one thing to many devices, each by itself: what fails with one keeps no other from it.
#[utoipa::path(post, path = "/api/v1/devices/bulk", request_body = api::BulkRequest, responses((status = 200, body = api::BulkOutcome)))]
async fn act_on_many(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Extension(Arrived(arrived)): Extension<Arrived>,
    Json(request): Json<api::BulkRequest>,
) -> Answer<api::BulkOutcome> {
    let act = parsed(&request.action)?;
    let reason = reason_of(act, request.reason.as_deref())?;
    let home = gateway.home()?;
    let path = "/api/v1/devices/bulk";
    let unread = match act.change() {
        Some(change) if change != StateChange::Resume => Unread::AsInForce,
        _ => Unread::Refuse,
    };
    let (named, beyond) = named(&home, &caller, &request.devices, unread)?;
    let (outcome, ()) = tokio::join!(
        home.bulk.bulk(&caller, (act, reason), named, arrived),
        record(&home, &caller, path, beyond),
    );
    Ok(Json(outcome?))
}
