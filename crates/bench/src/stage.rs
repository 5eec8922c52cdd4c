//! A gateway of our own in a process of its own, and devices that have enrolled there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hearthkey_agent::Enrollment;
use hearthkey_api::{ClaimOpened, ClaimRequest, Client};
use hearthkey_gateway::measure::Issuance;
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::failure::{Failure, failed};
use crate::process::Broker;
use crate::program::{Program, make_directory};
use crate::wire::identity;

/// Where the CA is that issued the devices' certificates, in the directory of the stage.
pub const ISSUER_FILE: &str = "issuer.pem";

/// A temporary home and its devices.
pub struct Stage {
    /// Everything lies here.
    pub directory: TempDir,
    /// The home.
    pub home: PathBuf,
    /// The gateway.
    pub gateway: Broker,
}

impl Stage {
    /// Makes a home and starts a gateway for it.
    pub async fn open(program: &Program) -> Result<Self, Failure> {
        Self::open_for(program, 0).await
    }

    /// The same, with places for so many connections, if that is more than usual.
    pub async fn open_for(program: &Program, connections: u32) -> Result<Self, Failure> {
        let directory = make_directory()?;
        let home = program.make_home(directory.path()).await?;
        keep_issuer(&home, &directory.path().join(ISSUER_FILE)).await?;
        // A quarter is for others than those of one network.
        let places = (connections + connections / 2).to_string();
        let more: &[&str] = match connections > 1_000 {
            true => &["--connections", &places],
            false => &[],
        };
        let gateway = program.start_with(&home, more).await?.0;
        Ok(Self {
            directory,
            home,
            gateway,
        })
    }

    /// A client of the gateway's API.
    pub fn client(&self) -> Client {
        Client::new(&self.home)
    }

    /// Where a device keeps its files.
    pub fn device(&self, name: &str) -> PathBuf {
        self.directory.path().join("devices").join(name)
    }

    /// Enrolls devices named `d-0`, `d-1`, … with the public protocol, sixteen at a time, and
    /// gives their identities.
    pub async fn enroll(
        &self,
        count: usize,
        profile: &str,
    ) -> Result<Vec<Arc<ClientConfig>>, Failure> {
        let places = Arc::new(tokio::sync::Semaphore::new(16));
        let mut tasks = Vec::with_capacity(count);
        for n in 0..count {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .map_err(|error| failed("no device could enroll", &error))?;
            let (client, name) = (self.client(), format!("d-{n}"));
            let (directory, profile) = (self.device(&name), profile.to_owned());
            tasks.push(tokio::spawn(async move {
                let enrolled = enroll(&client, &name, &profile, &directory).await;
                drop(place);
                enrolled
            }));
        }
        let mut identities = Vec::with_capacity(count);
        for task in tasks {
            identities.push(task.await??);
        }
        Ok(identities)
    }
}

/// Enrolls one device into a directory, and gives its identity.
pub async fn enroll(
    client: &Client,
    name: &str,
    profile: &str,
    directory: &Path,
) -> Result<Arc<ClientConfig>, Failure> {
    let claim: ClaimOpened = client
        .post(
            "/api/v1/claims",
            &ClaimRequest {
                device: name.into(),
                profile: profile.into(),
                environment: "home".into(),
                owner: "bench".into(),
                purpose: "bench".into(),
                lifetime: "1h".into(),
            },
        )
        .await?;
    let uri = claim
        .uri
        .parse()
        .map_err(|error| failed("a claim cannot be read", &error))?;
    let enrolled = Enrollment::new(uri).run(directory, |_, _| {}).await;
    enrolled.map_err(|error| failed("a device could not enroll", &error))?;
    Ok(identity(directory, &directory.join("trust.pem"))?)
}

/// Writes the issuing CA beside the home, while no gateway runs on it.
async fn keep_issuer(home: &Path, file: &Path) -> Result<(), Failure> {
    let issuance = Issuance::open(home).await?;
    let pem = issuance.issuer_pem()?;
    issuance.close().await;
    std::fs::write(file, pem).map_err(|error| failed("the issuing CA could not be kept", &error))
}
