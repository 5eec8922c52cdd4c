//! An enrolled device: its directory, its connections, its renewals.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::certificate::{Leaf, LeafError};
use crate::closed::{ClosedReason, Need};
use crate::directory::{DeviceDirectory, DirectoryError, NEXT_CERTIFICATE, NEXT_KEY, State, TRUST};
use crate::explain::{Explain, Explanation};
use crate::fingerprint::Fingerprint;
use crate::key::KeyError;
use crate::line::{self, ConfigError};
use crate::moment::Moment;
use crate::payload::{Accepted, CertificateRequest, Rejection, Window};
use crate::session::{ConnectError, ExchangeError, Reply, Session};
use crate::slots::{Pair, Slots};
use crate::trust::{TrustBundle, TrustError};

/// An enrolled device, and the only writer of its directory.
#[derive(Debug)]
pub struct Device {
    pub(crate) directory: DeviceDirectory,
    pub(crate) state: State,
    pub(crate) trust: TrustBundle,
    pub(crate) slots: Slots,
    /// When the certificate in the next slot is to be renewed, as its answer said.
    next_renew_after: Option<Moment>,
    /// Whether a gateway that is not where it was is looked for in the network.
    pub(crate) searches: bool,
}

/// What a device's directory says about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Device id.
    pub device: String,
    /// Gateway's host.
    pub host: String,
    /// Gateway's port.
    pub port: u16,
    /// Serial number of the current certificate, in lowercase hexadecimal.
    pub serial: String,
    /// End of the current certificate's life.
    pub not_after: Moment,
    /// Earliest renewal, as far as the device can tell.
    pub renew_after: Moment,
    /// SHA-256 of the trust bundle in use.
    pub trust_bundle_sha256: Fingerprint,
    /// Size of the largest audit log this device has seen signed.
    pub checkpoint_size: Option<u64>,
    /// What the slot for the next pair holds.
    pub next_slot: NextSlot,
}

/// What the slot for the next pair holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextSlot {
    /// Nothing.
    Empty,
    /// A key whose certificate has not come yet.
    KeyOnly,
    /// A pair that has yet to be seen on a connection.
    Complete,
}

impl NextSlot {
    /// The slot in a person's words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Empty => "none",
            Self::KeyOnly => "a key that waits for its certificate",
            Self::Complete => "a new certificate, to be used at the next connection",
        }
    }
}

/// A renewed certificate, in the next slot until a connection has used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renewal {
    /// Serial number of the new certificate, in lowercase hexadecimal.
    pub serial: String,
    /// End of its life.
    pub not_after: Moment,
    /// When to renew again.
    pub renew_after: Moment,
}

