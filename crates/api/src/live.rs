//! What happens, and whether the house is in order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::check::RemedyAction;

use crate::device::DeviceSummary;
use crate::status::ClockView;

/// `GET /api/v1/events`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// The cursor to ask with next.
    pub next: String,
    /// What was recorded, as far as the caller may know, the oldest first.
    pub records: Vec<Event>,
    /// Whether devices came or went.
    pub connections: bool,
    /// Whether something else is found about the home than before. Reported for homes of a thousand devices and more, which are
    /// judged beside the requests.
    pub findings: bool,
    /// Whether more happened than is listed: reload what is shown.
    pub missed: bool,
}

/// Something that was recorded.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// The record's number.
    pub seq: u64,
    /// When.
    pub time: String,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// `done`, `refused`, `held` or `alert`.
    pub outcome: String,
    /// Why, where there is a reason.
    pub reason: Option<String>,
}

/// `GET /api/v1/overview`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// The home's id.
    pub home: String,
    /// `in-order`, `look` or `act`.
    pub state: String,
    /// What needs somebody, the worst first, 50 at most.
    pub needs: Vec<Need>,
    /// How much needs somebody in all.
    pub needed: usize,
    /// How much of it is critical.
    pub acute: usize,
    /// What ends in the next twelve weeks, by days on which something does.
    pub ends: Vec<EndsOn>,
    /// Devices.
    pub devices: DeviceSummary,
    /// Records in the audit log.
    pub log_size: u64,
    /// The clock.
    pub clock: ClockView,
    /// Whether the storage took the last commit.
    pub storage_available: bool,
    /// Why the home is read-only, if it is.
    pub incident: Option<String>,
}

/// Something that needs somebody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Need {
    /// The finding's id, where it is one.
    pub id: Option<String>,
    /// What kind of thing.
    pub kind: String,
    /// `critical`, `high` or `medium`.
    pub severity: String,
    /// With what.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
    /// The same for a program; none where it is not one act.
    pub remedy_action: Option<RemedyAction>,
}

/// What ends on a day.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EndsOn {
    /// The day, like `2026-11-23`, in UTC.
    pub date: String,
    /// Certificates of active devices.
    pub devices: u64,
    /// Credentials that expire or are due for rotation.
    pub credentials: u64,
    /// Tokens that reach their ceiling.
    pub tokens: u64,
}
