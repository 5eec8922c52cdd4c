//! What every bridge is asked, and what it answers.

use std::pin::Pin;

use hearthkey_core::news::News;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;

use crate::error::BridgeError;
use crate::progress::Progress;

/// An answer that is on its way. Dropping it ends the work.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BridgeError>> + Send + 'a>>;

/// A system with a credential, and how it is talked to about it.
///
/// An error means that the answer could not be found out; the answers themselves include "no".
pub trait Connector: Send + Sync {
    /// What this bridge can and cannot do, in words for a person. May read a local file that counts devices.
    fn abilities(&self) -> Abilities;
    /// How the bridge calls the value by which it is asked, where that is one like those that it makes and goes by a name
    /// there. It is not identified by its value, because a caller who may have values tested could guess it.
    fn authority_id(&self) -> Option<&str> {
        None
    }
    /// Whether this value works.
    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified>;
    /// Makes a new value, beside the old one where [`Abilities::two_live`] says so.
    ///
    /// Repeatable where [`Abilities::ends_lost`] says so: an order with a label that was used before (because its answer
    /// was lost) ends the value made then.
    fn mint<'a>(&'a self, order: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted>;
    /// Ends a value. One that is gone already is gone.
    fn revoke<'a>(&'a self, held: &'a Held) -> Answer<'a, Revoked>;
    /// What the value may do.
    fn scopes<'a>(&'a self, held: &'a Held) -> Answer<'a, Scopes>;
    /// Is notified of a rotation of a credential that is used there. Repeatable: news whose answer was lost are sent again.
    fn notify<'a>(&'a self, news: &'a News) -> Answer<'a, ()> {
        let place = news.place.clone();
        Box::pin(std::future::ready(Err(BridgeError::CannotDo {
            what: format!("{place} cannot be notified of rotations"),
            instead: "Notify it by hand, or connect it as http or command with \"notify\".".into(),
        })))
    }
}

/// A value as the vault keeps it.
#[derive(Debug, Clone)]
pub struct Held {
    /// The value.
    pub value: Secret,
    /// How the bridge calls it: a token's id, a user name. No secret.
    pub remote_id: Option<String>,
}

/// What a new value is to be.
#[derive(Debug, Clone)]
pub struct MintOrder {
    /// How the bridge is to show it to a person. Names home, credential and version, and so exactly one value.
    pub label: String,
    /// How long it is to live; none leaves it to the bridge.
    pub lifetime: Option<Span>,
    /// What it may do, in the bridge's words; empty takes over the rights of `replaces`, or the bridge's default.
    pub scopes: Vec<String>,
    /// The value that it follows.
    pub replaces: Option<Held>,
}

/// A new value.
#[derive(Debug, Clone)]
pub struct Minted {
    /// The value.
    pub value: Secret,
    /// How the bridge calls it. No secret.
    pub remote_id: Option<String>,
    /// How long it really lives, from now: a bridge may round up. None: until it is revoked.
    pub lifetime: Option<Span>,
}

/// Whether a value works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// The bridge accepts it.
    Works,
    /// The bridge does not, or its shape is wrong, and why.
    Fails(String),
}

/// Whether a value was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// It is no longer accepted.
    Gone,
    /// The bridge cannot end it; what a person has to do.
    ByHand(String),
}

/// What a value may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes {
    /// The rights, in the bridge's words.
    pub rights: Vec<String>,
    /// Why these are the rights of an administrator, if they are: more than a home's automation needs.
    pub privileged: Option<String>,
}

/// What a bridge can and cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Abilities {
    /// It can tell whether a value works.
    pub verify: bool,
    /// It can make a new value.
    pub mint: bool,
    /// It can end a value.
    pub revoke: bool,
    /// It can tell what a value may do.
    pub scopes: bool,
    /// It can be notified of rotations of what is used there.
    pub notify: bool,
    /// It can make short-lived values beside the long-lived one, for leases.
    pub children: bool,
    /// The shortest life that a child can be given. A shorter lease is ended by revoking.
    pub shortest_child: Option<Span>,
    /// The old value works on while the new one is tried.
    pub two_live: bool,
    /// An order under a label that was used before ends the value that was made then.
    pub ends_lost: bool,
    /// Making a new value waits for a person (a button).
    pub needs_person: bool,
    /// What a rotation costs the home, known before it starts.
    pub cost: Option<String>,
    /// What it cannot do, a sentence each.
    pub cannot: Vec<String>,
}

impl Abilities {
    /// Whether making a new value is what ends the old one. Where a person puts the new one in place, the old one lives
    /// until then.
    pub fn replaces_in_place(&self) -> bool {
        self.mint && !self.two_live && !self.needs_person
    }
}
