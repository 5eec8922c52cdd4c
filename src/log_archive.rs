//! `hearthkey log archive`, `verify-archive`, `shorten` and `size`: the log's older records, kept in files elsewhere.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hearthkey_api::{LogArchiveRequest, LogExtent, LogKeyView, LogShortenRequest};
use hearthkey_gateway::{ArchiveFile, VerifyError};
use serde::Serialize;

use crate::context::Context;
use crate::export;
use crate::failure::{Failure, code};
use crate::output::Output;
use crate::second_factor::Showing;
use crate::table::{Table, bytes, count, facts};

/// Which records are archived, and where to.
#[derive(Debug, Args)]
pub struct Archive {
    /// The file; it must be on another disk to outlive this one.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Archive what is older than that: 90d, 8w, 2y [default: 2y].
    #[arg(long, value_name = "AGE", value_parser = days, conflicts_with = "before")]
    older_than: Option<u32>,
    /// Archive what is from before this day (2026-01-31) or moment (2026-01-31T12:00:00Z).
    #[arg(long, value_name = "DATE", value_parser = moment)]
    before: Option<String>,
    /// Replace an existing file.
    #[arg(long)]
    replace: bool,
}

/// Which archives are verified.
#[derive(Debug, Args)]
pub struct VerifyArchive {
    /// The archives, the oldest first; each must continue the one before.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The verifier key, from `hearthkey log key`.
    #[arg(long, value_name = "VKEY")]
    key: String,
    /// An older checkpoint that must agree with the archive. Repeat it for several.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// An older proof of a record that must be in the archive. Repeat it for several.
    #[arg(long, value_name = "FILE")]
    proof: Vec<PathBuf>,
}

/// Which records are dropped.
#[derive(Debug, Args)]
pub struct Shorten {
    /// The archive that has them.
    #[arg(long, value_name = "FILE")]
    archive: PathBuf,
    #[command(flatten)]
    showing: Showing,
}

/// An archive, as `--json` shows it.
#[derive(Debug, Serialize)]
struct ArchiveView<'a> {
    verified: bool,
    file: &'a Path,
    /// The number of its first record.
    first: u64,
    /// The number after its last.
    before: u64,
    /// The root hash over all records before that, in base64.
    root: String,
    sha256: String,
    bytes: u64,
}

impl<'a> ArchiveView<'a> {
    fn new(file: &'a Path, archive: &ArchiveFile) -> Self {
        Self {
            verified: true,
            file,
            first: archive.found.first,
            before: archive.found.before,
            root: STANDARD.encode(archive.found.root),
            sha256: archive.sha256.to_string(),
            bytes: archive.bytes,
        }
    }

    fn records(&self) -> String {
        let last = self.before - 1;
        format!(
            "{} ({} to {last}, {})",
            count(self.before - self.first, "record"),
            self.first,
            bytes(self.bytes)
        )
    }
}

/// An age in days.
fn days(text: &str) -> Result<u32, &'static str> {
    let wrong = "an age reads 90d, 8w or 2y";
    let unit = text.chars().last().ok_or(wrong)?;
    let days = match unit {
        'd' => 1,
        'w' => 7,
        'y' => 365,
        _ => return Err(wrong),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong)?;
    number.checked_mul(days).ok_or("that is too long")
}

/// A day begins at midnight, UTC.
fn moment(text: &str) -> Result<String, &'static str> {
    let bytes = text.as_bytes();
    let is_day = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
    match is_day || bytes.contains(&b'T') {
        true if is_day => Ok(format!("{text}T00:00:00Z")),
        true => Ok(text.to_owned()),
        false => Err("a date reads 2026-01-31 or 2026-01-31T12:00:00Z"),
    }
}

impl Archive {
    /// Writes an archive, verifies the file, and notes it at the gateway.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let query = match (self.older_than, &self.before) {
            (Some(days), _) => format!("keep_days={days}"),
            (None, Some(moment)) => format!("until={}", crate::url_path::encode(moment)),
            (None, None) => String::new(),
        };
        let segment = export::segment(&client, &query).await?;
        export::archive(&client, &segment, (&self.out, self.replace)).await?;
        let archive = verified(&self.out, &segment.key, &[], &[])?;
        let view = ArchiveView::new(&self.out, &archive);
        let request = LogArchiveRequest {
            first: view.first,
            before: view.before,
            root: view.root.clone(),
            sha256: view.sha256.clone(),
            bytes: view.bytes,
        };
        let _: LogExtent = client.post("/api/v1/log/archives", &request).await?;
        context.output.answer(&view, || {
            format!(
                "Archived and verified: {} in {}.\nThe same records are still here. To drop them: `hearthkey log shorten --archive {}`. Keep a copy of the file on another disk first.",
                view.records(),
                self.out.display(),
                self.out.display()
            )
        })
    }
}

