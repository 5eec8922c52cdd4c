//! `hearthkey device claim`: permits one device to enroll, once.

use clap::Args;
use hearthkey_api::{ClaimOpened, ClaimRequest};
use zeroize::Zeroizing;

use crate::audience;
use crate::claim_text;
use crate::context::Context;
use crate::failure::Failure;

/// What `device claim` is told.
#[derive(Debug, Args)]
pub struct Claim {
    /// The device's id: 1 to 63 of a-z, 0-9 and inner -.
    id: String,
    /// Its profile: its permissions.
    #[arg(long)]
    profile: String,
    /// Its environment.
    #[arg(long = "env", short, env = "HEARTHKEY_ENV")]
    environment: String,
    /// Who is responsible for it.
    #[arg(long, value_name = "WHO")]
    owner: String,
    /// What it is for.
    #[arg(long, value_name = "WHY")]
    purpose: String,
    /// How long the claim is valid: 1s to 24h.
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    lifetime: String,
}

impl Claim {
    /// Opens the claim, and shows its secret for the only time.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        audience::may_see("claim code")?;
        let request = ClaimRequest {
            device: self.id,
            profile: self.profile,
            environment: self.environment,
            owner: self.owner,
            purpose: self.purpose,
            lifetime: self.lifetime,
        };
        let opened: ClaimOpened = context.client()?.post("/api/v1/claims", &request).await?;
        if context.output.is_json() {
            return context.output.json_line(&opened);
        }
        let qr = context.output.is_terminal();
        let text = Zeroizing::new(claim_text::text(&opened, qr));
        context.output.text(&text)
    }
}
