//! `hearthkey credential import`: secrets move from files into the vault.
//!
//! The first run is dry: it says what would be taken, under which names. The second, with `--take`, takes
//! it; who answers for it and what it is for must be said, in the file or on the command line.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use hearthkey_api::{
    Client, CredentialChanged, CredentialRequest, FindingReport, FindingView, RotationPolicyView,
    SecretValue,
};
use hearthkey_discovery::import::{FILE_MAX_BYTES, Found, Left, Reading, Source, read, recognize};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::credential::PATH;
use crate::failure::{Failure, code};
use crate::table::{Table, count};

/// What is imported.
#[derive(Debug, Args)]
pub struct Import {
    /// The file: secrets.yaml, .env, Zigbee2MQTT's configuration.yaml, ESPHome YAML, a Mosquitto password file or CSV.
    file: PathBuf,
    /// The environment that it goes into.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    env: String,
    /// What kind of file it is, if its name and content do not say: secrets-yaml, env, zigbee2mqtt, esphome, mosquitto or csv.
    #[arg(long, value_name = "KIND")]
    from: Option<Source>,
    /// Take it. Without this, nothing is changed: what would be taken is shown.
    #[arg(long)]
    take: bool,
    /// Take only these of the suggested names; repeatable.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Another name for one of them, like mqtt/password=broker/zigbee; repeatable.
    #[arg(long, value_name = "SUGGESTED=NAME")]
    rename: Vec<String>,
    /// Who answers for those of which the file does not say.
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// What those are for of which the file does not say.
    #[arg(long, value_name = "WHY")]
    purpose: Option<String>,
    /// Their tier, where the file does not say.
    #[arg(long, default_value = "standard")]
    tier: String,
}

/// What became of one entry of the file.
#[derive(Serialize)]
struct Entry<'a> {
    line: u32,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    /// `would_take`, `taken`, `left` or `refused`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize)]
struct Imported<'a> {
    file: &'a Path,
    source: &'static str,
    environment: &'a str,
    dry_run: bool,
    entries: Vec<Entry<'a>>,
}