impl VerifyArchive {
    /// Verifies archives without a gateway.
    pub fn obey(self, output: Output) -> Result<(), Failure> {
        let compares = !self.checkpoint.is_empty() || !self.proof.is_empty();
        if compares && self.files.len() > 1 {
            return Err(Failure::usage(
                "error: a checkpoint or a proof is compared with one archive: name only that",
            ));
        }
        let mut archives: Vec<ArchiveFile> = Vec::new();
        for file in &self.files {
            let archive = verified(file, self.key.trim(), &self.checkpoint, &self.proof)?;
            if let Some(earlier) = archives.last() {
                let continues = archive.found.continues(&earlier.found);
                continues.map_err(|error| unverified(&error))?;
            }
            archives.push(archive);
        }
        let views = self.files.iter().zip(&archives);
        let views: Vec<_> = views
            .map(|(file, one)| ArchiveView::new(file, one))
            .collect();
        let compared = self.checkpoint.len() + self.proof.len();
        output.answer(&views, || text(&views, compared))
    }
}

fn text(views: &[ArchiveView<'_>], compared: usize) -> String {
    let mut lines: Vec<String> = views
        .iter()
        .map(|view| {
            format!(
                "Verified: {} match the signed checkpoint in {}; root hash {}.",
                view.records(),
                view.file.display(),
                view.root
            )
        })
        .collect();
    if compared > 0 {
        let older = count(compared as u64, "older checkpoint or proof");
        lines.push(format!("It agrees with {older}."));
    }
    if views.len() > 1 {
        lines.push("Each archive continues the one before.".into());
    }
    lines.join("\n")
}

impl Shorten {
    /// Verifies an archive, and has its records dropped.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let key: LogKeyView = client.get("/api/v1/log/key").await?;
        let archive = verified(&self.archive, key.vkey.trim(), &[], &[])?;
        let request = LogShortenRequest {
            before: archive.found.before,
            sha256: archive.sha256.to_string(),
            second_factor: self.showing.second_factor()?,
        };
        let extent: LogExtent = client.post("/api/v1/log/shorten", &request).await?;
        context.output.answer(&extent, || {
            format!(
                "Shortened: the log here begins with record {}. What was before is dropped in the next minutes, in steps; {} is now the only place that has it.",
                extent.first,
                self.archive.display()
            )
        })
    }
}

/// Shows how large the log is.
pub async fn size(context: &Context) -> Result<(), Failure> {
    let extent: LogExtent = context.client()?.get("/api/v1/log/extent").await?;
    context.output.answer(&extent, || extent_text(&extent))
}

fn extent_text(extent: &LogExtent) -> String {
    let here = extent.size - extent.first;
    let archived = match extent.archived_before {
        0 => "nothing".to_owned(),
        before => format!("records before {before}"),
    };
    let dropped = match (extent.first, extent.shortening) {
        (0, _) => "nothing".to_owned(),
        (first, false) => format!("records before {first}"),
        (first, true) => format!("records before {first}; not all of the room is free yet"),
    };
    let mut parts = vec![facts(&[
        ("records", Some(extent.size.to_string())),
        (
            "here",
            Some(format!("{here}, about {}", bytes(extent.bytes))),
        ),
        ("archived", Some(archived)),
        ("not here any more", Some(dropped)),
        ("database", Some(bytes(extent.database_bytes))),
        ("free in it", Some(bytes(extent.free_bytes))),
    ])];
    let mut table = Table::new(&["records", "archived", "bytes", "sha256"]);
    for one in &extent.archives {
        let records = format!("{}-{}", one.first, one.before - 1);
        table.row(&[
            &records,
            &one.archived_at,
            &one.bytes.to_string(),
            &one.sha256,
        ]);
    }
    if !extent.archives.is_empty() {
        parts.push(table.render());
    }
    if extent.advised_before > extent.archived_before {
        let older = extent.advised_before - extent.archived_before;
        parts.push(format!(
            "Older than two years: {}. Archive them: `hearthkey log archive --out FILE`.",
            count(older, "record")
        ));
    }
    parts.join("\n")
}

fn verified(
    file: &Path,
    key: &str,
    checkpoints: &[PathBuf],
    proofs: &[PathBuf],
) -> Result<ArchiveFile, Failure> {
    for path in [file]
        .into_iter()
        .chain(checkpoints.iter().chain(proofs).map(PathBuf::as_path))
    {
        if let Err(error) = std::fs::metadata(path) {
            return Err(Failure::file("read", path, &error));
        }
    }
    hearthkey_gateway::verify_archive(file, key, checkpoints, proofs)
        .map_err(|error| unverified(&error))
}

fn unverified(error: &VerifyError) -> Failure {
    let failure = Failure::with_cause(
        code::VERIFY,
        "The archive does not verify.",
        error,
        "Use another copy of it.",
    );
    match error {
        VerifyError::Key(_) => failure.of_usage(),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_read_in_days_weeks_and_years() {
        assert_eq!(
            [days("90d"), days("8w"), days("2y")],
            [Ok(90), Ok(56), Ok(730)]
        );
        for wrong in [
            "",
            "y",
            "2",
            "2m",
            "-1y",
            "99999999999y",
            "4294967295y",
            "1é",
        ] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight() {
        assert_eq!(moment("2026-01-31").as_deref(), Ok("2026-01-31T00:00:00Z"));
        assert_eq!(
            moment("2026-01-31T12:00:00Z").as_deref(),
            Ok("2026-01-31T12:00:00Z")
        );
        assert!(moment("yesterday").is_err() && moment("1é").is_err());
    }
}
