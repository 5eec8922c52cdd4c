//! What an import leaves behind as findings, and which of them it ends.

use hearthkey_api::{AcceptRequest, Client, FindingList, FindingReport, FindingView};
use hearthkey_discovery::import::{Left, Source};

use super::{Entry, Import};
use crate::failure::Failure;
use crate::url_path::encode;

impl Import {
    /// What was seen and is not in the vault stays known: each such entry is a finding.
    pub(super) async fn note_what_stays(
        &self,
        client: &Client,
        source: Source,
        entries: &[Entry<'_>],
        left: &[Left],
    ) -> Result<(), Failure> {
        // A hash cannot be taken in, and is a secret all the same.
        let secret = |entry: &&Entry<'_>| {
            let in_file = left
                .iter()
                .find(|left| left.line == entry.line && left.what == entry.name);
            let hash = source == Source::MosquittoPasswords && in_file.is_some();
            hash || matches!(entry.outcome, "refused" | "differs")
                || entry.kind.is_some() && entry.outcome == "left"
        };
        for entry in entries.iter().filter(secret) {
            let report = FindingReport {
                kind: "unmanaged".into(),
                credential: None,
                version: None,
                place: self.found_at(entry.line),
                what: crate::output::visible(&entry.name)
                    .chars()
                    .take(200)
                    .collect(),
            };
            let _: FindingView = client.post("/api/v1/findings", &report).await?;
        }
        Ok(())
    }

    /// The place of a line in findings.
    fn found_at(&self, line: u32) -> String {
        let place = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone());
        let place = format!("{}:{line}", place.display());
        crate::output::visible(&place).chars().take(200).collect()
    }

    /// Resolves the findings of earlier runs about entries whose values the vault has now.
    pub(super) async fn resolve_what_is_taken(
        &self,
        client: &Client,
        entries: &[Entry<'_>],
    ) -> Result<(), Failure> {
        let held = |finding: &FindingView| {
            entries.iter().any(|entry| {
                // Several secrets may be in one line.
                matches!(entry.outcome, "taken" | "replaced" | "already_here")
                    && finding.object == format!("place:{}", self.found_at(entry.line))
                    && finding.what.ends_with(&format!(": {}.", entry.name))
            })
        };
        let known: FindingList = client.get("/api/v1/findings").await?;
        for finding in known.findings {
            if finding.kind == "unmanaged" && held(&finding) {
                let path = format!("/api/v1/findings/{}/resolve", encode(&finding.id));
                let reason = "the import found the value in the vault".to_owned();
                let _: FindingList = client.post(&path, &AcceptRequest { reason }).await?;
            }
        }
        Ok(())
    }
}
