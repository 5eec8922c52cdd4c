//! `hearthkey check`: what is wrong with the inventory, and whether a repository's secrets may be used.

use std::path::{Path, PathBuf};

use clap::Args;
use hearthkey_api::{
    AcceptRequest, AcceptanceRequest, FindingList, FindingView, Manifest, ManifestChecked, Posture,
    PostureFinding, TokenSelf,
};

use crate::context::{Context, Nothing};
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
    /// Mark a finding as resolved.
    #[arg(
        long,
        value_name = "FINDING",
        requires = "reason",
        conflicts_with = "manifest"
    )]
    resolve: Option<String>,
    /// Accept the risk of a finding: nothing is changed, and a person is responsible for it.
    #[arg(
        long,
        value_name = "FINDING",
        requires = "reason",
        requires = "owner",
        conflicts_with_all = ["manifest", "resolve"]
    )]
    accept: Option<String>,
    /// With --accept: who is responsible for it.
    #[arg(long, value_name = "WHO", requires = "accept")]
    owner: Option<String>,
    /// With --accept: until when, within the next two years, like 2027-01-31T00:00:00Z; without an end if left out.
    #[arg(long, value_name = "MOMENT", requires = "accept")]
    until: Option<String>,
    /// Reopen an accepted finding.
    #[arg(long, value_name = "FINDING", conflicts_with_all = ["manifest", "resolve", "accept"])]
    reopen: Option<String>,
    /// Show accepted findings, too.
    #[arg(long)]
    all: bool,
    /// Why, or how it was resolved; it is recorded.
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
        let changes = self.resolve.is_some() || self.accept.is_some() || self.reopen.is_some();
        // What is asked to be changed is for the gateway to permit or refuse, also to a token.
        if !changes && context.token_file()?.is_some() {
            let token: TokenSelf = client.get("/api/v1/tokens/self").await?;
            if let Some(aside) = unseen(&token) {
                context.output.aside(aside);
            }
            // A service with grants sees what is wrong with its credentials, and nothing of the home.
            if token.role.is_none() {
                let list: FindingList = client.get("/api/v1/findings").await?;
                let findings = &list.findings;
                return context
                    .output
                    .answer(findings, || text(findings.iter().map(plain)));
            }
        }
        let of = |id: &str, verb: &str| format!("/api/v1/findings/{}/{verb}", encode(id));
        let mut done = None;
        let posture: Posture = match (self.resolve, self.accept, self.reopen, self.reason) {
            (Some(id), _, _, Some(reason)) => {
                done = Some(format!("The finding {id} is resolved."));
                let path = of(&id, "resolve");
                let _: FindingList = client.post(&path, &AcceptRequest { reason }).await?;
                client.get("/api/v1/posture").await?
            }
            (_, Some(id), _, Some(reason)) => {
                let until = self.until.as_deref().unwrap_or("further notice");
                done = Some(format!("The finding {id} is accepted until {until}."));
                let request = AcceptanceRequest {
                    owner: self.owner.unwrap_or_default(),
                    reason,
                    until: self.until,
                };
                client.post(&of(&id, "accept"), &request).await?
            }
            (_, _, Some(id), _) => {
                done = Some(format!("The finding {id} is open again."));
                client.post(&of(&id, "reopen"), &Nothing {}).await?
            }
            _ => client.get("/api/v1/posture").await?,
        };
        if let Some(done) = done {
            context.output.aside(&done);
        }
        let mut shown = posture.findings;
        if self.all {
            shown.extend(posture.accepted);
        }
        context
            .output
            .answer(&shown, || text(shown.iter().map(in_full)))
    }
}

/// What a check with a token did not look at, if there is something.
fn unseen(token: &TokenSelf) -> Option<&'static str> {
    match (&token.role, token.environments.is_empty()) {
        (Some(_), true) => None,
        (Some(_), false) => Some(
            "Only the token's environments were checked, not the home itself (audit log and journal, key slots, backups, clock). Run `hearthkey check` on the gateway's machine for that.",
        ),
        (None, _) => Some(
            "Only the token's credentials were checked, not other credentials, devices or the home itself. Run `hearthkey check` on the gateway's machine for that.",
        ),
    }
}

fn plain(finding: &FindingView) -> String {
    format!(
        "{} · {} · {}\n  {}\n  {}\n  finding {}",
        finding.severity, finding.kind, finding.object, finding.what, finding.remedy, finding.id
    )
}

fn in_full(found: &PostureFinding) -> String {
    let finding = &found.finding;
    let mut text = format!(
        "{} · {} · {}\n  {}\n  {}\n  {}\n  finding {}",
        finding.severity,
        finding.kind,
        finding.object,
        finding.what,
        found.why,
        finding.remedy,
        finding.id
    );
    if let Some(accepted) = &found.acceptance {
        let until = accepted.until.as_deref().unwrap_or("further notice");
        text += &format!(
            "\n  accepted by {} for {} until {until}: {}",
            accepted.by, accepted.owner, accepted.reason
        );
    }
    text
}

fn text(findings: impl Iterator<Item = String>) -> String {
    let findings: Vec<String> = findings.collect();
    match findings.as_slice() {
        [] => "No findings.".to_owned(),
        found => found.join("\n\n"),
    }
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
            "{bad} of {} credentials may not be used in their current state",
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
        return Err(Failure::content(path, "it is longer than 256 KiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    toml::from_str(&text).map_err(|error| {
        let why = error.message().to_owned();
        let title = format!("{} is not a manifest.", path.display());
        Failure::local(
            code::MANIFEST,
            &title,
            format!("It cannot be read: {why}."),
            "See docs/CI.md for what a manifest holds.",
        )
        .of_usage()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_did_not_look_at() {
        let token = |role: Option<&str>, environments: &[&str]| -> TokenSelf {
            let environments = environments.iter().map(|name| (*name).to_owned());
            TokenSelf {
                name: "t".into(),
                role: role.map(str::to_owned),
                environments: environments.collect(),
                allow: Vec::new(),
                expires_at: String::new(),
                renewable_until: String::new(),
            }
        };
        assert_eq!(unseen(&token(Some("operator"), &[])), None);
        for (role, environments) in [(Some("operator"), "lab"), (None, "lab")] {
            let told = unseen(&token(role, &[environments])).unwrap();
            assert!(told.contains("the home itself"), "{told}");
        }
    }
}
