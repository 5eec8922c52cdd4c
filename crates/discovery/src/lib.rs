//! Finds secrets in other people's files: configurations to [import](mod@import) from, and trees and git histories
//! into which secrets have leaked ([`scan`]).
//!
//! What is absent here is the point: no network, no vault, no clock, no randomness. The crate reads files that it is
//! pointed at, and, for git, asks the `git` executable for objects. The vault's own values are looked for by keyed
//! marks ([`scan::Marks`]), never by the values themselves.
//!
//! | question | module |
//! | --- | --- |
//! | which secrets does this configuration hold? | [`mod@import`] |
//! | where have secrets leaked to? | [`scan`] |
//! | how is a value written into a file, and read from one? | [`dialect`] |

pub mod dialect;
pub mod import;
pub mod scan;

mod placeholder;

pub use hearthkey_core::time::Timestamp;