impl Import {
    /// Shows what would be taken, or takes it.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let (source, reading) = self.read()?;
        let Reading { found, left } = reading;
        self.check(&found)?;
        let mut entries = Vec::new();
        let mut refused = 0;
        for found in &found {
            let name = self.name_of(found)?;
            let (outcome, why) = if !self.wants(found) {
                ("left", Some("it was not asked for".to_owned()))
            } else if self.take {
                match self.add(&context.client()?, found, name.clone()).await {
                    Ok(warnings) => (
                        "taken",
                        Some(warnings.join(" ")).filter(|text| !text.is_empty()),
                    ),
                    Err(Failure::Told { problem, .. }) if problem.status != 0 => {
                        refused += 1;
                        ("refused", Some(problem.to_string()))
                    }
                    Err(failure) => return Err(failure),
                }
            } else {
                ("would_take", self.missing(found))
            };
            entries.push(Entry {
                line: found.line,
                name,
                kind: Some(found.kind),
                outcome,
                why,
            });
        }
        entries.extend(left.iter().map(|left| Entry {
            line: left.line,
            name: left.what.clone(),
            kind: None,
            outcome: "left",
            why: Some(left.why.clone()),
        }));
        if self.take {
            self.note_what_stays(&context.client()?, source, &entries, &left)
                .await?;
        }
        let imported = Imported {
            file: &self.file,
            source: source.as_str(),
            environment: &self.env,
            dry_run: !self.take,
            entries,
        };
        context.output.answer(&imported, || text(&imported))?;
        match refused {
            0 => Ok(()),
            n => Err(Failure::after_answer(&format!(
                "{} could not be taken",
                count(n, "credential")
            ))),
        }
    }

    fn read(&self) -> Result<(Source, Reading), Failure> {
        let unreadable = |error: &std::io::Error| Failure::file("read", &self.file, error);
        let file = std::fs::File::open(&self.file).map_err(|error| unreadable(&error))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        // One byte more than may be read shows that there is more.
        file.take(FILE_MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&error))?;
        let source = self
            .from
            .or_else(|| recognize(&self.file, &bytes))
            .ok_or_else(|| {
                Failure::usage(&format!(
                    "{} is of no known kind: name it with --from",
                    self.file.display()
                ))
            })?;
        let name = self
            .file
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let reading = read(source, &name, &bytes).map_err(|error| {
            Failure::local(
                code::SYSTEM,
                "The file cannot be imported from.",
                format!("{error}."),
                "Correct the file, or name its kind with --from.",
            )
        })?;
        Ok((source, reading))
    }

    /// The name under which it is taken.
    fn name_of(&self, found: &Found) -> Result<String, Failure> {
        let suggested = found.suggested.to_string();
        for pair in &self.rename {
            match pair.split_once('=') {
                Some((from, to)) if from == suggested => return Ok(to.to_owned()),
                Some(_) => {}
                None => {
                    return Err(Failure::usage(&format!(
                        "{pair:?} is no new name: write SUGGESTED=NAME"
                    )));
                }
            }
        }
        Ok(suggested)
    }

    fn wants(&self, found: &Found) -> bool {
        self.only.is_empty() || self.only.contains(&found.suggested.to_string())
    }

    /// Refuses what could only be done by half: nothing is taken before all is known that must be.
    fn check(&self, found: &[Found]) -> Result<(), Failure> {
        let suggested = |only: &String| {
            found
                .iter()
                .any(|found| found.suggested.to_string() == *only)
        };
        if let Some(unknown) = self.only.iter().find(|only| !suggested(only)) {
            return Err(Failure::usage(&format!(
                "{unknown} is none of the names that are suggested for {}: see them without --take",
                self.file.display()
            )));
        }
        let mut wanted = found.iter().filter(|found| self.take && self.wants(found));
        match wanted.find_map(|found| Some((found, self.missing(found)?))) {
            Some((found, why)) => Err(Failure::usage(&format!(
                "nothing was taken: {} in line {} lacks something: {why}",
                found.suggested, found.line
            ))),
            None => Ok(()),
        }
    }

    /// What must be said before it can be taken.
    fn missing(&self, found: &Found) -> Option<String> {
        let owner = found.owner.is_none() && self.owner.is_none();
        let purpose = found.purpose.is_none() && self.purpose.is_none();
        match (owner, purpose) {
            (true, true) => {
                Some("say who answers for it and what it is for: --owner WHO --purpose WHY".into())
            }
            (true, false) => Some("say who answers for it: --owner WHO".into()),
            (false, true) => Some("say what it is for: --purpose WHY".into()),
            (false, false) => None,
        }
    }

    async fn add(
        &self,
        client: &Client,
        found: &Found,
        name: String,
    ) -> Result<Vec<String>, Failure> {
        let request = CredentialRequest {
            name,
            environment: self.env.clone(),
            kind: found.kind.into(),
            owner: found
                .owner
                .clone()
                .or_else(|| self.owner.clone())
                .unwrap_or_default(),
            purpose: found
                .purpose
                .clone()
                .or_else(|| self.purpose.clone())
                .unwrap_or_default(),
            tier: found.tier.clone().unwrap_or_else(|| self.tier.clone()),
            value: Some(SecretValue::new(Zeroizing::new(
                found.value.expose().to_vec(),
            ))),
            generate: false,
            location: None,
            used_by: Vec::new(),
            scopes: Vec::new(),
            expires_at: None,
            remote_id: None,
            imported_from: Some(
                format!("{}:{}", self.file.display(), found.line)
                    .chars()
                    .take(200)
                    .collect(),
            ),
            rotation: RotationPolicyView::default(),
        };
        let added: CredentialChanged = client.post(PATH, &request).await?;
        Ok(added.warnings)
    }

    /// What was seen and is not in the vault stays known: each such entry is a finding.
    async fn note_what_stays(
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
            hash || entry.outcome == "refused" || entry.kind.is_some() && entry.outcome == "left"
        };
        for entry in entries.iter().filter(secret) {
            let place = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone());
            let place = format!("{}:{}", place.display(), entry.line);
            let report = FindingReport {
                kind: "unmanaged".into(),
                credential: None,
                place: crate::output::visible(&place).chars().take(200).collect(),
                what: crate::output::visible(&entry.name)
                    .chars()
                    .take(200)
                    .collect(),
            };
            let _: FindingView = client.post("/api/v1/findings", &report).await?;
        }
        Ok(())
    }
}

fn text(imported: &Imported<'_>) -> String {
    let mut table = Table::new(&["LINE", "NAME", "KIND", "OUTCOME", "WHY"]);
    for entry in &imported.entries {
        let outcome = entry.outcome.replace('_', " ");
        table.row(&[
            &entry.line.to_string(),
            &entry.name,
            entry.kind.unwrap_or_default(),
            &outcome,
            entry.why.as_deref().unwrap_or_default(),
        ]);
    }
    let mut text = table.render();
    if imported.dry_run {
        text += "\n\nNothing was changed. Run it again with --take to move these into the vault.";
    } else {
        text += "\n\nThe file was not changed: put what was taken back into it with `hearthkey credential render`, or delete it.";
    }
    text
}
