//! The issuing journey without the wire, to be measured: a CSR in, a durable certificate out. And a
//! home that is full, for measurements from outside.
//!
//! Only with the feature `measure`, which `hearthkey-bench` turns on: the program has none of it.

mod credentials;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use hearthkey_core::access::DeviceAccess;
use hearthkey_core::certificate::IssuanceOrder;
use hearthkey_core::claim::Claim;
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::enrollment::{Decision, Facts, decide};
use hearthkey_core::id::{ClaimId, Fingerprint, SerialNumber};
use hearthkey_core::profile::Profile;
use hearthkey_core::time::Span;
use hearthkey_pki::read_csr;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::keys::random;
use hearthkey_store::slots::{Slots, key_file};

use crate::devices::enroll::Guest;
use crate::home::Home;
use crate::process::loading::{Door, HomeError};
use crate::process::opening::open;
use crate::state::new_serial;

pub use credentials::{credential_name, has_expired};

/// Writes that go into one change while seeding.
const BATCH: usize = 512;

/// Why a measurement did not take place.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each carries the message of its cause.
pub enum MeasureError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Unseal(#[from] hearthkey_store::slots::UnsealError),
    #[error(transparent)]
    Commit(#[from] hearthkey_store::CommitError),
    #[error("the home has no {0}")]
    Missing(&'static str),
    #[error("a request was refused: {0}")]
    Refused(String),
}

/// An open home in this process.
pub struct Issuance {
    home: Arc<Home>,
    profile: Arc<Profile>,
}

/// A claim that is ready to be used.
pub struct Prepared(ClaimId);

impl Issuance {
    /// Opens the home of a data directory that has a key file.
    pub async fn open(data_dir: &Path) -> Result<Self, MeasureError> {
        let slots = Slots::read(data_dir)?;
        let way = key_file(data_dir).ok_or(MeasureError::Missing("key file"))?;
        let door = Door {
            data_dir: data_dir.to_owned(),
            mqtt: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            http: None,
            connections_max: None,
            hosts: vec!["localhost".into()],
        };
        let (home, _) = open(door, slots.unseal(&way)?, slots.home().clone()).await?;
        let profile = "generic"
            .parse()
            .ok()
            .and_then(|name| home.ctx.profile(&name));
        let profile = profile.ok_or(MeasureError::Missing("generic profile"))?;
        Ok(Self { home, profile })
    }

    fn device(&self, name: &str) -> Result<Device, MeasureError> {
        let label = |text: &str| text.to_owned();
        Ok(Device {
            id: name
                .parse()
                .map_err(|_| MeasureError::Missing("room for such a name"))?,
            state: DeviceState::Pending,
            environment: "home"
                .parse()
                .map_err(|_| MeasureError::Missing("environment"))?,
            profile: self.profile.name.clone(),
            owner: label("bench"),
            purpose: label("bench"),
            created_at: self.home.ctx.now(),
        })
    }

    fn claim(&self, device: &Device) -> Claim {
        let id = ClaimId::from_random(*random::<8>());
        let secret = Fingerprint(*random::<32>());
        let (now, hour) = (self.home.ctx.now(), Span::hours(1));
        Claim::opened(id, device.id.clone(), secret, now, hour)
    }

    fn access_of(&self, device: &Device) -> DeviceAccess {
        let environment = device.environment.clone();
        DeviceAccess::new(device.state, environment, &self.profile)
    }

    /// Opens `count` claims for as many new devices.
    pub async fn prepare(&self, prefix: &str, count: usize) -> Result<Vec<Prepared>, MeasureError> {
        let mut prepared = Vec::with_capacity(count);
        let mut change = Change::default();
        for n in 0..count {
            let device = self.device(&format!("{prefix}-{n}"))?;
            let claim = self.claim(&device);
            prepared.push(Prepared(claim.id.clone()));
            {
                let mut access = self.home.ctx.access_mut();
                access.set_device(device.id.clone(), self.access_of(&device));
                access.expect(claim.clone());
            }
            change
                .writes
                .extend([Write::Device(device), Write::OpenClaim(claim)]);
            if change.writes.len() >= BATCH {
                self.home.ctx.commit(std::mem::take(&mut change)).await?;
            }
        }
        self.home.ctx.commit(change).await?;
        Ok(prepared)
    }

    /// The whole journey for one CSR, as a device's request makes it.
    pub async fn issue(&self, prepared: &Prepared, csr: &[u8]) -> Result<(), MeasureError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let guest = Guest {
            claim: &prepared.0,
            address,
            connection: 0,
        };
        let outcome = self.home.devices.enroll(&guest, csr, false).await;
        outcome
            .map(drop)
            .map_err(|rejection| MeasureError::Refused(rejection.message.to_owned()))
    }

    fn order(
        &self,
        device: &DeviceAccess,
        claim: &Claim,
        csr: &[u8],
    ) -> Result<IssuanceOrder, MeasureError> {
        let key = read_csr(csr).map_err(|refusal| MeasureError::Refused(refusal.to_string()))?;
        let facts = Facts {
            claim,
            device,
            key_compromised: false,
            issuer_ends: self.home.devices.issuer_ends(&device.environment),
            clock_trusted: true,
        };
        match decide(&facts, key, new_serial(), self.home.ctx.now()) {
            Decision::Issue(order) => Ok(order),
            other => Err(MeasureError::Refused(format!("{other:?}"))),
        }
    }

    /// Reads CSRs, decides and signs in memory, on this thread alone; nothing is kept.
    pub fn sign_in_memory(&self, csrs: &[Vec<u8>], count: usize) -> Result<(), MeasureError> {
        let device = self.device("in-memory")?;
        let (claim, device) = (self.claim(&device), self.access_of(&device));
        for csr in csrs.iter().cycle().take(count) {
            let order = self.order(&device, &claim, csr)?;
            self.home
                .devices
                .sign(order)
                .map_err(|r| MeasureError::Refused(r.message.to_owned()))?;
        }
        Ok(())
    }

    /// Stores `count` certificates of as many devices, all with the DER of one that was signed.
    pub async fn seed(&self, prefix: &str, count: usize, csr: &[u8]) -> Result<(), MeasureError> {
        let mut change = Change::default();
        let model = self.device("model")?;
        let order = self.order(&self.access_of(&model), &self.claim(&model), csr)?;
        let issued = self
            .home
            .devices
            .sign(order)
            .map_err(|r| MeasureError::Refused(r.message.into()))?;
        for n in 0..count {
            let device = Device {
                state: DeviceState::Active,
                ..self.device(&format!("{prefix}-{n}"))?
            };
            let mut certificate = issued.certificate.clone();
            certificate.device = device.id.clone();
            certificate.fingerprint = Fingerprint(*random::<32>());
            certificate.serial = SerialNumber::from_random(*random::<16>());
            certificate.lineage = certificate.serial;
            change.writes.extend([
                Write::Device(device),
                Write::Certificate(certificate, issued.der.clone()),
            ]);
            if change.writes.len() >= BATCH {
                self.home.ctx.commit(std::mem::take(&mut change)).await?;
            }
        }
        self.home.ctx.commit(change).await?;
        Ok(())
    }

    /// The CA that signs the devices of `home`, in PEM, for a peer that verifies them itself.
    pub fn issuer_pem(&self) -> Result<String, MeasureError> {
        let environment = self.device("any")?.environment;
        let issuer = self
            .home
            .ctx
            .issuer(&environment)
            .ok_or(MeasureError::Missing("issuing CA"))?;
        Ok(issuer.certificate().pem())
    }

    /// Closes the home.
    pub async fn close(self) {
        self.home.close().await;
    }
}
