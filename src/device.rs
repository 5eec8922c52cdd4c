//! `hearthkey device …`.

use clap::{Args, Subcommand};
use hearthkey_api::{
    ApproveRequest, CallError, Client, DeviceChanged, DevicePage, DeviceView, PAGE_MAX,
    ReadmitRequest, RevokeRequest, Revoked, WaitingList,
};
use serde::Serialize;

use crate::claim::Claim;
use crate::context::{Context, Nothing};
use crate::device_text;
use crate::failure::Failure;
use crate::second_factor::Showing;
use crate::url_path::{Name, encode};

const PATH: &str = "/api/v1/devices";

/// The commands about devices.
#[derive(Debug, Subcommand)]
pub enum Device {
    /// Permit a device to enroll once.
    Claim(Claim),
    /// List the devices.
    List,
    /// Show a device with its certificates, claims and sessions.
    Show {
        /// The device.
        id: Name,
    },
    /// Refuse a device until it is resumed, and drop its sessions.
    Suspend {
        /// The device.
        id: Name,
    },
    /// Resume a suspended device.
    Resume {
        /// The device.
        id: Name,
    },
    /// End a device's service: its certificates are revoked and its claims closed.
    Retire {
        /// The device.
        id: Name,
    },
    /// Revoke a device's certificates permanently, and drop its sessions.
    Revoke {
        /// The device.
        id: Name,
        /// One of the reasons of RFC 5280: key-compromise (lost, stolen or copied), cessation-of-operation (broken or no
        /// longer used), superseded (replaced by another device), affiliation-changed (it has another owner),
        /// privilege-withdrawn (it may no longer do what it did), unspecified.
        #[arg(long)]
        reason: String,
    },
    /// Ask a device for a new key before its renewal is due.
    Rotate {
        /// The device.
        id: Name,
    },
    /// List the devices that a restored home does not know: they wait until you confirm each of them.
    Waiting,
    /// Let one device in again that waits after a restore. It gets a new key, and can do nothing else until it has it.
    Readmit(Readmit),
    /// Approve the key of a device after comparing its fingerprint.
    Approve {
        /// The device.
        id: Name,
        /// SHA-256 of the key, in hexadecimal, as the device shows it: hearthkey-agent prints it while it waits.
        #[arg(long, value_name = "SHA256", value_parser = crate::trust_install::sha256)]
        key: String,
    },
}

impl Device {
    /// Does what was asked.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Claim(claim) => claim.obey(context).await,
            Self::List => {
                let devices = all(&context.client()?).await?;
                context
                    .output
                    .answer(&devices, || device_text::list(&devices))
            }
            Self::Show { id } => {
                let path = format!("{PATH}/{}", id.segment());
                let device: DeviceView = context.client()?.get(&path).await?;
                context
                    .output
                    .answer(&device, || device_text::device(&device))
            }
            Self::Waiting => {
                let path = format!("{PATH}/waiting");
                let list: WaitingList = context.client()?.get(&path).await?;
                context.output.answer(&list, || device_text::waiting(&list))
            }
            Self::Readmit(readmit) => readmit.obey(context).await,
            Self::Suspend { id } => change(context, &id, "suspend", &Nothing {}).await,
            Self::Resume { id } => change(context, &id, "resume", &Nothing {}).await,
            Self::Retire { id } => change(context, &id, "retire", &Nothing {}).await,
            Self::Rotate { id } => change(context, &id, "rotate", &Nothing {}).await,
            Self::Approve { id, key } => {
                let request = ApproveRequest { key_sha256: key };
                change(context, &id, "approve", &request).await
            }
            Self::Revoke { id, reason } => revoke(context, &id, reason).await,
        }
    }
}

/// Which device is let in again, and what it is.
#[derive(Debug, Args)]
pub struct Readmit {
    /// The device.
    id: Name,
    /// SHA-256 of the certificate with which it waits, if there is more than one.
    #[arg(long, value_name = "SHA256", value_parser = crate::trust_install::sha256)]
    certificate: Option<String>,
    /// Its profile, if the home does not know the device at all.
    #[arg(long)]
    profile: Option<String>,
    /// Who is responsible for it, if the home does not know it.
    #[arg(long, value_name = "WHO")]
    owner: Option<String>,
    /// What it is for, if the home does not know it.
    #[arg(long, value_name = "WHY")]
    purpose: Option<String>,
    #[command(flatten)]
    showing: Showing,
}

impl Readmit {
    async fn obey(self, context: &Context) -> Result<(), Failure> {
        let request = ReadmitRequest {
            certificate_sha256: self.certificate,
            profile: self.profile,
            owner: self.owner,
            purpose: self.purpose,
            second_factor: self.showing.second_factor()?,
        };
        change(context, &self.id, "readmit", &request).await
    }
}

/// All devices, page after page.
async fn all(client: &Client) -> Result<Vec<DeviceView>, Failure> {
    let mut devices = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let cursor = after.as_deref().map(|id| format!("&after={}", encode(id)));
        let path = format!("{PATH}?limit={PAGE_MAX}{}", cursor.unwrap_or_default());
        let page: DevicePage = client.get(&path).await?;
        let brought_something = !page.devices.is_empty();
        devices.extend(page.devices);
        match page.next {
            None => return Ok(devices),
            Some(next) if brought_something && after.as_ref() != Some(&next) => after = Some(next),
            Some(_) => return Err(Failure::garbled("the list of devices has no end")),
        }
    }
}

async fn change(
    context: &Context,
    id: &Name,
    verb: &str,
    request: &impl Serialize,
) -> Result<(), Failure> {
    let changed: DeviceChanged = post(&context.client()?, id, verb, request).await?;
    context
        .output
        .answer(&changed, || device_text::changed(&changed, verb))?;
    if !changed.durable {
        context.output.aside(device_text::NOT_DURABLE);
    }
    Ok(())
}

async fn revoke(context: &Context, id: &Name, reason: String) -> Result<(), Failure> {
    let request = RevokeRequest { reason };
    let revoked: Revoked = post(&context.client()?, id, "revoke", &request).await?;
    context
        .output
        .answer(&revoked, || device_text::revoked(&revoked))?;
    if !revoked.durable {
        context.output.aside(device_text::NOT_DURABLE);
    }
    Ok(())
}

async fn post<T: serde::de::DeserializeOwned>(
    client: &Client,
    id: &Name,
    verb: &str,
    request: &impl Serialize,
) -> Result<T, CallError> {
    let path = format!("{PATH}/{}/{verb}", id.segment());
    client.post(&path, request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_text::tests::view;
    use crate::fake_gateway::FakeGateway;

    fn page(ids: &[&str], next: Option<&str>) -> String {
        let page = DevicePage {
            devices: ids.iter().map(|id| view(id)).collect(),
            next: next.map(str::to_owned),
            total: None,
        };
        serde_json::to_string(&page).unwrap()
    }

    #[tokio::test]
    async fn the_list_follows_the_cursor_to_its_end() {
        let gateway = FakeGateway::answering(vec![
            ("/api/v1/devices?limit=1000", page(&["a", "b"], Some("b"))),
            ("/api/v1/devices?limit=1000&after=b", page(&["c"], None)),
        ]);
        let devices = all(&gateway.client()).await.unwrap();
        let ids: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_cursor_that_does_not_move_ends_the_list() {
        let gateway =
            FakeGateway::answering(vec![("/api/v1/devices?limit=1000", page(&[], Some("b")))]);
        assert!(all(&gateway.client()).await.is_err());
    }
}
