//! Values are replaced and taken out of use.

use clap::Args;
use hearthkey_api::{Client, ConfirmRequest, RetireRequest, Retired, RotateRequest, RotationView};

use crate::context::{Context, Nothing};
use crate::credential::follow::to_rest;
use crate::credential::target::Target;
use crate::credential::text;
use crate::failure::Failure;
use crate::second_factor::Showing;
use crate::table::count;
use crate::url_path::encode;
use crate::value::ValueSource;

/// What is rotated. Without a value, the bridge or the gateway makes one.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    value: ValueSource,
    /// Let the gateway create the value, even if no connected bridge puts it in place. Not for kinds that only their
    /// issuer creates, like api-token.
    #[arg(long, conflicts_with_all = ["from_file", "stdin"])]
    generate: bool,
    /// The id of the new value at the bridge, if the bridge issued it to you.
    #[arg(long, value_name = "ID")]
    remote_id: Option<String>,
    /// How long both values are valid, like 24h; 0s ends the old one at once.
    #[arg(long, value_name = "SPAN")]
    overlap: Option<String>,
    /// Why; it is recorded.
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    /// Accept the cost of the rotation, like pairing devices again.
    #[arg(long)]
    accept_cost: bool,
}

/// Who has switched.
#[derive(Debug, Args)]
pub struct Confirm {
    #[command(flatten)]
    target: Target,
    /// The place of use that has the new value now.
    #[arg(long, value_name = "PLACE")]
    dependent: String,
}

/// What is retired.
#[derive(Debug, Args)]
pub struct Retire {
    /// The credential: bridge/key.
    #[arg(required_unless_present = "project")]
    name: Option<String>,
    /// Its environment. It may be left out where the name is in one environment only.
    #[arg(long, short, env = "HEARTHKEY_ENV")]
    env: Option<String>,
    /// Retire everything that is used in this place only, and take the place out of the rest.
    #[arg(long, value_name = "PLACE", conflicts_with = "name")]
    project: Option<String>,
    /// After how long the data keys are destroyed.
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    grace: String,
    /// Why; it is recorded.
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    #[command(flatten)]
    showing: Showing,
}

/// Waits until the rotation comes to rest: whatever runs next may need the new value. With `--json`, a program is shown
/// how it begins, and asks for itself how it goes on.
async fn watched(
    context: &Context,
    client: &Client,
    path: &str,
    begun: RotationView,
) -> Result<(), Failure> {
    if context.output.is_json() {
        return told(context, &begun);
    }
    let rested = to_rest(context, client, path).await?;
    told(context, &rested.unwrap_or(begun))
}

fn told(context: &Context, rotation: &RotationView) -> Result<(), Failure> {
    context.output.answer(rotation, || text::rotation(rotation))
}

impl Rotate {
    /// Begins the rotation, and says what is next.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let value = self.value.read()?;
        let client = context.client()?;
        let path = self.target.path(&client).await?;
        let request = RotateRequest {
            value,
            generate: self.generate,
            overlap: self.overlap,
            reason: self.reason,
            accept_cost: self.accept_cost,
            remote_id: self.remote_id,
        };
        let rotation: RotationView = client.post(&format!("{path}/rotate"), &request).await?;
        watched(context, &client, &path, rotation).await
    }
}

impl Confirm {
    /// Says that a place has switched.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let path = self.target.path(&client).await?;
        let request = ConfirmRequest {
            dependent: self.dependent,
        };
        let rotation: RotationView = client.post(&format!("{path}/confirm"), &request).await?;
        told(context, &rotation)
    }
}

/// Goes back to the value before.
pub async fn roll_back(context: &Context, target: &Target) -> Result<(), Failure> {
    let client = context.client()?;
    let path = target.path(&client).await?;
    let rotation: RotationView = client
        .post(&format!("{path}/rollback"), &Nothing {})
        .await?;
    watched(context, &client, &path, rotation).await
}

impl Retire {
    /// Takes it out of use, and says what is left to do by hand.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let request = RetireRequest {
            grace: Some(self.grace),
            reason: self.reason,
            second_factor: self.showing.second_factor()?,
        };
        let retired: Vec<Retired> = match (self.name, self.project) {
            (Some(name), _) => {
                let target = Target {
                    name,
                    env: self.env,
                };
                let path = target.path(&client).await?;
                vec![client.post(&format!("{path}/retire"), &request).await?]
            }
            (None, project) => {
                let project = project.unwrap_or_default();
                let path = format!("/api/v1/projects/{}/retire", encode(&project));
                client.post(&path, &request).await?
            }
        };
        context.output.answer(&retired, || {
            let told: Vec<String> = retired.iter().map(one).collect();
            told.join("\n\n")
        })
    }
}

/// What became of one credential.
pub fn one(retired: &Retired) -> String {
    let mut text = format!(
        "{} in {} is retired: {} ended, {} ended at the bridge; what the vault still holds of it is destroyed at {}.",
        retired.name,
        retired.environment,
        count(retired.leases_ended as u64, "lease"),
        count(retired.revoked_at_bridge as u64, "value"),
        retired.shred_at
    );
    if !retired.durable {
        text += "\nIt is no longer given out, but this is not saved to disk yet. The gateway retries every second until it is saved.";
    }
    if !retired.tokens_revoked.is_empty() {
        text += &format!(
            "\nRevoked with it: the tokens {}.",
            retired.tokens_revoked.join(", ")
        );
    }
    if !retired.by_hand.is_empty() {
        text += "\nTo do by hand:";
        for what in &retired.by_hand {
            text += &format!("\n- {what}");
        }
    }
    text
}
