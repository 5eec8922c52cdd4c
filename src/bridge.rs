//! `hearthkey bridge …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hearthkey_api::{BridgeList, BridgeRequest, BridgeTested, BridgeView, Disconnected};
use serde_json::{Map, Value};

use crate::context::{Context, Nothing};
use crate::credential::retired_text;
use crate::failure::Failure;
use crate::second_factor::Showing;
use crate::table::{Table, facts};
use crate::url_path::encode;

const PATH: &str = "/api/v1/bridges";
/// The longest settings file, in bytes.
const SETTINGS_MAX_BYTES: u64 = 64 * 1024;

/// The commands about bridges.
#[derive(Debug, Subcommand)]
pub enum Bridge {
    /// Connect a bridge, or change how it is reached. See docs/CONNECTORS.md for the settings of each kind.
    Connect(Connect),
    /// List the bridges and what each can do.
    List,
    /// Test each credential of a bridge, and list its scopes.
    Test(Named),
    /// Disconnect a bridge.
    Disconnect {
        #[command(flatten)]
        named: Named,
        /// Retire its credentials with it.
        #[arg(long)]
        retire: bool,
    },
}

/// A bridge, named on the command line.
#[derive(Debug, Args)]
pub struct Named {
    /// The bridge.
    name: String,
    /// Its environment. It may be left out where the name is in one environment only.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    env: Option<String>,
}

/// How a bridge is reached.
#[derive(Debug, Args)]
pub struct Connect {
    /// home-assistant, mosquitto, hue, zigbee2mqtt, wifi, http or command.
    kind: String,
    /// Its name: the first part of its credentials' names.
    name: String,
    /// Its environment.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    env: String,
    /// Who is responsible for it.
    #[arg(long, value_name = "WHO")]
    owner: String,
    /// What it is for.
    #[arg(long, value_name = "WHY")]
    purpose: String,
    /// The credential by which it is administered, in the same environment.
    #[arg(long, value_name = "BRIDGE/KEY")]
    authority: Option<String>,
    /// Its settings, as a JSON object in a file. They hold no secret.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// One setting, like url=https://homeassistant.local:8123; repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    showing: Showing,
}

impl Bridge {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Connect(connect) => connect.obey(context).await,
            Self::List => {
                let list: BridgeList = context.client()?.get(PATH).await?;
                context
                    .output
                    .answer(&list.bridges, || table(&list.bridges))
            }
            Self::Test(named) => {
                let tested: BridgeTested = named.post(context, "test").await?;
                context.output.answer(&tested, || test_text(&tested))?;
                if tested.ok {
                    Ok(())
                } else {
                    Err(failed(&tested))
                }
            }
            Self::Disconnect { named, retire } => {
                let verb = format!("disconnect?retire={retire}");
                let gone: Disconnected = named.post(context, &verb).await?;
                context.output.answer(&gone, || {
                    let mut told = vec![format!("{} is disconnected.", gone.name)];
                    if !gone.durable {
                        told.push("This is in effect, but not saved to disk yet. The gateway retries every second until it is saved.".into());
                    }
                    told.extend(gone.retired.iter().map(retired_text));
                    told.join("\n\n")
                })
            }
        }
    }
}

impl Named {
    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        context: &Context,
        verb: &str,
    ) -> Result<T, Failure> {
        let client = context.client()?;
        let environment = match &self.env {
            Some(environment) => environment.clone(),
            None => {
                let list: BridgeList = client.get(PATH).await?;
                let mut found = list
                    .bridges
                    .into_iter()
                    .filter(|bridge| bridge.name == self.name);
                match (found.next(), found.next()) {
                    (Some(only), None) => only.environment,
                    (None, _) => "home".to_owned(),
                    _ => {
                        let why = format!(
                            "{} is in more than one environment: name it with --env",
                            self.name
                        );
                        return Err(Failure::usage(&why));
                    }
                }
            }
        };
        let path = format!(
            "/api/v1/environments/{}/bridges/{}/{verb}",
            encode(&environment),
            encode(&self.name)
        );
        Ok(client.post(&path, &Nothing {}).await?)
    }
}

