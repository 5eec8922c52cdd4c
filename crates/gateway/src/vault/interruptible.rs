//! A connector whose home can close: what it waits for then is given up, and holds no key any longer.

use hearthkey_bridges::{
    Abilities, Answer, BridgeError, Connector, Held, MintOrder, Minted, Progress, Revoked, Scopes,
    Verified,
};
use hearthkey_core::news::News;
use tokio::sync::watch;

/// A connector that stops waiting when its home closes.
pub(super) struct Interruptible {
    pub(super) connector: Box<dyn Connector>,
    pub(super) stopping: watch::Receiver<bool>,
}

impl Interruptible {
    fn until_closed<'a, T: Send + 'a>(&self, answer: Answer<'a, T>) -> Answer<'a, T> {
        let mut stopping = self.stopping.clone();
        Box::pin(async move {
            tokio::select! {
                answer = answer => answer,
                // What the bridge makes of it is not known.
                _ = stopping.wait_for(|stop| *stop) => Err(BridgeError::ClosedEarly {
                    at: "this gateway".into(),
                }),
            }
        })
    }
}

impl Connector for Interruptible {
    fn abilities(&self) -> Abilities {
        self.connector.abilities()
    }

    fn authority_id(&self) -> Option<&str> {
        self.connector.authority_id()
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        self.until_closed(self.connector.verify(held))
    }

    fn mint<'a>(&'a self, order: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        self.until_closed(self.connector.mint(order, progress))
    }

    fn revoke<'a>(&'a self, held: &'a Held) -> Answer<'a, Revoked> {
        self.until_closed(self.connector.revoke(held))
    }

    fn scopes<'a>(&'a self, held: &'a Held) -> Answer<'a, Scopes> {
        self.until_closed(self.connector.scopes(held))
    }

    fn notify<'a>(&'a self, news: &'a News) -> Answer<'a, ()> {
        self.until_closed(self.connector.notify(news))
    }
}
