//! Enrollment: a claim becomes a key, a certificate and a directory that `run` can live from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use crate::certificate::{Leaf, LeafError};
use crate::claim_code::ClaimUri;
use crate::closed::ClosedReason;
use crate::device::Status;
use crate::directory::{
    CERTIFICATE, DeviceDirectory, DirectoryError, KEY, NEXT_CERTIFICATE, NEXT_KEY, State, TRUST,
};
use crate::explain::{Explain, Explanation};
use crate::fingerprint::Fingerprint;
use crate::key::{DeviceKey, KeyError};
use crate::payload::{Accepted, CertificateRequest, DeviceFacts, Rejection};
use crate::schedule::{AfterRefusal, after_refusal};
use crate::session::{ConnectError, ExchangeError, Reply, Session};
use crate::slots;
use crate::trust::{TrustBundle, TrustError};

/// One device's enrollment with one claim.
#[derive(Clone, Debug)]
pub struct Enrollment {
    /// The permission to enroll.
    pub claim: ClaimUri,
    /// What the device says about itself.
    pub facts: DeviceFacts,
    /// Whether an earlier identity in the directory is given up for this one.
    pub replace: bool,
    /// How long to keep asking while the gateway is busy, or a person has yet to approve.
    pub patience: Duration,
}

/// How an enrollment failed.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The directory already holds a device that another claim enrolled.
    #[error("the directory already holds the device {device:?}")]
    AlreadyEnrolled {
        /// Id of that device.
        device: String,
    },
    /// A file that is there has a name of this agent's, and was not written by it.
    #[error("{} exists, and was not written by an agent", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The key could not be made or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The gateway could not be reached, or one side did not accept the other.
    #[error("no connection to the gateway: {0}")]
    Connect(#[from] ConnectError),
    /// The request could not be made, or its answer did not come.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The gateway refused.
    #[error("{} ({})", .0.message, .0.code)]
    Rejected(Rejection),
    /// The gateway still refused for now when the patience was over.
    #[error("{}", not_in_time(.last, *.waited_s))]
    NotInTime {
        /// Its last answer.
        last: Rejection,
        /// How long this side waited.
        waited_s: u64,
    },
    /// The certificate in the answer is not this device's.
    #[error("the gateway's certificate cannot be used: {0}")]
    Certificate(#[from] LeafError),
    /// The trust bundle in the answer does not hold the root that the claim pins.
    #[error("the gateway's trust bundle cannot be used: {0}")]
    Trust(#[from] TrustError),
}

const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

impl Enrollment {
    /// An enrollment without facts, that replaces nothing and asks for up to a day.
    pub fn new(claim: ClaimUri) -> Self {
        Self {
            claim,
            facts: DeviceFacts::default(),
            replace: false,
            patience: Duration::from_secs(86_400),
        }
    }

    /// Enrolls the device into a directory. `waiting` gets each refusal that will pass, and how many seconds the
    /// enrollment waits for it. Enrolling again with the same claim finds the first result, or continues towards it.
    pub async fn run(
        &self,
        directory: &Path,
        mut waiting: impl FnMut(&Rejection, u64),
    ) -> Result<Status, EnrollError> {
        let directory = DeviceDirectory::open_to_enroll(directory)?;
        if self.is_done(&directory)? {
            return Ok(Status::read(&directory)?);
        }
        let key = self.key(&directory)?;
        let mut last = None;
        let noted = |refusal: &Rejection, wait_s| {
            last = Some(refusal.clone());
            waiting(&told_with_key(refusal, &self.claim.device, &key), wait_s);
        };
        let exchange = self.obtain(&directory, &key, noted);
        let outcome = tokio::time::timeout(self.patience, exchange).await;
        let waited_s = self.patience.as_secs();
        let (answer, trust) = match (outcome, last) {
            (Ok(outcome), _) => outcome?,
            (Err(_), Some(last)) => return Err(EnrollError::NotInTime { last, waited_s }),
            (Err(_), None) => return Err(ExchangeError::NoAnswer { waited_s }.into()),
        };
        self.keep(&directory, &key, &answer, &trust)?;
        Ok(Status::read(&directory)?)
    }

    /// Whether this very claim has enrolled this directory before. Another claim's device is given up or refused.
    fn is_done(&self, directory: &DeviceDirectory) -> Result<bool, EnrollError> {
        let has_key = directory.read(KEY)?.is_some();
        let has_certificate = directory.read(CERTIFICATE)?.is_some();
        let known = directory.state();
        let same =
            |state: &State| state.claim == self.claim.claim && state.device == self.claim.device;
        if has_key && has_certificate {
            if known.as_ref().is_ok_and(same) {
                return Ok(true);
            }
            if !self.replace {
                let device = known.map(|state| state.device).unwrap_or_default();
                return Err(EnrollError::AlreadyEnrolled { device });
            }
        }
        self.spare_what_is_not_ours(directory, has_key, known.as_ref().err())?;
        // The next slot goes first, whatever the others hold: left alone by a crash, it would take over from the new
        // device. The key goes before its certificate: one that may have been copied must not be enrolled again.
        for name in [NEXT_CERTIFICATE, NEXT_KEY] {
            directory.remove(name)?;
        }
        // A key without a certificate is that of an enrollment whose answer was lost.
        if !has_key || has_certificate {
            directory.remove(KEY)?;
            directory.remove(CERTIFICATE)?;
        }
        Ok(false)
    }

    /// Refuses to write over files that have this agent's names and are not its own. They can be given up.
    fn spare_what_is_not_ours(
        &self,
        directory: &DeviceDirectory,
        has_key: bool,
        unreadable: Option<&DirectoryError>,
    ) -> Result<(), EnrollError> {
        let path = match unreadable {
            _ if self.replace => return Ok(()),
            Some(DirectoryError::Damaged { path, .. }) => path.clone(),
            // An enrollment that was cut short has left roots beside a key.
            Some(_) if !has_key && directory.read(TRUST)?.is_some() => directory.path().join(TRUST),
            _ => return Ok(()),
        };
        Err(EnrollError::NotOurs { path })
    }

    /// The key of an enrollment whose answer was lost, or else a new one, on disk before it is used.
    fn key(&self, directory: &DeviceDirectory) -> Result<DeviceKey, EnrollError> {
        if let Some(key) = slots::read_key(directory, KEY)? {
            return Ok(key);
        }
        let key = DeviceKey::generate()?;
        directory.write(KEY, key.to_pem().as_bytes())?;
        Ok(key)
    }

    async fn obtain(
        &self,
        directory: &DeviceDirectory,
        key: &DeviceKey,
        mut waiting: impl FnMut(&Rejection, u64),
    ) -> Result<(Accepted, TrustBundle), EnrollError> {
        let request = CertificateRequest {
            csr: &key.request(&self.claim.device)?,
            device: Some(&self.facts),
        }
        .to_json();
        loop {
            let (mut session, root) = Session::open_with_claim(&self.claim).await?;
            let trust = TrustBundle::of_root(&root)?;
            directory.write(TRUST, trust.as_pem())?;
            let answer = self.ask(&mut session, &request, &mut waiting).await;
            session.close().await;
            match answer {
                Ok(accepted) => return Ok((read_answer(&accepted)?, trust)),
                // A claim's connection is short-lived: a device that waits for approval reconnects.
                Err(Asked::Again) => {}
                Err(Asked::Failed(error)) => return Err(error),
            }
        }
    }

    /// Asks on one connection until it is answered, refused for good, or the connection ends while waiting.
    async fn ask(
        &self,
        session: &mut Session,
        request: &[u8],
        waiting: &mut impl FnMut(&Rejection, u64),
    ) -> Result<Bytes, Asked> {
        let topic = format!("hearthkey/v1/claims/{}/enroll", self.claim.claim);
        let (accepted, rejected) = (format!("{topic}/accepted"), format!("{topic}/rejected"));
        session.subscribe(&[&accepted, &rejected]).await?;
        loop {
            let reply = session
                .request(&topic, request.to_vec(), ANSWER_PATIENCE)
                .await?;
            let rejection = match reply {
                Reply::Accepted(bytes) => return Ok(bytes),
                Reply::Rejected(rejection) => rejection,
            };
            let AfterRefusal::Wait(wait_s) = after_refusal(&rejection) else {
                return Err(EnrollError::Rejected(rejection).into());
            };
            waiting(&rejection, wait_s);
            if let Some(bytes) =
                late_answer(session, &accepted, Duration::from_secs(wait_s)).await?
            {
                return Ok(bytes);
            }
        }
    }

    /// Writes what the device lives from. The certificate comes last: with it, the enrollment is done.
    fn keep(
        &self,
        directory: &DeviceDirectory,
        key: &DeviceKey,
        answer: &Accepted,
        pinned: &TrustBundle,
    ) -> Result<(), EnrollError> {
        let leaf = Leaf::from_pem(&answer.certificate)?;
        leaf.belongs_to(&self.claim.device, key)?;
        let bundle = answer.trust_bundle.as_deref().unwrap_or_default();
        let trust = pinned.succeeded_by(bundle.as_bytes())?;
        directory.write(TRUST, trust.as_pem())?;
        directory.write_state(&State {
            device: self.claim.device.clone(),
            host: self.claim.host.clone(),
            port: self.claim.port,
            claim: self.claim.claim.clone(),
            serial: leaf.serial.clone(),
            not_after: leaf.not_after,
            renew_after: answer.renew_after.unwrap_or_else(|| leaf.usual_renewal()),
            trust_bundle_sha256: trust.fingerprint(),
            checkpoint: None,
            answered: None,
            handed_over: None,
            hook_owed: false,
        })?;
        directory.write(CERTIFICATE, leaf.pem.as_bytes())?;
        Ok(())
    }
}

/// The code of a refusal that lasts until a person has approved the device's key.
const APPROVAL: &str = "approval_required";

/// A refusal with the key to compare, where a person has to approve it.
fn told_with_key(refusal: &Rejection, device: &str, key: &DeviceKey) -> Rejection {
    let mut told = refusal.clone();
    if told.code == APPROVAL {
        told.remedy = format!(
            "Its key has the SHA-256 {0}. Compare that at the gateway: hearthkey device approve {device} --key {0}",
            Fingerprint::of(&key.public_key_der())
        );
    }
    told
}

fn not_in_time(last: &Rejection, waited_s: u64) -> String {
    match last.code.as_str() {
        APPROVAL => format!("nobody approved this device within {waited_s} s"),
        _ => format!("{} ({}), for {waited_s} s", last.message, last.code),
    }
}

/// What came of asking on one connection.
enum Asked {
    Again,
    Failed(EnrollError),
}

impl From<EnrollError> for Asked {
    fn from(error: EnrollError) -> Self {
        Self::Failed(error)
    }
}

impl From<ExchangeError> for Asked {
    fn from(error: ExchangeError) -> Self {
        Self::Failed(error.into())
    }
}

/// Waits for an answer that a person gives later, as long as the gateway asked to wait before asking again. If the
/// connection ends, the rest of the wait is waited out, and then it is time to connect again.
async fn late_answer(
    session: &mut Session,
    accepted: &str,
    wait: Duration,
) -> Result<Option<Bytes>, Asked> {
    let pause = tokio::time::sleep(wait);
    tokio::pin!(pause);
    loop {
        tokio::select! {
            () = &mut pause => return Ok(None),
            message = session.receive() => match message {
                Some(message) if message.topic == accepted => return Ok(Some(message.payload)),
                Some(_) => {}
                None => {
                    pause.await;
                    return Err(Asked::Again);
                }
            },
        }
    }
}

fn read_answer(bytes: &[u8]) -> Result<Accepted, ExchangeError> {
    serde_json::from_slice(bytes).map_err(|error| ExchangeError::Unreadable {
        why: error.to_string(),
    })
}

impl Explain for EnrollError {
    fn explain(&self) -> Explanation {
        const WHAT: &str = "The device was not enrolled";
        let remedy = match self {
            Self::Directory(error) => return error.explain(),
            Self::Rejected(rejection) => {
                return Explanation::new(WHAT, self.to_string(), rejection.remedy.clone());
            }
            Self::AlreadyEnrolled { .. } => {
                "Choose another directory, or replace the earlier identity with --replace"
            }
            Self::NotOurs { .. } => {
                "Choose another directory, or have the file replaced with --replace"
            }
            Self::Key(_) => "Remove device.key from the directory and enroll again",
            Self::Connect(error) => connect_remedy(&error.reason),
            Self::Exchange(ExchangeError::Closed(reason)) => connect_remedy(reason),
            Self::Exchange(_) | Self::NotInTime { .. } => {
                "Enroll again with the same claim while it is open: the key is kept"
            }
            Self::Certificate(_) | Self::Trust(_) => {
                "Tell the person who runs the gateway: its response was not meant for this device"
            }
        };
        let why = match self {
            // A claim's id and secret are sent as user name and password, which nobody here has typed.
            Self::Connect(ConnectError {
                reason: ClosedReason::Refused { .. },
            }) => "the gateway refused the claim code".to_owned(),
            _ => self.to_string(),
        };
        Explanation::new(WHAT, why, remedy)
    }
}

fn connect_remedy(reason: &ClosedReason) -> &'static str {
    match reason {
        ClosedReason::NotTrusted { .. } => {
            "Check this machine's clock, and that host and port lead to your gateway; then copy the claim code again: nothing secret was sent"
        }
        reason if reason.is_about_identity() => {
            "Copy the whole claim code again. If that does not help, the claim is unknown, used, expired or locked: open a new one at the gateway"
        }
        _ => {
            "Check that the gateway runs, is not sealed and can be reached from here, then enroll again with the same claim"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_gateways_own_words() {
        let told = EnrollError::Rejected(Rejection {
            code: "claim_expired".to_owned(),
            message: "The claim ended at 12:00".to_owned(),
            remedy: "Open a new claim".to_owned(),
            retry_after_s: None,
        })
        .explain();
        assert_eq!(told.what, "The device was not enrolled");
        assert_eq!(told.why, "The claim ended at 12:00 (claim_expired)");
        assert_eq!(told.remedy, "Open a new claim");
    }

    fn enrollment(replace: bool) -> Enrollment {
        let (secret, root) = ("0123456789abcdef".repeat(2), "ab".repeat(32));
        let uri = format!(
            "hearthkey://claim?host=h&port=1&claim=c2&secret={secret}&device=lamp-2&root={root}"
        );
        Enrollment {
            replace,
            ..Enrollment::new(uri.parse().unwrap())
        }
    }

    #[test]
    fn nothing_of_a_device_that_was_given_up_is_left_wherever_giving_it_up_was_cut_short() {
        const ALL: [&str; 4] = [NEXT_CERTIFICATE, NEXT_KEY, KEY, CERTIFICATE];
        for gone in 0..=ALL.len() {
            let temp = tempfile::tempdir().unwrap();
            let directory = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
            for name in &ALL[gone..] {
                directory.write(name, b"of the old one").unwrap();
            }
            assert!(!enrollment(true).is_done(&directory).unwrap());
            for name in ALL {
                assert!(directory.read(name).unwrap().is_none(), "{gone} {name}");
            }
        }
    }

    #[test]
    fn the_key_of_an_enrollment_whose_answer_was_lost_is_kept_without_a_next_slot() {
        let temp = tempfile::tempdir().unwrap();
        let directory = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
        for name in [KEY, NEXT_KEY, NEXT_CERTIFICATE, TRUST] {
            directory.write(name, b"of it").unwrap();
        }
        assert!(!enrollment(false).is_done(&directory).unwrap());
        assert!(directory.read(KEY).unwrap().is_some());
        assert!(directory.read(NEXT_KEY).unwrap().is_none());
        assert!(directory.read(NEXT_CERTIFICATE).unwrap().is_none());
    }

    #[test]
    fn the_files_of_a_product_are_written_over_only_if_asked() {
        for name in ["state.json", TRUST] {
            let temp = tempfile::tempdir().unwrap();
            let directory = DeviceDirectory::open_to_enroll(temp.path()).unwrap();
            directory.write(name, b"the product's").unwrap();
            let refused = enrollment(false).is_done(&directory).unwrap_err();
            let told = refused.explain();
            assert!(told.why.contains(name), "{}", told.why);
            assert!(told.remedy.contains("--replace"), "{}", told.remedy);
            assert!(!enrollment(true).is_done(&directory).unwrap());
        }
    }

    #[test]
    fn a_failed_pin_says_that_nothing_secret_was_sent() {
        let told = EnrollError::Connect(ConnectError {
            reason: ClosedReason::NotTrusted {
                why: "root key mismatch".to_owned(),
            },
        })
        .explain();
        assert!(told.why.contains("root key mismatch"));
        assert!(told.remedy.contains("nothing secret was sent"));
    }
}
