//! Values for a person: revealed, lent.

use clap::Args;
use hearthkey_api::{
    Client, Given, LeaseList, LeaseRequest, LeaseView, Leased, RevealRequest, Revealed, SecretValue,
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::audience;
use crate::context::{Context, Nothing};
use crate::credential::target::Target;
use crate::credential::text;
use crate::failure::Failure;
use crate::second_factor::Showing;
use crate::url_path::{Name, encode};

/// What is revealed.
#[derive(Debug, Args)]
#[command(disable_version_flag = true)] // The versions here are the value's.
pub struct Reveal {
    #[command(flatten)]
    target: Target,
    /// Another version than the current one, while it still works.
    #[arg(long, value_parser = crate::conventions::number::<u32>)]
    version: Option<u32>,
    /// Why. Required for a critical credential; recorded in any case.
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    #[command(flatten)]
    showing: Showing,
}

/// What is borrowed.
#[derive(Debug, Args)]
pub struct Lease {
    #[command(flatten)]
    target: Target,
    /// For how long: 1s to 24h.
    #[arg(
        long,
        visible_alias = "ttl",
        default_value = "15m",
        value_name = "SPAN"
    )]
    lifetime: String,
    /// Why; it is recorded.
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    #[command(flatten)]
    showing: Showing,
}

/// A value in JSON: as text where it is one, and always as base64.
#[derive(Serialize)]
struct Shown<'a, T: Serialize> {
    #[serde(flatten)]
    about: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    base64: &'a SecretValue,
}

#[derive(Serialize)]
struct About<'a> {
    name: &'a str,
    environment: &'a str,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Borrowed<'a> {
    #[serde(flatten)]
    lease: &'a LeaseView,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_id: Option<&'a str>,
}

/// Asks for values.
pub async fn obtain(
    client: &Client,
    environment: &str,
    request: &RevealRequest,
) -> Result<Vec<Given>, Failure> {
    let path = format!("/api/v1/environments/{}/reveal", encode(environment));
    let revealed: Revealed = client.post(&path, request).await?;
    if revealed.values.len() != request.names.len() {
        return Err(Failure::garbled(
            "it has a different number of values than requested",
        ));
    }
    Ok(revealed.values)
}

impl Reveal {
    /// Shows the value.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        audience::may_take("value")?;
        let client = context.client()?;
        let environment = self.target.environment(&client).await?;
        let request = RevealRequest {
            names: vec![self.target.name],
            r#use: "reveal".into(),
            reason: self.reason,
            version: self.version,
            second_factor: self.showing.second_factor()?,
        };
        let given = obtain(&client, &environment, &request).await?.remove(0);
        let about = About {
            name: &given.name,
            environment: &environment,
            version: given.version,
            remote_id: given.remote_id.as_deref(),
        };
        show(context, &about, &given.value)
    }
}

/// Writes a value: alone, so that it can be piped, or in JSON.
fn show(context: &Context, about: &impl Serialize, value: &SecretValue) -> Result<(), Failure> {
    let text = std::str::from_utf8(value.expose()).ok();
    if context.output.is_json() {
        let base64 = value;
        return context.output.json_line(&Shown {
            about,
            text,
            base64,
        });
    }
    let mut line = Zeroizing::new(Vec::with_capacity(value.expose().len() + 1));
    line.extend_from_slice(value.expose());
    if context.output.is_terminal() {
        line.push(b'\n');
    }
    context.output.bytes(&line)
}

impl Lease {
    /// Shows the lease and its value.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        audience::may_take("value")?;
        let client = context.client()?;
        let path = self.target.path(&client).await?;
        let request = LeaseRequest {
            lifetime: Some(self.lifetime),
            reason: self.reason,
            second_factor: self.showing.second_factor()?,
        };
        let leased: Leased = client.post(&format!("{path}/lease"), &request).await?;
        let borrowed = Borrowed {
            lease: &leased.lease,
            remote_id: leased.remote_id.as_deref(),
        };
        if !context.output.is_json() {
            context.output.aside(&text::lease(&leased.lease));
            if let Some(id) = &leased.remote_id {
                context
                    .output
                    .aside(&format!("Its id at the bridge is {id}."));
            }
        }
        show(context, &borrowed, &leased.value)
    }
}

/// Lists the leases that have not ended.
pub async fn leases(context: &Context) -> Result<(), Failure> {
    let list: LeaseList = context.client()?.get("/api/v1/leases").await?;
    context
        .output
        .answer(&list.leases, || text::leases(&list.leases))?;
    if list.more {
        context.output.aside("There are more. These end first.");
    }
    Ok(())
}

/// Ends a lease.
pub async fn end_lease(context: &Context, lease: &Name) -> Result<(), Failure> {
    let path = format!("/api/v1/leases/{}/end", lease.segment());
    let ended: LeaseView = context.client()?.post(&path, &Nothing {}).await?;
    context.output.answer(&ended, || text::lease(&ended))
}
