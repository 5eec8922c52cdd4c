//! What happens, as it happens: a long poll that also works where streams do not.
//!
//! The cursor is the log's size, so that nothing is missed across a reconnect or a restart, and two
//! counts in this process: of the comings and goings of sessions, and of changes in what is found about a large home.

use crate::http::waiters::{PER_CALLER_MAX, WAITING_MAX};
use std::sync::Arc;
use std::time::Duration;

use crate::http::policy::act;
use crate::http::route::{Route, route};
use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hearthkey_api::{self as api, code};
use hearthkey_core::audit::Record;
use hearthkey_core::role::{Act, Scope};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::auth::caller::Caller;
use crate::home::Home;
use crate::http::gateway::Gateway;
use crate::state::failure::Failure;

type Gate = State<Arc<Gateway>>;

/// The longest wait, in seconds.
const WAIT_MAX_S: u64 = 30;
/// Records in one answer at most. A client that is further behind reloads what it shows.
const RECORDS_MAX: u32 = 200;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![route(
        routes!(events),
        act(Act::HomeRead).anywhere().waits(),
    )]
}

#[derive(Deserialize, IntoParams)]
struct EventsQuery {
    /// The cursor: `next` of the answer before. Without one, the current state is returned at once.
    after: Option<String>,
    /// How long to wait for something, in seconds, 30 at most.
    wait_s: Option<u64>,
}

/// A place in what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    seq: u64,
    epoch: String,
    sessions: u64,
    findings: u64,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (seq, epoch, sessions) = (parts.next()?, parts.next()?, parts.next()?);
        let findings = parts.next()?;
        Some(Self {
            seq: seq.parse().ok()?,
            epoch: epoch.chars().take(32).collect(),
            sessions: sessions.parse().ok()?,
            findings: findings.parse().ok()?,
        })
    }

    fn text(&self) -> String {
        let Self {
            seq,
            epoch,
            sessions,
            findings,
        } = self;
        format!("{seq}-{epoch}-{sessions}-{findings}")
    }
}

/// What happened after a cursor; waits for it if it has not happened yet.
#[utoipa::path(get, path = "/api/v1/events", params(EventsQuery), responses((status = 200, body = api::Events)))]
async fn events(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Failure> {
    let served = gateway.served()?;
    let home = &served.home;
    let Some(after) = query.after.as_deref() else {
        let next = home.present_cursor().text();
        let present = api::Events {
            next,
            records: Vec::new(),
            connections: false,
            findings: false,
            missed: false,
        };
        return Ok(Json(present).into_response());
    };
    let after = Cursor::parse(after).ok_or_else(|| Failure::invalid(&"this is not a cursor"))?;
    let wait = Duration::from_secs(query.wait_s.unwrap_or(25).min(WAIT_MAX_S));
    let place = served.waiters.enter(&caller).ok_or_else(too_many)?;
    // Whether something came or the time was up: the answer tells.
    let _ = timeout(wait, home.something_after(&after)).await;
    // A session or a token that has ended meanwhile learns nothing more.
    home.auth.may_still_ask(&caller)?;
    let mut response = Json(home.events_after(&caller, &after)?).into_response();
    place.until_taken(&mut response);
    Ok(response)
}

fn too_many() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::BUSY,
        "Too many callers are waiting.",
        format!(
            "The gateway holds {WAITING_MAX} waits of people, and as many of services, {PER_CALLER_MAX} of one caller."
        ),
        "Try again in a few seconds.",
    )
}

impl Home {
    fn present_cursor(&self) -> Cursor {
        Cursor {
            seq: self.audit.log_size(),
            epoch: self.ctx.epoch().to_owned(),
            sessions: *self.ctx.broker().session_changes().borrow(),
            findings: *self.posture.judged.changes.borrow(),
        }
    }

    /// Resolves once something has happened after a cursor, or the home closes.
    async fn something_after(&self, after: &Cursor) {
        if after.epoch != self.ctx.epoch() {
            return;
        }
        let mut log = self.ctx.store().checkpoints();
        let mut sessions = self.ctx.broker().session_changes();
        let mut findings = self.posture.judged.changes.subscribe();
        let mut stopping = self.ctx.stopping().subscribe();
        tokio::select! {
            _ = log.wait_for(|newest| newest.as_ref().is_some_and(|n| n.size > after.seq)) => {}
            _ = sessions.wait_for(|count| *count != after.sessions) => {}
            _ = findings.wait_for(|count| *count != after.findings) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    fn events_after(&self, caller: &Caller, after: &Cursor) -> Result<api::Events, Failure> {
        let present = self.present_cursor();
        let behind = present.seq.saturating_sub(after.seq);
        // A log that is shorter than the cursor is another one: a backup was restored.
        // What is archived is not told any more.
        let first = self.ctx.store().read(|registry| registry.first_here())?;
        let missed =
            behind > u64::from(RECORDS_MAX) || after.seq > present.seq || after.seq < first;
        let leaves = match missed {
            true => Vec::new(),
            false => self
                .ctx
                .store()
                .read(|registry| registry.records(after.seq, RECORDS_MAX))?,
        };
        let records = leaves
            .iter()
            .filter_map(|leaf| serde_json::from_slice::<Record>(leaf).ok())
            .filter(|record| self.may_hear(caller, record))
            .map(event)
            .collect();
        Ok(api::Events {
            records,
            connections: present.epoch != after.epoch || present.sessions != after.sessions,
            findings: present.epoch != after.epoch || present.findings != after.findings,
            missed,
            next: present.text(),
        })
    }

    /// Whether somebody may know of a record: who reads the log, of all; others, of what lies in their environments.
    fn may_hear(&self, caller: &Caller, record: &Record) -> bool {
        if caller.may_everywhere(Act::LogRead) {
            return true;
        }
        let (kind, name) = record.object.split_once(':').unwrap_or_default();
        let environment = match kind {
            "device" => name.parse().ok().and_then(|device| {
                let known = self.ctx.store().read(|registry| registry.device(&device));
                Some(known.ok()??.device.environment)
            }),
            "credential" => name
                .split('/')
                .next()
                .and_then(|environment| environment.parse().ok()),
            _ => None,
        };
        let act = match kind {
            "device" => Act::DeviceRead,
            _ => Act::CredentialRead,
        };
        let scope = caller.scope(act);
        environment.is_some_and(|name| scope.is_some_and(|scope: Scope<'_>| scope.has(&name)))
    }
}

/// A record as it is told.
pub(crate) fn event(record: Record) -> api::Event {
    api::Event {
        seq: record.seq,
        time: record.time.to_string(),
        actor: record.actor.name,
        action: record.action,
        object: record.object,
        outcome: serde_json::to_value(record.outcome)
            .ok()
            .and_then(|outcome| outcome.as_str().map(str::to_owned))
            .unwrap_or_default(),
        reason: record.reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let cursor = Cursor {
            seq: 7,
            epoch: "ab".into(),
            sessions: 3,
            findings: 2,
        };
        assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        for bad in [
            "", "7", "7-ab", "7-ab-3", "x-ab-3-2", "7-ab-x-2", "7-ab-3-x",
        ] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }
}
