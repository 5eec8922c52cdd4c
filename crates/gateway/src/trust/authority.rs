//! Authorities with their keys, out of the vault.

use hearthkey_core::id::EnvironmentName;
use hearthkey_core::time::Timestamp;
use hearthkey_pki::{
    CaRefusal, CaRole, CertificateAuthority, IssueError, KeyError, LoadError, ServerConfigError,
};
use hearthkey_store::OpenError;
use hearthkey_store::change::Write;
use hearthkey_store::registry::ReadError;
use hearthkey_store::vault::{SecretName, Vault};
use hearthkey_store::{CommitError, Store};

/// Why the home's own certificates cannot be loaded or made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each carries the message of its cause.
pub enum TrustError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("the CA key {0} is missing from the vault. Restore a backup")]
    NoAuthority(String),
    #[error("a CA cannot be loaded: {0}. Restore a backup")]
    Authority(#[from] LoadError),
    #[error("the root cannot be read: {0}. Restore a backup")]
    Root(#[from] CaRefusal),
    #[error("a certificate cannot be issued: {0}. Check the --host names and the clock")]
    Issue(#[from] IssueError),
    #[error("a key cannot be made: {0}")]
    Key(#[from] KeyError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] ServerConfigError),
    #[error("{0:?} is neither a host name nor an IP address. Correct --host")]
    Host(String),
}

/// The registry's name of an environment's issuing CA.
pub(crate) fn issuing(environment: &EnvironmentName) -> String {
    format!("issuing/{environment}")
}

/// The registry's name of a CA.
pub(crate) fn name_of(ca: &CaRole) -> String {
    match ca {
        CaRole::Root => "root".into(),
        CaRole::Server => "server".into(),
        CaRole::Issuing(environment) => issuing(environment),
    }
}

/// Loads a CA with its key.
pub(crate) fn load_authority(
    store: &Store,
    name: &str,
) -> Result<CertificateAuthority, TrustError> {
    let missing = || TrustError::NoAuthority(name.to_owned());
    let (der, _) = store
        .read(|registry| registry.authority(name))?
        .ok_or_else(missing)?;
    let key = store.secret("ca", name)?.ok_or_else(missing)?;
    Ok(CertificateAuthority::load(&der, key)?)
}

/// The writes that keep a CA under a name: its certificate, and its key as a version of it.
pub(crate) fn keep_authority(
    vault: &Vault,
    (name, version): (&str, u32),
    authority: &CertificateAuthority,
    at: Timestamp,
) -> [Write; 2] {
    [
        Write::Authority(name.to_owned(), authority.certificate().der.clone()),
        keep_key(vault, (name, version), authority, at),
    ]
}

/// The write that keeps a CA's key as a version under a name.
pub(crate) fn keep_key(
    vault: &Vault,
    (name, version): (&str, u32),
    authority: &CertificateAuthority,
    at: Timestamp,
) -> Write {
    let place = SecretName {
        kind: "ca",
        name,
        version,
    };
    Write::Secret {
        kind: "ca",
        name: name.to_owned(),
        version,
        sealed: vault.seal(place, &authority.key().to_pkcs8()),
        at,
    }
}
