//! `hearthkey credential add`.

use clap::Args;
use hearthkey_api::{CredentialChanged, CredentialInFull, CredentialRequest};

use crate::context::Context;
use crate::credential::follow::to_rest;
use crate::credential::target::path;
use crate::credential::{PATH, Schedule, told};
use crate::failure::Failure;
use crate::second_factor::Showing;
use crate::value::ValueSource;

/// What is added.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name: bridge/key, like hue/api-key.
    name: String,
    /// Its environment.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    env: String,
    /// What it is: password, api-token, api-key, wifi-key, zigbee-key, encryption-key, signing-key or other.
    #[arg(long)]
    kind: String,
    /// Who is responsible for it.
    #[arg(long, value_name = "WHO")]
    owner: String,
    /// What it is for.
    #[arg(long, value_name = "WHY")]
    purpose: String,
    /// How much harm its loss does: critical, high or standard.
    #[arg(long, default_value = "standard")]
    tier: String,
    #[command(flatten)]
    value: ValueSource,
    /// Let the gateway create the value, through the bridge if a connected one can.
    #[arg(long, conflicts_with_all = ["from_file", "stdin", "recorded_at"])]
    generate: bool,
    /// Only record that it exists; its value is stored elsewhere.
    #[arg(long, value_name = "WHERE", conflicts_with_all = ["from_file", "stdin"])]
    recorded_at: Option<String>,
    /// The id of the value at the bridge, if the bridge issued it to you.
    #[arg(long, value_name = "ID")]
    remote_id: Option<String>,
    /// Where it is used; repeatable. Each place confirms a rotation.
    #[arg(long, value_name = "PLACE")]
    used_by: Vec<String>,
    /// Its scopes; repeatable.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// When it expires, like 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    schedule: Schedule,
    #[command(flatten)]
    showing: Showing,
}

impl Add {
    /// Adds it, and shows what is kept of it.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let second_factor = self.showing.second_factor()?;
        let value = if self.generate || self.recorded_at.is_some() {
            None
        } else {
            Some(self.value.read_or_ask()?)
        };
        let request = CredentialRequest {
            name: self.name,
            environment: self.env,
            kind: self.kind,
            owner: self.owner,
            purpose: self.purpose,
            tier: self.tier,
            value,
            generate: self.generate,
            location: self.recorded_at,
            used_by: self.used_by,
            scopes: self.scope,
            expires_at: self.expires,
            remote_id: self.remote_id,
            imported_from: None,
            rotation: self.schedule.view(),
            second_factor,
        };
        let client = context.client()?;
        let mut added: CredentialChanged = client.post(PATH, &request).await?;
        if added.credential.rotating.is_some() {
            // The bridge makes the value, and may want a button to be pressed. What comes next needs it.
            let path = path(&request.environment, &request.name);
            if let Some(rotation) = to_rest(context, &client, &path).await? {
                added.warnings.extend(rotation.notes);
            }
            let full: CredentialInFull = client.get(&path).await?;
            added.credential = full.credential;
        }
        let (name, valueless) = (
            added.credential.name.clone(),
            added.credential.version.is_none(),
        );
        told(context, &added)?;
        if self.generate && valueless {
            return Err(Failure::after_answer(&format!(
                "{name} has no value yet. `hearthkey credential show {name}` shows why."
            )));
        }
        Ok(())
    }
}
