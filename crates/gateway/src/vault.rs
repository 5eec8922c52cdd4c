//! The vault's use cases: the secrets of everything that is not a device of ours.
//!
//! | what happens | module |
//! | --- | --- |
//! | a credential is added, described, shown, listed | [`credentials`], [`inventory`], [`views`] |
//! | a value is given out | [`giving`], [`leases`] |
//! | over HTTP | [`http`] |

mod credentials;
mod giving;
pub(crate) mod http;
mod inventory;
mod leases;
mod views;
