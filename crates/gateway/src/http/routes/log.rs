//! The routes about the audit log.

use std::sync::Arc;

use crate::auth::caller::Caller;
use crate::http::policy::act;
use crate::http::route::{Route, route};
use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use hearthkey_api as api;
use hearthkey_core::role::Act;
use hearthkey_core::time::Timestamp;
use hearthkey_store::log_count::{Counted, Outcomes};
use hearthkey_store::log_search::RecordFilter;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::audit::archives::SegmentEnd;
use crate::home::Home;
use crate::http::files::bytes;
use crate::http::gateway::Gateway;
use crate::state::failure::Failure;

type Answer<T> = Result<Json<T>, Failure>;
type Gate = State<Arc<Gateway>>;

/// Buckets of a histogram at most.
const BUCKETS_MAX: u64 = 200;
/// The longest text that is searched for, in bytes.
const TEXT_MAX_BYTES: usize = 300;

/// The routes of this file.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(routes!(records), act(Act::LogRead).anywhere()),
        route(routes!(search), act(Act::LogRead).anywhere()),
        route(routes!(histogram), act(Act::LogRead).anywhere()),
        route(routes!(verified), act(Act::LogRead).anywhere()),
        route(routes!(checkpoint), act(Act::LogRead).anywhere()),
        route(routes!(log_key), act(Act::HomeRead).anywhere()),
        route(routes!(proof), act(Act::LogRead).judged_by_use_case()),
        route(routes!(extent), act(Act::LogRead).anywhere()),
        route(routes!(segment), act(Act::LogRead).anywhere()),
        route(routes!(note_archive), act(Act::LogArchive).anywhere()),
        route(routes!(shorten), act(Act::LogShorten).anywhere()),
    ]
}

fn page() -> u32 {
    100
}

#[derive(Deserialize, IntoParams)]
struct SearchQuery {
    /// Who, like `person:anna`; everything that begins so if it ends with `*`. So with the others.
    actor: Option<String>,
    /// What, like `device.revoke`.
    action: Option<String>,
    /// To what, like `device:lamp`.
    object: Option<String>,
    /// From which address.
    address: Option<String>,
    /// `done`, `refused`, `held` or `alert`.
    outcome: Option<String>,
    /// Not before this moment.
    since: Option<String>,
    /// Before this moment.
    until: Option<String>,
    /// The cursor: `next` of the page before.
    before: Option<u64>,
    /// Records on the page at most.
    #[serde(default = "page")]
    limit: u32,
}

fn given(text: Option<String>) -> Result<Option<String>, Failure> {
    let text = text.filter(|text| !text.is_empty());
    match text
        .as_ref()
        .is_some_and(|text| text.len() > TEXT_MAX_BYTES)
    {
        true => Err(Failure::invalid(&format!(
            "a filter has at most {TEXT_MAX_BYTES} bytes"
        ))),
        false => Ok(text),
    }
}

fn moment(text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let text = text.filter(|text| !text.is_empty());
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error| Failure::invalid(&error))
}

/// Looks for records, the newest first. A rare one may be further back than is looked for one answer: then `next` is
/// given with few records, or none.
#[utoipa::path(get, path = "/api/v1/log/search", params(SearchQuery), responses((status = 200, body = api::LogSearch)))]
async fn search(State(gateway): Gate, Query(query): Query<SearchQuery>) -> Answer<api::LogSearch> {
    let home = gateway.home()?;
    let range = home.record_range(query.since.as_deref(), query.until.as_deref())?;
    let filter = RecordFilter {
        actor: given(query.actor)?,
        action: given(query.action)?,
        object: given(query.object)?,
        address: given(query.address)?,
        outcome: given(query.outcome)?,
    };
    let before = query.before.unwrap_or(range.1).min(range.1);
    let limit = query.limit.clamp(1, api::PAGE_MAX) as usize;
    let found = home
        .ctx
        .store()
        .read(|registry| registry.search_records(&filter, (range.0, before), limit))?;
    Ok(Json(api::LogSearch {
        records: found
            .records
            .into_iter()
            .map(|(seq, record)| api::LogRecord {
                seq,
                record: String::from_utf8_lossy(&record).into_owned(),
            })
            .collect(),
        next: (found.looked_to > range.0).then_some(found.looked_to),
        size: home.audit.log_size(),
        first: home.ctx.store().read(|registry| registry.first_here())?,
    }))
}

