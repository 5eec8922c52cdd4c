//! Where a device comes from: the record of its enrollment, and what has happened to it since.
//!
//! A device enrolls through a claim, and its enrollment is on record under the claim. So the records
//! of its claims belong to its history.

use std::sync::Arc;

use crate::http::policy::{Thing, act};
use crate::http::route::{Route, route};
use axum::Json;
use axum::extract::{Path, State};
use hearthkey_api as api;
use hearthkey_core::audit::Record;
use hearthkey_core::claim::Claim;
use hearthkey_core::id::DeviceId;
use hearthkey_core::role::Act;
use hearthkey_store::log_search::RecordFilter;
use hearthkey_store::registry::{ReadError, Registry};
use utoipa_axum::routes;

use crate::home::Home;
use crate::http::gateway::Gateway;
use crate::http::routes::events::event;
use crate::state::failure::Failure;

/// Records that are listed for one device.
const HISTORY_MAX: usize = 100;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![route(
        routes!(provenance),
        act(Act::DeviceRead).of(Thing::Device),
    )]
}

/// Where a device comes from: the sealed record of its enrollment, and the last records about it and its claims.
#[utoipa::path(get, path = "/api/v1/devices/{id}/provenance", params(("id" = String, Path)), responses((status = 200, body = api::DeviceProvenance)))]
async fn provenance(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<api::DeviceProvenance>, Failure> {
    let device = id.parse().map_err(|error| Failure::invalid(&error))?;
    Ok(Json(gateway.home()?.provenance(&device)?))
}

impl Home {
    fn provenance(&self, device: &DeviceId) -> Result<api::DeviceProvenance, Failure> {
        self.devices.known(device)?;
        let size = self.audit.log_size();
        let (enrolled, history, archived, first) = self.ctx.store().read(|registry| {
            let claims = registry.claims_of(device)?;
            let mut objects = vec![format!("device:{device}")];
            objects.extend(claims.iter().map(object));
            let enrolled = enrollment(registry, &claims, size)?;
            Ok((
                enrolled,
                registry.records_about(&objects, HISTORY_MAX)?,
                registry.archived_about(&objects)?,
                registry.first_here()?,
            ))
        })?;
        // A record whose content is gone has nothing to tell.
        let history = history
            .iter()
            .filter_map(|(_, leaf)| serde_json::from_slice::<Record>(leaf).ok())
            .map(event);
        Ok(api::DeviceProvenance {
            enrolled: enrolled.and_then(|(seq, leaf)| sealed(seq, &leaf)),
            history: history.collect(),
            archived,
            first,
        })
    }
}

fn object(claim: &Claim) -> String {
    format!("claim:{}", claim.id)
}

/// The record of the newest enrollment: the certificates that a device has now descend from it.
fn enrollment(
    registry: &Registry<'_>,
    claims: &[Claim],
    size: u64,
) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
    let used = claims
        .iter()
        .filter_map(|claim| Some((claim.used?.at, claim)));
    let Some((_, claim)) = used.max_by_key(|(at, _)| *at) else {
        return Ok(None);
    };
    let filter = RecordFilter {
        action: Some("device.enroll".into()),
        object: Some(object(claim)),
        outcome: Some("done".into()),
        ..RecordFilter::default()
    };
    let found = registry.search_records(&filter, (registry.first_here()?, size), 1)?;
    Ok(found.records.into_iter().next())
}

fn sealed(seq: u64, leaf: &[u8]) -> Option<api::Enrolled> {
    let record: Record = serde_json::from_slice(leaf).ok()?;
    Some(api::Enrolled {
        seq,
        record: String::from_utf8(leaf.to_vec()).ok()?,
        time: record.time.to_string(),
        actor: record.actor.name,
    })
}
