//! What is to be reported to the gateway and the log, each kind at most once a minute for one owner.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::engine::session::{Key, Owner};
use crate::event::{Bound, Event, Refusal, Who};

const AGAIN_MS: u64 = 60_000;
/// Owners and kinds that are remembered. One more forgets all of them.
const REMEMBERED_MAX: usize = 4_096;

/// Notes that wait to be handed on.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    waiting: Vec<Event>,
    told_ms: HashMap<(Owner, Kind), u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Bound(Bound),
    Protocol,
}

impl Notes {
    pub(crate) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.waiting)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn add(&mut self, event: Event) {
        self.waiting.push(event);
    }

    /// Something was refused. Not bounded here: the channel to the gateway is.
    pub(crate) fn refused(
        &mut self,
        owner: &Owner,
        address: impl Into<Option<SocketAddr>>,
        why: Refusal,
    ) {
        let (address, who) = (address.into(), Some(who(owner)));
        self.waiting.push(Event::Refused { address, who, why });
    }

    /// A bound was reached; without an address where the session is away.
    pub(crate) fn bound(
        &mut self,
        key: &Key,
        address: Option<SocketAddr>,
        bound: Bound,
        now_ms: u64,
    ) {
        if !self.is_due(&key.owner, Kind::Bound(bound), now_ms) {
            return;
        }
        let (owner, client_id) = (&key.owner, &key.client_id);
        tracing::warn!(?owner, ?client_id, "{bound}");
        self.refused(owner, address, Refusal::Bound(bound));
    }

    /// A client broke the protocol.
    pub(crate) fn violated(&mut self, key: &Key, address: SocketAddr, what: &str, now_ms: u64) {
        if !self.is_due(&key.owner, Kind::Protocol, now_ms) {
            return;
        }
        let (owner, client_id) = (&key.owner, &key.client_id);
        tracing::warn!(?owner, ?client_id, "broke the rules of MQTT: {what}");
        self.refused(owner, address, Refusal::Protocol(what.to_owned()));
    }

    fn is_due(&mut self, owner: &Owner, kind: Kind, now_ms: u64) -> bool {
        if self.told_ms.len() >= REMEMBERED_MAX {
            self.told_ms.clear();
        }
        match self.told_ms.get_mut(&(owner.clone(), kind)) {
            Some(told) if now_ms < *told + AGAIN_MS => false,
            Some(told) => {
                *told = now_ms;
                true
            }
            None => {
                self.told_ms.insert((owner.clone(), kind), now_ms);
                true
            }
        }
    }
}

fn who(owner: &Owner) -> Who {
    match owner {
        Owner::Device(device) => Who::Device(device.clone()),
        Owner::Claim(claim) => Who::Claim(claim.clone()),
    }
}
