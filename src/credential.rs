//! `hearthkey credential …`.

mod add;
mod follow;
mod give;
mod import;
mod register;
mod render;
mod rotate;
mod run;
mod scan;
mod target;
mod text;

use clap::{Args, Subcommand};
use hearthkey_api::{
    Client, CredentialChange, CredentialChanged, CredentialInFull, CredentialPage, CredentialView,
    PAGE_MAX, RotationPolicyView,
};

use crate::context::Context;
use crate::failure::Failure;
use crate::second_factor::Showing;
use crate::url_path::encode;
use target::Target;

pub use follow::to_rest;
pub use rotate::one as retired_text;

const PATH: &str = "/api/v1/credentials";

/// The commands about credentials.
#[derive(Debug, Subcommand)]
pub enum Credential {
    /// Add a credential: its value is read from a file, standard input or the terminal.
    Add(add::Add),
    /// List the inventory: the vault's credentials and the home's own keys, never a value.
    List(List),
    /// Show a credential with its versions, rotations and leases, never its value.
    Show(Target),
    /// Change the details of a credential: its owner, purpose, tier, schedule or places of use.
    Change(Change),
    /// Write the whole inventory to a file, as CSV or JSON.
    Register(register::Register),
    /// Show a value on standard output. This is recorded.
    Reveal(give::Reveal),
    /// Run a command that gets values in its environment, or in files that exist in memory only.
    Run(run::Run),
    /// Lease a value for a time; if the bridge supports it, a separate value that ends automatically.
    Lease(give::Lease),
    /// List the leases that have not ended.
    Leases,
    /// End a lease now.
    EndLease {
        /// The lease.
        lease: crate::url_path::Name,
    },
    /// Replace a value: both are valid until everything has switched, then the old one is ended.
    Rotate(rotate::Rotate),
    /// Confirm that a place of use has switched to the new value.
    Confirm(rotate::Confirm),
    /// Roll back to the earlier value.
    Rollback(Target),
    /// Retire a credential permanently; its data keys are destroyed after a grace period.
    Retire(rotate::Retire),
    /// Move secrets from configuration files into the vault; the first run only shows what it would do.
    Import(import::Import),
    /// Look for leaked secrets in directories and git histories; exit code 3 if there are any, 4 if not everything was looked at.
    Scan(scan::Scan),
    /// Fill the values into a template, as a file that only you can read.
    Render(render::Render),
}

/// What is listed.
#[derive(Debug, Args)]
pub struct List {
    /// Of this environment.
    #[arg(long, short)]
    env: Option<String>,
    /// With this text in their names, owners, purposes or places of use.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Of this tier.
    #[arg(long)]
    tier: Option<String>,
    /// In this state.
    #[arg(long)]
    state: Option<String>,
}

impl List {
    /// The query that asks for it, page by page.
    fn query(&self) -> String {
        let parts = [
            ("environment", &self.env),
            ("q", &self.search),
            ("kind", &self.kind),
            ("tier", &self.tier),
            ("state", &self.state),
        ];
        let given = parts
            .iter()
            .filter_map(|(name, value)| Some(format!("&{name}={}", encode(value.as_ref()?))));
        given.collect()
    }
}

/// When a credential is rotated.
#[derive(Debug, Args, Default)]
pub struct Schedule {
    /// Rotate at this age, like 90d.
    #[arg(long, value_name = "AGE")]
    rotate_every: Option<String>,
    /// Rotate on these days: a weekday, monthly, quarterly or yearly.
    #[arg(long, value_name = "DAY")]
    rotate_on: Option<String>,
    /// Rotate after it was given out this often.
    #[arg(long, value_name = "COUNT", value_parser = crate::conventions::number::<u64>)]
    rotate_after_uses: Option<u64>,
    /// Rotate automatically when due, instead of only reporting it.
    #[arg(long)]
    rotate_automatically: bool,
    /// How long the old and the new value are both valid during a rotation, like 24h.
    #[arg(long, value_name = "SPAN")]
    overlap: Option<String>,
}

impl Schedule {
    fn is_named(&self) -> bool {
        self.rotate_automatically
            || self.rotate_after_uses.is_some()
            || [&self.rotate_every, &self.rotate_on, &self.overlap]
                .iter()
                .any(|part| part.is_some())
    }

    /// What is named here, over what was known.
    fn over(self, known: RotationPolicyView, by_hand: bool, by_tier: bool) -> RotationPolicyView {
        let kept = match by_tier {
            true => RotationPolicyView::default(),
            false => known.clone(),
        };
        RotationPolicyView {
            every: self.rotate_every.or(kept.every),
            on: self.rotate_on.or(kept.on),
            after_uses: self.rotate_after_uses.or(kept.after_uses),
            automatic: (known.automatic || self.rotate_automatically) && !by_hand,
            overlap: self.overlap.or(known.overlap),
        }
    }

