//! The route of the first screen: is the house in order?

use std::sync::Arc;

use crate::http::policy::act;
use crate::http::route::{Route, route};
use axum::Json;
use axum::extract::{Extension, State};
use hearthkey_api as api;
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::role::{Act, Scope};
use hearthkey_core::time::{Span, Timestamp};
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::home::Home;
use crate::http::gateway::Gateway;
use crate::state::failure::Failure;
use crate::vault::views::ends_at;

/// How far ahead ends are told.
const AHEAD: Span = Span::days(7 * 12);
/// What needs somebody, at most; the rest is counted.
const NEEDS_MAX: usize = 50;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![route(routes!(overview), act(Act::HomeRead).anywhere())]
}

/// Is the house in order, what needs somebody, and what ends soon?
#[utoipa::path(get, path = "/api/v1/overview", responses((status = 200, body = api::Overview)))]
async fn overview(
    State(gateway): State<Arc<Gateway>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<api::Overview>, Failure> {
    Ok(Json(gateway.home()?.overview(&caller)?))
}

fn reached(caller: &Caller, act: Act) -> Option<Vec<EnvironmentName>> {
    match caller.scope(act) {
        Some(Scope::All) => None,
        Some(Scope::These(these)) => Some(these.iter().cloned().collect()),
        None => Some(Vec::new()),
    }
}

fn day(at: Timestamp) -> i64 {
    at.as_ms().div_euclid(DAY_MS)
}

impl Home {
    fn overview(&self, caller: &Caller) -> Result<api::Overview, Failure> {
        let now = self.ctx.now();
        let mut needs = self.held_requests(caller);
        let findings = self.posture.posture(caller)?.findings;
        needs.extend(
            findings
                .into_iter()
                .map(|api::PostureFinding { finding, why, .. }| api::Need {
                    id: Some(finding.id),
                    kind: finding.kind,
                    severity: finding.severity,
                    object: finding.object,
                    what: finding.what,
                    why,
                    remedy: finding.remedy,
                    remedy_action: finding.remedy_action,
                }),
        );
        let needed = needs.len();
        let acute = needs.iter().filter(|need| need.severity == "critical");
        let acute = acute.count();
        needs.truncate(NEEDS_MAX);
        let environments = reached(caller, Act::DeviceRead);
        Ok(api::Overview {
            home: self.ctx.id().to_string(),
            state: match (needed, acute) {
                (0, _) => "in-order",
                (_, 0) => "look",
                _ => "act",
            }
            .into(),
            needs,
            needed,
            acute,
            ends: self.ends(caller, environments.as_deref(), now)?,
            devices: self.devices.device_summary(environments.as_deref()),
            log_size: self.audit.log_size(),
            clock: self.clock_view(),
            storage_available: self.ctx.storage_available(),
            incident: self
                .ctx
                .store()
                .incident()
                .map(|incident| incident.to_string()),
        })
    }

    /// Requests for certificates that wait for an approval.
    fn held_requests(&self, caller: &Caller) -> Vec<api::Need> {
        let claims = self.devices.waiting_claims();
        let waiting = claims.into_iter().filter_map(|claim| {
            let found = self.ctx.store().read(|registry| {
                let Some(claim) = registry.claim(&claim)? else {
                    return Ok(None);
                };
                registry.device(&claim.device)
            });
            let device = found.ok()??.device;
            caller.permit(Act::DeviceRead, &device.environment).ok()?;
            Some(api::Need {
                id: None,
                kind: "approval".into(),
                severity: "high".into(),
                object: format!("device:{}", device.id),
                what: "Its key is waiting for approval.".into(),
                why: "It cannot connect until its key is compared and approved.".into(),
                remedy: format!(
                    "Compare the SHA-256 of its key with the one that the device shows, then approve it. On the command line: \
                     `hearthkey device show {0}`, then `hearthkey device approve {0} --key SHA256`.",
                    device.id
                ),
                remedy_action: None,
            })
        });
        waiting.collect()
    }

    /// When credentials that the caller may see end, or are due, in a span of time.
    fn credentials_ending(
        &self,
        caller: &Caller,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Timestamp>, Failure> {
        let mut ends = Vec::new();
        self.ctx.store().read(|registry| {
            registry.each_active(|known| {
                let at = ends_at(known).filter(|at| *at >= from && *at < until);
                if at.is_some() && caller.may_list(&known.credential.id) {
                    ends.extend(at);
                }
            })
        })?;
        Ok(ends)
    }

    /// What ends on which of the coming days.
    fn ends(
        &self,
        caller: &Caller,
        environments: Option<&[EnvironmentName]>,
        now: Timestamp,
    ) -> Result<Vec<api::EndsOn>, Failure> {
        let until = now.after(AHEAD);
        let mut days = std::collections::BTreeMap::<i64, api::EndsOn>::new();
        let entry = |number: i64| api::EndsOn {
            date: Timestamp::from_ms(number * DAY_MS).to_string()[..10].to_owned(),
            devices: 0,
            credentials: 0,
            tokens: 0,
        };
        let devices = self
            .ctx
            .store()
            .read(|registry| registry.certificates_ending(environments, now, until))?;
        for (number, count) in devices {
            days.entry(number).or_insert_with(|| entry(number)).devices = count;
        }
        for at in self.credentials_ending(caller, now, until)? {
            let number = day(at);
            days.entry(number)
                .or_insert_with(|| entry(number))
                .credentials += 1;
        }
        let scope = caller.scope(Act::TokenRead);
        for token in self.auth.tokens.all() {
            let seen = scope.is_some_and(|scope| token.power.is_within(scope));
            let ends = token.renewable_until();
            if seen && token.revoked_at.is_none() && ends >= now && ends < until {
                let number = day(ends);
                days.entry(number).or_insert_with(|| entry(number)).tokens += 1;
            }
        }
        Ok(days.into_values().collect())
    }
}
