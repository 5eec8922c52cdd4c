//! A backup on trial: it was restored into a directory of its own, and what a home needs is opened there.

use std::io::Read;

use hearthkey_api as api;
use hearthkey_core::credential::CredentialId;
use hearthkey_core::id::EnvironmentName;
use hearthkey_pki::{CaCertificate, CertificateAuthority};
use hearthkey_store::backup::{BackupError, Unpacked};
use hearthkey_store::registry::ReadError;
use hearthkey_store::vault::CredentialPlace;
use hearthkey_store::{Opened, Store};

use crate::trust::authority::{TrustError, issuing, load_authority};
use crate::trust::formers::formers;
use crate::trust::server_tls::LEAF;

/// Credentials of an environment, and certificates of a CA, that are tried at most until one is found.
const TRIED_MAX: u32 = 20;

/// Why a backup did not pass.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each carries the message of its cause.
pub enum TrialError {
    #[error("in the backup, {0}")]
    Incident(hearthkey_store::anchor::Incident),
    #[error("in the backup, the log's newest checkpoint is not the one that the backup names")]
    Checkpoint,
    #[error("in the backup, {0}")]
    Open(#[from] hearthkey_store::OpenError),
    #[error("in the backup, {0}")]
    Read(#[from] ReadError),
    #[error("in the backup, {0}")]
    Trust(#[from] TrustError),
    #[error("in the backup, {0}")]
    Value(#[from] hearthkey_store::vault::UnsealError),
    #[error("in the backup, the CA {ca} has not signed {what}")]
    NotSigned { ca: String, what: String },
    #[error("in the backup, a certificate cannot be read: {0}")]
    Certificate(#[from] hearthkey_pki::CaRefusal),
}

/// What was opened, and what there was none of.
#[derive(Default)]
struct Report {
    opened: Vec<String>,
    absent: Vec<String>,
}

/// Restores a backup on trial and says what was opened. What was restored is removed again. Waits for the disk.
pub(super) fn on_trial(
    store: &Store,
    name: &str,
    file: impl Read,
) -> Result<Result<api::BackupVerified, TrialError>, BackupError> {
    let dir = store.trial_dir().map_err(BackupError::Home)?;
    let tried = store.open_backup(file, &dir).map(|(unpacked, opened)| {
        let examined = examine(name, &unpacked, &opened);
        opened.store.close();
        examined
    });
    if let Err(error) = store.forget_trial() {
        tracing::warn!(%error, "what a backup was restored to on trial could not be removed");
    }
    tried
}

/// Opens what a home needs, and says what that was.
pub(crate) fn examine(
    name: &str,
    unpacked: &Unpacked,
    opened: &Opened,
) -> Result<api::BackupVerified, TrialError> {
    let (manifest, store) = (&unpacked.manifest, &opened.store);
    if let Some(incident) = &opened.incident {
        return Err(TrialError::Incident(incident.clone()));
    }
    store.check_whole()?;
    let mut report = Report::default();
    report.saw("Every page of the database is whole, and its tables agree.".into());
    let newest = store.checkpoints().borrow().clone();
    let fits = newest.is_some_and(|newest| {
        newest.size == manifest.log_size && newest.note == manifest.checkpoint.as_bytes()
    });
    if !fits {
        return Err(TrialError::Checkpoint);
    }
    report.saw(format!(
        "The log's {} records end in the signed checkpoint.",
        manifest.log_size
    ));
    authorities(store, &mut report)?;
    for environment in store.read(|registry| registry.environments())? {
        credential(store, &environment, &mut report)?;
    }
    Ok(api::BackupVerified {
        name: name.to_owned(),
        home: manifest.home.to_string(),
        made_at: manifest.made_at.to_string(),
        version: manifest.version.clone(),
        log_size: manifest.log_size,
        revocations: opened.replay.revocations.len() as u64,
        opened: report.opened,
        absent: report.absent,
    })
}

impl Report {
    fn saw(&mut self, what: String) {
        self.opened.push(what);
    }

    fn lacks(&mut self, what: String) {
        self.absent.push(what);
    }
}

/// Each CA with its key, that the root has signed it, and one certificate that it has signed.
fn authorities(store: &Store, report: &mut Report) -> Result<(), TrialError> {
    let root = load_authority(store, "root")?;
    let root = root.certificate();
    signed(root, "root", &root.der, "itself")?;
    report.saw("The root CA opens with its key.".into());
    let server = checked(store, root, "server")?;
    match store.read(|registry| registry.authority(LEAF))? {
        Some((leaf, _)) => {
            signed(
                server.certificate(),
                "server",
                &leaf,
                "the gateway's certificate",
            )?;
            report.saw(
                "The server CA opens with its key, and has signed the gateway's certificate."
                    .into(),
            );
        }
        None => {
            report.lacks("The server CA opens with its key, and has signed nothing yet.".into())
        }
    }
    for environment in store.read(|registry| registry.environments())? {
        let name = issuing(&environment);
        let issuer = checked(store, root, &name)?;
        let newest =
            store.read(|registry| registry.newest_certificates(&environment, TRIED_MAX))?;
        if newest.is_empty() {
            report.lacks(format!(
                "The CA {name} opens with its key, and has signed nothing yet."
            ));
            continue;
        }
        // A CA that has just followed another has signed none of them yet: then those before it have.
        let before = befores(store, root, &environment)?;
        let signed_here = |der: &[u8]| {
            let mut all = std::iter::once(issuer.certificate()).chain(&before);
            all.any(|ca| ca.has_signed(der))
        };
        let of_it = newest.iter().find(|(_, der)| signed_here(der));
        let (device, _) = of_it.ok_or_else(|| TrialError::NotSigned {
            ca: name.clone(),
            what: format!(
                "any of the newest {} certificates of {environment}",
                newest.len()
            ),
        })?;
        report.saw(format!(
            "The CA {name} opens with its key, and it or one before it has signed the certificate of {device}."
        ));
    }
    Ok(())
}

/// The CAs that signed for an environment before, each with its key, which the root has signed.
fn befores(
    store: &Store,
    root: &CaCertificate,
    environment: &EnvironmentName,
) -> Result<Vec<CaCertificate>, TrialError> {
    let formers = formers(store)?.into_iter();
    let its = formers.filter(|former| former.environment == *environment);
    let checked = its.map(|former| {
        let authority = checked(store, root, &former.name)?;
        Ok(authority.certificate().clone())
    });
    checked.collect()
}

/// A CA with its key, which the root has signed.
fn checked(
    store: &Store,
    root: &CaCertificate,
    name: &str,
) -> Result<CertificateAuthority, TrialError> {
    let authority = load_authority(store, name)?;
    signed(root, "root", &authority.certificate().der, name)?;
    Ok(authority)
}

fn signed(ca: &CaCertificate, name: &str, der: &[u8], what: &str) -> Result<(), TrialError> {
    match ca.has_signed(der) {
        true => Ok(()),
        false => Err(TrialError::NotSigned {
            ca: name.to_owned(),
            what: what.to_owned(),
        }),
    }
}

/// One value of an environment.
fn credential(
    store: &Store,
    environment: &EnvironmentName,
    report: &mut Report,
) -> Result<(), TrialError> {
    let mut ids: Vec<CredentialId> = Vec::new();
    store.read(|registry| {
        registry.each_active(|known| {
            let here = known.credential.id.environment == *environment;
            if here && ids.len() < TRIED_MAX as usize {
                ids.push(known.credential.id.clone());
            }
        })
    })?;
    for id in ids {
        let Some(value) = store.read(|registry| registry.sealed_value(&id, None))? else {
            continue;
        };
        let place = CredentialPlace::of(&id, value.version);
        store.vault().open_credential(&place, &value.sealed)?;
        report.saw(format!("The value of {id} opens."));
        return Ok(());
    }
    report.lacks(format!("The environment {environment} holds no value."));
    Ok(())
}