    fn view(self) -> RotationPolicyView {
        RotationPolicyView {
            every: self.rotate_every,
            on: self.rotate_on,
            after_uses: self.rotate_after_uses,
            automatic: self.rotate_automatically,
            overlap: self.overlap,
        }
    }
}

/// What is changed.
#[derive(Debug, Args)]
pub struct Change {
    #[command(flatten)]
    target: Target,
    /// Who is responsible for it.
    #[arg(long)]
    owner: Option<String>,
    /// What it is for.
    #[arg(long)]
    purpose: Option<String>,
    /// How much harm its loss does: critical, high or standard.
    #[arg(long)]
    tier: Option<String>,
    /// Where it is used; repeatable, and the whole list is replaced.
    #[arg(long, value_name = "PLACE")]
    used_by: Vec<String>,
    /// Its scopes; repeatable, and the whole list is replaced.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// When it expires, like 2027-01-01T00:00:00Z; empty for never.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    schedule: Schedule,
    /// Stop rotating automatically, and only report when it is due.
    #[arg(long, conflicts_with = "rotate_automatically")]
    rotate_by_hand: bool,
    /// Where the value is stored now, of a credential that is only recorded.
    #[arg(long, value_name = "WHERE")]
    recorded_at: Option<String>,
    /// The value of a credential that is only recorded was replaced: its age counts from now.
    #[arg(long)]
    replaced: bool,
    /// Remove its own age, days and uses: rotate at the age of its tier.
    #[arg(long, conflicts_with_all = ["rotate_every", "rotate_on", "rotate_after_uses"])]
    rotate_by_tier: bool,
    #[command(flatten)]
    showing: Showing,
}

impl Credential {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.obey(context).await,
            Self::List(list) => {
                let credentials = all(&context.client()?, &list.query()).await?;
                context
                    .output
                    .answer(&credentials, || text::list(&credentials))
            }
            Self::Show(target) => {
                let client = context.client()?;
                let path = target.path(&client).await?;
                let credential: CredentialInFull = client.get(&path).await?;
                context
                    .output
                    .answer(&credential, || text::in_full(&credential))
            }
            Self::Change(change) => change.obey(context).await,
            Self::Register(register) => register.obey(context).await,
            Self::Reveal(reveal) => reveal.obey(context).await,
            Self::Run(run) => run.obey(context).await,
            Self::Lease(lease) => lease.obey(context).await,
            Self::Leases => give::leases(context).await,
            Self::EndLease { lease } => give::end_lease(context, &lease).await,
            Self::Rotate(rotate) => rotate.obey(context).await,
            Self::Confirm(confirm) => confirm.obey(context).await,
            Self::Rollback(target) => rotate::roll_back(context, &target).await,
            Self::Retire(retire) => retire.obey(context).await,
            Self::Import(import) => import.obey(context).await,
            Self::Scan(scan) => scan.obey(context).await,
            Self::Render(render) => render.obey(context).await,
        }
    }
}

/// The whole inventory, page after page.
async fn all(client: &Client, query: &str) -> Result<Vec<CredentialView>, Failure> {
    let mut credentials = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("{PATH}?limit={PAGE_MAX}&after={}{query}", encode(&after));
        let page: CredentialPage = client.get(&path).await?;
        credentials.extend(page.credentials);
        match page.next {
            None => return Ok(credentials),
            // Each page begins where the one before has ended, so it cannot be the same.
            Some(next) if next > after => after = next,
            Some(_) => return Err(Failure::garbled("the inventory has no end")),
        }
    }
}

impl Change {
    async fn obey(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let path = self.target.path(&client).await?;
        let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
        let named = self.schedule.is_named() || self.rotate_by_hand || self.rotate_by_tier;
        let rotation = match named {
            false => None,
            true => {
                let known: CredentialInFull = client.get(&path).await?;
                Some(self.schedule.over(
                    known.credential.rotation,
                    self.rotate_by_hand,
                    self.rotate_by_tier,
                ))
            }
        };
        let change = CredentialChange {
            owner: self.owner,
            purpose: self.purpose,
            tier: self.tier,
            used_by: some(self.used_by),
            scopes: some(self.scope),
            expires_at: self.expires,
            rotation,
            location: self.recorded_at,
            replaced: self.replaced,
            second_factor: self.showing.second_factor()?,
        };
        let changed: CredentialChanged = client.post(&format!("{path}/change"), &change).await?;
        told(context, &changed)
    }
}

/// Answers with a credential as it is now, and with what a person should know.
fn told(context: &Context, changed: &CredentialChanged) -> Result<(), Failure> {
    context
        .output
        .answer(changed, || text::one(&changed.credential))?;
    if !context.output.is_json() {
        for warning in &changed.warnings {
            context.output.aside(warning);
        }
    }
    Ok(())
}
