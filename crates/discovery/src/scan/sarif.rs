//! The report as SARIF 2.1.0 (OASIS), for code hosts and editors.

use std::collections::BTreeMap;

use serde::Serialize;

use super::gap::{Gap, Skipped};
use super::ignores::Report;
use super::leak::{Leak, ObjectKind, Place, What};
use super::path::FilePath;
use super::rules::{Level, RULES, Rule};

/// The id under which the vault's own values are reported.
const OWN: &str = "own-value";
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    column_kind: &'static str,
    invocations: [Invocation; 1],
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    name: &'static str,
    version: &'a str,
    information_uri: &'static str,
    rules: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
struct Text<T> {
    text: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    id: &'a str,
    short_description: Text<&'a str>,
    full_description: Text<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<&'a str>,
    default_configuration: Configuration,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    level: &'static str,
    message: Text<String>,
    locations: Vec<Location>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Text<String>,
    locations: Vec<Location>,
    partial_fingerprints: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Suppression>,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    status: &'static str,
    justification: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: Artifact,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct Artifact {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u64,
    start_column: u64,
    byte_offset: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
    kind: &'static str,
}

/// The report as a SARIF log: JSON, on several lines. `version` is the program's.
///
/// Ignored leaks are results with a suppression. What was not read is a notification, and unless it was accepted, the
/// invocation is not successful. A leak in a history has its
/// commits as logical locations of the kind `commit`.
pub fn sarif(report: &Report, version: &str) -> String {
    let suppressed = report
        .suppressed
        .iter()
        .map(|one| (&one.leak, Some(one.reason.as_str())));
    let results = report
        .scan
        .leaks
        .iter()
        .map(|leak| (leak, None))
        .chain(suppressed);
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "hearthkey",
                    version,
                    information_uri: env!("CARGO_PKG_REPOSITORY"),
                    rules: std::iter::once(own())
                        .chain(RULES.iter().map(descriptor))
                        .collect(),
                },
            },
            column_kind: "unicodeCodePoints",
            invocations: [Invocation {
                execution_successful: report.scan.is_whole(),
                tool_execution_notifications: notifications(report),
            }],
            results: results
                .map(|(leak, reason)| outcome(leak, reason))
                .collect(),
        }],
    };
    // Numbers and texts are all there is; they can always be written.
    serde_json::to_string_pretty(&log).unwrap_or_default()
}

/// What was not looked at, and what is beyond the bounds.
fn notifications(report: &Report) -> Vec<Notification> {
    let plain = |level, text| Notification {
        level,
        message: Text { text },
        locations: Vec::new(),
    };
    let at = |level, text, path: &FilePath| Notification {
        locations: vec![Location {
            physical_location: PhysicalLocation {
                artifact_location: Artifact { uri: path.to_uri() },
                region: None,
            },
            logical_locations: Vec::new(),
        }],
        ..plain(level, text)
    };
    let level = |gap: Gap| if gap.may_hide() { "error" } else { "note" };
    let scan = &report.scan;
    let skipped = scan.skipped.iter().map(|one| {
        let text = format!("{} was not scanned: {}", one.path, one.why);
        at(level(one.gap), text, &one.path)
    });
    let accepted = report.accepted.iter().map(|one| {
        let Skipped { path, why, .. } = &one.skipped;
        let text = format!("{path} was not scanned: {why} (accepted: {})", one.reason);
        at("note", text, path)
    });
    let beyond = scan.more_skipped.iter().map(|(gap, number)| {
        let text = format!("{number} more were not scanned: {gap}");
        plain(level(*gap), text)
    });
    let more = (scan.more_leaks > 0).then(|| {
        let text = format!(
            "{} leaks are beyond the bounds and no results",
            scan.more_leaks
        );
        plain("warning", text)
    });
    let left_out = scan.left_out.iter().map(|what| plain("note", what.clone()));
    skipped
        .chain(accepted)
        .chain(beyond)
        .chain(more)
        .chain(left_out)
        .collect()
}

fn own() -> Descriptor<'static> {
    Descriptor {
        id: OWN,
        short_description: Text {
            text: "A value of the vault",
        },
        full_description: Text {
            text: "A value of the vault was found in a file. Rotate it.",
        },
        help_uri: None,
        default_configuration: Configuration { level: "error" },
    }
}

fn descriptor(rule: &Rule) -> Descriptor<'_> {
    Descriptor {
        id: &rule.id,
        short_description: Text { text: &rule.name },
        full_description: Text { text: &rule.about },
        help_uri: rule.source.find("https://").map(|at| &rule.source[at..]),
        default_configuration: Configuration {
            level: level(rule.level),
        },
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
    }
}

fn outcome(leak: &Leak, reason: Option<&str>) -> Outcome {
    let (rule_id, rule_index, level, text) = match &leak.what {
        What::Own { label, encodings } => {
            let words: Vec<&str> = encodings.iter().map(|encoding| encoding.as_str()).collect();
            let how = if words.is_empty() {
                String::new()
            } else {
                format!(" ({})", words.join(" in "))
            };
            (
                OWN.to_owned(),
                0,
                "error",
                format!("{label} was found here{how}: rotate it"),
            )
        }
        What::Rule { id, name, excerpt } => {
            let index = RULES.iter().position(|rule| rule.id == *id);
            let sure = index.map_or("warning", |at| level(RULES[at].level));
            (
                id.clone(),
                index.map_or(0, |at| at + 1),
                sure,
                format!("{name}: {excerpt}"),
            )
        }
    };
    let suppression = reason.map(|reason| Suppression {
        kind: "external",
        status: "accepted",
        justification: reason.to_owned(),
    });
    Outcome {
        rule_id,
        rule_index,
        level,
        message: Text { text },
        locations: vec![location(&leak.place)],
        partial_fingerprints: BTreeMap::from([("hearthkey/v1", leak.fingerprint.to_string())]),
        suppressions: suppression.into_iter().collect(),
    }
}

fn location(place: &Place) -> Location {
    let at = place.at();
    let (uri, logical) = match place {
        Place::File { path, .. } | Place::Staged { path, .. } => (path.to_uri(), Vec::new()),
        Place::History {
            object,
            kind,
            path,
            commits,
            ..
        } => {
            let word = match kind {
                ObjectKind::Blob => "blob",
                ObjectKind::Commit => "commit",
                ObjectKind::Tag => "tag",
            };
            let uri = path.as_ref().map_or_else(
                || format!("git-objects/{word}/{object}"),
                |path| path.to_uri(),
            );
            let name = |fully_qualified_name: &String, kind| LogicalLocation {
                fully_qualified_name: fully_qualified_name.clone(),
                kind,
            };
            let objects = std::iter::once(name(object, word));
            (
                uri,
                objects
                    .chain(
                        commits
                            .iter()
                            .filter(|id| *id != object)
                            .map(|id| name(id, "commit")),
                    )
                    .collect(),
            )
        }
    };
    Location {
        physical_location: PhysicalLocation {
            artifact_location: Artifact { uri },
            region: Some(Region {
                start_line: at.line,
                start_column: at.column,
                byte_offset: at.offset,
            }),
        },
        logical_locations: logical,
    }
}
