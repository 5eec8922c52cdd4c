//! `hearthkey credential import`: secrets are copied from files into the vault.
//!
//! The first run is dry: it says what would be taken, under which names. The second, with `--take`, takes
//! it. Both follow one [plan]: what one refuses, the other refuses.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use hearthkey_api::{
    Client, CredentialChanged, CredentialRequest, RotateRequest, RotationPolicyView, RotationView,
    SecretValue,
};
use hearthkey_discovery::import::{
    FILE_MAX_BYTES, Found, Reading, Recognized, Source, read, recognize,
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::credential::target::path;
use crate::credential::{PATH, text as words};
use crate::failure::{Failure, code};
use crate::table::{Table, count};
use plan::{Fate, Planned, plan};
use vault::Vault;

mod noted;
mod plan;
mod vault;

/// What is imported.
#[derive(Debug, Args)]
pub struct Import {
    /// The file: secrets.yaml, Home Assistant's configuration or a package of it, .env, Zigbee2MQTT's configuration.yaml or secret.yaml, ESPHome YAML, a Compose file, a Mosquitto password file or mosquitto.conf, or CSV.
    file: PathBuf,
    /// The environment that it goes into.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    env: String,
    /// What kind of file it is, if its name and content do not say: secrets-yaml, home-assistant, env, zigbee2mqtt, zigbee2mqtt-secrets, esphome, mosquitto, mosquitto-conf, compose or csv.
    #[arg(long, value_name = "KIND", visible_alias = "kind")]
    from: Option<Source>,
    /// Import the file. Without this, nothing is changed, and the result is only shown.
    #[arg(long)]
    take: bool,
    /// Replace values of the vault by other ones of the file, by a rotation: of every entry, or of one with --replace=NAME; repeatable.
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    replace: Vec<String>,
    /// Import only these of the suggested names; repeatable.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Another name for one of them, like mqtt/password=broker/zigbee; repeatable.
    #[arg(long, value_name = "SUGGESTED=NAME")]
    rename: Vec<String>,
    /// Who is responsible for those of which the file does not say.
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
    /// `would_take`, `would_replace`, `taken`, `replaced`, `already_here`, `differs`, `left` or `refused`.
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
    /// Whether the vault was asked what it holds; a dry run goes on without.
    compared: bool,
    entries: Vec<Entry<'a>>,
}

impl Import {
    /// Shows what would be taken, or takes it.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let (source, reading) = self.read(context)?;
        let Reading { found, left } = reading;
        self.check(&found)?;
        let vault = self.vault(context, &found).await?;
        let planned = plan(&self, &found, vault.as_ref()).await?;
        self.complete(&planned)?;
        let mut entries = Vec::new();
        for planned in planned {
            entries.push(self.carry_out(context, planned).await?);
        }
        entries.extend(left.iter().map(|left| Entry {
            line: left.line,
            name: left.what.clone(),
            kind: None,
            outcome: "left",
            why: Some(left.why.clone()),
        }));
        if self.take {
            let client = context.client()?;
            self.note_what_stays(&client, source, &entries, &left)
                .await?;
            // Only a person or the operator resolves findings; a service's import leaves them.
            if context.token_file()?.is_none() {
                self.resolve_what_is_taken(&client, &entries).await?;
            }
        }
        let imported = Imported {
            file: &self.file,
            source: source.as_str(),
            environment: &self.env,
            dry_run: !self.take,
            compared: vault.is_some(),
            entries,
        };
        context.output.answer(&imported, || text(&imported))?;
        let refused = imported
            .entries
            .iter()
            .filter(|entry| entry.outcome == "refused");
        match refused.count() {
            0 => Ok(()),
            n => Err(Failure::after_answer(&format!(
                "{} refused",
                count(n as u64, "entry was")
            ))),
        }
    }

    /// What the vault holds. A dry run goes on without a gateway.
    async fn vault(&self, context: &Context, found: &[Found]) -> Result<Option<Vault>, Failure> {
        if found.is_empty() {
            return Ok(None);
        }
        let asked = match context.client() {
            Ok(client) => Vault::ask(client, &self.env).await,
            Err(failure) => Err(failure),
        };
        match asked {
            Ok(vault) => Ok(Some(vault)),
            Err(failure @ Failure::Told { .. }) if !self.take => {
                if let Failure::Told { problem, .. } = &failure
                    && problem.status != 0
                {
                    return Err(failure);
                }
                context.output.aside(
                    "The entries were not compared with the vault, because the gateway does not respond.",
                );
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Does what was planned for one entry, if this is no dry run.
    async fn carry_out<'a>(
        &self,
        context: &Context,
        planned: Planned<'a>,
    ) -> Result<Entry<'a>, Failure> {
        let Planned { found, name, fate } = planned;
        let (outcome, why) = match fate {
            Fate::NotAsked => ("left", Some("it was not requested".to_owned())),
            Fate::Here(why) => ("already_here", Some(why)),
            Fate::Differs(why) => ("differs", Some(why)),
            Fate::Refused(why) => ("refused", Some(why)),
            Fate::Take(why) if !self.take => ("would_take", why),
            Fate::Replace(why) if !self.take => ("would_replace", Some(why)),
            Fate::Take(_) => {
                let added = self.add(&context.client()?, found, name.clone()).await;
                outcome_of("taken", added.map(|warnings| warnings.join(" ")))?
            }
            Fate::Replace(_) => {
                let replaced = self.replace(&context.client()?, found, &name).await;
                outcome_of("replaced", replaced)?
            }
        };
        let why = match (why.filter(|text| !text.is_empty()), &found.note) {
            (Some(why), Some(note)) => Some(format!("{note}; {why}")),
            (why, note) => why.or_else(|| note.clone()),
        };
        Ok(Entry {
            line: found.line,
            name,
            kind: Some(found.kind),
            outcome,
            why,
        })
    }

    fn read(&self, context: &Context) -> Result<(Source, Reading), Failure> {
        let unreadable = |error: &std::io::Error| Failure::file("read", &self.file, error);
        let file = std::fs::File::open(&self.file).map_err(|error| unreadable(&error))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        // One byte more than may be read shows that there is more.
        file.take(FILE_MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&error))?;
        let source = match self.from {
            Some(source) => source,
            None => self.recognized(context, &bytes)?,
        };
        let name = self
            .file
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let reading = read(source, &name, &bytes).map_err(|error| {
            Failure::local(
                code::SYSTEM,
                "The file cannot be imported.",
                format!("{error}."),
                "Correct the file, or name its kind with --from.",
            )
            .of_usage()
        })?;
        Ok((source, reading))
    }

    /// The kind of the file; a person is asked where several fit.
    fn recognized(&self, context: &Context, bytes: &[u8]) -> Result<Source, Failure> {
        let kinds = match recognize(&self.file, bytes) {
            Recognized::One(source) => return Ok(source),
            Recognized::Several(kinds) => kinds,
            Recognized::Unknown => {
                return Err(Failure::usage(&format!(
                    "{} is of an unknown kind: name the kind with --from",
                    self.file.display()
                )));
            }
        };
        if !context.output.is_json()
            && std::io::stdin().is_terminal()
            && context.output.is_terminal()
        {
            let mut asked = std::io::stderr();
            for (number, kind) in (1..).zip(&kinds) {
                let _ = writeln!(asked, "{number}  {kind}");
            }
            let _ = write!(
                asked,
                "Which kind of file is {}? ",
                crate::output::visible(&self.file.display().to_string())
            );
            let mut line = String::new();
            let _ = std::io::stdin().read_line(&mut line);
            let answer = line.trim();
            let by_number = answer
                .parse::<usize>()
                .ok()
                .and_then(|n| kinds.get(n.checked_sub(1)?));
            if let Some(kind) = by_number.copied().or_else(|| answer.parse().ok()) {
                return Ok(kind);
            }
        }
        let names: Vec<String> = kinds.iter().map(|kind| format!("--from {kind}")).collect();
        Err(Failure::usage(&format!(
            "{} may be of several kinds: name the right one with {}",
            self.file.display(),
            names.join(" or ")
        )))
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
                        "{pair:?} is not a new name: write SUGGESTED=NAME"
                    )));
                }
            }
        }
        Ok(suggested)
    }

    fn wants(&self, found: &Found) -> bool {
        self.only.is_empty() || self.only.contains(&found.suggested.to_string())
    }

    /// Refuses a name that is none of the file.
    fn check(&self, found: &[Found]) -> Result<(), Failure> {
        let suggested = |only: &String| {
            found
                .iter()
                .any(|found| found.suggested.to_string() == *only)
        };
        if let Some(unknown) = self.only.iter().find(|only| !suggested(only)) {
            return Err(Failure::usage(&format!(
                "{unknown} is not one of the names suggested for {}: run without --take to see them",
                self.file.display()
            )));
        }
        Ok(())
    }

    /// Refuses what could only be done by half: nothing is taken before all is known that must be.
    fn complete(&self, planned: &[Planned<'_>]) -> Result<(), Failure> {
        let lacking = planned.iter().find_map(|planned| match &planned.fate {
            Fate::Take(Some(why)) if self.take => Some((planned.found, why)),
            _ => None,
        });
        match lacking {
            Some((found, why)) => Err(Failure::usage(&format!(
                "nothing was imported: {} in line {} is incomplete: {why}",
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
            (true, true) => Some("name its owner and purpose: --owner WHO --purpose WHY".into()),
            (true, false) => Some("name its owner: --owner WHO".into()),
            (false, true) => Some("name its purpose: --purpose WHY".into()),
            (false, false) => None,
        }
    }

    /// The file and a line of it, as the vault keeps it.
    fn place_of(&self, line: u32) -> String {
        let place = format!("{}:{line}", self.file.display());
        place.chars().take(200).collect()
    }

    /// Puts a value in the place of another, by a rotation.
    async fn replace(&self, client: &Client, found: &Found, name: &str) -> Result<String, Failure> {
        let request = RotateRequest {
            value: Some(SecretValue::new(Zeroizing::new(
                found.value.expose().to_vec(),
            ))),
            generate: false,
            overlap: None,
            reason: Some(format!("imported from {}", self.place_of(found.line))),
            accept_cost: false,
            remote_id: None,
        };
        let path = format!("{}/rotate", path(&self.env, name));
        let rotation: RotationView = client.post(&path, &request).await?;
        Ok(words::rotation(&rotation).replace('\n', ";"))
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
            imported_from: Some(self.place_of(found.line)),
            rotation: RotationPolicyView::default(),
            second_factor: None,
        };
        let added: CredentialChanged = client.post(PATH, &request).await?;
        Ok(added.warnings)
    }
}

/// What became of an entry, if the gateway answered.
fn outcome_of(
    done: &'static str,
    answer: Result<String, Failure>,
) -> Result<(&'static str, Option<String>), Failure> {
    match answer {
        Ok(says) => Ok((done, Some(says))),
        Err(Failure::Told { problem, .. }) if problem.status != 0 => {
            Ok(("refused", Some(problem.to_string())))
        }
        Err(failure) => Err(failure),
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
    let takes = |entry: &Entry<'_>| {
        matches!(
            entry.outcome,
            "taken" | "replaced" | "would_take" | "would_replace"
        )
    };
    if imported
        .entries
        .iter()
        .any(|entry| entry.outcome == "differs")
    {
        text += "\n\nThe vault has different values for some of these. `--take --replace=NAME` rotates one to the value of the file, --replace all of them.";
    }
    if !imported.entries.iter().any(takes) {
        text += "\n\nThere is nothing to import.";
    } else if imported.dry_run {
        text += "\n\nNothing was changed. Run it again with --take to copy these into the vault, and with --owner WHO and --purpose WHY where the file does not say them.";
    } else {
        text += "\n\nThe file was not changed, and still holds the secrets. Keep it as long as a program reads it: `hearthkey credential render` writes it again from a template. Delete other copies.";
    }
    text
}
