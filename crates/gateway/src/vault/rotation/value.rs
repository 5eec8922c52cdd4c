//! A value that a bridge has made, and that is not in the vault.

use hearthkey_bridges::Minted;
use hearthkey_core::credential::CredentialId;

/// What became of a value at its bridge.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    /// It works, and its rotation may take it up.
    Works,
    /// It was ended.
    Ended,
    /// It could not be ended; what is left to do by hand.
    Left(String),
}

/// A value that is not in the vault.
#[derive(Debug, Clone)]
pub(crate) struct Untaken {
    pub(super) credential: CredentialId,
    /// The version that it is to be.
    pub(in crate::vault) version: u32,
    pub(in crate::vault) minted: Minted,
    /// Whether an earlier try may have left another value at the bridge.
    pub(in crate::vault) one_was_lost: bool,
    pub(super) fate: Fate,
}