impl Connect {
    async fn obey(self, context: &Context) -> Result<(), Failure> {
        let mut settings = match &self.settings {
            Some(path) => read(path)?,
            None => Map::new(),
        };
        for pair in &self.set {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Failure::usage(&format!(
                    "{pair:?} is not a setting: write NAME=VALUE"
                )));
            };
            // Numbers, booleans, lists and objects as JSON has them; everything else is text.
            let value =
                serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            settings.insert(name.to_owned(), value);
        }
        let request = BridgeRequest {
            name: self.name,
            environment: self.env,
            kind: self.kind,
            owner: self.owner,
            purpose: self.purpose,
            settings: Value::Object(settings),
            authority: self.authority,
            second_factor: self.showing.second_factor()?,
        };
        let bridge: BridgeView = context.client()?.post(PATH, &request).await?;
        context.output.answer(&bridge, || one(&bridge))
    }
}

fn read(path: &PathBuf) -> Result<Map<String, Value>, Failure> {
    let failed = |error: &std::io::Error| Failure::file("read", path, error);
    if std::fs::metadata(path)
        .map_err(|error| failed(&error))?
        .len()
        > SETTINGS_MAX_BYTES
    {
        return Err(Failure::content(path, "it is longer than 64 KiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::content(path, &format!("it is not a JSON object: {error}")))
}

fn able(bridge: &BridgeView) -> String {
    let a = &bridge.abilities;
    let words = [
        (a.verify, "test"),
        (a.mint, "create"),
        (a.revoke, "end"),
        (a.notify, "notify"),
        (a.children, "separate values for leases"),
        (a.two_live, "two valid values"),
    ];
    let able: Vec<&str> = words
        .iter()
        .filter(|(can, _)| *can)
        .map(|(_, word)| *word)
        .collect();
    able.join(", ")
}

fn table(bridges: &[BridgeView]) -> String {
    let mut table = Table::new(&["BRIDGE", "ENVIRONMENT", "KIND", "OWNER", "CAN"]);
    for bridge in bridges {
        table.row(&[
            &bridge.name,
            &bridge.environment,
            &bridge.kind,
            &bridge.owner,
            &able(bridge),
        ]);
    }
    table.render()
}

fn one(bridge: &BridgeView) -> String {
    let mut text = facts(&[
        ("bridge", Some(bridge.name.clone())),
        ("environment", Some(bridge.environment.clone())),
        ("kind", Some(bridge.kind.clone())),
        ("owner", Some(bridge.owner.clone())),
        ("purpose", Some(bridge.purpose.clone())),
        ("authority", bridge.authority.clone()),
        ("settings", Some(bridge.settings.to_string())),
        ("can", Some(able(bridge))),
        ("rotation costs", bridge.abilities.cost.clone()),
    ]);
    for cannot in &bridge.abilities.cannot {
        text += &format!("\n{cannot}");
    }
    text
}

fn test_text(tested: &BridgeTested) -> String {
    if tested.credentials.is_empty() {
        return format!(
            "{} has no credential with a value yet: there was nothing to test.",
            tested.name
        );
    }
    let mut table = Table::new(&["CREDENTIAL", "VERDICT", "SCOPES", "WHY"]);
    for verdict in &tested.credentials {
        let scopes = verdict.scopes.as_deref().map(shortened);
        table.row(&[
            &verdict.name,
            &verdict.verdict,
            &scopes.unwrap_or_default(),
            verdict.detail.as_deref().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// The first two of them, and how many more there are.
fn shortened(scopes: &[String]) -> String {
    let first = scopes
        .iter()
        .take(2)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match scopes.len() {
        0..=2 => first,
        n => format!("{first} and {} more", n - 2),
    }
}

fn failed(tested: &BridgeTested) -> Failure {
    let bad = tested
        .credentials
        .iter()
        .filter(|verdict| !["works", "untried"].contains(&verdict.verdict.as_str()));
    let names: Vec<&str> = bad.map(|verdict| verdict.name.as_str()).collect();
    Failure::after_answer(&format!("these did not pass: {}", names.join(", ")))
}