/// Why a device could not connect.
#[derive(Debug, thiserror::Error)]
pub enum DeviceConnectError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Key, certificate and roots do not make a TLS identity.
    #[error("the device's identity cannot be used: {0}")]
    Identity(#[from] ConfigError),
    /// The gateway could not be reached, or one side did not accept the other.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Why a renewal failed. The current certificate is untouched.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The request could not be signed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The request could not be made, or its answer did not come.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The gateway refused.
    #[error("{} ({})", .0.message, .0.code)]
    Rejected(Rejection),
    /// The certificate in the answer is not this device's.
    #[error("the gateway's certificate cannot be used: {0}")]
    Certificate(#[from] LeafError),
}

impl RenewError {
    /// Whether the disk did not take something, which it may later.
    pub(crate) fn is_about_the_disk(&self) -> bool {
        matches!(self, Self::Directory(DirectoryError::Io { .. }))
    }
}

const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

impl Device {
    /// Opens an enrolled device's directory, finishing whatever a crash interrupted.
    pub fn open(directory: &Path) -> Result<Self, DirectoryError> {
        let directory = DeviceDirectory::open_existing(directory)?;
        let mut state = directory.state()?;
        let slots = Slots::open(&directory, &state.device)?;
        let pem = directory.read(TRUST)?.unwrap_or_default();
        let trust = TrustBundle::from_pem(&pem).map_err(|error| directory.damaged(TRUST, error))?;
        if follow_disk(&mut state, &slots.current().leaf, &trust) {
            // It follows from the other files each time: a full disk keeps no device from its work.
            if let Err(error) = directory.write_state(&state) {
                tracing::error!(%error, "the device's state could not be written");
            }
        }
        Ok(Self {
            directory,
            state,
            trust,
            slots,
            next_renew_after: None,
            searches: true,
        })
    }

    /// The same device, which keeps to the place that it was told and does not look for its gateway in the network.
    #[must_use]
    pub fn that_keeps_to_its_place(self) -> Self {
        Self {
            searches: false,
            ..self
        }
    }

    /// The device's id.
    pub fn id(&self) -> &str {
        &self.state.device
    }

    /// What the directory says about the device now.
    pub fn status(&self) -> Result<Status, DirectoryError> {
        Status::read(&self.directory)
    }

    /// Connects, with the next pair first if there is one. The next pair becomes the current one when it is accepted,
    /// and is dropped when the gateway turns it away but accepts the current one.
    pub async fn connect(&mut self) -> Result<Session, DeviceConnectError> {
        let (session, kept) = self.connect_and_keep().await?;
        kept?;
        Ok(session)
    }

    /// The same; whether the disk has taken what followed from it is beside the session.
    pub(crate) async fn connect_and_keep(
        &mut self,
    ) -> Result<(Session, Result<(), DirectoryError>), DeviceConnectError> {
        let Some(next) = self.slots.next() else {
            let session = self.connect_with(self.slots.current(), self.id()).await?;
            return Ok((session, Ok(())));
        };
        match self.connect_with(next, self.id()).await {
            Ok(session) => Ok((session, self.promote())),
            Err(DeviceConnectError::Connect(refused)) if refused.reason.is_about_identity() => {
                let session = self.connect_with(self.slots.current(), self.id()).await?;
                Ok((session, self.slots.drop_next(&self.directory)))
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for a new certificate for a new key, now, whatever the window says. Afterwards close the session and
    /// `connect` again: the new pair takes over on the first connection that accepts it.
    pub async fn renew(&mut self, session: &Session) -> Result<Renewal, RenewError> {
        let topic = self.topic("renew");
        let (accepted, rejected) = (format!("{topic}/accepted"), format!("{topic}/rejected"));
        session.subscribe(&[&accepted, &rejected]).await?;
        let key = self.slots.key_for_renewal(&self.directory)?;
        let request = CertificateRequest {
            csr: &key.request(&self.state.device)?,
            device: None,
        }
        .to_json();
        let bytes = match session.request(&topic, request, ANSWER_PATIENCE).await? {
            Reply::Accepted(bytes) => bytes,
            Reply::Rejected(rejection) => return Err(RenewError::Rejected(rejection)),
        };
        let answer: Accepted =
            serde_json::from_slice(&bytes).map_err(|error| ExchangeError::Unreadable {
                why: error.to_string(),
            })?;
        let leaf = Leaf::from_pem(&answer.certificate)?;
        leaf.belongs_to(&self.state.device, &key)?;
        let renewal = Renewal {
            serial: leaf.serial.clone(),
            not_after: leaf.not_after,
            renew_after: answer.renew_after.unwrap_or_else(|| leaf.usual_renewal()),
        };
        self.slots.fill_next(&self.directory, Pair { key, leaf })?;
        self.next_renew_after = Some(renewal.renew_after);
        Ok(renewal)
    }

    /// Takes over a new trust bundle, if it keeps a root that is trusted now; `save` has yet to write the memory down. False
    /// if it is the one in use.
    pub(crate) fn take_bundle(&mut self, pem: &[u8]) -> Result<bool, BundleError> {
        let bundle = self.trust.succeeded_by(pem)?;
        if bundle == self.trust {
            return Ok(false);
        }
        self.directory.write(TRUST, bundle.as_pem())?;
        self.state.trust_bundle_sha256 = bundle.fingerprint();
        self.trust = bundle;
        Ok(true)
    }

    /// Remembers that a notice has been answered; `save` has yet to write it down.
    pub(crate) fn answered(&mut self, window: Option<Window>) {
        if window.is_some() {
            self.state.answered = window;
        }
    }

    /// Brings the disk to where the memory is.
    pub(crate) fn save(&mut self) -> Result<(), DirectoryError> {
        self.slots.settle(&self.directory)?;
        self.directory.write_state(&self.state)
    }

    /// What a person has to do before the gateway takes this device in again; nothing where waiting is enough.
    pub(crate) fn what_to_do(&self, reason: &ClosedReason, now: Moment) -> Option<String> {
        let State {
            device, not_after, ..
        } = &self.state;
        let directory = self.directory.path().display();
        let claim = format!(
            "This device needs a new claim: run `hearthkey device claim {device} …` at the gateway, then on this machine, \
             with the agent stopped, `hearthkey-agent enroll --dir {directory} --replace` with the claim code"
        );
        match reason.need() {
            Need::Time if reason.is_about_dates() => Some(format!(
                "By this machine's clock it is {now}. If that is wrong, set the clock; if it is right, look at the \
                 gateway's"
            )),
            Need::Time => None,
            Need::Claim => Some(claim),
            Need::Date if now < *not_after => Some(format!(
                "By this machine's clock the certificate is valid until {not_after}. Compare both clocks. If they are \
                 right: {claim}"
            )),
            Need::Date => Some(claim),
            Need::Resumption => Some(format!(
                "The device is suspended. To admit it again, run `hearthkey device resume {device}` at the gateway; an \
                 agent that is restarted connects at once"
            )),
            Need::Setup => Some(format!(
                "Check that {directory} holds this device's files and that its gateway is this one. Otherwise: {claim}"
            )),
        }
    }

    /// A topic of the device's own.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("hearthkey/v1/devices/{}/{name}", self.state.device)
    }

    pub(crate) async fn connect_with(
        &self,
        pair: &Pair,
        client_id: &str,
    ) -> Result<Session, DeviceConnectError> {
        let State { host, port, .. } = &self.state;
        self.connect_to((host, *port), pair, client_id).await
    }

    /// The same at another host and port.
    pub(crate) async fn connect_to(
        &self,
        (host, port): (&str, u16),
        pair: &Pair,
        client_id: &str,
    ) -> Result<Session, DeviceConnectError> {
        let config = line::device_config(&pair.leaf, &pair.key, &self.trust)?;
        Ok(Session::open_with_certificate(client_id, host, port, config).await?)
    }

    pub(crate) fn promote(&mut self) -> Result<(), DirectoryError> {
        self.slots.promote();
        let leaf = &self.slots.current().leaf;
        follow_disk(&mut self.state, leaf, &self.trust);
        if let Some(renew_after) = self.next_renew_after.take() {
            self.state.renew_after = renew_after;
        }
        self.save()
    }
}

/// Makes the memory say what the other files say. True if it said something else.
fn follow_disk(state: &mut State, leaf: &Leaf, trust: &TrustBundle) -> bool {
    let before = state.clone();
    if state.serial != leaf.serial {
        state.serial.clone_from(&leaf.serial);
        state.not_after = leaf.not_after;
        state.renew_after = leaf.usual_renewal();
    }
    state.trust_bundle_sha256 = trust.fingerprint();
    *state != before
}

impl Status {
    /// Reads a directory without disturbing an agent that runs on it.
    pub fn of(directory: &Path) -> Result<Self, DirectoryError> {
        Self::read(&DeviceDirectory::read_only(directory))
    }

    pub(crate) fn read(directory: &DeviceDirectory) -> Result<Self, DirectoryError> {
        let state = directory.state()?;
        directory.require_private()?;
        let has_key = directory.read(NEXT_KEY)?.is_some();
        let has_certificate = directory.read(NEXT_CERTIFICATE)?.is_some();
        Ok(Self {
            device: state.device,
            host: state.host,
            port: state.port,
            serial: state.serial,
            not_after: state.not_after,
            renew_after: state.renew_after,
            trust_bundle_sha256: state.trust_bundle_sha256,
            checkpoint_size: state.checkpoint.map(|seen| seen.size),
            next_slot: match (has_key, has_certificate) {
                (_, true) => NextSlot::Complete,
                (true, false) => NextSlot::KeyOnly,
                (false, false) => NextSlot::Empty,
            },
        })
    }
}

/// Why a trust bundle was not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// What a person does about a connection that did not come about or did not last.
pub(crate) fn connect_remedy(reason: &ClosedReason) -> &'static str {
    match reason.need() {
        Need::Claim => {
            return "See at the gateway what became of it (hearthkey device show). If the device is still yours and has no newer certificate, open a new claim for it there (hearthkey device claim) and enroll again with --replace";
        }
        Need::Date => {
            return "If the device is still yours, open a new claim for it at the gateway (hearthkey device claim) and enroll again with --replace";
        }
        Need::Resumption => {
            return "Ask an operator to resume it at the gateway: hearthkey device resume";
        }
        Need::Setup => {
            return "Check that host, port and directory are those of this gateway and this device; otherwise open a new claim for it at the gateway and enroll again with --replace";
        }
        Need::Time => {}
    }
    match reason {
        ClosedReason::NotTrusted { .. } => {
            "Check this machine's clock, and that host and port still lead to your gateway; if its root certificates were replaced, enroll again"
        }
        _ => "Check that the gateway runs, is not sealed and can be reached from here",
    }
}

impl Explain for DeviceConnectError {
    fn explain(&self) -> Explanation {
        match self {
            Self::Directory(error) => error.explain(),
            Self::Identity(_) => Explanation::new(
                "The device could not connect",
                self.to_string(),
                "Enroll again with a new claim and --replace",
            ),
            Self::Connect(error) if error.reason == ClosedReason::Revoked => Explanation::new(
                "The gateway refuses this device's certificate",
                error.to_string(),
                connect_remedy(&error.reason),
            ),
            Self::Connect(error) => Explanation::new(
                "The device could not connect",
                error.to_string(),
                connect_remedy(&error.reason),
            ),
        }
    }
}

impl Explain for RenewError {
    fn explain(&self) -> Explanation {
        const WHAT: &str = "The certificate was not renewed";
        match self {
            Self::Directory(error) => error.explain(),
            Self::Rejected(rejection) => {
                Explanation::new(WHAT, self.to_string(), rejection.remedy.clone())
            }
            Self::Exchange(ExchangeError::Closed(reason)) => {
                Explanation::new(WHAT, reason.to_string(), connect_remedy(reason))
            }
            Self::Key(_) | Self::Exchange(_) | Self::Certificate(_) => Explanation::new(
                WHAT,
                self.to_string(),
                "Wait: the agent retries with the same key. If this continues, check the device at the gateway",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_device_is_told_so_and_what_to_do() {
        let told = DeviceConnectError::Connect(ConnectError {
            reason: ClosedReason::Revoked,
        })
        .explain();
        assert_eq!(told.what, "The gateway refuses this device's certificate");
        assert_eq!(
            told.why,
            "the certificate was revoked, or replaced by a newer one"
        );
        assert!(told.remedy.contains("open a new claim"));
    }
}
