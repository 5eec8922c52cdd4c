//! Authorities with their keys, out of the vault.

use hearthkey_pki::{
    CaRefusal, CertificateAuthority, IssueError, KeyError, LoadError, ServerConfigError,
};
use hearthkey_store::OpenError;
use hearthkey_store::registry::ReadError;
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