#[derive(Deserialize, IntoParams)]
struct HistogramQuery {
    /// Who, as in a search. So with the others.
    actor: Option<String>,
    /// What.
    action: Option<String>,
    /// To what.
    object: Option<String>,
    /// From which address.
    address: Option<String>,
    /// `done`, `refused`, `held` or `alert`.
    outcome: Option<String>,
    /// From this moment; the log's beginning if none is given.
    since: Option<String>,
    /// To this moment; now if none is given.
    until: Option<String>,
    /// Into how many parts of equal length.
    buckets: Option<u64>,
}

/// How many records there are over time, and how they ended. As many are looked at as for a search.
#[utoipa::path(get, path = "/api/v1/log/histogram", params(HistogramQuery), responses((status = 200, body = api::LogHistogram)))]
async fn histogram(
    State(gateway): Gate,
    Query(query): Query<HistogramQuery>,
) -> Answer<api::LogHistogram> {
    let home = gateway.home()?;
    let since = moment(query.since.as_deref())?;
    let until = moment(query.until.as_deref())?;
    let buckets = query.buckets.unwrap_or(48).clamp(1, BUCKETS_MAX);
    let filter = RecordFilter {
        actor: given(query.actor)?,
        action: given(query.action)?,
        object: given(query.object)?,
        address: given(query.address)?,
        outcome: given(query.outcome)?,
    };
    Ok(Json(home.log_histogram(
        &filter,
        (since, until),
        buckets,
    )?))
}

impl Home {
    /// The numbers of the first record in a span of time, and of the first after it.
    fn record_range(
        &self,
        since: Option<&str>,
        until: Option<&str>,
    ) -> Result<(u64, u64), Failure> {
        let (since, until) = (moment(since)?, moment(until)?);
        let size = self.audit.log_size();
        Ok(self.ctx.store().read(|registry| {
            let find = |moment: Option<Timestamp>, otherwise| match moment {
                Some(moment) => registry.first_record_at(moment, size),
                None => Ok(otherwise),
            };
            Ok((find(since, registry.first_here()?)?, find(until, size)?))
        })?)
    }

    fn log_histogram(
        &self,
        filter: &RecordFilter,
        (since, until): (Option<Timestamp>, Option<Timestamp>),
        buckets: u64,
    ) -> Result<api::LogHistogram, Failure> {
        let size = self.audit.log_size();
        let until = until.unwrap_or_else(|| self.ctx.now());
        let (since, first, buckets) = self.ctx.store().read(|registry| {
            let since = match since {
                Some(since) => since,
                None => registry.first_record_time()?.unwrap_or(until),
            };
            let moments = moments(since, until, buckets);
            let mut edges = Vec::with_capacity(moments.len());
            for moment in &moments {
                edges.push(registry.first_record_at(*moment, size)?);
            }
            let mut counted = registry.count_records(filter, &edges)?;
            let first = registry.first_here()?;
            // What is archived was not looked at.
            let begin = registry.first_record_time()?.filter(|_| first > 0);
            for (part, at) in counted.iter_mut().zip(&moments) {
                part.complete &= begin.is_none_or(|begin| *at >= begin);
            }
            let buckets = moments
                .iter()
                .zip(&counted)
                .map(|(at, part)| bucket(*at, part));
            Ok((since, first, buckets.collect()))
        })?;
        Ok(api::LogHistogram {
            since: since.to_string(),
            until: until.to_string(),
            buckets,
            first,
        })
    }
}

/// The edges of parts of equal length: one more than there are parts.
fn moments(since: Timestamp, until: Timestamp, parts: u64) -> Vec<Timestamp> {
    let length_ms = until.since(since).as_ms().max(1);
    let moment = |number: u64| {
        let ms = i128::from(length_ms) * i128::from(number) / i128::from(parts);
        Timestamp::from_ms(since.as_ms() + i64::try_from(ms).unwrap_or(length_ms))
    };
    (0..=parts).map(moment).collect()
}

fn bucket(at: Timestamp, part: &Counted) -> api::LogBucket {
    let Outcomes {
        done,
        refused,
        held,
        alert,
    } = part.outcomes;
    api::LogBucket {
        at: at.to_string(),
        records: part.records,
        outcomes: api::OutcomeCounts {
            done,
            refused,
            held,
            alert,
        },
        complete: part.complete,
    }
}

#[derive(Deserialize, IntoParams)]
struct RecordsQuery {
    /// The first record; the first that is here if none is given. An archived one is not here any more.
    from: Option<u64>,
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
    let (first, records) = home.ctx.store().read(|registry| {
        let first = registry.first_here()?;
        let records = registry.records(query.from.unwrap_or(first), limit)?;
        Ok((first, records))
    })?;
    let from = query.from.unwrap_or(first);
    if from < first {
        return Err(Failure::archived(from, first));
    }
    let next = from + records.len() as u64;
    let records = records
        .into_iter()
        .map(|r| String::from_utf8_lossy(&r).into_owned())
        .collect();
    Ok(Json(api::RecordPage {
        records,
        next,
        size: home.audit.log_size(),
        first,
    }))
}

