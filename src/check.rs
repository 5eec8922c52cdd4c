//! `hearthkey check`: what is wrong with the inventory, and whether a repository's secrets may be used.

use std::path::{Path, PathBuf};

use clap::Args;
use hearthkey_api::{AcceptRequest, FindingList, Manifest, ManifestChecked};

use crate::context::Context;
use crate::failure::{Failure, code};
use crate::table::Table;
use crate::url_path::encode;

/// The longest manifest, in bytes.
const MANIFEST_MAX_BYTES: u64 = 256 * 1024;

/// What is checked.
#[derive(Debug, Args)]
pub struct Check {
    /// Check the credentials that this file names, and fail if one may not be used. For pipelines.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Say that a finding was seen to.
    #[arg(
        long,
        value_name = "FINDING",
        requires = "reason",
        conflicts_with = "manifest"
    )]
    resolve: Option<String>,
    /// How it was seen to; it is recorded.
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
}

impl Check {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        if let Some(path) = &self.manifest {
            return check_manifest(context, path).await;
        }
        let client = context.client()?;
        let list: FindingList = match (self.resolve, self.reason) {
            (Some(id), Some(reason)) => {
                let path = format!("/api/v1/findings/{}/resolve", encode(&id));
                client.post(&path, &AcceptRequest { reason }).await?
            }
            _ => client.get("/api/v1/findings").await?,
        };
        context.output.answer(&list.findings, || text(&list))
    }
}

fn text(list: &FindingList) -> String {
    if list.findings.is_empty() {
        return "Nothing is wrong with the inventory.".to_owned();
    }
    let mut lines = Vec::new();
    for finding in &list.findings {
        lines.push(format!(
            "{} · {} · {}\n  {}\n  {}\n  finding {}",
            finding.severity,
            finding.kind,
            finding.object,
            finding.what,
            finding.remedy,
            finding.id
        ));
    }
    lines.join("\n\n")
}

async fn check_manifest(context: &Context, path: &Path) -> Result<(), Failure> {
    let manifest = read(path)?;
    let checked: ManifestChecked = context
        .client()?
        .post("/api/v1/manifest/check", &manifest)
        .await?;
    context
        .output
        .answer(&checked, || manifest_text(&manifest, &checked))?;
    if checked.ok {
        Ok(())
    } else {
        let bad = checked
            .credentials
            .iter()
            .filter(|verdict| !verdict.ok)
            .count();
        Err(Failure::after_answer(&format!(
            "{bad} of {} credentials may not be used as they stand",
            checked.credentials.len()
        )))
    }
}

fn read(path: &Path) -> Result<Manifest, Failure> {
    let failed = |error: &std::io::Error| Failure::file("read", path, error);
    if std::fs::metadata(path)
        .map_err(|error| failed(&error))?
        .len()
        > MANIFEST_MAX_BYTES
    {
        return Err(Failure::usage("the manifest is longer than 256 KiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    toml::from_str(&text).map_err(|error| {
        let why = error.message().to_owned();
        let title = format!("{} is no manifest.", path.display());
        Failure::local(
            code::MANIFEST,
            &title,
            format!("It cannot be read: {why}."),
            "See docs/CI.md for what a manifest holds.",
        )
    })
}

fn manifest_text(manifest: &Manifest, checked: &ManifestChecked) -> String {
    let mut table = Table::new(&["CREDENTIAL", "FEATURE", "VERDICT"]);
    let mut told = Vec::new();
    for (entry, verdict) in manifest.credentials.iter().zip(&checked.credentials) {
        let word = if verdict.ok { "ok" } else { "not to be used" };
        table.row(&[
            &verdict.name,
            entry.feature.as_deref().unwrap_or_default(),
            word,
        ]);
        for (problem, remedy) in verdict.problems.iter().zip(&verdict.remedies) {
            told.push(format!("{}: {problem}. {remedy}", verdict.name));
        }
    }
    let mut text = table.render();
    if !told.is_empty() {
        text += &format!("\n\n{}", told.join("\n"));
    }
    text
}
