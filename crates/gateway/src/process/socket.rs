//! The local socket of a home whose lock is held.

use std::path::PathBuf;

use hearthkey_api::SOCKET_FILE;
use hearthkey_store::files::DataDir;
use tokio::net::UnixListener;

use crate::process::data_dir::{UnfitDataDir, check_data_dir};

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The directory cannot hold a home.
    #[error(transparent)]
    DataDir(#[from] UnfitDataDir),
    /// The socket.
    #[error(
        "the socket {path} cannot be used: {source}. Make the data directory writable for this user, or choose another --data-dir"
    )]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Binds the socket of a home whose lock is held; one that a dead gateway left is replaced.
pub(crate) fn bind_socket(dir: &DataDir) -> Result<UnixListener, SocketError> {
    let path = dir.path().join(SOCKET_FILE);
    let failed = |source| SocketError::Socket {
        path: path.clone(),
        source,
    };
    dir.remove(SOCKET_FILE).map_err(failed)?;
    let socket = UnixListener::bind(&path).map_err(failed)?;
    dir.open_socket_to_group(SOCKET_FILE).map_err(failed)?;
    Ok(socket)
}

/// Whether a gateway could run on a data directory whose lock is held: its socket is bound, and let go again.
pub(crate) fn rehearse(dir: &DataDir) -> Result<(), SocketError> {
    check_data_dir(dir.path())?;
    drop(bind_socket(dir)?);
    let path = dir.path().join(SOCKET_FILE);
    dir.remove(SOCKET_FILE)
        .map_err(|source| SocketError::Socket { path, source })
}