/// Whether the log is what was signed: the gateway verifies it from the first record at start and once a day, and what
/// is new as it comes.
#[utoipa::path(get, path = "/api/v1/log/verified", responses((status = 200, body = api::LogVerified)))]
async fn verified(State(gateway): Gate) -> Answer<api::LogVerified> {
    Ok(Json(gateway.home()?.audit.log_verified()))
}

/// The newest signed checkpoint.
#[utoipa::path(get, path = "/api/v1/log/checkpoint", responses((status = 200, body = String, content_type = "text/plain")))]
async fn checkpoint(State(gateway): Gate) -> Result<Response, Failure> {
    let home = gateway.home()?;
    let newest = home.ctx.store().checkpoints().borrow().clone();
    let newest = newest.ok_or_else(|| Failure::not_found("log checkpoint", &"yet"))?;
    Ok(bytes("text/plain", newest.note.clone()))
}

/// The log's public key.
#[utoipa::path(get, path = "/api/v1/log/key", responses((status = 200, body = api::LogKeyView)))]
async fn log_key(State(gateway): Gate) -> Answer<api::LogKeyView> {
    Ok(Json(api::LogKeyView {
        vkey: gateway.home()?.ctx.store().vkey().to_owned(),
    }))
}

/// A proof that a record is in the log.
#[utoipa::path(get, path = "/api/v1/log/proof/{seq}", params(("seq" = u64, Path)), responses((status = 200, body = String, content_type = "text/plain")))]
async fn proof(State(gateway): Gate, Path(seq): Path<u64>) -> Result<Response, Failure> {
    let home = gateway.home()?;
    let first = home.ctx.store().read(|registry| registry.first_here())?;
    if seq < first {
        return Err(Failure::archived(seq, first));
    }
    let proof = home.ctx.store().prove(seq)?;
    Ok(bytes(
        "text/plain",
        proof.ok_or_else(|| Failure::not_found("log record", &seq))?,
    ))
}

/// How large the log is, and how much of it is archived.
#[utoipa::path(get, path = "/api/v1/log/extent", responses((status = 200, body = api::LogExtent)))]
async fn extent(State(gateway): Gate) -> Answer<api::LogExtent> {
    Ok(Json(gateway.home()?.audit.log_extent()?))
}

#[derive(Deserialize, IntoParams)]
struct SegmentQuery {
    /// The number after its last record. Else a moment, or an age; else what is older than two years.
    before: Option<u64>,
    /// The records from before this moment.
    until: Option<String>,
    /// The records that are older than so many days.
    keep_days: Option<u32>,
}

/// What an archive of the oldest records here has beside them: the hashes that lead to them, and a checkpoint of the log's
/// size after the last. The records are those of `GET /api/v1/log/records`.
#[utoipa::path(get, path = "/api/v1/log/segment", params(SegmentQuery), responses((status = 200, body = api::LogSegment)))]
async fn segment(
    State(gateway): Gate,
    Query(query): Query<SegmentQuery>,
) -> Answer<api::LogSegment> {
    let end = SegmentEnd {
        before: query.before,
        until: moment(query.until.as_deref())?,
        keep_days: query.keep_days,
    };
    Ok(Json(gateway.home()?.audit.segment(end)?))
}

/// Notes that the oldest records here were archived: the file was written elsewhere and verified there. The gateway compares
/// the root hash with its own, and takes the word of the caller that the file is kept.
#[utoipa::path(post, path = "/api/v1/log/archives", request_body = api::LogArchiveRequest, responses((status = 200, body = api::LogExtent)))]
async fn note_archive(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::LogArchiveRequest>,
) -> Answer<api::LogExtent> {
    let permit = caller.permitted(Act::LogArchive)?;
    let home = gateway.home()?;
    Ok(Json(home.audit.note_archive(&permit, request).await?))
}

/// Drops the records of a noted archive here. Checkpoints, and proofs of what remains, still verify.
#[utoipa::path(post, path = "/api/v1/log/shorten", request_body = api::LogShortenRequest, responses((status = 200, body = api::LogExtent)))]
async fn shorten(
    State(gateway): Gate,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::LogShortenRequest>,
) -> Answer<api::LogExtent> {
    let home = gateway.home()?;
    Ok(Json(home.audit.shorten(&caller, request).await?))
}
