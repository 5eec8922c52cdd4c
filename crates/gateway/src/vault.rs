//! The vault's use cases: the secrets of everything that is not a device of ours.
//!
//! | what happens | module |
//! | --- | --- |
//! | a credential is added, described, shown, listed, retired | [`credentials`], [`inventory`], [`views`], [`retiring`] |
//! | a value is made, given out, lent | [`making`], [`giving`], [`leases`], [`children`] |
//! | a value is replaced; who uses it is told | [`rotations`], [`driving`], [`steps`], [`undoing`], [`telling`] |
//! | a bridge is connected and asked | [`bridges`], [`bridge_places`], [`interruptible`] |
//! | values are sealed anew, destroyed | [`keeping`] |
//! | something is wrong; a repository is checked | [`findings`], [`manifest`] |
//! | leaked values are looked for | [`marks`] |
//! | over HTTP | [`http`] |

mod bridge_places;
mod bridges;
mod children;
mod credentials;
mod disconnecting;
mod driving;
mod findings;
mod giving;
mod guarding;
pub(crate) mod http;
mod interruptible;
mod inventory;
mod keeping;
mod leases;
mod making;
mod manifest;
mod marks;
mod out_of_use;
mod retiring;
mod rotations;
mod steps;
mod telling;
mod undoing;
mod untaken;
mod views;

pub(crate) use children::ChildLeft;
pub(crate) use driving::rotate_what_is_due;
pub(crate) use findings::{Reports, view as finding_view, worst_first};
pub(crate) use leases::{SlowPlaces, end_what_was_lent};
pub(crate) use rotations::begin_what_is_due;
pub(crate) use telling::tell_the_places;
pub(crate) use untaken::Untaken;
pub(crate) use views::ends_at;
