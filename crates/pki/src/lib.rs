//! Hearthkey's certificate authority: the only holder of CA keys.
//!
//! What is absent here is the point: no clock, no SQL, no network. The time enters as an
//! argument; the only randomness is the making of keys, in [`SigningKey::generate`] and
//! [`RsaKey::generate`]. A leaf is
//! signed from an [`IssuanceOrder`](hearthkey_core::certificate::IssuanceOrder) alone, and a
//! CSR contributes its public key and nothing else.
//!
//! | question | module |
//! | --- | --- |
//! | what may be taken from a CSR? | [`csr`] |
//! | who holds a private key? | [`key`], `rsa_key` |
//! | what does a CA say of itself? | [`ca_certificate`] |
//! | who signs, and what comes out? | [`authority`], [`server_certificate`], [`crl`] |
//! | what does a device's certificate say? | [`leaf`] |
//! | which client certificates are accepted? | [`verifier`], `shape` |
//! | how does the listener speak TLS? | [`provider`](mod@provider), [`server`] |
//! | does the bearer of a token hold its key? | [`dpop`] |
//! | how are certificates handed over as text? | [`trust`] |
//! | how strong is what a certificate is made with? | [`mod@algorithms`] |

pub mod algorithms;
pub mod authority;
pub mod ca_certificate;
pub mod crl;
pub mod csr;
mod der;
pub mod dpop;
pub mod key;
pub mod leaf;
mod pem_block;
pub mod provider;
mod public_key;
mod refusal;
mod rsa_key;
pub mod server;
pub mod server_certificate;
mod shape;
pub mod trust;
pub mod verifier;

pub use algorithms::{algorithms, keys_in_pem};
pub use authority::{CertificateAuthority, IssueError, Issued, LoadError};
pub use ca_certificate::{CaCertificate, CaRefusal, CaRole};
pub use crl::{CrlError, RevokedEntry, check_crl, crl_life};
pub use csr::read_csr;
pub use dpop::{ProofError, key_id_of_pem, read_proof};
pub use key::{KeyError, SigningKey};
pub use leaf::Leaf;
pub use provider::provider;
pub use refusal::ClientRefusal;
pub use rsa_key::{RsaKey, RsaLeaf};
pub use server::{ENROLL_ALPN, ServerConfigError, https_config, server_config};
pub use server_certificate::{is_issued_by, life_of, needs_reissue};
pub use trust::{PemError, crl_pem, der_from_pem, pem, pem_bundle};
pub use verifier::ClientVerifier;
